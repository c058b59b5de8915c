"""Scores in a lane: a column that patterns read, a topic of their own, and the same again in a replay."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from confluent_kafka import Producer

from cep.cli import EXIT_ERROR, main
from cep.cli.documents import EXAMPLES
from cep.control import Activate, Change, ModelAlias, ModelVersion, PatternVersion, write
from cep.lane import Lane
from cep.log.protocol import ALERTS, SCORES
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.settings import Address, Embedded, Scores, Settings
from cep.settings import Lane as LaneSettings
from cep.simulate import START_US, record, simulate
from cep.worker import embedded_lane, production
from events.errors import IntegrityViolation, InvalidDocument
from models.registry import Registry

STREAM = str(EXAMPLES / "streams" / "transactions.yaml")
DOCUMENT = EXAMPLES / "models" / "card_risk.yaml"
PAYMENTS = [record(one.payment) for one in islice(simulate(5, cards=50, rate=2.0, flow_every_s=4.0), 600)]
NOW_US = START_US + 86_400_000_000
ABOVE = 0.8
SCORED_TWICE = {
    "name": "risky-twice",
    "stream": "transactions",
    "key": ["card_id"],
    "within": "1h",
    "steps": [{"name": "first", "where": "score > 0.8"}, {"name": "again", "where": "score >= first.score"}],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with two versions of the shipped model; the second is a smaller one."""
    folder = tmp_path_factory.mktemp("models")
    smaller = {**yaml.safe_load(DOCUMENT.read_text()), "algorithm": "decision_tree", "parameters": {"max_depth": 3}}
    (folder / "smaller.yaml").write_text(yaml.safe_dump(smaller))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"address": {"store": str(folder / "store")}}))
    for file in (DOCUMENT, folder / "smaller.yaml"):
        options = ["--simulate", "40000", "--streams", STREAM, "--settings", str(folder / "settings.yaml")]
        assert main(["models", "train", str(file), *options]) == 0
    return str(folder / "store")


class House:
    """One SQLite log with lanes that are opened on it one after the other."""

    def __init__(self, path: Path, store: str, above: float = ABOVE) -> None:
        self.settings = Settings(
            streams=(STREAM,),
            models=(str(DOCUMENT),),
            address=Address(store=store),
            embedded=Embedded(path=str(path / "log.db"), durable=False),
            scores=Scores(above=above),
            lane=LaneSettings(batch_records_max=64, control_look_ms=1),
        )
        self.store = Registry(store)
        self.log = SqliteLog(path / "log.db", durable=False)
        self.control = SqliteControl(self.log)
        self.lanes: list[Lane] = []

    def lane(self) -> Lane:
        lane = embedded_lane(self.settings, production(self.settings), self.log)
        self.lanes.append(lane)
        for _ in lane.restore():
            pass
        return lane

    def change(self, *changes: Change) -> None:
        write(self.control, changes, author="t", at_us=0)

    def champion(self, version: int) -> None:
        card = self.store.card("card_risk", version)
        self.change(
            ModelVersion("card_risk", version, card.digest, card.runtime), ModelAlias("card_risk", "champion", version)
        )

    def watch(self) -> None:
        self.change(PatternVersion("risky-twice", 1, SCORED_TWICE), Activate("risky-twice", 1))

    def feed(self, payments: list[bytes]) -> None:
        self.log.append("transactions", [(b"", payment) for payment in payments], NOW_US)

    def scores(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(value) for _, _, value in self.log.outputs(SCORES)]

    def alerts(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(value) for _, _, value in self.log.outputs(ALERTS)]

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        self.control.close()
        self.log.close()


@pytest.fixture
def house(tmp_path: Path, store: str) -> Iterator[House]:
    house = House(tmp_path, store)
    yield house
    house.close()


def run(lane: Lane) -> None:
    while lane.step(0):
        pass
    lane.flush()


