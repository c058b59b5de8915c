"""Events and decisions over REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import SMALL_THEN_BIG, Running, run, wait_for
from tests.api.test_patterns import problem

EVENTS = "/v1/streams/transactions/events"
NDJSON = {"content-type": "application/x-ndjson"}


def lines(running: Running, count: int) -> str:
    return "\n".join(httpx.Response(200, json=running.payment("c", 20)).text for _ in range(count))


def test_many_events_in_one_request_are_in_the_log_when_it_is_answered(running: Running) -> None:
    before = sum(running.services.follower.tail.ends().values())
    answer = running.http.post(EVENTS, content=lines(running, 250), headers=NDJSON)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 250
    assert sum(running.services.follower.tail.ends().values()) == before + 250
    assert answer.json()["places"] == [{"topic": "transactions", "partition": 0, "offset": before + 249}]


def test_one_bad_event_of_many_is_told_and_none_is_written(running: Running) -> None:
    before = sum(running.services.follower.tail.ends().values())
    good = lines(running, 2)
    told = problem(
        running.http.post(EVENTS, content=f'{good}\n{{"card_id": 7}}\n{{broken', headers=NDJSON),
        422,
        "invalid_document",
    )
    assert {one["pointer"].split("/")[1] for one in told["problems"]} == {"2", "3"}
    assert sum(running.services.follower.tail.ends().values()) == before


def test_an_event_of_no_stream_is_refused(running: Running) -> None:
    told = problem(running.http.post("/v1/streams/transaction/events", json={}), 404, "no_such_stream")
    assert told["hint"] == "did you mean transactions?"


def test_a_decision_tells_what_the_event_completed(running: Running) -> None:
    running.live(SMALL_THEN_BIG)
    path = "/v1/streams/transactions/decisions"
    first = running.http.post(path, json=running.payment("decided", 0.5)).json()
    assert (first["decision"], first["timed_out"], first["alerts"]) == ("approve", False, [])
    second = running.http.post(path, json=running.payment("decided", 900)).json()
    assert (second["decision"], second["timed_out"]) == ("review", False)
    assert [one["pattern"] for one in second["alerts"]] == ["small-then-big"]


def test_an_idempotency_key_is_answered_once(running: Running) -> None:
    payment = running.payment("once", 20)
    before = sum(running.services.follower.tail.ends().values())
    key = {"Idempotency-Key": "order-1"}
    first, again = (running.http.post(EVENTS, json=payment, headers=key) for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert sum(running.services.follower.tail.ends().values()) == before + 1
    other = running.http.post(EVENTS, json=running.payment("once", 30), headers=key)
    problem(other, 422, "idempotency_mismatch")


def test_a_request_that_was_refused_may_be_sent_again_with_its_key(running: Running) -> None:
    key = {"Idempotency-Key": "order-2"}
    problem(running.http.post(EVENTS, json={"card_id": 7}, headers=key), 422, "invalid_document")
    assert running.http.post(EVENTS, json=running.payment("again", 20), headers=key).status_code == 202


def test_dead_letters_and_lanes_are_told(running: Running) -> None:
    running.services.ingest.append("transactions", [(None, b"{broken")])
    (letter,) = wait_for(lambda: running.http.get("/v1/dead-letters", params={"limit": 1}).json()["items"])
    assert (letter["reason"], letter["text"]) == ("not_json", "{broken")
    (lane,) = running.http.get("/v1/lanes").json()["items"]
    assert (lane["lane"], lane["lanes"]) == (0, 1)
    page = running.http.get("/docs").text
    assert "<code>POST /v1/streams/{stream}/events</code>" in page
    assert "<script" not in page
    assert running.http.get("/metrics").text.startswith("# HELP stakeout_")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(running: Running) -> None:
    problem(running.http.post(EVENTS, content=b"x" * 10_000_000), 413, "body_too_large")

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 10_000

    problem(running.http.post(EVENTS, content=chunks()), 413, "body_too_large")
    assert running.http.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"a": ', "\x00", "[" * 100_000])
def test_what_is_no_document_is_refused(running: Running, text: str) -> None:
    problem(running.http.post("/v1/patterns", content=text), 422, "invalid_document")
    problem(running.http.post(EVENTS, content=text), 422, "invalid_document")


def test_events_are_refused_while_lanes_are_behind(tmp_path: Path) -> None:
    server = run(tmp_path, lag_max=10)
    running = next(server)
    follower = running.services.follower
    follower.positions = dict  # type: ignore[method-assign]  # as if no lane had read anything
    assert running.http.post(EVENTS, content=lines(running, 20), headers=NDJSON).status_code == 202
    refused = running.http.post(EVENTS, json=running.payment("c", 1))
    assert problem(refused, 429, "lanes_behind")["detail"].startswith("lanes are 20 events behind")
    assert refused.headers["retry-after"] == "1"
    server.close()
