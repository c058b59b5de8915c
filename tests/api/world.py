"""A server with its embedded lane and sink, in this process, over a folder of the test's own."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import uvicorn
from fastapi.testclient import TestClient

from api.app import create_app
from api.embedded import Beside
from api.services import Services, opened
from cep.settings import Embedded, Server, Settings

ROOT = Path(__file__).resolve().parents[2]
STREAM = ROOT / "examples" / "streams" / "transactions.yaml"
VIEW = ROOT / "examples" / "views" / "card_velocity.yaml"
PATTERN = (ROOT / "examples" / "patterns" / "small-then-big.yaml").read_text()
YAML = {"Content-Type": "application/yaml"}
SECONDS = 20.0
"""Longest wait for what must come."""


def eventually(holds: Callable[[], Any]) -> Any:
    """What it answers, once that is true."""
    until = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < until, f"not within {SECONDS} s: {found!r}"
        time.sleep(0.01)
    return found


@dataclass
class World:
    """A server and a client of it. Each event has an id of its own."""

    client: TestClient
    services: Services
    events: int = 0

    def event(self, card: str, amount: float, **more: object) -> dict[str, object]:
        """An event dated now."""
        self.events += 1
        return {
            "transaction_id": f"t{time.time_ns()}-{self.events}",
            "card_id": card,
            "at": time.time_ns() // 1_000_000,
            "amount": amount,
            "currency": "EUR",
            "country": "DE",
            "merchant_id": "m1",
            "channel": "pos",
            "approved": True,
            **more,
        }

    def live(self, text: str = PATTERN) -> str:
        """Registers a pattern, activates it, and waits until lanes have it."""
        made = self.client.post("/v1/patterns", content=text, headers=YAML)
        assert made.status_code in (200, 201), made.text
        name = str(made.json()["name"])
        assert self.client.post(f"/v1/patterns/{name}/activate").status_code == 202
        eventually(lambda: self.client.get(f"/v1/patterns/{name}").json()["applied"])
        return name

    def match(self, card: str) -> list[dict[str, object]]:
        """Two events that `small-then-big` alerts on."""
        found = [self.event(card, 0.5), self.event(card, 900.0)]
        sent = self.client.post("/v1/events", content=lines(*found), headers={"Content-Type": "application/x-ndjson"})
        assert sent.status_code == 202, sent.text
        return found

    def alert(self, card: str) -> dict[str, Any]:
        """The alert of that card, once it is a row."""
        found = eventually(lambda: self.client.get("/v1/alerts", params={"key": f"card_id={card}"}).json()["items"])
        return dict(found[0])


def lines(*events: dict[str, object]) -> str:
    return "\n".join(map(json.dumps, events))


def settings_in(folder: Path, **server: Any) -> Settings:
    return Settings(
        streams=(str(STREAM),),
        views=(str(VIEW),),
        embedded=Embedded(path=str(folder / "log.db"), durable=False),
        server=msgspec.structs.replace(Server(keys=str(folder / "keys.json")), **server),
    )


@contextmanager
def running(settings: Settings) -> Iterator[World]:
    """A world of these settings."""
    with opened(settings) as services:
        try:
            with Beside(services), TestClient(create_app(services), "http://localhost") as client:
                yield World(client, services)
        finally:
            gc.unfreeze()


@contextmanager
def at_a_socket(world: World) -> Iterator[str]:
    """The same application behind a real socket, with its address: what follows alerts needs one."""
    server = uvicorn.Server(uvicorn.Config(world.client.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        world.services.stopping.set()
        server.should_exit = True
        thread.join()
        world.services.stopping.clear()


def followed(address: str, count: int, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """(id, alert) of so many server-sent events."""
    found: list[tuple[str, dict[str, Any]]] = []
    with httpx2.stream("GET", f"{address}/v1/alerts/stream", headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        name, data = "", ""
        for text in answer.iter_lines():
            if text.startswith("id: "):
                name = text[4:]
            elif text.startswith("data: "):
                data += text[6:]
            elif not text and data:
                found.append((name, json.loads(data)))
                data = ""
                if len(found) == count:
                    break
    return found
