"""Streams as documents: what can be said, everything that is wrong at once, and what may change."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import events.schema
from events.duration import DURATION_US_MAX, duration_text, duration_us
from events.errors import InvalidDocument
from events.schema import Field, Format, Late, Order, Sensitivity, Stream, Validate, compatible, read_stream
from events.types import BOOL, FLOAT64, INSTANT, INT64, STRING, Kind, Type

SMALL = {"stream": "tx", "event_time": "at", "fields": {"at": "instant"}}


def problems(document: object, **more: object) -> dict[str, str]:
    """Path to reason, with the hint behind a bar."""
    with pytest.raises(InvalidDocument) as caught:
        read_stream({**document, **more} if isinstance(document, dict) else document)  # type: ignore[arg-type]  # on purpose
    found = caught.value.problems
    assert len({problem.where for problem in found}) == len(found), "a place has two problems: look at them one by one"
    return {problem.where: f"{problem.reason}|{problem.hint}" for problem in found}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_document_in_the_docstring_is_read() -> None:
    """Every key of it."""
    text = "\n".join(line[4:] for line in (events.schema.__doc__ or "").splitlines() if line.startswith("    "))
    assert read_stream(text) == Stream(
        name="transactions",
        topic="card-transactions",
        key=("card_id",),
        event_time="at",
        event_id="transaction_id",
        dedupe_us=600_000_000,
        dedupe_ids_max=1_000_000,
        order=Order.EVENT_TIME,
        out_of_order_us=5_000_000,
        late=Late.TOPIC,
        max_ahead_us=300_000_000,
        idle_after_us=5_000_000,
        record_bytes_max=65_536,
        validate=Validate.NEEDED,
        fields=(
            Field("transaction_id", STRING),
            Field("card_id", STRING, sensitivity=Sensitivity.PII),
            Field("at", INSTANT, format=Format.EPOCH_MS),
            Field("amount", Type(Kind.DECIMAL, 12, 2)),
            Field("approved", BOOL, nullable=True),
        ),
    )


def test_most_can_be_left_out() -> None:
    """The topic is the stream's name, order is arrival, nothing is deduplicated."""
    stream = read_stream(SMALL)
    assert stream == Stream("tx", "tx", (Field("at", INSTANT),), "at")
    assert (stream.order, stream.late, stream.dedupe_us, stream.field("at").format) == (
        Order.ARRIVAL,
        Late.DROP,
        0,
        Format.RFC3339,
    )
    with pytest.raises(KeyError):
        stream.field("nope")


def test_an_event_id_means_deduplication_unless_switched_off() -> None:
    """Ten minutes; `0s` is off."""
    document = {**SMALL, "event_id": "id", "fields": {"at": "instant", "id": "int64"}}
    assert read_stream(document).dedupe_us == 600_000_000
    assert read_stream({**document, "dedupe": "0s"}).dedupe_us == 0
    assert read_stream({**document, "dedupe": {"ids": 5}}).dedupe_ids_max == 5


