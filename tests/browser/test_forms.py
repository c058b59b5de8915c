"""What the pages refuse, and what they keep: forms of strangers, two people at one case, nonsense in the address."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from api.dashboard.pages import HEADERS
from api.keys import add_key
from tests.browser.test_screens import newest
from tests.browser.world import Site, eventually, seeded, serving

PAGES = (
    "/",
    "/patterns",
    "/patterns/card-testing",
    "/operations",
    "/?status=resolved",
    "/static/dashboard.css",
    "/login",
)


@pytest.fixture
def visitor(site: Site) -> Iterator[httpx2.Client]:
    """Someone with cookies, at the server without keys."""
    with httpx2.Client(base_url=site.url, follow_redirects=True) as client:
        yield client


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page's first form."""
    form = re.search(r"<form[^>]*post.*?</form>", page, re.DOTALL)
    assert form, "no form on this page"
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))


def opened(visitor: httpx2.Client, path: str) -> dict[str, str]:
    return hidden(visitor.get(path).text)


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_policy(visitor: httpx2.Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 200
    for name, value in HEADERS.items():
        if name != "Cache-Control":
            assert answer.headers[name] == value
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/patterns/card-testing", "/alerts/{}"])
def test_no_page_has_a_script_or_style_inside(site: Site, visitor: httpx2.Client, path: str) -> None:
    page = visitor.get(path.format(newest(site, "card-testing"))).text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page)


def test_a_form_from_elsewhere_changes_nothing(site: Site, visitor: httpx2.Client) -> None:
    path = f"/alerts/{newest(site, 'rising-amounts')}"
    fields = opened(visitor, path)
    for token in ("", "0" * 64, fields["token"][:-1]):
        assert visitor.post(f"{path}/note", data={**fields, "token": token, "note": "x"}).status_code == 403
    del visitor.cookies["stakeout_form"]
    assert visitor.post(f"{path}/note", data={**fields, "note": "x"}).status_code == 403
    assert "Audit" in visitor.get(path).text
    assert " wrote " not in visitor.get(path).text


def test_of_two_at_one_case_the_second_is_told_and_keeps_what_they_wrote(site: Site, visitor: httpx2.Client) -> None:
    path = f"/alerts/{newest(site, 'declined-then-approved')}"
    mine, theirs = opened(visitor, path), opened(visitor, path)
    assert visitor.post(f"{path}/claim", data=theirs).status_code == 200
    words = "called the holder: it was them <b>"
    answer = visitor.post(f"{path}/resolve", data={**mine, "outcome": "legitimate", "note": words})
    assert answer.status_code == 409
    assert "Somebody else was faster" in answer.text
    assert "local claimed it" in answer.text
    assert "called the holder: it was them &lt;b&gt;</textarea>" in answer.text
    assert re.search(r'value="legitimate"[^>]*checked', answer.text)
    again = visitor.post(f"{path}/resolve", data={**hidden(answer.text), "outcome": "legitimate", "note": words})
    assert again.status_code == 200
    assert "resolved it as legitimate" in visitor.get(path).text


def test_every_action_stands_in_the_audit_and_snoozed_ones_leave_the_queue(site: Site, visitor: httpx2.Client) -> None:
    site.cash_out("card-88001")
    ident = newest(site, "small-then-big")
    path = f"/alerts/{ident}"
    for action, more in {
        "claim": {},
        "note": {"note": "asked the shop"},
        "escalate": {"note": "too large for me"},
        "release": {},
        "snooze": {"hours": "4"},
    }.items():
        answer = visitor.post(f"{path}/{action}", data={**opened(visitor, path), **more, "stay": "1"})
        assert answer.status_code == 200, answer.text
    page = visitor.get(path).text
    for said in ("claimed it", "asked the shop", "escalated it", "too large for me", "released it", "snoozed it until"):
        assert said in page
    assert ident not in visitor.get("/?key=card-88001").text
    assert ident in visitor.get("/?key=card-88001&snoozed=1").text


