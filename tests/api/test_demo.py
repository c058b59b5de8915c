"""The demonstration beside its server: the dashboard and REST show the alerts that the terminal shows."""

from __future__ import annotations

import threading

import httpx2 as httpx
import pytest

from api.demo import served
from cep.demo import Seen, run_demo
from cep.worker import Stop


@pytest.fixture(scope="module")
def browsed() -> tuple[list[Seen], list[str], str]:
    """A run that ends as soon as a person has seen an alert: terminal's alerts, REST's ids, the page."""
    stop, seen, ids, pages, told = Stop(), list[Seen](), list[str](), list[str](), list[str]()

    def ready(seconds: float, text: str) -> None:
        told.append(text.removeprefix("dashboard: "))

    def show(one: Seen) -> None:
        seen.append(one)
        if len(seen) > 1:
            return
        threading.Thread(target=look).start()

    def look() -> None:
        try:
            with httpx.Client(base_url=told[0], timeout=10.0, follow_redirects=True) as client:
                ids.extend(_alerts(client))
                pages.append(client.get("/").text)
        finally:
            stop.asked = True

    run_demo(60.0, show, ready=ready, housed=served, seed=4, stop=stop)
    return seen, ids, "".join(pages)


def _alerts(client: httpx.Client) -> list[str]:
    while True:
        found = client.get("/v1/alerts").json()["items"]
        if found:
            return [alert["id"].removeprefix("alert_") for alert in found]


def test_rest_has_the_alerts_that_the_terminal_shows(browsed: tuple[list[Seen], list[str], str]) -> None:
    seen, ids, _ = browsed
    assert ids
    assert set(ids) <= {one.alert.alert_id for one in seen}


def test_the_dashboard_shows_them(browsed: tuple[list[Seen], list[str], str]) -> None:
    seen, ids, page = browsed
    shown = {one.alert.alert_id: one.alert.message for one in seen}
    assert ids[0] in page
    assert shown[ids[0]] in page
