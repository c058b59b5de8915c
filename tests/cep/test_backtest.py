"""Back-tests: columns of any file become the matches that the same events give one by one, and figures that add up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cep.automaton.plan import compile_pattern, layout_of
from cep.backtest import Report, Share, backtest, deal
from cep.backtest import run as run_plans
from cep.cli.documents import EXAMPLES, load_patterns, load_streams
from cep.history import DeadLetter, History, read_history
from cep.language.document import read_pattern
from cep.language.pattern import Pattern
from cep.simulate import Simulated, record, simulate, take
from cep.testing import matches
from events.columns import Column, Layout, StringTable
from events.decode import Decoder
from events.errors import InvalidDocument, ServiceUnavailable
from events.schema import Stream, read_stream

WALKTHROUGH = Path(__file__).parent.parent / "data" / "flink_walkthrough" / "transactions.csv"

ACCOUNTS = """
stream: accounts
event_time: {field: timestamp, format: datetime}
fields: {account_id: int64, timestamp: instant, amount: 'decimal(12, 3)'}
"""

SMALL_THEN_BIG = """
name: small-then-big
stream: accounts
key: [account_id]
steps:
  - {name: small, where: amount < 1}
  - {name: big, contiguity: next, where: amount > 500}
"""

PAYMENTS = """
stream: payments
event_time: {field: at, format: epoch_ms}
fields: {card: string, at: instant, amount: 'decimal(12, 2)', approved: {type: bool, nullable: true}}
"""

PAIR = """
name: pair
stream: payments
key: [card]
within: 10s
skip: past_last_event
steps:
  - {name: small, where: amount < 1}
  - {name: big, where: amount > 500}
