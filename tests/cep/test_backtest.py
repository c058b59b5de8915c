"""Back-tests: columns of any file become the matches that the same events give one by one, and figures that add up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cep.backtest import Report, Share, backtest
from cep.cli.documents import EXAMPLES, load_patterns, load_streams
from cep.language.document import read_pattern
from cep.language.pattern import Pattern
from cep.simulate import Simulated, record, simulate, take
from cep.testing import matches
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


def test_the_line_of_an_ndjson_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "h.ndjson").write_text('{"card": "a"}\n{"card": "b"}\n{"broken\n')
    streams, patterns = stream_and_pattern(PAYMENTS, PAIR)
    with pytest.raises(ServiceUnavailable, match=r"h\.ndjson line 3: "):
        backtest(patterns, streams, tmp_path / "h.ndjson")


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
