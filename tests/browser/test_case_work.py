"""An analyst's way: an alert appears, is opened, claimed and resolved by keys, and all of it stands in the audit."""

from __future__ import annotations

from functools import partial

from selenium.webdriver.common.keys import Keys as Key

from tests.browser.world import Browser, Site, eventually


def at(browser: Browser, part: str) -> bool:
    """Is the browser on such a page, and is it loaded?"""
    return part in browser.driver.current_url and browser.run("return document.readyState") == "complete"


def away(browser: Browser) -> None:
    """The pointer is nowhere near the list."""
    browser.run("document.activeElement?.blur(); scrollTo(0, 0)")
    event = {"type": "mouseMoved", "x": 5, "y": 5}
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def live(browser: Browser, url: str) -> None:
    browser.size(1280, "light")
    browser.open(url)
    away(browser)
    eventually(lambda: browser.text("#live") == "live")


def is_state(browser: Browser, state: str) -> bool:
    return browser.text(".head .status") == state


def test_from_its_arrival_to_its_audit(site: Site, browser: Browser) -> None:
    live(browser, site.url + "/?key=card-77001")
    assert "No alert fits these filters" in browser.text("#empty")
    site.cash_out("card-77001")
    eventually(lambda: "912.4 at m-00417" in browser.text(".queue .row.fresh"))
    assert not browser.see("#empty:not([hidden])")

    browser.press("j")
    assert browser.run("return document.activeElement.className") == "open"
    browser.press(Key.ENTER)
    eventually(lambda: at(browser, "/alerts/"))
    assert "0.35, then 912.4 at m-00417: 2 events of card_id card-77001 within 5 s." in browser.text("h1")
    assert len(browser.see(".strip-wide .strip-mark")) == 2

    browser.press("c")
    eventually(lambda: "it is yours now" in browser.text(".told"))
    assert "local claimed it" in browser.text("#audit")

    browser.press("r")
    browser.press(" ")
    assert browser.run("return document.activeElement.value") == "fraud"
    browser.run("document.querySelector('textarea').value = 'the holder never saw this shop'")
    browser.press(Key.ENTER)
    eventually(lambda: "Resolved." in browser.text(".told"))
    audit = browser.text("#audit")
    assert audit.index("resolved it as fraud") < audit.index("claimed it") < audit.index("raised it")
    assert "the holder never saw this shop" in audit
    assert not browser.complaints()

    browser.press("u")
    eventually(lambda: at(browser, "key=card-77001"))
    assert not browser.see(".queue .row")


def test_nothing_moves_under_the_pointer(site: Site, browser: Browser) -> None:
    """While someone is in the list, new alerts are counted; they are shown when asked for."""
    live(browser, site.url + "/?key=card-77002&status=any")
    site.cash_out("card-77002")
    eventually(lambda: browser.see(".queue .row"))
    browser.press("j")
    site.cash_out("card-77002")
    eventually(lambda: browser.text("#arrived") == "1 new alert: show")
    assert len(browser.see(".queue .row")) == 1
    browser.press(".")
    assert len(browser.see(".queue .row")) == 2
    assert "fresh" in browser.see(".queue .row")[0].get_attribute("class")


def test_only_what_the_filters_let_through_appears(site: Site, browser: Browser) -> None:
    live(browser, site.url + "/?key=card-77003&status=any")
    site.cash_out("card-77004")
    site.cash_out("card-77003")
    eventually(lambda: browser.see(".queue .row"))
    assert "card-77003" in browser.text(".queue tbody")
    assert "card-77004" not in browser.text(".queue tbody")


def test_a_claim_from_the_queue_keeps_the_place(site: Site, browser: Browser) -> None:
    for _ in range(3):
        site.cash_out("card-77005")
    live(browser, site.url + "/?key=card-77005")
    browser.press("j")
    browser.press("j")
    second = browser.run("return document.querySelector('.row.current').dataset.id")
    browser.press("c")
    eventually(lambda: at(browser, "told=claim"))
    eventually(lambda: browser.see(".row.current"))
    assert browser.run("return [...document.querySelectorAll('.row')].indexOf(document.querySelector('.current'))") == 1
    assert second not in browser.run("return document.querySelector('.queue').innerHTML")


def test_resolve_from_the_queue_leads_to_the_outcome(site: Site, browser: Browser) -> None:
    site.cash_out("card-77006")
    live(browser, site.url + "/?key=card-77006")
    browser.press("k")
    browser.press("r")
    eventually(lambda: at(browser, "#resolve"))
    eventually(lambda: browser.run("return document.activeElement.name") == "outcome")


def test_the_keys_are_told(site: Site, browser: Browser) -> None:
    live(browser, site.url + "/")
    browser.press("?")
    assert "claim it" in browser.text("#keys")
    browser.press(Key.ESCAPE)
    assert not browser.see("#keys[open]")


def test_a_pattern_is_paused_and_resumed(site: Site, browser: Browser) -> None:
    browser.size(1280, "light")
    browser.open(site.url + "/patterns/country-change")
    for word, state in (("Pause", "paused"), ("Resume", "live")):
        button = next(each for each in browser.see(".head button") if each.text == word)
        button.click()
        eventually(partial(is_state, browser, state))
    assert not browser.complaints()
