"""A server with the engine in it, on the embedded log, as `stakeout serve` puts it together."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.serve import Server, opened
from api.services import Services
from cep.cli.documents import EXAMPLES, load_streams
from cep.settings import Embedded, Serve, Settings
from cep.storage import migrate
from cep.storage.database import database_url

NUMBERS = itertools.count()

SMALL_THEN_BIG = (EXAMPLES / "patterns" / "small-then-big.yaml").read_text()


@dataclass
class Running:
    """A server and a client of it."""

    services: Services
    server: Server
    http: httpx.Client
    cards: Iterator[int] = field(default_factory=itertools.count)

    def payment(self, card: str, amount: float) -> dict[str, Any]:
        """A record, dated now."""
        return {
            "transaction_id": f"t{next(NUMBERS)}", "card_id": card, "at": time.time_ns() // 1_000_000, "amount": amount,
            "currency": "EUR", "country": "DE", "merchant_id": "m1", "channel": "ecom", "approved": True,
        }  # fmt: skip

    def send(self, *payments: dict[str, Any]) -> None:
        """Writes payments to the log."""
        for one in payments:
            answer = self.http.post("/v1/streams/transactions/events", json=one)
            assert answer.status_code == 202, answer.text

    def live(self, text: str) -> str:
        """Registers a pattern and makes it live; its name."""
        made = self.http.post("/v1/patterns", content=text, headers={"content-type": "application/yaml"})
        assert made.status_code == 201, made.text
        name = str(made.json()["name"])
        answer = self.http.post(f"/v1/patterns/{name}/activate")
        assert answer.status_code == 200, answer.text
        assert answer.json()["lanes_live"]
        return name

    def alert(self, card: str) -> dict[str, Any]:
        """The newest alert of a card, once it is in the table."""
        found = wait_for(
            lambda: self.http.get("/v1/alerts", params={"key": f'{{"card_id": "{card}"}}'}).json()["items"]
        )
        one: dict[str, Any] = found[0]
        return one

    def raise_alert(self) -> dict[str, Any]:
        """A new card's small payment and big one, and the alert."""
        card = f"card-{next(NUMBERS)}"
        self.live(SMALL_THEN_BIG)
        self.send(self.payment(card, 0.5), self.payment(card, 900))
        return self.alert(card)


def wait_for(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `look` answers once it is something."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.01)
    return found


def run(folder: Path, **serve: Any) -> Generator[Running]:
    """A server on a free port of this machine."""
    streams = EXAMPLES / "streams" / "transactions.yaml"
    settings = Settings(
        streams=(str(streams),), embedded=Embedded(path=str(folder / "log.db")), serve=Serve(port=0, **serve)
    )
    migrate.upgrade(database_url(settings))
    declared = {stream.name: stream for stream in load_streams([streams])}
    with opened(settings, declared, logging.getLogger("test")) as (services, engine):
        server = Server(services)
        server.start()
        try:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                running = Running(services, server, client)
                wait_for(lambda: client.get("/readyz").status_code == 200)
                yield running
        finally:
            server.stop()
    assert engine is not None
    assert engine.error is None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the tests of a file."""
    yield from run(tmp_path_factory.mktemp("server"))
