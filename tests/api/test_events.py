"""Events in over REST, and decisions on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import World, eventually, lines, running, settings_in

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_an_event_is_in_the_log_when_it_is_accepted(world: World) -> None:
    event = world.event("c1", 3.0)
    answer = world.client.post("/v1/events", params={"stream": "transactions"}, json=event)
    assert answer.status_code == 202
    (stands,) = answer.json()["events"]
    log = world.services.log
    assert log is not None
    assert log.input_end("transactions") == stands["offset"] + 1
    assert stands["event_id"] == event["transaction_id"]


def test_of_a_batch_with_a_bad_line_nothing_is_written_and_each_bad_line_is_told(world: World) -> None:
    log = world.services.log
    assert log is not None
    before = log.input_end("transactions")
    bad: list[dict[str, object]] = [{**world.event("c1", 1.0), "amount": "1"}, {"card_id": "c1"}]
    text = "\n".join([lines(world.event("c1", 1.0)), lines(bad[0]), "", lines(bad[1]), "{"])
    answer = world.client.post("/v1/events", content=text, headers=NDJSON)
    assert answer.status_code == 422
    told = answer.json()
    assert told["code"] == "invalid_event"
    found = {(problem["line"], problem["pointer"]) for problem in told["problems"]}
    assert {(2, "/amount"), (5, "")} <= found, told
    assert {line for line, _ in found} == {2, 4, 5}
    assert log.input_end("transactions") == before


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 422, "invalid_event"),
        (b"", "application/x-ndjson", 422, "invalid_event"),
        (b"[]", "application/json", 422, "invalid_event"),
        (b"\xff\xfe", "application/json", 422, "invalid_event"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", 422, "invalid_event"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"x" * 10_000_000, "application/json", 413, "body_too_large"),
    ],
)
def test_what_is_no_event_is_refused_with_a_code(world: World, body: bytes, kind: str, status: int, code: str) -> None:
    answer = world.client.post("/v1/events", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_never_says_its_length_is_cut_off_at_the_limit(world: World) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    answer = world.client.post("/v1/events", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_an_event_of_an_unknown_stream_or_of_the_future_is_refused(world: World) -> None:
    unknown = world.client.post("/v1/events", params={"stream": "nobody"}, json=world.event("c1", 1.0))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_stream")
    event = world.event("c1", 1.0)
    early = {**event, "at": int(str(event["at"])) + 3_600_000}
    refused = world.client.post("/v1/events", json=early)
    assert refused.status_code == 422
    assert refused.json()["problems"][0]["pointer"] == "/at"


def test_a_decision_tells_what_the_lane_made_of_the_event(world: World) -> None:
    world.live()
    first = world.client.post("/v1/decisions", json=world.event("c-decide", 0.5)).json()
    assert (first["decision"], first["timed_out"], first["alerts"]) == ("approve", False, [])
    last = world.event("c-decide", 900.0)
    second = world.client.post("/v1/decisions", json=last).json()
    assert (second["decision"], second["timed_out"]) == ("review", False), second
    (alert,) = second["alerts"]
    assert alert["pattern"] == "small-then-big"
    assert alert["events"][-1]["event_id"] == last["transaction_id"]
    assert world.alert("c-decide")["id"] == alert["id"]


def test_decisions_come_sooner_than_the_lane_would_commit_by_itself(world: World) -> None:
    waited = [world.client.post("/v1/decisions", json=world.event("c-fast", 5.0)).json() for _ in range(20)]
    assert not any(each["timed_out"] for each in waited)
    usual_ms = world.services.settings.lane.commit_ms
    assert sorted(each["waited_ms"] for each in waited)[10] < usual_ms / 2


def test_a_severity_that_blocks_blocks(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, block=("medium",))) as world:
        world.live()
        world.client.post("/v1/events", json=world.event("c1", 0.5))
        assert world.client.post("/v1/decisions", json=world.event("c1", 900.0)).json()["decision"] == "block"


def test_a_decision_that_does_not_come_in_time_says_so_and_the_event_is_in_the_log(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from api.app import create_app
    from api.services import opened

    with opened(settings_in(tmp_path)) as services:  # no lane runs
        client = TestClient(create_app(services), "http://localhost")
        told = client.post("/v1/decisions", params={"deadline_ms": 50}, json=World(client, services).event("c1", 1.0))
        assert told.status_code == 200
        assert (told.json()["decision"], told.json()["timed_out"]) == (None, True)
        assert services.log is not None
        assert services.log.input_end("transactions") == told.json()["event"]["offset"] + 1


def test_a_burst_is_refused_while_the_lane_is_behind_and_nothing_is_lost(tmp_path: Path) -> None:
    with running(settings_in(tmp_path, lag_max=50)) as world:
        world.live()
        accepted, refused = 0, 0
        for _ in range(40):
            batch = [world.event("c-burst", 5.0) for _ in range(200)]
            answer = world.client.post("/v1/events", content=lines(*batch), headers=NDJSON)
            if answer.status_code == 429:
                refused += 1
                assert answer.headers["retry-after"] == "1"
                assert answer.json()["code"] == "lanes_lag"
            else:
                accepted += answer.json()["count"]
        assert refused > 0
        assert accepted > 0
        eventually(lambda: world.client.get("/v1/lanes").json()["items"][0]["lag"] == 0)
        assert world.services.counts[0].records == accepted


def test_a_request_sent_again_under_its_key_is_answered_as_the_first_and_written_once(world: World) -> None:
    log = world.services.log
    assert log is not None
    body, headers = (
        json.dumps(world.event("c-again", 1.0)),
        {"Content-Type": "application/json", "Idempotency-Key": "k1"},
    )
    first = world.client.post("/v1/events", content=body, headers=headers)
    end = log.input_end("transactions")
    second = world.client.post("/v1/events", content=body, headers=headers)
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    assert log.input_end("transactions") == end
    other = world.client.post("/v1/events", json=world.event("c-again", 2.0), headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    bad = world.client.post("/v1/events", content="{", headers={**headers, "Idempotency-Key": "k2"})
    good = world.client.post("/v1/events", content=body, headers={**headers, "Idempotency-Key": "k2"})
    assert (bad.status_code, good.status_code) == (422, 202)


def test_records_that_could_not_be_used_are_listed_with_the_reason(world: World) -> None:
    log = world.services.log
    assert log is not None
    for number in range(3):
        log.append("transactions", [(None, b"no json %d" % number)], 1)
    eventually(lambda: len(world.client.get("/v1/dead-letters").json()["items"]) == 3)
    page = world.client.get("/v1/dead-letters", params={"limit": 2}).json()
    rest = world.client.get("/v1/dead-letters", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [each["text"] for each in page["items"] + rest["items"]] == ["no json 2", "no json 1", "no json 0"]
    assert rest["next_cursor"] is None
    assert page["items"][0]["reason"] == "not_json"