def told(scores: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    return [(one["event_id"], one["version"], one["score"]) for one in scores]


def test_events_with_a_high_score_are_told_in_order_and_without_a_gap(house: House) -> None:
    house.champion(1)
    house.feed(PAYMENTS)
    run(house.lane())
    scores = house.scores()
    assert 20 < len(scores) < 400
    assert min(one["score"] for one in scores) >= ABOVE
    assert [one["sequence"] for one in scores] == list(range(len(scores)))
    first = scores[0]
    payment = next(one for one in map(msgspec.json.decode, PAYMENTS) if one["transaction_id"] == first["event_id"])
    assert (first["event"], first["at_us"]) == (payment, payment["at"] * 1000)
    assert first["key"] == {"card_id": payment["card_id"]}
    assert (first["model"], first["version"]) == ("card_risk", 1)
    assert first["features"] == {"amount": payment["amount"], "approved": float(payment["approved"])}
    known = [msgspec.json.decode(one)["transaction_id"] for one in PAYMENTS]
    assert [one["event_id"] for one in scores] == [name for name in known if name in {one[0] for one in told(scores)}]


def test_a_pattern_reads_the_score_also_of_an_earlier_event(house: House) -> None:
    house.champion(1)
    house.watch()
    house.feed(PAYMENTS)
    run(house.lane())
    score_of = {one["event_id"]: one["score"] for one in house.scores()}
    alerts = house.alerts()
    assert alerts
    for alert in alerts:
        first, again = (event["event_id"] for event in alert["events"])
        assert score_of[again] >= score_of[first] > 0.8


def test_an_alert_tells_the_score_in_events_message_and_measures(house: House) -> None:
    told = {**SCORED_TWICE, "alert": {"message": "{first.score}"}, "measures": {"most": "again.score"}}
    house.change(PatternVersion("risky-twice", 1, told), Activate("risky-twice", 1))
    house.champion(1)
    house.feed(PAYMENTS)
    run(house.lane())
    score_of = {one["event_id"]: one["score"] for one in house.scores()}
    alerts = house.alerts()
    assert alerts
    for alert in alerts:
        first, again = (score_of[event["event_id"]] for event in alert["events"])
        assert [event["features"] for event in alert["events"]] == [{"score": first}, {"score": again}]
        assert (Decimal(alert["message"]), alert["measures"]) == (Decimal(str(first)), {"most": again})
        assert not alert["degraded"]


def test_the_commands_know_the_score_and_a_back_test_says_that_files_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(SCORED_TWICE))
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"models": [str(DOCUMENT)], "streams": [STREAM]}))
    (tmp_path / "h.ndjson").write_bytes(b"\n".join(PAYMENTS))
    pattern, settings = str(tmp_path / "p.yaml"), ["--settings", str(tmp_path / "settings.yaml")]
    assert main(["patterns", "check", pattern, *settings]) == 0
    assert main(["patterns", "check", pattern, "--streams", STREAM]) == EXIT_ERROR
    capsys.readouterr()
    assert main(["backtest", pattern, "--data", str(tmp_path / "h.ndjson"), *settings]) == EXIT_ERROR
    assert "score: is filled in a lane" in capsys.readouterr().err


def test_without_a_champion_nothing_is_scored(house: House) -> None:
    house.watch()
    house.feed(PAYMENTS)
    run(house.lane())
    assert (house.scores(), house.alerts()) == ([], [])


def test_another_champion_scores_from_its_change_on(house: House) -> None:
    house.champion(1)
    lane = house.lane()
    house.feed(PAYMENTS[:300])
    run(lane)
    house.champion(2)
    lane.step(0)
    house.feed(PAYMENTS[300:])
    run(lane)
    known = [msgspec.json.decode(one)["transaction_id"] for one in PAYMENTS]
    versions = {one["version"]: known.index(one["event_id"]) < 300 for one in house.scores()}
    assert versions == {1: True, 2: False}


