"""What goes wrong is told in one form, whatever it was."""

from __future__ import annotations

import pytest

from api.problems import ProblemDetails, details_of, pointer_of
from events.errors import Problem
from tests.api.world import World

JSON = {"Content-Type": "application/json"}
ALERT = "/v1/alerts/alert_" + "0" * 32


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("GET", "/v1/nothing", b"", {}, 404, "not_found"),
        ("DELETE", "/v1/patterns", b"", {}, 405, "method_not_allowed"),
        ("POST", "/v1/labels", b"{", JSON, 400, "malformed_json"),
        ("POST", "/v1/labels", b"\xff", JSON, 400, "malformed_json"),
        ("POST", "/v1/labels", b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/v1/labels", b"x" * 2_000_000, JSON, 413, "body_too_large"),
        ("POST", "/v1/labels", b'{"event_id": "", "label": "fraud"}', JSON, 422, "invalid_request"),
        ("POST", "/v1/labels", b'{"event_id": "a", "label": "fraud", "stream": "x"}', JSON, 404, "unknown_stream"),
        ("POST", f"{ALERT}/claim", b"", {}, 404, "unknown_alert"),
        ("POST", f"{ALERT}/resolve", b"{}", JSON, 422, "invalid_request"),
        ("POST", "/v1/patterns/nobody/activate", b"", {}, 404, "unknown_pattern"),
        ("POST", "/v1/patterns", b"{", JSON, 400, "malformed_body"),
        ("POST", "/v1/patterns", b'{"name": NaN}', JSON, 400, "malformed_body"),
        ("POST", "/v1/patterns", b"\xff", {"Content-Type": "application/yaml"}, 400, "malformed_body"),
        ("GET", "/v1/alerts?limit=0", b"", {}, 422, "invalid_request"),
        ("GET", "/v1/dead-letters?cursor=x", b"", {}, 422, "invalid_request"),
    ],
)
def test_an_error_is_a_problem_document_with_a_stable_code(
    world: World, method: str, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = world.client.request(method, path, content=body, headers=headers)
    told = ProblemDetails.model_validate(answer.json())
    assert (answer.status_code, told.status, told.code) == (status, status, code)
    assert told.type == f"urn:stakeout:problem:{code}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_method_that_is_not_there_names_those_that_are(world: World) -> None:
    allowed = world.client.delete("/v1/patterns").headers["allow"]
    assert "GET" in allowed


def test_all_that_is_wrong_with_a_body_is_told_with_pointers(world: World) -> None:
    body = {"items": [{"event_id": "a", "label": "fraud"}, {"event_id": 7, "label": "maybe"}]}
    told = world.client.post("/v1/labels", json=body).json()["problems"]
    assert {"/items/1/event_id", "/items/1/label"} <= {problem["pointer"] for problem in told}, told


@pytest.mark.parametrize(
    ("where", "pointer"),
    [
        ("steps[1].group[0].where:9", "/steps/1/group/0/where"),
        ("body:7 steps[1].where", "/steps/1/where"),
        ("body:1", ""),
        ("document", ""),
        ("within", "/within"),
    ],
)
def test_a_place_in_a_pattern_is_a_json_pointer(where: str, pointer: str) -> None:
    assert pointer_of(where) == pointer


def test_the_line_of_a_text_and_the_column_of_an_expression_are_kept() -> None:
    (found,) = details_of([Problem("body:7 steps[1].where:9", "what", "do")])
    assert (found.line, found.pointer, found.detail) == (7, "/steps/1/where", "column 9: what")
