"""Every screen, light and dark, on a desk and on a phone: nothing complains, nothing is cut off, all can be read."""

from __future__ import annotations

from typing import get_args

import pytest

from cep.storage.database import reading
from cep.storage.queries import Filters, read_alerts
from tests.browser.looks import flaws
from tests.browser.world import Browser, Scheme, Site

WIDTHS = (1280, 390)
SCREENS = {
    "queue": "/",
    "queue, filtered": "/?status=any&severity=high&since=24h&key=nobody&snoozed=1",
    "patterns": "/patterns",
    "pattern with a loop": "/patterns/card-testing",
    "pattern with two versions": "/patterns/card-testing?version=2",
    "pattern of eight": "/patterns/velocity-burst",
    "pattern of four steps": "/patterns/rising-amounts",
    "pattern with an absence": "/patterns/silent-cash-out",
    "operations": "/operations",
}
ALERTS = ("card-testing", "velocity-burst", "rising-amounts", "silent-cash-out", "country-change")


def newest(site: Site, pattern: str) -> str:
    """The id of a pattern's last alert."""
    with reading(site.services.engine) as connection:
        found = read_alerts(connection, Filters(pattern=pattern), limit=1).items
    assert found, f"nothing was found by {pattern}"
    return found[0].alert.alert_id


def check(browser: Browser, url: str, width: int, scheme: Scheme) -> None:
    browser.size(width, scheme)
    browser.open(url)
    problems = [*browser.complaints(), *flaws(browser)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_can_be_read(site: Site, browser: Browser, screen: str, width: int, scheme: Scheme) -> None:
    check(browser, site.url + SCREENS[screen], width, scheme)


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("pattern", ALERTS)
def test_an_alert_can_be_read(site: Site, browser: Browser, pattern: str, width: int, scheme: Scheme) -> None:
    check(browser, f"{site.url}/alerts/{newest(site, pattern)}", width, scheme)


def test_the_checks_see_what_is_wrong(site: Site, browser: Browser) -> None:
    """Each of them, on a page that was spoiled."""
    spoil = """
    const add = (css, text) => {
      const element = document.createElement("p");
      element.textContent = text;
      for (const [name, value] of Object.entries(css)) element.style.setProperty(name, value);
      document.querySelector("main").append(element);
    };
    add({ color: "rgb(200 200 200)", background: "rgb(210 210 210)" }, "pale");
    add({ width: "3000px" }, "wide");
    add({ "white-space": "nowrap", width: "20px", overflow: "hidden" }, "cut off here");
    add({ height: "0" }, "below");
    add({}, "above");
    """
    browser.size(1280, "light")
    browser.open(site.url + "/operations")
    browser.run(spoil)
    told = "\n".join(flaws(browser))
    for word in ('"pale" has a contrast', "the page is 30", '"cut off here" is cut off', '"below" lies over "above"'):
        assert word in told
    browser.run("console.error('a complaint')")
    assert any("a complaint" in each for each in browser.complaints())


def test_nothing_inline_runs(site: Site, browser: Browser) -> None:
    """The policy stops a script that a page would have been tricked into."""
    browser.open(site.url + "/")
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"/none\" onerror=\"window.tricked = 1\">')")
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.tricked = 1'; document.body.append(s)"
    )
    assert browser.run("return window.tricked ?? null") is None
    assert any("Content Security Policy" in each for each in browser.complaints())


def test_what_an_event_says_is_text(site: Site, browser: Browser) -> None:
    """A merchant that calls itself a script is shown as one."""
    bad = "<img src=x onerror=alert(1)>"
    site.cash_out("card-evil", bad)
    browser.size(1280, "light")
    browser.open(f"{site.url}/?status=any&key=card-evil")
    assert bad in browser.text(".queue")
    browser.see(".queue .open")[0].click()
    assert bad in browser.text("h1")
    assert not browser.complaints()
