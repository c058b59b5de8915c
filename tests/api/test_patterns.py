"""Patterns over REST: from a document to a live version, and every refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.api.conftest import SMALL_THEN_BIG, Running, run

YAML = {"content-type": "application/yaml"}


def document(name: str, amount: int = 500) -> dict[str, Any]:
    """A pattern of one step."""
    steps = [{"name": "big", "where": f"amount > {amount}"}]
    return {"name": name, "stream": "transactions", "key": ["card_id"], "steps": steps}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    yield from run(tmp_path)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert (told["status"], told["code"]) == (status, code)
    return told


def test_a_version_is_registered_made_live_paused_and_retired(running: Running) -> None:
    http = running.http
    made = http.post("/v1/patterns", json=document("whole-life"))
    assert (made.status_code, made.json()["state"], made.headers["location"]) == (
        201, "draft", "/v1/patterns/whole-life",
    )  # fmt: skip
    states = []
    for verb in ("activate", "pause", "resume", "retire"):
        answer = http.post(f"/v1/patterns/whole-life/{verb}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["lanes_live"]
        states.append(answer.json()["state"])
    assert states == ["live", "paused", "live", "retired"]


def test_the_same_document_again_is_the_same_version_and_another_is_the_next(running: Running) -> None:
    http = running.http
    latest = [http.post("/v1/patterns", json=document("again", amount)).json()["latest"] for amount in (1, 1, 2)]
    assert latest == [1, 1, 2]
    told = http.get("/v1/patterns/again/diff", params={"from": 1, "to": 2}).json()["diff"]
    assert "-  where: amount > 1" in told
    assert "+  where: amount > 2" in told
    second = http.get("/v1/patterns/again/versions/2").json()
    assert yaml.safe_load(second["text"]) == second["document"]


def test_rollback_makes_the_version_before_live(running: Running) -> None:
    http = running.http
    for amount in (1, 2):
        http.post("/v1/patterns", json=document("back", amount))
        http.post("/v1/patterns/back/activate")
    assert http.get("/v1/patterns/back").json()["live"] == 2
    assert http.post("/v1/patterns/back/rollback").json()["live"] == 1
    http.post("/v1/patterns", json=document("never-back"))
    problem(http.post("/v1/patterns/never-back/rollback"), 409, "nothing_before")


def test_all_problems_of_a_document_are_told_at_once_with_their_pointers(running: Running) -> None:
    wrong = {**document("wrong"), "within": "ten minutes", "color": "red"}
    wrong["steps"] = [{"name": "a", "where": "amout > 1"}, {"name": "a", "where": "amount >"}]
    for path in ("/v1/patterns", "/v1/patterns:validate"):
        told = problem(running.http.post(path, json=wrong), 422, "invalid_document")
        pointers = {one["pointer"] for one in told["problems"]}
        assert pointers >= {"/color", "/within", "/steps/0/where", "/steps/1/where", "/steps/1/name"}
    assert running.http.get("/v1/patterns/wrong").status_code == 404


def test_a_pattern_is_validated_without_being_registered(running: Running) -> None:
    answer = running.http.post("/v1/patterns:validate", content=SMALL_THEN_BIG, headers=YAML).json()
    assert (answer["name"], answer["key"], answer["states"]) == ("small-then-big", ["card_id"], 2)
    assert "directly followed by `big`" in answer["sentence"]


def test_who_looked_before_somebody_else_changed_it_is_told_so(running: Running) -> None:
    http = running.http
    http.post("/v1/patterns", json=document("raced"))
    seen = http.get("/v1/patterns/raced").headers["etag"]
    assert http.post("/v1/patterns/raced/activate", headers={"If-Match": seen}).status_code == 200
    problem(http.post("/v1/patterns/raced/retire", headers={"If-Match": seen}), 412, "changed_meanwhile")
    assert http.get("/v1/patterns/raced").json()["state"] == "live"


def test_two_writers_at_once_make_two_versions(fresh: Running) -> None:
    answers: list[httpx.Response] = []

    def write(amount: int) -> None:
        with httpx.Client(base_url=fresh.server.url, timeout=30) as client:
            answers.append(client.post("/v1/patterns", json=document("busy", amount)))

    writers = [threading.Thread(target=write, args=(amount,)) for amount in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [answer.status_code for answer in answers] == [201] * 8
    found = fresh.http.get("/v1/patterns/busy").json()
    assert [one["version"] for one in found["versions"]] == list(range(1, 9))
    texts = {str(fresh.http.get(f"/v1/patterns/busy/versions/{number}").json()["document"]) for number in range(1, 9)}
    assert len(texts) == 8


def test_unknown_names_are_told_with_what_is_near(running: Running) -> None:
    running.http.post("/v1/patterns", json=document("card-testing"))
    told = problem(running.http.get("/v1/patterns/card-tasting"), 404, "no_such_pattern")
    assert told["hint"] == "did you mean card-testing?"
    problem(running.http.get("/v1/patterns/card-testing/versions/9"), 404, "no_such_version")
    problem(running.http.post("/v1/patterns/card-testing/activate", json={"version": 9}), 404, "no_such_version")
    problem(running.http.post("/v1/patterns/card-testing/pause"), 409, "not_live")


def test_a_pattern_is_live_within_a_second_while_events_flow(running: Running) -> None:
    """Five hundred events a second go on; nothing pauses, and the first match after the answer is an alert."""
    stopped = threading.Event()
    sent = [0]

    def feed() -> None:
        with httpx.Client(base_url=running.server.url, timeout=30) as client:
            while not stopped.is_set():
                lines = "\n".join(httpx.Response(200, json=running.payment("other", 20)).text for _ in range(50))
                headers = {"content-type": "application/x-ndjson"}
                answer = client.post("/v1/streams/transactions/events", content=lines, headers=headers)
                assert answer.status_code == 202
                sent[0] += 50
                time.sleep(0.1)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        running.http.post("/v1/patterns", json=document("hot", 5_000))
        before, started = sent[0], time.monotonic()
        answer = running.http.post("/v1/patterns/hot/activate")
        took = time.monotonic() - started
        assert answer.json()["lanes_live"]
        assert took < 1.0
        running.send(running.payment("hot-card", 6_000))
        assert running.alert("hot-card")["pattern"] == "hot"
    finally:
        stopped.set()
        feeder.join()
    assert sent[0] > before


def test_what_was_registered_is_there_after_a_restart(tmp_path: Path) -> None:
    first = run(tmp_path)
    running = next(first)
    running.live(SMALL_THEN_BIG)
    first.close()
    second = run(tmp_path)
    again = next(second)
    assert again.http.get("/v1/patterns/small-then-big").json()["state"] == "live"
    again.send(again.payment("kept", 0.5), again.payment("kept", 900))
    assert again.alert("kept")["pattern"] == "small-then-big"
    second.close()