def test_a_lane_that_was_killed_comes_to_the_same_scores_and_alerts(tmp_path: Path, store: str) -> None:
    """Batches of other sizes, a champion changed in the middle, a restart in each part."""
    outcomes = []
    for name, killed, records in (("whole", False, 4096), ("killed", True, 7)):
        (tmp_path / name).mkdir()
        house = House(tmp_path / name, store)
        house.settings = msgspec.structs.replace(
            house.settings, lane=LaneSettings(batch_records_max=records, control_look_ms=1)
        )
        house.watch()
        house.champion(2)
        lane = house.lane()
        for part, version in ((PAYMENTS[:250], 1), (PAYMENTS[250:], 2)):
            house.feed(part[:100])
            run(lane)
            house.feed(part[100:])
            if killed:
                lane.step(0)  # read and decided, never committed
                lane = house.lane()
            run(lane)
            house.champion(version)
            time.sleep(0.005)  # the lane looks at the control log once a millisecond
            lane.step(0)
            lane.flush()
        outcomes.append((told(house.scores()), [alert["alert_id"] for alert in house.alerts()]))
        assert [one["sequence"] for one in house.scores()] == list(range(len(house.scores())))
        house.close()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1]


def test_a_replay_with_another_model_is_found(house: House, tmp_path: Path) -> None:
    """What scored is part of the chain: other scores are no replay."""
    house.champion(1)
    house.feed(PAYMENTS)
    lane = house.lane()
    run(lane)
    lane.close()
    house.settings = msgspec.structs.replace(house.settings, scores=Scores(above=0.5))
    with pytest.raises(IntegrityViolation, match="came to chain"):
        house.lane()


def test_a_file_that_is_not_the_registered_one_stops_the_lane(house: House) -> None:
    house.change(ModelVersion("card_risk", 1, "0" * 64, "any"), ModelAlias("card_risk", "champion", 1))
    house.feed(PAYMENTS[:10])
    with pytest.raises(IntegrityViolation, match=f"the control log says {'0' * 64}"):
        run(house.lane())


def test_above_one_nothing_is_told_and_patterns_still_read_the_score(tmp_path: Path, store: str) -> None:
    house = House(tmp_path, store, above=2.0)
    house.champion(1)
    house.watch()
    house.feed(PAYMENTS)
    run(house.lane())
    assert house.scores() == []
    assert house.alerts()
    house.close()


def test_two_models_of_one_stream_are_refused(tmp_path: Path, store: str) -> None:
    (tmp_path / "another.yaml").write_text(DOCUMENT.read_text().replace("card_risk", "another"))
    models = (str(DOCUMENT), str(tmp_path / "another.yaml"))
    settings = Settings(streams=(STREAM,), models=models, address=Address(store=store))
    with pytest.raises(InvalidDocument, match="one model a stream"):
        production(settings)


@pytest.mark.kafka
@pytest.mark.slow
def test_the_example_consumer_reads_what_a_worker_scored(
    kafka: str, unique: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kafka, a worker's process, and the consumer as it stands in examples/."""
    stream = tmp_path / "transactions.yaml"
    stream.write_text(Path(STREAM).read_text().replace("topic: transactions", f"topic: {unique}-tx"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "app": unique,
                "streams": [str(stream)],
                "models": [str(DOCUMENT)],
                "kafka": {"bootstrap": kafka},
                "address": {"store": store},
                "scores": {"above": ABOVE},
            }
        )
    )
    assert main(["topics", "create", "--partitions", "2", "--settings", str(settings)]) == 0
    assert main(["models", "alias", "card_risk", "champion", "1", "--settings", str(settings)]) == 0
    producer = Producer({"bootstrap.servers": kafka})
    for payment in PAYMENTS:
        producer.produce(f"{unique}-tx", payment, msgspec.json.decode(payment)["card_id"].encode())
    producer.flush(30)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STAKEOUT_")}
    command = [sys.executable, "-m", "cep.cli", "worker", "--settings", str(settings)]
    worker = subprocess.Popen(command, cwd=EXAMPLES.parent, env=environ)
    try:
        capsys.readouterr()
        consume = runpy.run_path(str(EXAMPLES / "consumers" / "scores.py"))["main"]
        consume(kafka, unique, 20)
    finally:
        worker.terminate()
        worker.wait(30)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert len(set(lines)) == 20
    assert all(float(line.split()[0]) >= ABOVE for line in lines)