"""


def stream_and_pattern(stream: str, pattern: str) -> tuple[list[Stream], list[Pattern]]:
    declared = read_stream(stream)
    return [declared], [read_pattern(pattern, {declared.name: declared}, "pattern")]


def run(path: Path, frame: pl.DataFrame, **options: object) -> Report:
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return backtest(patterns, streams, path, **options)  # type: ignore[arg-type]  # the options under test


def report_of(path: Path) -> Report:
    """The pair over a file that is there."""
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    return backtest(patterns, streams, path)


def frame(rows: Sequence[tuple[str, int, float, int]]) -> pl.DataFrame:
    """card, second, amount, fraud."""
    cards, seconds, amounts, fraud = zip(*rows, strict=True)
    return pl.DataFrame({"card": cards, "at": [1000 * second for second in seconds], "amount": amounts, "fraud": fraud})


ROWS = [
    ("a", 0, 0.5, 0),  # usual, then the fraud that raises the alert
    ("a", 1, 600.0, 1),
    ("b", 2, 0.7, 1),
    ("b", 3, 700.0, 0),  # raises an alert, isn't fraud
    ("c", 4, 900.0, 1),  # fraud that nobody sees
]


def test_the_flink_walkthrough_has_exactly_one_alert() -> None:
    streams, patterns = stream_and_pattern(ACCOUNTS, SMALL_THEN_BIG)
    report = backtest(patterns, streams, WALKTHROUGH)
    assert (report.rows, report.patterns[0].matches, report.patterns[0].entities) == (50, 1, 1)


def test_precision_goes_by_last_events_and_recall_by_all_that_are_bound(tmp_path: Path) -> None:
    found = run(tmp_path / "h.parquet", frame(ROWS), label="fraud", value="amount").patterns[0]
    assert (found.matches, found.entities, found.events) == (2, 2, 4)
    assert found.precision == Share(1, 2)
    assert found.recall == Share(2, 3)
    assert found.value is not None
    assert found.value.part == pytest.approx(600.7)
    assert found.value.whole == pytest.approx(1500.7)


def test_recall_is_told_apart_by_any_column(tmp_path: Path) -> None:
    kinds = frame(ROWS).with_columns(kind=pl.Series(["x", "x", "y", "y", "z"]))
    found = run(tmp_path / "h.parquet", kinds, label="fraud", by="kind").patterns[0]
    assert found.recall_by == {"x": Share(1, 1), "y": Share(1, 1), "z": Share(0, 1)}


def test_events_without_a_class_are_a_class(tmp_path: Path) -> None:
    kinds = frame(ROWS).with_columns(kind=pl.Series([3, 3, None, None, 10]))
    found = run(tmp_path / "h.parquet", kinds, label="fraud", by="kind").patterns[0]
    assert found.recall_by == {"10": Share(0, 1), "3": Share(1, 1), "none": Share(1, 1)}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
def test_every_kind_of_file_gives_the_same_figures(tmp_path: Path, suffix: str) -> None:
    found = run(tmp_path / f"h.{suffix}", frame(ROWS), label="fraud").patterns[0]
    assert (found.matches, found.recall) == (2, Share(2, 3))


def test_a_shuffled_file_is_put_in_order_of_event_time_with_its_labels(tmp_path: Path) -> None:
    shuffled = frame(ROWS).sample(fraction=1.0, shuffle=True, seed=3)
    found = run(tmp_path / "h.parquet", shuffled, label="fraud").patterns[0]
    assert (found.matches, found.precision) == (2, Share(1, 2))


def test_events_of_one_instant_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    same = frame([("a", 9, 0.5, 0), ("a", 9, 600.0, 1), ("b", 5, 600.0, 0), ("b", 5, 0.5, 0)])
    assert run(tmp_path / "h.parquet", same).patterns[0].matches == 1


def test_a_row_without_a_needed_value_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("card,at,amount\na,0,0.5\na,1000,much\na,2000,\na,3000,600\n")
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    report = backtest(patterns, streams, path)
    assert (report.rows, report.rejected, report.patterns[0].matches) == (2, {"amount": 2}, 1)


def test_columns_of_other_names_and_kinds_are_mapped(tmp_path: Path) -> None:
    when = [datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC) for second in (0, 5)]
    named = pl.DataFrame({"CARD_NO": [7, 7], "BOOKED": when, "SUM": [0.5, 501.0]})
    columns = {"card": "CARD_NO", "at": "BOOKED", "amount": "SUM"}
    assert run(tmp_path / "h.parquet", named, columns=columns).patterns[0].matches == 1


def test_leading_zeros_of_a_key_in_a_csv_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("card,at,amount\n007,0,0.5\n7,1000,600\n")
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    assert backtest(patterns, streams, path).patterns[0].matches == 0


def test_a_missing_column_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument) as caught:
        run(tmp_path / "h.parquet", frame(ROWS).rename({"amount": "amounts"}), label="is_fraud")
    told = str(caught.value)
    assert "--map amount=amounts" in told
    assert "is_fraud: the file has no such column" in told


@pytest.mark.parametrize("name", ["there-is-none.parquet", "broken.parquet", "other.xlsx"])
def test_a_file_that_cannot_be_read_is_told_with_its_name(tmp_path: Path, name: str) -> None:
    if name != "there-is-none.parquet":
        (tmp_path / name).write_bytes(b"not what it says it is")
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    with pytest.raises(ServiceUnavailable, match=name):
        backtest(patterns, streams, tmp_path / name)


RECORDS = """{"card": "a", "at": 0, "amount": 0.5, "fraud": 0}
{"broken
{"card": 7, "at": 100, "amount": 0.5, "fraud": 1}
{"card": "a", "at": 200, "amount": 600.005, "fraud": 1}
{"card": "a", "at": 300, "amount": "600", "fraud": 1}
{"card": "a", "at": 1000, "amount": 600, "fraud": true}
"""


def test_a_line_that_cannot_be_used_is_a_dead_letter_with_its_number_and_the_rest_is_report_of(tmp_path: Path) -> None:
    (tmp_path / "h.ndjson").write_text(RECORDS)
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    report = backtest(patterns, streams, tmp_path / "h.ndjson", label="fraud")
    assert (report.rows, report.patterns[0].matches, report.patterns[0].recall) == (2, 1, Share(1, 1))
    assert report.rejected == {"$": 1, "card": 1, "amount": 2}
    assert [(letter.line, letter.reason, letter.path) for letter in report.dead_letters] == [
        (2, "not_json", "$"),
        (3, "wrong_type", "$.card"),
        (4, "out_of_range", "$.amount"),
        (5, "wrong_type", "$.amount"),
    ]


def test_the_lines_left_out_are_those_that_a_lane_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "h.ndjson").write_text(RECORDS)
    declared, _ = stream_and_pattern(PAYMENTS, PAIR)
    columns = tuple(Column("payments", name, declared[0].field(name).type) for name in ("card", "amount"))
    decoder = Decoder(declared[0], Layout(("payments",), columns), StringTable())
    live = decoder.decode(RECORDS.encode().splitlines()).rejected
    letters = report_of(tmp_path / "h.ndjson").dead_letters
    assert letters == tuple(DeadLetter(one.row + 1, one.reason, one.path, one.detail) for one in live)


def test_of_many_dead_letters_the_first_are_told_and_all_are_counted(tmp_path: Path) -> None:
    lines = [f'{{"card": "a", "at": {number}, "amount": 1}}' for number in range(20_000)]
    for number in range(8_185, 8_285):
        lines[number] = "broken"
    (tmp_path / "h.ndjson").write_text("\n".join(lines))
    report = report_of(tmp_path / "h.ndjson")
    assert (report.rows, report.rejected) == (19_900, {"$": 100})
    assert [letter.line for letter in report.dead_letters] == list(range(8_186, 8_196))


def test_fields_of_other_names_are_mapped_in_lines_too(tmp_path: Path) -> None:
    named = frame(ROWS).rename({"card": "CARD_NO", "at": "BOOKED", "amount": "SUM"})
    columns = {"card": "CARD_NO", "at": "BOOKED", "amount": "SUM"}
    named = named.with_columns(amount=pl.lit("another field of that name"))
    assert run(tmp_path / "h.ndjson", named, columns=columns, label="fraud").patterns[0].recall == Share(2, 3)


def test_two_fields_from_one_field_of_a_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="--map card: amount reads the same"):
        run(tmp_path / "h.ndjson", frame(ROWS), columns={"card": "amount"})


def test_a_nullable_field_that_no_record_has_is_null_in_all(tmp_path: Path) -> None:
    pattern = PAIR.replace("amount > 500", "amount > 500 and approved is null")
    frame(ROWS).write_ndjson(tmp_path / "h.ndjson")
    streams, patterns = stream_and_pattern(PAYMENTS, pattern)
    assert backtest(patterns, streams, tmp_path / "h.ndjson").patterns[0].matches == 2


def test_a_missing_field_is_told_with_those_that_the_records_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="--map amount=amounts"):
        run(tmp_path / "h.ndjson", frame(ROWS).rename({"amount": "amounts"}))


def test_a_label_that_is_no_plain_value_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "h.ndjson").write_text(
        '{"card": "a", "at": 0, "amount": 1, "fraud": 0}\n{"card": "a", "at": 0, "amount": 1, "fraud": [1]}\n'
    )
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    with pytest.raises(InvalidDocument, match=r"line 2: .*\$.fraud"):
        backtest(patterns, streams, tmp_path / "h.ndjson", label="fraud")


@pytest.mark.parametrize(("text", "told"), [("", "nothing in it"), ("card,at\na,1\n", "no.* is a JSON record")])
def test_a_file_without_a_record_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "h.ndjson").write_text(text)
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    with pytest.raises(ServiceUnavailable, match=rf"h\.ndjson: .*{told}"):
        backtest(patterns, streams, tmp_path / "h.ndjson")


ENDS = ("skip: past_last_event", "skip: to_next\nemit: ordered", "timeouts: true", "skip: {to_last: b}")

BODIES = (
    """
  - {name: a, where: amount < 100, times: {at_least: 1, at_most: 3}}
  - {name: b, where: amount > 500}
""",
    """
  - {name: b, where: amount > 500}
  - {name: n, contiguity: not_followed_by, where: amount < 100}
""",
    """
  - {name: a}
  - {name: b, contiguity: next, where: "amount > 2 * a.amount"}
  - {name: c, contiguity: followed_by_any, where: "amount > avg(a.amount)", gap: 3s}
""",
)


def thread_patterns(keys: Sequence[str]) -> list[str]:
    """Every kind of end with every body, under these keys in turn."""
    return [
        f"name: p{body}-{end}\nstream: payments\nkey: {keys[(body + end) % len(keys)]}\nwithin: 9s\n{option}\n"
        f"steps:{text}"
        for body, text in enumerate(BODIES)
        for end, option in enumerate(ENDS)
    ]


def tallies_of(
    path: Path, keys: Sequence[str], threads: int
) -> list[tuple[list[bool], list[int], list[list[int]], int]]:
    """What each pattern found, to the row: bound events, last events, keys, time-outs."""
    declared = read_stream(PLACED)
    named = {declared.name: declared}
    plans = [compile_pattern(read_pattern(text, named, "pattern")) for text in thread_patterns(keys)]
    layout, strings = layout_of([declared], plans), StringTable()
    history = read_history(path, declared, layout, strings, {})
    found = run_plans(plans, layout, strings, history, threads=threads)
    return [
        (
            tally.caught.tolist(),
            sorted(np.concatenate(tally.last).tolist()),
            sorted(np.concatenate(tally.keys).tolist()),
            tally.timeouts,
        )
        for tally in found
    ]


PLACED = """
stream: payments
event_time: {field: at, format: epoch_ms}
fields: {card: string, shop: {type: int64, nullable: true}, at: instant, amount: 'decimal(12, 2)'}
"""


@pytest.mark.parametrize("keys", [("[card]",), ("[shop]",), ("[card, shop]", "[shop]"), ("[card]", "[shop]")])
@pytest.mark.parametrize("seed", [1, 2])
def test_many_threads_find_what_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = 3_000
    columns = {
        "card": [f"c{card}" for card in rng.integers(12, size=rows)],
        "shop": [None if shop == 7 else int(shop) for shop in rng.integers(8, size=rows)],
        "at": np.cumsum(rng.integers(700, size=rows)),
        "amount": rng.choice([20.0, 50.0, 90.0, 200.0, 501.0, 900.0], size=rows),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "h.parquet")
    one = tallies_of(tmp_path / "h.parquet", keys, 1)
    assert all(len(last) > 5 for _, last, _, _ in one)
    monkeypatch.setattr("cep.backtest.CHUNK_ROWS", 100)
    for threads in (1, 2, 5):
        assert tallies_of(tmp_path / "h.parquet", keys, threads) == one


def test_all_events_of_a_key_are_dealt_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cep.backtest.CHUNK_ROWS", 10)
    declared = read_stream(PLACED)
    history = History(np.arange(900), np.arange(900) // 3 * np.ones((2, 1), np.int64), np.zeros((2, 900), np.uint8))
    for keys, parts in ((("[shop]",), 4), (("[card, shop]", "[card]"), 4), (("[card]", "[shop]"), 1)):
        texts = thread_patterns(keys)
        plans = [compile_pattern(read_pattern(text, {declared.name: declared}, "pattern")) for text in texts]
        dealt = deal(plans, layout_of([declared], plans), history, 4)
        assert len(dealt) == parts
        assert np.array_equal(np.sort(np.concatenate(dealt)), np.arange(900))
        assert all(len(rows) > 900 // parts // 2 for rows in dealt)
        places = [set((rows // 3).tolist()) for rows in dealt]
        assert sum(map(len, places)) == 300


def test_columns_give_the_matches_that_events_one_by_one_give(tmp_path: Path) -> None:
    """The same payments as a file in many chunks and as text through the test kit."""
    rng = np.random.default_rng(11)
    rows = [
        (f"c{rng.integers(5)}", second, round(float(rng.choice([0.5, 30, 600])), 2), 0) for second in range(0, 600, 3)
    ]
    text = "\n".join(f"card={card} amount={amount} @{second}s" for card, second, amount, _ in rows)
    report = run(tmp_path / "h.parquet", frame(rows))
    declared, _ = stream_and_pattern(PAYMENTS, PAIR)
    assert report.patterns[0].matches == len(matches(PAIR, text, streams=declared)) > 10


def test_the_shipped_patterns_find_the_simulated_fraud_and_nothing_else(tmp_path: Path) -> None:
    payments = list(take(simulate(3, rate=20.0, flow_every_s=20.0, careful=0.0), 15_000))
    path = tmp_path / "h.ndjson"
    path.write_bytes(b"\n".join(labelled(one) for one in payments))
    streams = load_streams([EXAMPLES / "streams"])
    patterns = [pattern for _, pattern in load_patterns([EXAMPLES / "patterns"], {each.name: each for each in streams})]
    together = backtest(patterns, streams, path, label="is_fraud", value="amount").together
    assert together.matches > 20
    assert together.precision is not None
    assert together.precision.of_all == 1.0


def labelled(one: Simulated) -> bytes:
    truth = b"true" if one.planted else b"false"
    return record(one.payment)[:-1] + b',"is_fraud":' + truth + b"}"


def test_the_handbook_patterns_read_no_label() -> None:
    streams = load_streams([EXAMPLES / "handbook" / "streams"])
    assert not {"TX_FRAUD", "TX_FRAUD_SCENARIO"} & {each.name for each in streams[0].fields}
    named = {stream.name: stream for stream in streams}
    assert len(load_patterns([EXAMPLES / "handbook" / "patterns"], named)) == 2
