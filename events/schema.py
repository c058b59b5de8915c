"""Stream and Field: what the records of a stream are, read from a YAML document.

    stream: transactions
    topic: card-transactions        # default: the stream's name
    key: [card_id]                  # the fields by which the topic is partitioned
    event_time: {field: at, format: epoch_ms}
    event_id: transaction_id        # optional: duplicates are dropped, alerts name it
    dedupe: {within: 10m, ids: 1000000}
    order: event_time               # default: arrival
    out_of_order: 5s
    late: topic                     # default: drop
    max_ahead: 5m
    idle_after: 5s
    record_bytes: 65536
    validate: needed                # all: also the fields that no pattern, key or view reads
    fields:
      transaction_id: string
      card_id: {type: string, sensitivity: pii}
      at: instant
      amount: decimal(12, 2)
      approved: {type: bool, nullable: true}

Only `stream`, `event_time` and `fields` are needed.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

import yaml

from events.duration import UNITS_US, duration_text, duration_us
from events.errors import NO_YAML, InvalidDocument, Problem
from events.types import Kind, Type

FIELDS_MAX = 512
NAME_MAX = 128
DECIMAL_DIGITS_MAX = 18
RECORD_BYTES = 65_536
RECORD_BYTES_MAX = 1_048_576
DEDUPE_IDS = 1_000_000
DEDUPE_IDS_MAX = 50_000_000
OUT_OF_ORDER_US_MAX = UNITS_US["w"]


class Order(StrEnum):
    """In which order a stream's events are matched."""

    ARRIVAL = "arrival"
    EVENT_TIME = "event_time"


class Late(StrEnum):
    """What becomes of an event that comes after its turn."""

    DROP = "drop"
    TOPIC = "topic"
    PROCESS = "process"


class Format(StrEnum):
    """How JSON writes an instant.

    epoch_s may have up to six decimals, the other numbers are whole; nanoseconds are cut to microseconds.
    rfc3339 is text with a zone, datetime the same without one, read as UTC.
    """

    RFC3339 = "rfc3339"
    DATETIME = "datetime"
    EPOCH_S = "epoch_s"
    EPOCH_MS = "epoch_ms"
    EPOCH_US = "epoch_us"
    EPOCH_NS = "epoch_ns"


class Sensitivity(StrEnum):
    """How a field may be shown, from the least to the most guarded."""

    PUBLIC = "public"
    PII = "pii"
    SECRET = "secret"


class Validate(StrEnum):
    """Which fields of a record are checked."""

    NEEDED = "needed"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. `format` counts for instants only."""

    name: str
    type: Type
    nullable: bool = False
    sensitivity: Sensitivity = Sensitivity.PUBLIC
    format: Format = Format.RFC3339


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as declared (the keys of the document are explained in the module docstring).

    derived: what features and models add to its events, null in the log: `score`, `view.feature`

    `out_of_order_us` and `late` count for `order: event_time` only; `dedupe_us` is 0 where no duplicates are looked
    for (no event id, or `dedupe: 0s`).
    """

    name: str
    topic: str
    fields: tuple[Field, ...]
    event_time: str
    event_id: str | None = None
    key: tuple[str, ...] = ()
    order: Order = Order.ARRIVAL
    out_of_order_us: int = 0
    late: Late = Late.DROP
    max_ahead_us: int = 5 * UNITS_US["m"]
    idle_after_us: int = 5 * UNITS_US["s"]
    dedupe_us: int = 0
    dedupe_ids_max: int = DEDUPE_IDS
    record_bytes_max: int = RECORD_BYTES
    validate: Validate = Validate.NEEDED
    derived: tuple[Field, ...] = ()

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


def read_stream(document: str | Mapping[str, object], where: str = "stream") -> Stream:
    """The stream that a document declares, YAML text or what was parsed from it.

    where: what to call the document in messages, as `streams/transactions.yaml`

    Raises InvalidDocument with every problem, each at its path in the document.
    """
    reader = _Reader()
    parsed = _parse(document, reader) if isinstance(document, str) else document
    stream = _stream(parsed, reader) if not reader.problems else None
    if stream is None or reader.problems:
        raise InvalidDocument(where, reader.problems)
    return stream


