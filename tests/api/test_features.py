"""Features over REST: what the lane knows of an entity, right as of the read, in Feast's form and for a person."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cep.settings import Address
from deploy.servers import start
from tests.api.world import ROOT, World, at_a_socket, eventually, lines, running, settings_in

ASK = {"features": ["card_velocity:tx_count_10m", "card_velocity:spend_24h"], "entities": {"card_id": ["c-1", "c-9"]}}
NDJSON = {"Content-Type": "application/x-ndjson"}
PATTERN = """
name: third-payment
stream: transactions
key: [card_id]
steps:
  - {name: it, where: "card_velocity.tx_count_10m >= 3"}
alert: {message: "{it.card_velocity.tx_count_10m} payments, {it.card_velocity.spend_24h} in all"}
"""


@pytest.fixture(scope="module", params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    redis = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    settings = settings_in(tmp_path_factory.mktemp("served"))
    settings = msgspec.structs.replace(settings, address=Address(redis=redis), app=f"features-{time.time_ns()}")
    with running(settings) as found:
        found.live(PATTERN)
        events = [found.event("c-1", amount) for amount in (0.5, 20.25, 4.0)]
        assert found.client.post("/v1/events", content=lines(*events), headers=NDJSON).status_code == 202
        found.alert("c-1")
        yield found


def test_one_entity_as_of_now(world: World) -> None:
    told = eventually(lambda: (found := world.client.get("/v1/features/card_velocity/c-1").json())["seen_at"] and found)
    assert (told["view"], told["entity"]) == ("card_velocity", {"card_id": "c-1"})
    assert told["features"]["tx_count_10m"] == {"value": 3, "status": "PRESENT"}
    assert told["features"]["spend_24h"] == {"value": 24.75, "status": "PRESENT"}
    assert told["features"]["online_today"] == {"value": None, "status": "NULL_VALUE"}


def test_an_alert_tells_the_features_that_it_was_raised_with(world: World) -> None:
    listed = world.alert("c-1")
    assert (listed["message"], listed["degraded"]) == ("3 payments, 24.75 in all", False)
    (event,) = world.client.get(f"/v1/alerts/{listed['id']}").json()["events"]
    assert event["features"]["card_velocity.largest_24h"] == 20.25


def test_in_the_form_of_feast(world: World) -> None:
    eventually(lambda: world.client.get("/v1/features/card_velocity/c-1").json()["seen_at"])
    told = world.client.post("/get-online-features", json=ASK).json()
    assert told["metadata"] == {"feature_names": ["card_id", "tx_count_10m", "spend_24h"]}
    assert [column["values"] for column in told["results"]] == [["c-1", "c-9"], [3, None], [24.75, None]]
    assert [column["statuses"] for column in told["results"][1:]] == [["PRESENT", "NOT_FOUND"]] * 2
    full = world.client.post("/get-online-features", json={**ASK, "full_feature_names": True}).json()
    assert full["metadata"]["feature_names"] == ["card_id", "card_velocity__tx_count_10m", "card_velocity__spend_24h"]


def test_the_views_are_listed(world: World) -> None:
    (view,) = world.client.get("/v1/feature-views").json()["items"]
    assert (view["view"], view["entity"], view["ttl"], view["owner"]) == (
        "card_velocity",
        ["card_id"],
        "30d",
        "fraud-team",
    )
    assert view["features"][1] == {
        "name": "spend_24h", "aggregate": "sum(amount)", "window": "{sliding: 1d}", "type": "decimal(18, 2)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"features": ["nowhere:x"]}, 404, "no feature view 'nowhere'"),
        ({"features": ["card_velocity:x"]}, 404, "no feature 'x'"),
        ({"features": ["card_velocity"]}, 404, "no feature ''"),
        ({"entities": {"merchant": ["m"]}}, 422, "card_id is missing"),
        ({"entities": {"card_id": ["a"], "merchant": []}}, 422, "one value a row"),
        ({"entities": {}}, 422, "entities"),
        ({"features": []}, 422, "features"),
        ({"entities": {"card_id": ["a"] * 1001}}, 422, "1000"),
    ],
)
def test_what_is_refused(world: World, changed: dict[str, object], status: int, said: str) -> None:
    answer = world.client.post("/get-online-features", json={**ASK, **changed})
    assert answer.status_code == status
    assert said in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_view_of_one_entity_is_refused(world: World) -> None:
    assert world.client.get("/v1/features/nowhere/c-1").status_code == 404


def test_the_commands_of_the_page_are_answered(world: World) -> None:
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(curl .*?)^```$", page, re.MULTILINE | re.DOTALL)
    with at_a_socket(world) as address:
        asked = commands.replace("localhost:8000", address)
        ran = subprocess.run(["bash", "-eo", "pipefail", "-c", asked], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count('"card_velocity"') >= 2
    assert '"feature_names"' in ran.stdout


@pytest.mark.redis
@pytest.mark.slow
def test_while_redis_is_away_reads_say_so_and_detection_goes_on(tmp_path: Path) -> None:
    with start(["redis"], tmp_path / "services", environ={}) as machines:
        settings = settings_in(tmp_path)
        settings = msgspec.structs.replace(settings, address=Address(redis=machines.redis))
        with running(settings) as world:
            world.live(PATTERN)
            machines.stop_one("redis")
            answer = world.client.get("/v1/features/card_velocity/c-1")
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
            assert "STAKEOUT_REDIS" in answer.json()["hint"]
            for amount in (0.5, 20.25, 4.0):
                assert world.client.post("/v1/events", json=world.event("c-1", amount)).status_code == 202
            assert world.alert("c-1")["message"] == "3 payments, 24.75 in all"
            machines.restart_one("redis")
            told = eventually(lambda: (one := world.client.get("/v1/features/card_velocity/c-1")).is_success and one)
            assert eventually(lambda: counted(world) == 3), told.text


def counted(world: World) -> object:
    told = world.client.get("/v1/features/card_velocity/c-1").json()
    return told.get("features", {}).get("tx_count_10m", {}).get("value")
