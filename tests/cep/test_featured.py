"""Features in a lane: patterns read them, alerts tell them, a replay makes them again, a back-test has the same."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cep.backtest import backtest
from cep.cli import EXIT_ERROR, main
from cep.cli.documents import EXAMPLES, load_streams
from cep.control import Activate, PatternVersion, Retire, write
from cep.declared import declared
from cep.lane import Lane
from cep.language.document import dump_pattern, read_pattern
from cep.log.protocol import ALERTS
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.pipeline import LaneState
from cep.settings import Embedded, Settings
from cep.settings import Lane as LaneSettings
from cep.simulate import START_US, record, simulate
from cep.testing import matches, measures, scene, sentences
from cep.worker import embedded_lane, production
from events.errors import InvalidDocument
from features.definition import read_view
from features.packed import Shape
from features.redis_store import RedisStore
from features.store import EntityState, Guard
from features.views import LiveView

STREAM = EXAMPLES / "streams" / "transactions.yaml"
VIEW = EXAMPLES / "views" / "card_velocity.yaml"
PAYMENTS = [record(one.payment) for one in islice(simulate(5, cards=50, rate=2.0, flow_every_s=4.0), 600)]
BUSY = {
    "name": "busy-card",
    "stream": "transactions",
    "key": ["card_id"],
    "within": "1h",
    "skip": "past_last_event",
    "steps": [
        {"name": "busy", "where": "card_velocity.tx_count_10m >= 3"},
        {
            "name": "more",
            "contiguity": "followed_by",
            "where": "card_velocity.spend_24h > busy.card_velocity.spend_24h",
        },
    ],
    "measures": {"spent": "more.card_velocity.spend_24h - busy.card_velocity.spend_24h"},
    "alert": {"message": "{more.card_velocity.tx_count_10m} in ten minutes, {spent} more"},
}
CARD = """
view: card
entity: [card]
features:
  - {name: seen, aggregate: count, window: {sliding: 10m}}
  - {name: spent, aggregate: sum(amount), window: {sliding: 10m}}
"""
EVENTS = """
    card=7 amount=1.50 @0s
    card=8 amount=9.00 @1s
    card=7 amount=2.00 @2s
    card=7 amount=3.25 @3s
