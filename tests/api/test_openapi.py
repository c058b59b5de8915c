"""The OpenAPI document is true: made-up requests find no server error, and no answer that it doesn't declare.

`/v1/alerts/stream` never ends by itself; tests/api/test_alerts.py follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.keys import ROLES, add_key
from tests.api.world import World, running, settings_in

EXAMPLES = 15
"""Made-up requests of each operation, good ones and as many bad ones. That good ones are accepted is not demanded: what
an event or a pattern must be, its stream says, not OpenAPI."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    found = settings_in(tmp_path_factory.mktemp("described"), decide_ms=200)
    key = add_key(Path(found.server.keys), "fuzzer", ROLES)
    with running(found) as world:
        yield world, key


def test_made_up_requests_find_no_server_error_and_no_answer_that_is_not_declared(guarded: tuple[World, str]) -> None:
    world, key = guarded
    document = schemathesis.openapi.from_asgi("/openapi.json", world.client.app)
    failures = []
    tried = 0
    for found in document.exclude(path="/v1/alerts/stream").get_all_operations():
        assert isinstance(found, Ok), found
        operation: Any = found.ok()
        for mode in GenerationMode:
            try:
                tried += _try(operation, mode, {"Authorization": f"Bearer {key}"})
            except BaseExceptionGroup as error:  # of schemathesis: what one request got wrong
                failures.append(f"{operation.label} {mode}: {error}")
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)
    assert tried > 300


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> int:
    """How many requests were made."""
    tried = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def request(case: Any) -> None:
        tried.append(case)
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    with suppress(Unsatisfiable):  # there is nothing wrong to send where nothing is taken
        request()
    return len(tried)