# --- text to mappings -------------------------------------------------------------------------------------------------


class _Twice(yaml.constructor.ConstructorError):
    """A key is there twice."""


class _UniqueKeys(yaml.SafeLoader):
    """YAML as it is meant: a key twice in a mapping is an error, where the library keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            text = str(key.value)
            if text in seen:
                raise _Twice(None, None, f"the key {text!r} is there twice", key.start_mark)
            seen.add(text)
        return super().construct_mapping(node, deep)


def _parse(text: str, reader: _Reader) -> object:
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "document"
        hint = "keep one" if isinstance(error, _Twice) else NO_YAML
        reader.problem(place, f"not YAML: {getattr(error, 'problem', None) or error}", hint)
    except RecursionError:
        reader.problem("document", "nested too deeply to be a stream")
    except ValueError as error:  # a date or number that the library finds but can't build
        reader.problem("document", f"not YAML: {error}")
    return None


# --- mappings to values, collecting what is wrong ---------------------------------------------------------------------

Choice = TypeVar("Choice", bound=StrEnum)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
STREAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
DECIMAL = re.compile(r"decimal\(\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\)", re.ASCII)
OTHER_NAMES = {
    "int": "int64", "integer": "int64", "long": "int64", "bigint": "int64", "float": "float64", "double": "float64",
    "number": "float64", "str": "string", "text": "string", "varchar": "string", "boolean": "bool",
    "timestamp": "instant", "datetime": "instant", "time": "instant", "decimal": "decimal(12, 2)",
}  # fmt: skip


@dataclass
class _Reader:
    """Reads values out of a document, notes every problem, and goes on with a default."""

    problems: list[Problem] = field(default_factory=list)

    def problem(self, where: str, reason: str, hint: str = "") -> None:
        self.problems.append(Problem(where, reason, hint))

    def mapping(self, value: object, where: str, known: Sequence[str]) -> Mapping[str, object]:
        """`value` if it is a mapping; keys that aren't known are problems."""
        if not isinstance(value, Mapping):
            self.problem(where or "document", f"must be a mapping, found {_shown(value)}")
            return {}
        for key in value:
            if key not in known:
                self.problem(_join(where, key), "unknown key", _did_you_mean(key, known))
        return value

    def name(self, value: object, where: str, pattern: re.Pattern[str], what: str) -> str:
        """Text that fits `pattern`, or "" and a problem."""
        if isinstance(value, str) and len(value) <= NAME_MAX * 2 and pattern.fullmatch(value):
            return value
        hint = "put it in quotes: YAML reads it as something else" if not isinstance(value, str) else ""
        self.problem(where, f"must be {what}, found {_shown(value)}", hint)
        return ""

    def of_field(self, value: object, where: str, fields: Mapping[str, Field]) -> str:
        """The name of a declared field, or "" and a problem."""
        if isinstance(value, str) and value in fields:
            return value
        found = f"no field {value!r}" if isinstance(value, str) else f"must be a field's name, found {_shown(value)}"
        self.problem(where, found, _did_you_mean(value, [name for name in fields if NAME.fullmatch(name)]))
        return ""

    def choice(self, value: object, where: str, choices: type[Choice], default: Choice) -> Choice:
        """A member of `choices` by its text."""
        if value is None:
            return default
        texts = [member.value for member in choices]
        if isinstance(value, str) and value in texts:
            return choices(value)
        self.problem(where, f"must be {_or(texts)}, found {_shown(value)}", _did_you_mean(value, texts))
        return default

    def duration(self, value: object, where: str, default: int, most: int | None = None) -> int:
        """Microseconds of a duration."""
        if value is None:
            return default
        try:
            us = duration_us(value)
        except ValueError as error:
            self.problem(where, str(error))
            return default
        if most is not None and us > most:
            self.problem(where, f"at most {duration_text(most)}, found {value}")
        return us

    def count(self, value: object, where: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        self.problem(where, f"must be a whole number from 1 to {most}, found {_shown(value)}")
        return default

    def flag(self, value: object, where: str) -> bool:
        """true or false; absent is false."""
        if value is None or isinstance(value, bool):
            return bool(value)
        self.problem(where, f"must be true or false, found {_shown(value)}")
        return False


def _join(where: str, key: object) -> str:
    text = key if isinstance(key, str) else _shown(key)
    return f"{where}.{text}" if where else text


def _shown(value: object) -> str:
    """What was found, short enough for a line."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _or(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1]


def _did_you_mean(found: object, known: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(found.lower(), by_lower, n=1) if isinstance(found, str) else []
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    return f"known: {', '.join(known)}" if known and len(known) <= 16 else ""


# --- the stream -------------------------------------------------------------------------------------------------------

KEYS = (
    "stream", "topic", "key", "event_time", "event_id", "dedupe", "order", "out_of_order", "late", "max_ahead",
    "idle_after", "record_bytes", "validate", "fields",
)  # fmt: skip


def _stream(document: object, reader: _Reader) -> Stream | None:
    """The stream, or None where it has problems (then the reader holds them all)."""
    doc = reader.mapping(document, "", KEYS)
    for needed in ("stream", "event_time", "fields"):
        if isinstance(document, Mapping) and needed not in doc:
            reader.problem(needed, "is missing")
    name = reader.name(doc["stream"], "stream", STREAM_NAME, "a name") if "stream" in doc else ""
    topic = reader.name(doc["topic"], "topic", TOPIC, "a topic's name") if "topic" in doc else name
    fields = _fields(doc["fields"], "fields", reader) if "fields" in doc else {}
    # Without fields, "no field of that name" would be a second word on one mistake.
    event_time = _event_time(doc["event_time"], fields, reader) if fields and "event_time" in doc else ""
    event_id = _event_id(doc["event_id"], fields, reader) if fields and "event_id" in doc else None
    key = _key(doc["key"], fields, reader) if fields and "key" in doc else ()
    dedupe_us, dedupe_ids = _dedupe(doc, event_id, reader)
    order = reader.choice(doc.get("order"), "order", Order, Order.ARRIVAL)
    _check_order(doc, order, reader)
    stream = Stream(
        name=name,
        topic=topic,
        fields=tuple(fields.values()),
        event_time=event_time,
        event_id=event_id,
        key=key,
        order=order,
        out_of_order_us=reader.duration(doc.get("out_of_order"), "out_of_order", 0, OUT_OF_ORDER_US_MAX),
        late=reader.choice(doc.get("late"), "late", Late, Late.DROP),
        max_ahead_us=reader.duration(doc.get("max_ahead"), "max_ahead", 5 * UNITS_US["m"]),
        idle_after_us=reader.duration(doc.get("idle_after"), "idle_after", 5 * UNITS_US["s"]),
        dedupe_us=dedupe_us,
        dedupe_ids_max=dedupe_ids,
        record_bytes_max=reader.count(doc.get("record_bytes"), "record_bytes", RECORD_BYTES, RECORD_BYTES_MAX),
        validate=reader.choice(doc.get("validate"), "validate", Validate, Validate.NEEDED),
    )
    return None if reader.problems else stream


def _check_order(doc: Mapping[str, object], order: Order, reader: _Reader) -> None:
    if order is Order.EVENT_TIME and "out_of_order" not in doc:
        reason = "is missing: `order: event_time` waits for events that come out of order"
        reader.problem("out_of_order", reason, "say for how long, as `out_of_order: 5s`")
    for key in ("out_of_order", "late"):
        if doc.get("order") in (None, Order.ARRIVAL) and key in doc:
            reader.problem(key, "has no meaning with `order: arrival`", "remove it, or add `order: event_time`")


def _dedupe(doc: Mapping[str, object], event_id: str | None, reader: _Reader) -> tuple[int, int]:
    """(window in µs, most ids)."""
    default = 10 * UNITS_US["m"] if event_id is not None else 0
    given = doc.get("dedupe")
    if given is None:
        return default, DEDUPE_IDS
    if "event_id" not in doc:
        reader.problem("dedupe", "needs an event id to compare", "add `event_id: <field>`")
    if not isinstance(given, Mapping):
        return reader.duration(given, "dedupe", default), DEDUPE_IDS
    parts = reader.mapping(given, "dedupe", ("within", "ids"))
    within = reader.duration(parts.get("within"), "dedupe.within", default)
    return within, reader.count(parts.get("ids"), "dedupe.ids", DEDUPE_IDS, DEDUPE_IDS_MAX)


def _event_time(value: object, fields: dict[str, Field], reader: _Reader) -> str:
    """The event time's field; its format, where given here, goes into `fields`."""
    where, parts = "event_time", {"field": value}
    if isinstance(value, Mapping):
        parts = dict(reader.mapping(value, where, ("field", "format")))
        where = "event_time.field"
    name = reader.of_field(parts.get("field"), where, fields)
    found = fields.get(name, Field(name, Type(Kind.INSTANT)))
    if found.type.kind is not Kind.INSTANT:
        reader.problem(where, f"must be an instant, but {name} is {found.type}", f"declare `{name}: instant`")
    _not_null(found, where, "event time", reader)
    written = reader.choice(parts.get("format"), "event_time.format", Format, found.format)
    if name:
        fields[name] = replace(found, format=written)
    return name


def _event_id(value: object, fields: Mapping[str, Field], reader: _Reader) -> str | None:
    where = "event_id"
    name = reader.of_field(value, where, fields)
    if not name:
        return None
    if fields[name].type.kind not in (Kind.STRING, Kind.INT64):
        reader.problem(where, f"must be a string or an int64, but {name} is {fields[name].type}")
    _not_null(fields[name], where, "event id", reader)
    return name


def _key(value: object, fields: Mapping[str, Field], reader: _Reader) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        reader.problem("key", f"must be a list of field names, found {_shown(value)}", "write it as `key: [card_id]`")
        return ()
    key: list[str] = []
    for place, given in enumerate(value):
        at = f"key[{place}]"
        name = reader.of_field(given, at, fields)
        if not name:
            continue
        if name in key:
            reader.problem(at, f"{name} is there twice")
        if fields[name].type.kind is Kind.FLOAT64:
            reader.problem(at, f"{name} is a float64: equal keys could differ", "use int64, decimal(p, s) or string")
        _not_null(fields[name], at, "key", reader)
        key.append(name)
    return tuple(key)


def _not_null(found: Field, where: str, what: str, reader: _Reader) -> None:
    if found.nullable:
        reader.problem(where, f"{found.name} is nullable, but every record has its {what}")


def _fields(value: object, where: str, reader: _Reader) -> dict[str, Field]:
    if not isinstance(value, Mapping) or not value:
        reader.problem(where, f"must map each field's name to its type, found {_shown(value)}")
        return {}
    if len(value) > FIELDS_MAX:
        reader.problem(where, f"{len(value)} fields: at most {FIELDS_MAX}")
        return {}
    fields = {}
    for given, declared in value.items():
        at = _join(where, given)
        name = reader.name(given, at, NAME, "a field's name (letters, digits and _)")
        if len(name) > NAME_MAX:
            reader.problem(at, f"a name of {len(name)} characters: at most {NAME_MAX}")
        # Kept although it has problems, so that `key` and others that name it aren't problems too.
        fields[name or str(given)] = _field(name, declared, at, reader)
    return fields


def _field(name: str, declared: object, where: str, reader: _Reader) -> Field:
    if not isinstance(declared, Mapping):
        return Field(name, _type(declared, where, reader))
    parts = reader.mapping(declared, where, ("type", "nullable", "sensitivity", "format"))
    kind = _type(parts.get("type"), f"{where}.type", reader)
    if "format" in parts and kind.kind is not Kind.INSTANT:
        reader.problem(f"{where}.format", f"counts for instants only, but {name} is {kind}")
    return Field(
        name,
        kind,
        reader.flag(parts.get("nullable"), f"{where}.nullable"),
        reader.choice(parts.get("sensitivity"), f"{where}.sensitivity", Sensitivity, Sensitivity.PUBLIC),
        reader.choice(parts.get("format"), f"{where}.format", Format, Format.RFC3339),
    )


def _type(value: object, where: str, reader: _Reader) -> Type:
    """The type that a text names."""
    text = value.strip() if isinstance(value, str) else ""
    match = DECIMAL.fullmatch(text)
    if match:
        return _decimal(int(match[1]), int(match[2]), where, reader)
    kinds = [kind.value for kind in Kind if kind is not Kind.DECIMAL]
    if text in kinds:
        return Type(Kind(text))
    other = OTHER_NAMES.get(text.lower())
    hint = f"did you mean {other!r}?" if other else _did_you_mean(text, [*kinds, "decimal(p, s)"]) if text else ""
    reader.problem(where, f"must be {_or([*kinds, 'decimal(p, s)'])}, found {_shown(value)}", hint)
    return Type(Kind.STRING)


def _decimal(precision: int, scale: int, where: str, reader: _Reader) -> Type:
    if not 1 <= precision <= DECIMAL_DIGITS_MAX:
        reader.problem(where, f"decimal of {precision} digits: from 1 to {DECIMAL_DIGITS_MAX}, what an int64 holds")
    if scale > precision:
        reader.problem(where, f"decimal({precision}, {scale}): the scale is at most the precision")
    return Type(Kind.DECIMAL, precision, scale)


# --- evolution --------------------------------------------------------------------------------------------------------


def compatible(old: Stream, new: Stream) -> list[Problem]:
    """Why records of `old`, still in the log, and patterns written for it can't live with `new`; [] if they can.

    Allowed: a new nullable field; a field that becomes nullable; a decimal with more digits before the point; a field
    that is guarded more. How long to wait, limits and validation may change too (they take effect at a restart).
    Not allowed: another name, topic, key, event time, event id or order; a field removed or retyped, an instant written
    otherwise; a new field without null; a field that stops being nullable or is guarded less.
    """
    problems = []
    for what, before, after in (
        ("stream", old.name, new.name),
        ("topic", old.topic, new.topic),
        ("key", ", ".join(old.key) or "none", ", ".join(new.key) or "none"),
        ("event_time", old.event_time, new.event_time),
        ("event_id", old.event_id or "none", new.event_id or "none"),
        ("order", old.order.value, new.order.value),
    ):
        if before != after:
            problems.append(Problem(what, f"was {before}, is now {after}", "declare another stream"))
    before_fields = {item.name: item for item in old.fields}
    after_fields = {item.name: item for item in new.fields}
    for name, item in before_fields.items():
        problems += _changes(item, after_fields.get(name))
    for name, item in after_fields.items():
        if name not in before_fields and not item.nullable:
            problems.append(Problem(f"fields.{name}", "is new, but older records lack it", "add `nullable: true`"))
    return problems


def _changes(old: Field, new: Field | None) -> list[Problem]:
    where = f"fields.{old.name}"
    if new is None:
        return [Problem(where, "was removed", "keep it, with `nullable: true` if new records lack it")]
    problems = []
    if not _widens(old.type, new.type):
        problems.append(Problem(f"{where}.type", f"was {old.type}, is now {new.type}", "add a field of another name"))
    elif old.type.kind is Kind.INSTANT and old.format is not new.format:
        problems.append(Problem(f"{where}.format", f"was {old.format}, is now {new.format}: older records don't fit"))
    if old.nullable and not new.nullable:
        problems.append(Problem(f"{where}.nullable", "was true, is now false: older records may lack it"))
    guarded = list(Sensitivity)
    if guarded.index(new.sensitivity) < guarded.index(old.sensitivity):
        problems.append(
            Problem(f"{where}.sensitivity", f"was {old.sensitivity}, is now {new.sensitivity}: it would be shown more")
        )
    return problems


def _widens(old: Type, new: Type) -> bool:
    """Is every value of `old` a value of `new`, stored as the same integer?"""
    if old.kind is Kind.DECIMAL and new.kind is Kind.DECIMAL:
        return new.scale == old.scale and new.precision >= old.precision
    return old == new