"""
THIRD = {"name": "third", "stream": "payments", "key": ["card"], "steps": [{"name": "it", "where": "card.seen = 3"}]}


def test_a_condition_reads_a_feature_as_of_its_event() -> None:
    assert matches(THIRD, EVENTS, views=[CARD]) == [{"it": [4]}]
    assert matches(THIRD, EVENTS + "\n card=7 amount=1 @14m", views=[CARD]) == [{"it": [4]}]


def test_measures_and_sentences_read_it_also_of_an_earlier_event() -> None:
    pattern = {
        **THIRD,
        "steps": [
            {"name": "one", "where": "card.seen = 1"},
            {"name": "two", "where": "card.spent > 2 * one.card.spent"},
        ],
        "measures": {"grew": "two.card.spent - one.card.spent"},
        "alert": {"message": "{one.card.spent} to {two.card.spent}, {sum(two.card.seen)} payments"},
    }
    assert measures(pattern, EVENTS, views=[CARD]) == [{"grew": 2.0}]
    assert sentences(pattern, EVENTS, views=[CARD]) == ["1.5 to 3.5, 2 payments"]


def test_an_alert_tells_the_features_of_its_events() -> None:
    (alert,) = scene(THIRD, EVENTS, views=[CARD]).alerts
    assert alert.events[0].features == {"card.seen": 3, "card.spent": 6.75}
    assert not alert.degraded
    (plain,) = scene({**THIRD, "steps": [{"name": "it", "where": "amount > 5"}]}, EVENTS).alerts
    assert b"features" not in msgspec.json.encode(plain.events[0])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"name": "it", "where": "card.sene > 1"}, "did you mean 'card.seen'"),
        ({"name": "card", "where": "amount > 1"}, "also a feature view"),
        ({"name": "it", "where": "other.seen > 1"}, "no step 'other'"),
    ],
)
def test_what_is_refused(step: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        matches({**THIRD, "steps": [step]}, EVENTS, views=[CARD])
    assert said in str(caught.value)


def test_a_pattern_that_reads_features_comes_back_from_its_document() -> None:
    streams = declared(load_streams([STREAM]), {"v": VIEW.read_text()}).streams
    pattern = read_pattern(BUSY, streams, "pattern")
    assert read_pattern(dump_pattern(pattern), streams, "pattern") == pattern


class House:
    """One SQLite log with lanes that are opened on it one after the other."""

    def __init__(self, path: Path, records: int) -> None:
        self.settings = Settings(
            streams=(str(STREAM),),
            views=(str(VIEW),),
            embedded=Embedded(path=str(path / "log.db"), durable=False),
            lane=LaneSettings(batch_records_max=records, control_look_ms=1),
        )
        self.log = SqliteLog(path / "log.db", durable=False)
        self.control = SqliteControl(self.log)
        self.lanes: list[Lane] = []
        write(self.control, [PatternVersion("busy-card", 1, BUSY), Activate("busy-card", 1)], author="t", at_us=0)

    def lane(self) -> Lane:
        lane = embedded_lane(self.settings, production(self.settings), self.log)
        self.lanes.append(lane)
        for _ in lane.restore():
            pass
        return lane

    def feed(self, payments: list[bytes]) -> None:
        self.log.append("transactions", [(b"", payment) for payment in payments], START_US + 86_400_000_000)

    def alerts(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(value) for _, _, value in self.log.outputs(ALERTS)]

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        self.log.close()


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    found = []
    for name, records in (("whole", 4096), ("cut", 7)):
        (tmp_path / name).mkdir()
        found.append(House(tmp_path / name, records))
    yield found
    for house in found:
        house.close()


def run(lane: Lane) -> None:
    while lane.step(0):
        pass
    lane.flush()


def test_a_lane_that_was_killed_comes_to_the_same_features(houses: list[House]) -> None:
    whole, cut = houses
    whole.feed(PAYMENTS)
    run(whole.lane())
    lane = cut.lane()
    for start in range(0, 600, 200):
        cut.feed(PAYMENTS[start : start + 200])
        lane.step(0)  # read and decided, never committed
        lane = cut.lane()
        run(lane)
    told = [[(one["alert_id"], one["message"], one["events"]) for one in house.alerts()] for house in houses]
    assert len(told[0]) > 5
    assert told[0] == told[1]


def test_features_are_kept_from_the_first_event_on_whether_or_not_a_pattern_reads_them(houses: list[House]) -> None:
    """Also while no pattern is there at all, and for one that comes later."""
    whole, late = houses
    whole.feed(PAYMENTS)
    run(whole.lane())
    write(late.control, [Retire("busy-card")], author="t", at_us=0)
    lane = late.lane()
    late.feed(PAYMENTS[:300])
    run(lane)
    assert late.alerts() == []
    write(late.control, [Activate("busy-card", 1)], author="t", at_us=0)
    time.sleep(0.005)  # the lane looks at the control log once a millisecond
    late.feed(PAYMENTS[300:])
    run(lane)
    told = {one["events"][0]["event_id"]: one["events"][0]["features"] for one in whole.alerts()}
    same = {name: told[name] for one in late.alerts() if (name := one["events"][0]["event_id"]) in told}
    assert len(same) > 3
    assert same.items() <= {one["events"][0]["event_id"]: one["events"][0]["features"] for one in late.alerts()}.items()


def test_a_lane_without_a_pattern_keeps_features_too() -> None:
    known = declared(load_streams([STREAM]), {"v": VIEW.read_text()})
    state = LaneState(tuple(known.streams.values()), views=tuple(LiveView(view) for view in known.views))
    assert {column.name for column in state.layout.columns} >= {"card_velocity.tx_count_10m", "card_id", "amount"}


def test_a_back_test_finds_what_the_lane_finds_on_any_number_of_threads(houses: list[House], tmp_path: Path) -> None:
    houses[0].feed(PAYMENTS)
    run(houses[0].lane())
    path = tmp_path / "payments.ndjson"
    path.write_bytes(b"\n".join(PAYMENTS) + b"\n")
    known = declared(load_streams([STREAM]), {"v": VIEW.read_text()})
    pattern = read_pattern(BUSY, known.streams, "pattern")
    streams = list(known.streams.values())
    reports = [backtest([pattern], streams, path, views=known.views, threads=threads) for threads in (1, 3)]
    assert [report.patterns[0].matches for report in reports] == [len(houses[0].alerts())] * 2


def test_a_model_learns_from_features_and_scores_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "velocity.yaml"
    model.write_text(
        "model: velocity\nstream: transactions\nlabel: is_fraud\nalgorithm: decision_tree\n"
        "inputs: [amount, card_velocity.tx_count_10m, card_velocity.spend_24h]\nparameters: {max_depth: 4}\n"
        "split: {train: 4h, delay: 1h, test: 2h}\n"
    )
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"address: {{store: {tmp_path / 'store'}}}\nviews: [{VIEW}]\n")
    options = ["--streams", str(STREAM), "--settings", str(settings)]
    assert main(["models", "train", str(model), "--simulate", "60000", *options]) == 0
    assert "card_velocity.spend_24h" in capsys.readouterr().out
    assert main(["models", "show", "velocity", "--json", "--settings", str(settings)]) == 0
    card = msgspec.json.decode(capsys.readouterr().out)
    assert card["views"]["card_velocity"].startswith("view: card_velocity\n")
    assert [one["type"] for one in card["inputs"]] == ["decimal(12, 2)", "int64", "decimal(18, 2)"]


def blocks(language: str) -> list[str]:
    page = (EXAMPLES.parent / "docs" / "features.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_of_features_is_true() -> None:
    """Its view is one, its pattern can be read with it, its example runs."""
    view, pattern = blocks("yaml")
    known = declared(load_streams([STREAM]), {"page": view})
    assert read_pattern(pattern, known.streams, "page").name == "busy-card"
    (example,) = blocks("python")
    ran = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=EXAMPLES.parent, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_the_command_checks_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "check", str(VIEW.parent), "--streams", str(STREAM)]) == 0
    assert "card_velocity: 8 features of card_id on transactions" in capsys.readouterr().out
    assert main(["features", "check", str(VIEW), "--streams", str(STREAM), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["features"][0] == {"name": "tx_count_10m", "type": "int64"}
    broken = tmp_path / "v.yaml"
    broken.write_text(VIEW.read_text().replace("sum(amount)", "summ(amount)").replace("[card_id]", "[card]"))
    assert main(["features", "check", str(broken), "--streams", str(STREAM)]) == EXIT_ERROR
    told = capsys.readouterr().err
    assert "did you mean 'sum'" in told
    assert "entity[0]" in told


@pytest.mark.redis
def test_the_command_reads_what_a_lane_has_written(
    redis_url: str, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = read_view(VIEW.read_text(), declared(load_streams([STREAM])).streams)
    store = RedisStore(redis_url, unique)
    now_us = time.time_ns() // 1000
    event = [now_us, 0b1, 12_50, 7]
    packed = Shape(view).pack(np.array([event], np.int64), now_us)
    store.write(Guard(1, 1), [EntityState(view.name, ("card-1",), packed, view.ttl_us)])
    store.close()
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"app: {unique}\nviews: [{VIEW}]\nstreams: [{STREAM}]\naddress: {{redis: '{redis_url}'}}\n")
    options = ["--settings", str(settings)]
    assert main(["features", "read", "card_velocity", "card-1", *options]) == 0
    assert "tx_count_10m                     1                    PRESENT" in capsys.readouterr().out
    assert main(["features", "read", "card_velocity", "nobody", "--json", *options]) == 0
    told = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0] == {"feature": "tx_count_10m", "value": None, "status": "NOT_FOUND"}
    assert main(["features", "read", "card", "card-1", *options]) == EXIT_ERROR
    assert "declared: card_velocity" in capsys.readouterr().err
    assert main(["features", "read", "card_velocity", "a", "b", *options]) == EXIT_ERROR
    assert "write card_velocity CARD_ID" in capsys.readouterr().err
