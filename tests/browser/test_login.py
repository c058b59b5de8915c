"""With keys: who has none is asked for one, may do what its roles say, and is out at once when it is revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.keys import add_key, revoke_key
from tests.browser.looks import flaws
from tests.browser.test_case_work import at
from tests.browser.world import Browser, Site, eventually, seeded, serving


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, str]]]:
    """A server, and keys by name."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = {name: add_key(folder / "keys.json", name, (name,)) for name in ("reader", "analyst", "author")}
    with serving(folder) as found:
        seeded(found)
        yield found, keys


def enter(browser: Browser, url: str, key: str) -> None:
    browser.open(url)
    browser.driver.delete_all_cookies()
    browser.driver.get(url)
    eventually(lambda: at(browser, "/login"))
    browser.see("input[name=key]")[0].send_keys(key)
    browser.see("button.main")[0].click()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_key_opens_what_was_asked_for(guarded: tuple[Site, dict[str, str]], browser: Browser, width: int) -> None:
    site, keys = guarded
    for scheme in ("light", "dark"):
        browser.size(width, scheme)
        browser.open(site.url + "/patterns")
        browser.driver.delete_all_cookies()
        browser.open(site.url + "/patterns")
        assert not [*browser.complaints(), *flaws(browser)]
        enter(browser, site.url + "/patterns", keys["analyst"])
        eventually(lambda: at(browser, "/patterns") and "card-testing" in browser.text())
        assert not flaws(browser)
    cookie = browser.driver.get_cookie("stakeout_session")
    assert cookie is not None
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert browser.run("return document.cookie") == ""
    assert "Pause" not in browser.run("return document.body.innerText")


def test_a_wrong_key_opens_nothing(guarded: tuple[Site, dict[str, str]], browser: Browser) -> None:
    site, _ = guarded
    enter(browser, site.url + "/", "sk_wrong")
    eventually(lambda: "not known" in browser.text(".warn"))


def test_a_reader_looks_and_an_author_pauses(guarded: tuple[Site, dict[str, str]], browser: Browser) -> None:
    site, keys = guarded
    browser.size(1280, "light")
    enter(browser, site.url + "/", keys["reader"])
    eventually(lambda: browser.see(".queue .row"))
    assert not browser.see("button[value=claim]")
    browser.see(".queue .open")[0].click()
    eventually(lambda: "may look, but not act" in browser.text(".case"))
    enter(browser, site.url + "/patterns/card-testing", keys["author"])
    eventually(lambda: "Pause" in browser.text(".head"))


def test_a_session_ends_with_its_key(guarded: tuple[Site, dict[str, str]], browser: Browser, tmp_path: Path) -> None:
    site, _ = guarded
    path = Path(site.services.settings.server.keys)
    enter(browser, site.url + "/", add_key(path, "leaver", ("analyst",)))
    eventually(lambda: "leaver" in browser.text(".who"))
    revoke_key(path, "leaver")
    browser.driver.get(site.url + "/")
    eventually(lambda: at(browser, "/login"))