def test_the_format_of_the_event_time_may_stand_in_either_place() -> None:
    """At the field, or at `event_time`, which wins."""
    for document in (
        {**SMALL, "event_time": {"field": "at", "format": "epoch_s"}},
        {**SMALL, "fields": {"at": {"type": "instant", "format": "epoch_s"}}},
        {"stream": "tx", "event_time": {"field": "at", "format": "epoch_s"}, "fields": {"at": {"type": "instant"}}},
    ):
        assert read_stream(document).field("at").format is Format.EPOCH_S


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_all_problems_come_at_once_each_with_its_place_and_a_remedy() -> None:
    """A document that is wrong everywhere."""
    document = """
        strem: x
        stream: 5
        event_time: {field: tz, format: epoc_ms, zone: UTC}
        event_id: amount
        key: [card, crd, card, risk]
        order: event_tme
        dedupe: 10
        late: sometimes
        max_ahead: 5 minutes
        record_bytes: 0
        validate: [all]
        fields:
          no: string
          ts: timestamp
          card: string
          x y: int64
          crd: {type: string, nullable: yep, format: epoch_s, sens: 1}
          risk: float64
          amount: decimal(30, 2)
    """
    with pytest.raises(InvalidDocument) as caught:
        read_stream(document, "streams/tx.yaml")
    assert str(caught.value) == textwrap.dedent(
        """
        streams/tx.yaml: 21 problems
          strem: unknown key
            hint: did you mean 'stream'?
          stream: must be a name, found 5
            hint: put it in quotes: YAML reads it as something else
          fields.false: must be a field's name (letters, digits and _), found false
            hint: put it in quotes: YAML reads it as something else
          fields.ts: must be int64, float64, bool, instant, string or decimal(p, s), found 'timestamp'
            hint: did you mean 'instant'?
          fields.x y: must be a field's name (letters, digits and _), found 'x y'
          fields.crd.sens: unknown key
            hint: known: type, nullable, sensitivity, format
          fields.crd.format: counts for instants only, but crd is string
          fields.crd.nullable: must be true or false, found 'yep'
          fields.amount: decimal of 30 digits: from 1 to 18, what an int64 holds
          event_time.zone: unknown key
            hint: known: field, format
          event_time.field: no field 'tz'
            hint: known: False, ts, card, crd, risk, amount
          event_time.format: must be rfc3339, datetime, epoch_s, epoch_ms, epoch_us or epoch_ns, found 'epoc_ms'
            hint: did you mean 'epoch_ms'?
          event_id: must be a string or an int64, but amount is decimal(30, 2)
          key[2]: card is there twice
          key[3]: risk is a float64: equal keys could differ
            hint: use int64, decimal(p, s) or string
          dedupe: found 10, not a duration: write a number with its unit, as 10m or 500ms
          order: must be arrival or event_time, found 'event_tme'
            hint: did you mean 'event_time'?
          late: must be drop, topic or process, found 'sometimes'
            hint: known: drop, topic, process
          max_ahead: found '5 minutes', not a duration: write whole numbers with w, d, h, m, s, ms or us, as 1h30m
          record_bytes: must be a whole number from 1 to 1048576, found 0
          validate: must be needed or all, found a list
            hint: known: needed, all
        """
    ).strip("\n")


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        ("a: 1\na: 2", "line 2, column 1", "the key 'a' is there twice"),
        ("a: [", "line 1, column 5", "not YAML"),
        ("- 1", "document", "must be a mapping, found a list"),
        ("", "document", "must be a mapping, found nothing"),
        ("a: " + "[" * 5000, "document", "nested too deeply"),
        ("a: 2024-13-45", "document", "not YAML"),
        ("? [a]\n: 1", "line 1, column 3", "not YAML"),
    ],
)
def test_text_that_is_no_document(document: str, where: str, said: str) -> None:
    """YAML's own problems have a line and a column."""
    assert said in problems(document)[where]


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"stream": "9x"}, "stream", "must be a name, found '9x'"),
        ({"topic": "a b"}, "topic", "must be a topic's name"),
        ({"fields": {}}, "fields", "must map each field's name to its type, found a mapping"),
        ({"fields": {"at": "instant", "x" * 200: "bool"}}, f"fields.{'x' * 200}", "200 characters: at most 128"),
        ({"fields": {f"f{i}": "bool" for i in range(513)}}, "fields", "513 fields: at most 512"),
        ({"fields": {"at": "instant", "a": "varchar"}}, "fields.a", "did you mean 'string'?"),
        ({"fields": {"at": "instant", "a": "strng"}}, "fields.a", "did you mean 'string'?"),
        ({"fields": {"at": "instant", "a": None}}, "fields.a", "found nothing"),
        ({"fields": {"at": "instant", "a": {"nullable": True}}}, "fields.a.type", "found nothing"),
        ({"fields": {"at": "instant", "a": "decimal(2, 3)"}}, "fields.a", "the scale is at most the precision"),
        ({"fields": {"at": "instant", "a": "decimal(0, 0)"}}, "fields.a", "decimal of 0 digits"),
        ({"fields": {"at": {"type": "instant", "nullable": True}}}, "event_time", "at is nullable"),
        ({"fields": {"at": "int64"}}, "event_time", "must be an instant, but at is int64|declare `at: instant`"),
        ({"event_time": 7}, "event_time", "must be a field's name, found 7"),
        ({"event_time": {"field": "at", "format": "unix"}}, "event_time.format", "must be rfc3339, datetime, epoch_s"),
        ({"event_id": "at"}, "event_id", "must be a string or an int64"),
        ({"key": "at"}, "key", "must be a list of field names, found 'at'"),
        ({"key": []}, "key", "must be a list"),
        ({"key": ["At"]}, "key[0]", "no field 'At'|did you mean 'at'?"),
        ({"key": ["at", "at"]}, "key[1]", "at is there twice"),
        ({"dedupe": "10m"}, "dedupe", "needs an event id"),
        ({"order": "event_time"}, "out_of_order", "is missing"),
        ({"order": "event_time", "out_of_order": "8d"}, "out_of_order", "at most 1w, found 8d"),
        ({"out_of_order": "1s"}, "out_of_order", "has no meaning with `order: arrival`"),
        ({"late": "topic"}, "late", "has no meaning with `order: arrival`"),
        ({"idle_after": 5}, "idle_after", "found 5, not a duration"),
        ({"record_bytes": 2_000_000}, "record_bytes", "must be a whole number from 1 to 1048576"),
        ({"record_bytes": True}, "record_bytes", "found true"),
    ],
)
def test_each_thing_that_can_be_wrong(changes: dict[str, object], where: str, said: str) -> None:
    """One place, one reason, and a remedy where we know one."""
    found = problems(SMALL, **changes)
    assert list(found) == [where]
    assert said in found[where]


