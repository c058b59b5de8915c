"""A running server with real alerts, and a real browser that looks at it.

simulated payments of the last hours ─▶ the embedded log ─▶ lane ─▶ alerts ─▶ pages ─▶ Chromium
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvicorn
import yaml
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from api.app import create_app
from api.embedded import Beside
from api.services import Services, opened
from cep.cli.documents import EXAMPLES
from cep.control import Activate, Change, PatternVersion
from cep.demo import load_shipped
from cep.language.document import dump_pattern
from cep.settings import Embedded, Server, Settings
from cep.simulate import Payment, record, simulate
from cep.storage.database import reading
from cep.storage.queries import count_alerts
from deploy.debian import browser

STREAM = EXAMPLES / "streams" / "transactions.yaml"
ABSENCE = """
name: silent-cash-out
description: a probe, then a cash-out that no payment at a counter comes before
stream: transactions
key: [card_id]
within: 30m
skip: past_last_event
steps:
  - {name: probe, where: "amount < 2", times: {at_least: 3}, greedy: true}
  - {name: counter, contiguity: not_followed_by, where: "channel = 'pos'"}
  - {name: cashout, contiguity: followed_by, where: "amount > 500"}
alert: {severity: critical, message: "{count(probe)} probes, no payment at a counter, then {cashout.amount}"}
"""
HOURS = 3
WAIT_SECONDS = 60.0

Scheme = Literal["light", "dark"]
HEIGHT = 860


@dataclass
class Site:
    """A server and where it listens."""

    services: Services
    url: str

    def live(self, documents: list[dict[str, object]], version: int = 1) -> None:
        """Puts patterns live."""
        changes: list[Change] = []
        for document in documents:
            name = str(document["name"])
            changes += [PatternVersion(name, version, document), Activate(name, version)]
        offset, _ = self.services.registry.change(lambda _: changes, author="mara", at_us=self.services.clock.wall_us())
        eventually(lambda: self.services.lanes.passed(offset))

    def pay(self, payments: list[Payment]) -> None:
        """Payments into the log."""
        self.services.ingest.append("transactions", [(each.card_id.encode(), record(each)) for each in payments])

    def cash_out(self, card: str, merchant: str = "m-00417") -> None:
        """Two payments of a card, now, that `small-then-big` alerts on; waits until the alert is a row."""
        before, now_ms = self.alerts(), time.time_ns() // 1_000_000
        small = Payment(f"{card}-{now_ms}-1", card, now_ms - 5_000, 0.35, "EUR", "DE", "m-00417", "ecom", True)
        big = msgspec.structs.replace(small, transaction_id=f"{card}-{now_ms}-2", at=now_ms, amount=912.4)
        self.pay([small, msgspec.structs.replace(big, merchant_id=merchant)])
        eventually(lambda: self.alerts() > before)

    def alerts(self) -> int:
        """How many are rows."""
        with reading(self.services.engine) as connection:
            return count_alerts(connection)


def eventually(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What it answers, once that is true."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, f"not within {seconds} s: {found!r}"
        time.sleep(0.02)
    return found


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """A server with its embedded lane and sink, on a port of loopback."""
    settings = Settings(
        streams=(str(STREAM),),
        views=(str(EXAMPLES / "views" / "card_velocity.yaml"),),
        embedded=Embedded(path=str(folder / "log.db"), durable=False),
        server=Server(keys=str(folder / "keys.json")),
    )
    with opened(settings) as services:
        try:
            with Beside(services):
                config = uvicorn.Config(
                    create_app(services), port=0, log_level="error", access_log=False, timeout_graceful_shutdown=1
                )
                server = uvicorn.Server(config)
                thread = threading.Thread(target=server.run)
                thread.start()
                try:
                    eventually(lambda: server.started)
                    port = server.servers[0].sockets[0].getsockname()[1]
                    yield Site(services, f"http://127.0.0.1:{port}")
                finally:
                    server.should_exit = True
                    services.stopping.set()
                    thread.join()
        finally:
            gc.unfreeze()
            gc.enable()


def seeded(site: Site) -> None:
    """The shipped patterns and one with an absence over the last hours, two records that are no payments, and some
    work on the cases."""
    documents = [dump_pattern(pattern) for pattern in load_shipped()]
    site.live([*documents, yaml.safe_load(ABSENCE)])
    changed = {**documents[0], "description": "small probes, then a cash-out that is worth them"}
    site.live([changed], version=2)
    now_us = site.services.clock.wall_us()
    payments = []
    for each in simulate(7, rate=0.4, flow_every_s=150, start_us=now_us - HOURS * 3_600_000_000):
        if each.payment.at * 1000 > now_us - 20_000_000:
            break
        payments.append(each.payment)
    site.pay(payments)
    broken = [b'{"card_id": "card-1", "amount": "much"}', b"no JSON"]
    site.services.ingest.append("transactions", [(b"x", each) for each in broken])
    eventually(lambda: settled(site))


def settled(site: Site) -> bool:
    """Is all in the log read, and are its alerts rows?"""
    ends = site.services.ingest.ends(["transactions"])
    if any(site.services.lanes.position(place) < end for place, end in ends.items()):
        return False
    # Asked after the positions: what was told before them may lack the alerts of the last commit.
    return site.alerts() == sum(status.alerts for status in site.services.lanes.statuses())


class Browser:
    """Chromium without a window."""

    def __init__(self, folder: Path) -> None:
        chromium, driver = browser()
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(driver))
        self.driver.set_page_load_timeout(WAIT_SECONDS)

    def close(self) -> None:
        """Ends it."""
        self.driver.quit()

    def size(self, width: int, scheme: Scheme, height: int = HEIGHT, scale: float = 1) -> None:
        """How wide the page is, and which colours the person prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def open(self, url: str) -> None:
        """Loads a page; what the console said before is forgotten."""
        self.complaints()
        self.driver.get(url)

    def complaints(self) -> list[str]:
        """What the console said since it was last asked: errors, warnings, violations of the policy."""
        told = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # Selenium leaves this one untyped
        return [str(each["message"]) for each in told if each["level"] in ("SEVERE", "WARNING")]

    def run(self, script: str, *arguments: object) -> Any:
        """What a script answers that runs in the page."""
        return self.driver.execute_script(script, *arguments)

    def press(self, key: str) -> None:
        """A key, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(key)

    def see(self, selector: str) -> list[Any]:
        """The elements that a selector finds now."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str = "main") -> str:
        """What the first of them says."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def picture(self, path: Path) -> None:
        """The part of the page in view."""
        assert self.driver.save_screenshot(str(path)), path


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="stakeout-browser-", ignore_cleanup_errors=True) as folder:
        found = Browser(Path(folder))
        try:
            yield found
        finally:
            found.close()
