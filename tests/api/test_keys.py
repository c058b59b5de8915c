"""Who may ask what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import pytest

from api.serve import check_address
from cep.storage import access
from events.errors import InvalidDocument
from tests.api.conftest import Running, run
from tests.api.test_patterns import document, problem


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with a key of each role."""
    for running in run(tmp_path_factory.mktemp("guarded")):
        with running.services.transaction() as connection:
            keys: dict[str, str] = {role: access.add_key(connection, f"a-{role}", role, 1) for role in access.ROLES}
        running.services.keys._read_at = float("-inf")
        yield running, keys


def ask(running: Running, key: str | None, method: str, path: str, json: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return running.http.request(method, path, headers=headers, json=json)


def test_each_role_may_what_those_before_it_may(guarded: tuple[Running, dict[str, str]]) -> None:
    running, keys = guarded
    roles: list[str] = list(access.ROLES)
    asked = [
        ("GET", "/v1/alerts", None, "reader"),
        ("POST", "/v1/labels", {"items": [{"stream": "s", "event_id": "e", "label": "refund"}]}, "analyst"),
        ("POST", "/v1/patterns", document("roles"), "author"),
        ("GET", "/v1/dead-letters", None, "operator"),
    ]
    for method, path, body, least in asked:
        for role in roles:
            answer = ask(running, keys[role], method, path, json=body)
            if roles.index(role) >= roles.index(least):
                assert answer.status_code in (200, 201), (role, path, answer.text)
            else:
                told = problem(answer, 403, "forbidden")
                assert told["detail"] == f"a-{role} is a {role}; this needs the role {least}"


def test_without_a_key_or_with_a_wrong_one_nothing_is_told(guarded: tuple[Running, dict[str, str]]) -> None:
    running, keys = guarded
    for key in (None, "stk_wrong", keys["reader"][:-1]):
        refused = ask(running, key, "GET", "/v1/alerts")
        problem(refused, 401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert running.http.get("/healthz").status_code == 200


def test_a_key_that_has_ended_is_refused(guarded: tuple[Running, dict[str, str]]) -> None:
    running, _ = guarded
    with running.services.transaction() as connection:
        key = access.add_key(connection, "leaver", "analyst", 1)
    running.services.keys._read_at = float("-inf")
    assert ask(running, key, "GET", "/v1/alerts").status_code == 200
    with running.services.transaction() as connection:
        assert access.revoke_key(connection, "leaver", 2)
    running.services.keys._read_at = float("-inf")
    problem(ask(running, key, "GET", "/v1/alerts"), 401, "unauthorized")


def test_the_audit_names_the_owner_of_the_key(guarded: tuple[Running, dict[str, str]]) -> None:
    running, keys = guarded
    author = {"Authorization": f"Bearer {keys['operator']}"}
    running.http.headers.update(author)
    try:
        alert = running.raise_alert()
    finally:
        del running.http.headers["Authorization"]
    ask(running, keys["analyst"], "POST", f"/v1/alerts/{alert['id']}/claim")
    whole = ask(running, keys["reader"], "GET", f"/v1/alerts/{alert['id']}").json()
    assert [one["actor"] for one in whole["actions"]] == ["a-analyst"]
    versions = ask(running, keys["reader"], "GET", "/v1/patterns/small-then-big").json()["versions"]
    assert [one["author"] for one in versions] == ["a-operator"]


def test_a_key_is_kept_as_a_digest_only(guarded: tuple[Running, dict[str, str]]) -> None:
    running, keys = guarded
    with running.services.transaction() as connection:
        rows = str(connection.exec_driver_sql("SELECT * FROM api_keys").fetchall())
    assert not any(key in rows for key in keys.values())


def test_without_keys_only_this_machine_is_listened_to(tmp_path: Path) -> None:
    server = run(tmp_path, host="127.0.0.1")
    running = next(server)
    for host, fine in (("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("shop", False)):
        settings = running.services.settings
        moved = msgspec.structs.replace(settings, serve=msgspec.structs.replace(settings.serve, host=host))
        one = replace(running.services, settings=moved)
        if fine:
            check_address(one)
        else:
            with pytest.raises(InvalidDocument, match="would let everybody in"):
                check_address(one)
    server.close()
