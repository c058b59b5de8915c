"""Alerts over REST: read, followed live, worked on; labels."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.api.world import World, at_a_socket, eventually, followed


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    with at_a_socket(world) as found:
        yield found


def test_alerts_are_followed_live_and_a_client_that_comes_again_misses_none(world: World, address: str) -> None:
    world.live()
    seen: list[tuple[str, dict[str, Any]]] = []
    first = threading.Thread(target=lambda: seen.extend(followed(address, 1)))
    first.start()
    eventually(lambda: len(world.client.app.state.following) == 1)  # type: ignore[attr-defined]  # an ASGI app
    time.sleep(0.3)  # it has read where the table ends
    world.match("c-live-1")
    first.join(20)
    assert [alert["key"]["card_id"] for _, alert in seen] == ["c-live-1"]
    for number in (2, 3, 4):
        world.match(f"c-live-{number}")
    rest = followed(address, 3, **{"Last-Event-ID": seen[0][0]})
    assert [alert["key"]["card_id"] for _, alert in rest] == ["c-live-2", "c-live-3", "c-live-4"]
    assert [event["step"] for event in rest[0][1]["events"]] == ["small", "big"]


def test_a_last_event_id_that_is_none_is_refused(address: str) -> None:
    answer = httpx2.get(f"{address}/v1/alerts/stream", headers={"Last-Event-ID": "yesterday"})
    assert (answer.status_code, answer.json()["problems"][0]["source"]) == (422, "header")


def test_a_case_is_worked_on_and_each_action_is_audited(world: World) -> None:
    world.live()
    world.match("c-case")
    id = world.alert("c-case")["id"]
    path = f"/v1/alerts/{id}"
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    steps: list[tuple[str, dict[str, str], str]] = [
        ("claim", {}, "claimed"),
        ("release", {"note": "lunch"}, "open"),
        ("escalate", {}, "escalated"),
        ("note", {"note": "called the holder"}, "escalated"),
        ("snooze", {"until": until}, "escalated"),
        ("resolve", {"outcome": "fraud"}, "resolved"),
    ]
    for number, (action, body, status) in enumerate(steps, 1):
        answer = world.client.post(f"{path}/{action}", json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["revision"]) == (status, number)
        assert answer.headers["etag"] == f'"{number}"'
    audit = world.client.get(f"{path}/actions").json()["items"]
    assert [(each["action"], each["actor"]) for each in audit] == [(action, "local") for action, _, _ in steps]
    assert world.client.get(path).json()["outcome"] == "fraud"
    asleep = world.client.get("/v1/alerts", params={"key": "card_id=c-case", "awake": True}).json()["items"]
    assert asleep == []


def test_of_two_who_act_on_what_they_both_read_the_second_is_told(world: World) -> None:
    world.live()
    world.match("c-two")
    path = f"/v1/alerts/{world.alert('c-two')['id']}"
    tag = world.client.get(path).headers["etag"]
    assert tag == '"0"'
    assert world.client.post(f"{path}/claim", headers={"If-Match": tag}).status_code == 200
    second = world.client.post(f"{path}/resolve", json={"outcome": "legitimate"}, headers={"If-Match": tag})
    assert (second.status_code, second.headers["etag"]) == (412, '"1"')
    assert world.client.get(path).json()["status"] == "claimed"


def test_case_work_goes_on_while_the_lane_writes_the_same_file(world: World) -> None:
    world.live()
    world.match("c-busy")
    path = f"/v1/alerts/{world.alert('c-busy')['id']}"
    done = threading.Event()

    def flood() -> None:
        while not done.is_set():
            world.match("c-flood")

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        answers = [world.client.post(f"{path}/note", json={"note": str(number)}) for number in range(50)]
    finally:
        done.set()
        thread.join()
    assert {each.status_code for each in answers} == {200}
    assert answers[-1].json()["revision"] == 50


def test_alerts_are_filtered_and_paged(world: World) -> None:
    world.live()
    for number in range(3):
        world.match(f"c-page-{number}")
        world.alert(f"c-page-{number}")
    ids: list[str] = []
    cursor = None
    while True:
        asked: dict[str, Any] = {"limit": 2, "severity": ["medium"], "pattern": "small-then-big"}
        page = world.client.get("/v1/alerts", params={**asked, **({"cursor": cursor} if cursor else {})}).json()
        ids += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(ids) == len(set(ids)) >= 3
    assert world.client.get("/v1/alerts", params={"severity": ["critical"]}).json()["items"] == []
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert world.client.get("/v1/alerts", params={"since": future}).json()["items"] == []
    refused = world.client.get("/v1/alerts", params={"since": "2026-01-01T00:00:00"})
    assert refused.json()["problems"][0]["pointer"] == "/since"
    assert world.client.get("/v1/alerts", params={"cursor": "x"}).json()["problems"][0]["pointer"] == "/cursor"


def test_labels_are_kept_single_and_in_bulk(world: World) -> None:
    single = world.client.post("/v1/labels", json={"event_id": "t1", "label": "fraud"})
    assert single.status_code == 201, single.text
    items = [{"event_id": "t2", "label": "legitimate"}, {"event_id": "t1", "label": "chargeback", "note": "late"}]
    bulk = world.client.post("/v1/labels", json={"items": items})
    assert len(bulk.json()["ids"]) == 2
    found = world.client.get("/v1/labels", params={"event_id": "t1"}).json()["items"]
    assert [(each["label"], each["actor"]) for each in found] == [("chargeback", "local"), ("fraud", "local")]
    assert [each["id"] for each in found] == [bulk.json()["ids"][1], single.json()["ids"][0]]
    bad = world.client.post("/v1/labels", json={"items": [items[0], {"event_id": "t3", "label": "maybe"}]})
    assert bad.status_code == 422
    assert world.client.get("/v1/labels", params={"event_id": "t3"}).json()["items"] == []
    page = world.client.get("/v1/labels", params={"limit": 2}).json()
    rest = world.client.get("/v1/labels", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)


def test_a_parameter_that_there_is_not_is_refused_with_what_is_near(world: World) -> None:
    answer = world.client.get("/v1/alerts", params={"limt": 5})
    assert (answer.status_code, answer.json()["code"], answer.json()["hint"]) == (
        422, "unknown_parameter", "did you mean limit?",
    )  # fmt: skip
    assert world.client.get("/v1/alerts", params={"limit": 5}).status_code == 200
