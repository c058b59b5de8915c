"""Registry: the patterns as the control log has them, in memory. A projection: it begins anew with every process.

    control log ── read ──▶ project ──▶ Pattern by name: its versions, which is live, whether it is paused

Of two records with one version the first counts, for a lane as for the registry; so whoever wrote the second is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cep.control import Activate, Change, PatternVersion, Pause, Placed, Resume, Retire, read, write
from cep.log.protocol import ControlLog
from events.errors import StakeoutError

State = Literal["draft", "live", "paused", "retired"]


class Version(NamedTuple):
    """A version as it was registered. control_offset: behind its record."""

    document: dict[str, Any]
    author: str
    at_us: int
    control_offset: int


@dataclass(slots=True)
class Known:
    """A pattern in the control log.

    live:     its active version, 0 for none; before: the one that was active before it, 0 for none
    revision: the offset behind the last record about it
    """

    versions: dict[int, Version] = field(default_factory=dict)
    live: int = 0
    before: int = 0
    paused: bool = False
    retired: bool = False
    revision: int = 0

    @property
    def state(self) -> State:
        """In a word."""
        if self.live:
            return "paused" if self.paused else "live"
        return "retired" if self.retired else "draft"

    @property
    def latest(self) -> int:
        """The newest version."""
        return max(self.versions)

    @property
    def document(self) -> dict[str, Any]:
        """That of the live version, or of the newest."""
        return self.versions[self.live or self.latest].document


class Conflict(StakeoutError):
    """Somebody else was faster."""


def project(placed: Iterable[Placed], known: dict[str, Known] | None = None) -> dict[str, Known]:
    """The patterns after all changes, by name; `known`: those before, which are changed."""
    known = {} if known is None else known
    for offset, record in placed:
        for change in record.changes:
            if not isinstance(change, PatternVersion | Activate | Pause | Resume | Retire):
                continue
            one = known.setdefault(change.name, Known())
            one.revision = offset
            if isinstance(change, PatternVersion):
                one.versions.setdefault(change.version, Version(change.document, record.author, record.at_us, offset))
            elif isinstance(change, Activate) and change.mode == "live":
                one.before = one.live if one.live != change.version else one.before
                one.live, one.paused, one.retired = change.version, False, False
            elif isinstance(change, Pause | Resume):
                one.paused = isinstance(change, Pause)
            elif isinstance(change, Retire):
                one.before, one.live, one.retired = one.live or one.before, 0, True
    return {name: one for name, one in known.items() if one.versions}


class Registry:
    """Follows a control log and adds to it; many threads may use it. Every call may raise ServiceUnavailable."""

    def __init__(self, log: ControlLog, wall_us: Callable[[], int]) -> None:
        self._log, self._wall_us = log, wall_us
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._offset = 0

    def patterns(self) -> Mapping[str, Known]:
        """All of them, as the log has them now. Not to be changed."""
        with self._lock:
            self._follow()
            return dict(self._known)

    def change(self, author: str, decide: Callable[[Mapping[str, Known]], Sequence[Change]]) -> int:
        """Writes what `decide` makes of the patterns as they stand; answers the offset behind it, or behind the last
        record if there is nothing to write. Raises Conflict if another process registered the same version at once.
        """
        with self._lock:
            self._follow()
            changes = decide(self._known)
            if not changes:
                return self._offset
            offset = write(self._log, changes, author=author, at_us=self._wall_us())
            self._follow(offset)
            for change in changes:
                if isinstance(change, PatternVersion):
                    kept = self._known[change.name].versions[change.version]
                    if kept.control_offset != offset:
                        raise Conflict(
                            f"version {change.version} of {change.name} was registered by {kept.author} just now",
                            "look at it, then send yours again: it becomes the next version",
                        )
            return offset

    def close(self) -> None:
        """Ends the reading of the log."""
        self._log.close()

    def _follow(self, until: int = 0) -> None:
        until = max(until, self._log.end())
        if until > self._offset:
            self._known = project(read(self._log, self._offset, until), self._known)
            self._offset = until