@pytest.mark.parametrize(
    ("action", "more"),
    [("resolve", {}), ("resolve", {"outcome": "maybe"}), ("snooze", {}), ("snooze", {"hours": "9999"})],
)
def test_half_a_form_is_refused(site: Site, visitor: httpx2.Client, action: str, more: dict[str, str]) -> None:
    path = f"/alerts/{newest(site, 'velocity-burst')}"
    answer = visitor.post(f"{path}/{action}", data={**opened(visitor, path), **more})
    assert answer.status_code == 422
    assert "<!doctype html>" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/alerts/none", 404),
        ("/alerts/" + quote("<script>"), 404),
        ("/patterns/none", 404),
        ("/patterns/card-testing?version=99", 404),
        ("/patterns/card-testing?version=x", 422),
        ("/?cursor=x", 422),
        ("/?status=x", 422),
        ("/?since=x", 422),
        ("/?key=%00", 200),
        ("/live/alerts?after=x", 422),
        ("/static/none.css", 404),
        ("/static/..%2Fpages.py", 404),
    ],
)
def test_nonsense_in_the_address_is_answered_by_a_page(visitor: httpx2.Client, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "<script>" not in answer.text


def test_a_form_has_a_limit_and_must_be_one(site: Site, visitor: httpx2.Client) -> None:
    path = f"/alerts/{newest(site, 'velocity-burst')}"
    fields = opened(visitor, path)
    assert visitor.post(f"{path}/note", data={**fields, "note": "x" * 70_000}).status_code == 413
    assert visitor.post(f"{path}/note", json=fields).status_code == 415
    assert visitor.post(f"{path}/dance", data=fields).status_code == 404
    many = "&".join(f"f{number}=1" for number in range(100))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert visitor.post(f"{path}/note", content=many, headers=form).status_code == 400


def test_nobody_is_led_elsewhere(site: Site) -> None:
    path = f"/alerts/{newest(site, 'country-change')}"
    with httpx2.Client(base_url=site.url) as visitor:
        for target in ("https://evil.example/", "//evil.example", "/\\evil.example"):
            answer = visitor.post(
                f"{path}/note", data={**opened(visitor, path), "note": "x", "stay": "", "next": target}
            )
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/?")


def test_pages_follow_one_another(site: Site, visitor: httpx2.Client) -> None:
    """Every alert is on exactly one page of all."""
    seen: list[str] = []
    path = "/?status=any&snoozed=1"
    while path:
        page = visitor.get(path).text
        seen += re.findall(r'id="a-(\w+)"', page)
        found = re.search(r'rel="next" href="([^"]+)"', page)
        path = found[1].replace("&amp;", "&") if found else ""
    assert len(seen) == len(set(seen)) == site.alerts() > 50


def test_a_stream_goes_on_from_where_it_was(site: Site, visitor: httpx2.Client) -> None:
    """Who comes back with the last id is told what came meanwhile, and nothing twice."""
    page = visitor.get("/?status=any&key=card-88002").text
    after = re.search(r'data-after="([^"]*)"', page)
    assert after
    site.cash_out("card-88002")
    with visitor.stream("GET", f"/live/alerts?status=any&key=card-88002&after={after[1]}") as answer:
        told = next(part for part in answer.iter_text() if "event: alert" in part)
    last = re.findall(r"id: (\S+)", told)[-1]
    assert "card-88002" in told
    site.cash_out("card-88002")
    with visitor.stream("GET", "/live/alerts?status=any&key=card-88002", headers={"Last-Event-ID": last}) as answer:
        told = next(part for part in answer.iter_text() if "event: alert" in part)
    assert told.count("event: alert") == 1


def test_roles_are_kept_and_writes_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = {name: add_key(tmp_path / "keys.json", name, (name,)) for name in ("reader", "analyst")}
    with serving(tmp_path) as site:
        seeded(site)
        alert = f"/alerts/{newest(site, 'card-testing')}"
        with httpx2.Client(base_url=site.url, follow_redirects=True) as visitor:
            assert visitor.get(alert).url.path == "/login"
            assert "card-testing" not in visitor.get(alert).text
            for name, status in (("reader", 403), ("analyst", 200)):
                fields = opened(visitor, "/login")
                visitor.post("/login", data={**fields, "key": keys[name], "next": "/"})
                fields = {"token": fields["token"], "revision": "0", "next": "/", "note": "seen"}
                with caplog.at_level(logging.INFO, "stakeout.audit"):
                    assert visitor.post(f"{alert}/note", data=fields).status_code == status
                assert visitor.post("/patterns/card-testing/pause", data=fields).status_code == 403
            line = {"actor": "analyst", "method": "POST", "path": f"{alert}/note", "status": 303}
            eventually(lambda: line in [getattr(one, "told", {}) for one in caplog.records])  # it follows the answer
            visitor.post("/logout", data=fields)
            assert visitor.get("/").url.path == "/login"
            visitor.cookies.set("stakeout_session", "WyJhbmFseXN0IiwiIiw5XQ==." + "0" * 64)
            assert visitor.get("/").url.path == "/login"
