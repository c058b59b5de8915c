"""Patterns over REST: registered, compared, made live and taken back."""

from __future__ import annotations

import concurrent.futures
import time
from pathlib import Path

import msgspec
import pytest

from cep.settings import Limits
from tests.api.world import PATTERN, YAML, World, eventually, running, settings_in

BAD = """\
name: bad pattern
stream: transactions
key: [card]
within: 1m
steps:
  - {name: small, where: "amount < one"}
  - {name: small, where: "amount >> 500"}
alert: {severity: loud, message: "x"}
"""


def test_a_pattern_registered_while_events_flow_is_live_within_a_second_and_its_alert_is_there(world: World) -> None:
    world.client.post("/v1/events", json=world.event("c-flow", 0.5))
    started = time.monotonic()
    name = world.live(PATTERN.replace("small-then-big", "contract"))
    assert time.monotonic() - started < 1.0
    sent = world.match("c-contract")
    listed = world.alert("c-contract")
    assert listed["pattern"] == name
    whole = world.client.get(f"/v1/alerts/{listed['id']}").json()
    assert [event["event"]["transaction_id"] for event in whole["events"]] == [one["transaction_id"] for one in sent]
    assert [event["step"] for event in whole["events"]] == ["small", "big"]


def test_every_problem_of_a_pattern_is_told_at_once_with_its_pointer_and_line(world: World) -> None:
    told = world.client.post("/v1/patterns:validate", content=BAD, headers=YAML).json()
    pointers = {problem["pointer"] for problem in told["problems"]}
    assert not told["valid"]
    assert {"/name", "/key", "/steps/0/where", "/alert/severity"} <= pointers, told["problems"]
    assert {problem["line"] for problem in told["problems"] if problem["pointer"] == "/alert/severity"} == {8}
    refused = world.client.post("/v1/patterns", content=BAD, headers=YAML)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "invalid_document"
    assert refused.json()["problems"] == told["problems"]


def test_a_json_pattern_has_pointers_too(world: World) -> None:
    body = {
        "name": "j",
        "stream": "transactions",
        "key": ["card_id"],
        "within": "1m",
        "steps": [{"name": "a", "where": "x"}],
    }
    told = world.client.post("/v1/patterns:validate", json=body).json()
    assert [problem["pointer"] for problem in told["problems"]] == ["/steps/0/where"]
    assert told["problems"][0]["line"] is None


def test_the_same_document_is_the_same_version_and_another_the_next_one(world: World) -> None:
    text = PATTERN.replace("small-then-big", "versions")
    first = world.client.post("/v1/patterns", content=text, headers=YAML)
    again = world.client.post("/v1/patterns", content=text, headers=YAML)
    second = world.client.post("/v1/patterns", content=text.replace("> 500", "> 600"), headers=YAML)
    assert [each.status_code for each in (first, again, second)] == [201, 200, 201]
    assert [each.json()["version"] for each in (first, again, second)] == [1, 1, 2]
    assert second.headers["location"] == "/v1/patterns/versions/versions/2"
    diff = world.client.get("/v1/patterns/versions/diff", params={"from": 1, "to": 2})
    changed = [line for line in diff.text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert len(changed) == 2
    assert "500" in changed[0]
    assert "600" in changed[1]
    assert "500" in world.client.get("/v1/patterns/versions/versions/1").json()["yaml"]
    assert world.client.get("/v1/patterns/versions").json()["state"] == "draft"


def test_a_pattern_is_paused_resumed_retired_and_rolled_back(world: World) -> None:
    text = PATTERN.replace("small-then-big", "moves")
    name = world.live(text)
    world.live(text.replace("> 500", "> 600"))
    states = [("pause", "paused"), ("resume", "live"), ("retire", "retired")]
    for action, state in states:
        answer = world.client.post(f"/v1/patterns/{name}/{action}")
        assert answer.status_code == 202, answer.text
        assert answer.json()["state"] == state
    refused = world.client.post(f"/v1/patterns/{name}/pause")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_live")
    assert world.client.post(f"/v1/patterns/{name}/activate").json()["live_version"] == 2
    back = world.client.post(f"/v1/patterns/{name}/rollback").json()
    assert back["live_version"] == 1
    eventually(lambda: world.client.get(f"/v1/patterns/{name}").json()["applied"])
    lanes = world.client.get("/v1/lanes").json()["items"]
    assert lanes[0]["control_offset"] >= back["control_offset"]


def test_what_was_read_before_a_change_can_not_undo_it(world: World) -> None:
    name = world.live(PATTERN.replace("small-then-big", "guarded"))
    tag = world.client.get(f"/v1/patterns/{name}").headers["etag"]
    assert world.client.post(f"/v1/patterns/{name}/pause", headers={"If-Match": tag}).status_code == 202
    refused = world.client.post(f"/v1/patterns/{name}/retire", headers={"If-Match": tag})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert refused.headers["etag"] == world.client.get(f"/v1/patterns/{name}").headers["etag"] != tag


def test_writers_at_once_get_versions_of_their_own(world: World) -> None:
    text = PATTERN.replace("small-then-big", "crowded")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        bodies = [text.replace("> 500", f"> {600 + number}") for number in range(16)]
        made = list(pool.map(lambda body: world.client.post("/v1/patterns", content=body, headers=YAML), bodies))
    assert sorted(each.json()["version"] for each in made) == list(range(1, 17))


def test_patterns_are_there_right_after_a_restart(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as world:
        world.live()
        world.match("c1")
        first = world.alert("c1")
    with running(settings) as world:
        found = world.client.get("/v1/patterns").json()["items"]
        assert [(each["name"], each["state"], each["applied"]) for each in found] == [("small-then-big", "live", True)]
        world.match("c2")
        assert world.alert("c2")["sequence"] == first["sequence"] + 1


def test_pages_of_patterns_follow_each_other(world: World) -> None:
    for number in range(3):
        world.client.post("/v1/patterns", content=PATTERN.replace("small-then-big", f"page-{number}"), headers=YAML)
    names, cursor = [], None
    while True:
        page = world.client.get("/v1/patterns", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        names += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == sorted(set(names))
    assert {"page-0", "page-1", "page-2"} <= set(names)


@pytest.mark.parametrize(
    "path", ["/v1/patterns/nobody", "/v1/patterns/nobody/versions/1", "/v1/alerts/alert_" + "0" * 32]
)
def test_what_is_not_there_is_a_problem_with_a_code(world: World, path: str) -> None:
    answer = world.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] in ("unknown_pattern", "unknown_alert")


def test_more_live_patterns_than_a_lane_holds_are_refused_before_the_lane_hears_of_them(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_in(tmp_path), limits=Limits(patterns_max=1))
    with running(settings) as world:
        world.live()
        world.client.post("/v1/patterns", content=PATTERN.replace("small-then-big", "second"), headers=YAML)
        refused = world.client.post("/v1/patterns/second/activate")
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_patterns")
        world.match("c1")
        world.alert("c1")
