"""`python -m tests.browser.pictures` draws docs/pictures/ anew: the queue and an alert, as the README shows them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from api.keys import add_key
from cep.storage.cases import Action, act
from cep.storage.database import reading, writing
from cep.storage.queries import Filters, read_alerts
from tests.browser.world import Browser, Site, browsing, eventually, seeded, serving

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800
BYTES_MAX = 200_000


def main() -> None:
    """Seeds a server, logs in as ana, and takes the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        key = add_key(Path(folder) / "keys.json", "ana", ("analyst", "author"))
        with serving(Path(folder)) as site, browsing() as browser:
            seeded(site)
            worked_on(site)
            browser.size(WIDTH, "light", HEIGHT)
            browser.open(site.url + "/?status=any")
            browser.see("input[name=key]")[0].send_keys(key)
            browser.see("button.main")[0].click()
            eventually(lambda: browser.text("#live") == "live")
            browser.press("j")
            take(browser, "queue")
            with reading(site.services.engine) as connection:
                found = read_alerts(connection, Filters(pattern="silent-cash-out"), limit=1).items[0].alert.alert_id
            browser.open(f"{site.url}/alerts/{found}")
            take(browser, "alert")


def worked_on(site: Site) -> None:
    """Some of the newest cases are in hand."""
    now_us = site.services.clock.wall_us()
    with writing(site.services.engine) as connection:
        newest = [listed.alert.alert_id for listed in read_alerts(connection, limit=6).items]
        act(connection, Action(newest[1], "claim", "ana", now_us))
        act(connection, Action(newest[2], "escalate", "ben", now_us, "the same shop as yesterday"))
        act(connection, Action(newest[3], "resolve", "ana", now_us, outcome="fraud"))


def take(browser: Browser, name: str) -> None:
    """One picture; too large a one is an error."""
    path = PICTURES / f"{name}.png"
    browser.picture(path)
    size = path.stat().st_size
    assert size < BYTES_MAX, f"{path}: {size} bytes, the limit is {BYTES_MAX}"


if __name__ == "__main__":
    main()