def test_keys_are_never_floats() -> None:
    """Equal keys could differ in their last bit."""
    fields = {"at": "instant", "risk": "float64", "maybe": {"type": "int64", "nullable": True}}
    found = problems(SMALL, fields=fields, key=["risk", "maybe"])
    assert "risk is a float64" in found["key[0]"]
    assert "maybe is nullable, but every record has its key" in found["key[1]"]


# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("10m", 600_000_000),
        ("500ms", 500_000),
        ("1h30m", 5_400_000_000),
        ("0s", 0),
        ("1w2d", 777_600_000_000),
        ("1s 5us", 1_000_005),
        ("36525d", DURATION_US_MAX),
    ],
)
def test_durations_are_whole_numbers_with_units(text: str, us: int) -> None:
    """From large to small."""
    assert duration_us(text) == us


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (10, "found 10, not a duration"),
        ("10", "not a duration"),
        ("", "not a duration"),
        ("1.5h", "not a duration"),
        ("-1s", "not a duration"),
        ("1M", "not a duration"),
        ("10m1h", "from large to small"),
        ("1s1s", "each unit once"),
        (None, "found None"),
        ("36526d", "at most 100 years"),
        ("9" * 10_000 + "s", "at most 100 years"),
    ],
)
def test_other_durations_say_what_to_write(found: object, said: str) -> None:
    """YAML reads 1:30 as a number, too."""
    with pytest.raises(ValueError, match=said):
        duration_us(found)


@given(st.integers(0, DURATION_US_MAX))
def test_durations_have_a_text(us: int) -> None:
    """And it reads back."""
    assert duration_us(duration_text(us)) == us


# --- evolution --------------------------------------------------------------------------------------------------------

OLD = Stream(
    "tx",
    "tx",
    (
        Field("at", INSTANT),
        Field("id", STRING),
        Field("card", INT64, sensitivity=Sensitivity.PII),
        Field("amount", Type(Kind.DECIMAL, 9, 2), nullable=True),
    ),
    "at",
    event_id="id",
    key=("card",),
)


def changed(name: str, **changes: object) -> Stream:
    fields = tuple(replace(item, **changes) if item.name == name else item for item in OLD.fields)  # type: ignore[arg-type]  # fields that exist
    return replace(OLD, fields=fields)


def with_field(item: Field) -> Stream:
    return replace(OLD, fields=(item, *OLD.fields))


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        with_field(Field("more", STRING, nullable=True)),
        changed("id", nullable=True),
        changed("amount", type=Type(Kind.DECIMAL, 12, 2)),
        changed("card", sensitivity=Sensitivity.SECRET),
        replace(OLD, fields=OLD.fields[::-1]),
        replace(OLD, max_ahead_us=1, idle_after_us=1, dedupe_us=1, record_bytes_max=1, validate=Validate.ALL),
    ],
)
def test_what_a_stream_may_become(new: Stream) -> None:
    """Records already in the log and patterns already written stay valid."""
    assert compatible(OLD, new) == []


@pytest.mark.parametrize(
    ("new", "where", "said"),
    [
        (replace(OLD, name="ty"), "stream", "was tx, is now ty"),
        (replace(OLD, topic="ty"), "topic", "was tx, is now ty"),
        (replace(OLD, key=()), "key", "was card, is now none"),
        (replace(OLD, event_id=None), "event_id", "was id, is now none"),
        (replace(OLD, event_time="id"), "event_time", "was at, is now id"),
        (replace(OLD, order=Order.EVENT_TIME), "order", "was arrival, is now event_time"),
        (replace(OLD, fields=OLD.fields[:-1]), "fields.amount", "was removed"),
        (with_field(Field("more", STRING)), "fields.more", "is new, but older records lack it"),
        (changed("card", type=FLOAT64), "fields.card.type", "was int64, is now float64"),
        (
            changed("amount", type=Type(Kind.DECIMAL, 9, 3)),
            "fields.amount.type",
            "was decimal(9, 2), is now decimal(9, 3)",
        ),
        (changed("amount", type=Type(Kind.DECIMAL, 8, 2)), "fields.amount.type", "is now decimal(8, 2)"),
        (changed("at", format=Format.EPOCH_S), "fields.at.format", "was rfc3339, is now epoch_s"),
        (changed("amount", nullable=False), "fields.amount.nullable", "was true, is now false"),
        (changed("card", sensitivity=Sensitivity.PUBLIC), "fields.card.sensitivity", "was pii, is now public"),
    ],
)
def test_what_a_stream_must_not_become(new: Stream, where: str, said: str) -> None:
    """One change, one problem."""
    (problem,) = compatible(OLD, new)
    assert problem.where == where
    assert said in problem.reason
