"""Alerts over REST: listed, read whole, streamed, and worked on."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx

from tests.api.conftest import Running, wait_for
from tests.api.test_patterns import problem


def read_stream(running: Running, headers: dict[str, str], count: int) -> list[tuple[str, dict[str, Any]]]:
    """(id, alert) of the first events of the stream."""
    found: list[tuple[str, dict[str, Any]]] = []
    place = ""
    with (
        httpx.Client(base_url=running.server.url, timeout=10) as client,
        client.stream("GET", "/v1/alerts/stream", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                place = line.removeprefix("id: ")
            if line.startswith("data: "):
                found.append((place, json.loads(line.removeprefix("data: "))))
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


def test_an_alert_has_the_very_events_that_made_it(running: Running) -> None:
    alert = running.raise_alert()
    whole = running.http.get(f"/v1/alerts/{alert['id']}").json()
    assert [(one["step"], one["event"]["amount"]) for one in whole["events"]] == [("small", 0.5), ("big", 900)]
    assert whole["case"] == {
        "status": "open", "assignee": None, "outcome": None, "revision": 0, "snoozed_until": None,
    }  # fmt: skip
    assert whole["actions"] == []


def test_the_work_on_a_case_stands_in_its_audit(running: Running) -> None:
    path = f"/v1/alerts/{running.raise_alert()['id']}"
    claimed = running.http.post(f"{path}/claim", headers={"If-Match": '"0"'})
    assert (claimed.status_code, claimed.json()["assignee"], claimed.headers["etag"]) == (200, "local", '"1"')
    problem(running.http.post(f"{path}/release", headers={"If-Match": '"0"'}), 412, "changed_meanwhile")
    resolved = running.http.post(f"{path}/resolve", json={"outcome": "fraud", "note": "called the holder"})
    assert resolved.json()["status"] == "resolved"
    told = running.http.get(path).json()["actions"]
    assert [(one["action"], one["actor"], one["note"]) for one in told] == [
        ("claim", "local", ""), ("resolve", "local", "called the holder"),
    ]  # fmt: skip
    wrong = problem(running.http.post(f"{path}/resolve"), 422, "invalid_document")
    assert wrong["problems"][0]["pointer"] == "/outcome"


def test_pages_follow_one_another_and_filters_hold(running: Running) -> None:
    ids = {running.raise_alert()["id"] for _ in range(3)}
    found, cursor = [], None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = running.http.get("/v1/alerts", params=params).json()
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert ids <= set(found)
    assert running.http.get("/v1/alerts", params={"pattern": "none"}).json()["items"] == []
    assert running.http.get("/v1/alerts", params={"since": "2200-01-01T00:00:00Z"}).json()["items"] == []
    problem(running.http.get("/v1/alerts", params={"cursor": "x"}), 422, "invalid_document")
    problem(running.http.get("/v1/alerts", params={"key": "{"}), 422, "key")
    problem(running.http.get(f"/v1/alerts/al_{'0' * 32}"), 404, "no_such_alert")


def test_the_stream_tells_an_alert_and_goes_on_where_a_reader_stopped(running: Running) -> None:
    found: list[tuple[str, dict[str, Any]]] = []
    reader = threading.Thread(target=lambda: found.extend(read_stream(running, {}, 1)))
    reader.start()
    wait_for(lambda: running.services.follower._listeners)
    first = running.raise_alert()
    reader.join(10)
    assert found[0][1]["id"] == first["id"]
    second, third = running.raise_alert(), running.raise_alert()
    again = read_stream(running, {"Last-Event-ID": found[0][0]}, 2)
    assert [one["id"] for _, one in again] == [second["id"], third["id"]]
    wait_for(lambda: not running.services.follower._listeners)


def test_labels_are_told_once(running: Running) -> None:
    items = [{"stream": "transactions", "event_id": f"e{number}", "label": "chargeback"} for number in range(3)]
    assert running.http.post("/v1/labels", json={"items": items}).json() == {"taken": 3, "new": 3}
    assert running.http.post("/v1/labels", json={"items": items}).json() == {"taken": 3, "new": 0}
    (told,) = running.http.get("/v1/labels", params={"stream": "transactions", "event_id": "e1"}).json()["items"]
    assert (told["label"], told["actor"]) == ("chargeback", "local")
