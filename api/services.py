"""Everything the handlers are handed: no handler reads the environment or opens a connection of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Connection, Engine

from api.follow import Follower
from api.ingest import Ingest
from cep.registry import Registry
from cep.settings import Settings
from cep.storage import access
from cep.storage.database import reached
from events.schema import Stream

KEYS_SECONDS = 2.0
"""For so long a key that was made or ended may not be noticed."""


def wall_us() -> int:
    """Now."""
    return time.time_ns() // 1000


@dataclass
class Services:
    """metrics: Prometheus text of this process, of whatever runs in it."""

    settings: Settings
    streams: Mapping[str, Stream]
    engine: Engine
    registry: Registry
    ingest: Ingest
    follower: Follower
    log: logging.Logger
    metrics: Callable[[], str] = lambda: ""
    wall_us: Callable[[], int] = wall_us

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction of the tables. Raises ServiceUnavailable."""
        with reached(self.engine), self.engine.begin() as connection:
            yield connection

    @cached_property
    def keys(self) -> Keys:
        """Who may ask."""
        return Keys(self)

    def close(self) -> None:
        """Ends what was opened. Idempotent."""
        self.follower.close()
        self.ingest.close()
        self.registry.close()
        self.engine.dispose()


@dataclass
class Keys:
    """The live API keys, read again every KEYS_SECONDS."""

    services: Services
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: dict[str, tuple[str, access.Role]] = field(default_factory=dict)
    _read_at: float = float("-inf")

    def known(self) -> Mapping[str, tuple[str, access.Role]]:
        """digest → (name, role). Raises ServiceUnavailable where they were never read."""
        with self._lock:
            if time.monotonic() - self._read_at > KEYS_SECONDS:
                with self.services.transaction() as connection:
                    self._known = access.live_keys(connection)
                self._read_at = time.monotonic()
            return self._known
