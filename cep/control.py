"""The control log: what a lane watches for, as an ordered list of changes.

    someone ── write ──▶ control log ── read ──▶ a lane, between two batches; its journal says which

The log is the truth; SQL tables of patterns and models are projections of it. A control record holds one or more
changes that are applied together. It is JSON, so that an operator can read the topic.

A change is live when the journal of every lane has passed the offset that `write` answered. Rolling back is activating
an older version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from cep.log.protocol import ControlLog
from events.errors import IntegrityViolation, LimitReached

CONTROL_BYTES_MAX = 900_000
"""The longest control record: below the 1 MB that a Kafka broker takes by default."""


class PatternVersion(msgspec.Struct, frozen=True, tag="pattern_version"):
    """A version of a pattern exists; it watches nothing until it is activated. `document` is the whole of it.

    A second record of the same name and version changes nothing.
    """

    name: str
    version: int
    document: dict[str, Any]


class Activate(msgspec.Struct, frozen=True, tag="activate"):
    """From here on this version is the one of its mode.

    mode:     live: replaces the live version. shadow: runs beside it. canary: takes `share` of the keys, by their hash
    partials: what becomes of the partials of the version before: `drain` lets them end under their plan
    """

    name: str
    version: int
    mode: Literal["live", "shadow", "canary"] = "live"
    share: float = 1.0
    partials: Literal["drain", "discard"] = "drain"


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """The pattern starts nothing and its partials take nothing, until it is resumed."""

    name: str


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Ends a pause."""

    name: str


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """The pattern watches no more; `partials` as in Activate."""

    name: str
    partials: Literal["drain", "discard"] = "drain"


class FeatureViewVersion(msgspec.Struct, frozen=True, tag="feature_view_version"):
    """A feature view, whole. The newest version is the one in use."""

    name: str
    version: int
    document: dict[str, Any]


class ModelVersion(msgspec.Struct, frozen=True, tag="model_version"):
    """A model file in the object store, by its SHA-256, and the runtime that scores it."""

    name: str
    version: int
    digest: str
    runtime: str


class ModelAlias(msgspec.Struct, frozen=True, tag="model_alias"):
    """`champion` or `challenger` is this version from here on."""

    name: str
    alias: str
    version: int


class ListVersion(msgspec.Struct, frozen=True, tag="list_version"):
    """A named list of values that conditions look up, whole."""

    name: str
    version: int
    values: tuple[str, ...]


Change = (
    PatternVersion | Activate | Pause | Resume | Retire | FeatureViewVersion | ModelVersion | ModelAlias | ListVersion
)


class ControlRecord(msgspec.Struct, frozen=True):
    """Changes that are applied together, who made them and when."""

    author: str
    at_us: int
    changes: tuple[Change, ...]


class Placed(NamedTuple):
    """A control record and the offset behind it, which a journal entry names once it was applied."""

    next_offset: int
    record: ControlRecord


_decoder = msgspec.json.Decoder(ControlRecord)


def write(log: ControlLog, changes: Sequence[Change], *, author: str, at_us: int) -> int:
    """The one way to change what lanes watch for. Answers the offset that a journal passes once the changes are live.

    The changes were checked before (`cep.language.check`): the log is no place to find out that a pattern is wrong.
    Raises LimitReached for more than CONTROL_BYTES_MAX bytes, ServiceUnavailable if the log didn't take them.
    """
    assert changes, "nothing to write"
    value = msgspec.json.encode(ControlRecord(author, at_us, tuple(changes)))
    if len(value) > CONTROL_BYTES_MAX:
        raise LimitReached(
            f"control log: the changes take {len(value)} bytes, the limit is {CONTROL_BYTES_MAX}",
            "write them one by one, or split a long list",
        )
    return log.append(value)


def read(log: ControlLog, start: int, stop: int | None = None) -> list[Placed]:
    """Records from `start`; with `stop` exactly up to there (a replay), else what has arrived.

    Raises IntegrityViolation for a record that isn't ours or is gone.
    """
    return [Placed(offset + 1, _decoded(offset, value)) for offset, value in log.read(start, stop)]


def _decoded(offset: int, value: bytes) -> ControlRecord:
    try:
        return _decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise IntegrityViolation(
            f"control log: record {offset} can't be read: {error}",
            "a newer release may have written it: run that release, or newer",
        ) from error
