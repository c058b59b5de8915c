"""The patterns as the control log has them: a projection, at hand right after a start.

control log ── read ──▶ Registry ──▶ Known(versions, live, paused, …) by name
              ◀─ write ──  `change`: decided on what is known, one at a time
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cep.control import Activate, Change, PatternVersion, Pause, Placed, Resume, Retire, read, write
from cep.log.protocol import ControlLog
from events.errors import StakeoutError

State = Literal["draft", "live", "paused", "retired"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a pattern, whole."""

    document: dict[str, Any]
    author: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Known:
    """A pattern in the control log.

    live:           its active version, 0 for none
    was_live:       the versions that were active, in order; the last is the newest that was
    control_offset: behind the last record that touched it: live in a lane whose journal has passed it
    """

    versions: Mapping[int, Version] = field(default_factory=dict)
    live: int = 0
    paused: bool = False
    was_live: tuple[int, ...] = ()
    control_offset: int = 0
    changed_at_us: int = 0

    @property
    def state(self) -> State:
        """In a word."""
        if self.live:
            return "paused" if self.paused else "live"
        return "retired" if self.was_live else "draft"

    @property
    def latest(self) -> int:
        """Its newest version."""
        return max(self.versions)


def project(records: Iterable[Placed], known: dict[str, Known] | None = None) -> dict[str, Known]:
    """The patterns after all changes, by name; goes on from `known` where that is given."""
    patterns = {} if known is None else known
    for placed in records:
        for change in placed.record.changes:
            if isinstance(change, PatternVersion | Activate | Pause | Resume | Retire):
                _apply(patterns, change, placed)
    return patterns


def _apply(
    patterns: dict[str, Known], change: PatternVersion | Activate | Pause | Resume | Retire, placed: Placed
) -> None:
    record = placed.record
    known = replace(patterns.get(change.name, Known()), control_offset=placed.next_offset, changed_at_us=record.at_us)
    if isinstance(change, PatternVersion):
        version = Version(change.document, record.author, record.at_us)
        known = replace(known, versions={change.version: version, **known.versions})  # the first of a number counts
    elif isinstance(change, Activate):
        known = replace(known, live=change.version, paused=False, was_live=(*known.was_live, change.version))
    elif isinstance(change, Retire):
        known = replace(known, live=0, paused=False)
    else:
        known = replace(known, paused=isinstance(change, Pause))
    patterns[change.name] = known


class Overtaken(StakeoutError):
    """Another process changed the same pattern at the same moment."""


class Registry:
    """The patterns of a control log. Any thread may use it; one change is decided at a time."""

    def __init__(self, log: ControlLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._next = 0

    def patterns(self) -> Mapping[str, Known]:
        """All patterns, by name, as the log has them now. Raises ServiceUnavailable, IntegrityViolation."""
        with self._lock:
            self._catch_up()
            return dict(self._known)

    def change(
        self, decide: Callable[[Mapping[str, Known]], Sequence[Change]], *, author: str, at_us: int
    ) -> tuple[int, Mapping[str, Known]]:
        """Writes what `decide` answers for the patterns as they are; answers the control offset behind it, and the
        patterns after it. What `decide` raises goes through, and nothing is written.

        Raises Overtaken if another process got in between with a change of the same patterns, ServiceUnavailable,
        LimitReached.
        """
        with self._lock:
            self._catch_up()
            seen = self._next
            changes = decide(self._known)
            if not changes:
                return seen, dict(self._known)
            offset = write(self._log, changes, author=author, at_us=at_us)
            between = self._catch_up(offset)
            names = {change.name for change in changes}
            if any(change.name in names for placed in between[:-1] for change in placed.record.changes):
                raise Overtaken(
                    f"{', '.join(sorted(names))}: changed by someone else at the same moment",
                    "read it again, then decide again; a version whose number the other took doesn't exist",
                )
            return offset, dict(self._known)

    def _catch_up(self, stop: int | None = None) -> list[Placed]:
        end = self._log.end() if stop is None else stop
        if end <= self._next:
            return []
        found = read(self._log, self._next, end)
        project(found, self._known)
        self._next = end
        return found
