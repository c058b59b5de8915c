"""One server with alerts and one browser for all tests here; a browser that can't be had is a failure, never a skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.debian import browser as obtained
from deploy.kind import ServiceError
from tests.browser.world import Browser, Site, browsing, seeded, serving


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server without keys whose patterns have watched hours of payments."""
    with serving(tmp_path_factory.mktemp("site")) as found:
        seeded(found)
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    try:
        obtained()
    except ServiceError as error:
        pytest.fail(str(error), pytrace=False)
    with browsing() as found:
        yield found
