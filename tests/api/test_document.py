"""The OpenAPI document is true: whatever is sent by it, nothing breaks, and every answer is one that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import SMALL_THEN_BIG, Running, run

CASES = 25
"""Of each operation."""

ENDLESS = "/v1/alerts/stream"

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a pattern and an alert."""
    for running in run(tmp_path_factory.mktemp("asked"), deadline_ms_max=50):
        running.live(SMALL_THEN_BIG)
        running.raise_alert()
        yield running


def test_what_is_documented_is_so(asked: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{asked.server.url}/openapi.json")
    operations = [cast(Any, found).ok() for found in schema.exclude(path=ENDLESS).get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        holds(operation)


def holds(operation: Any) -> None:
    """Ask an operation CASES times."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=30)

    ask()
