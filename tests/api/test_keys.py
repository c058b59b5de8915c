"""Who may do what; and what a server without keys is careful about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.keys import add_key, read_keys, revoke_key
from api.serve import check_address
from api.services import opened
from cep.cli import main
from events.errors import InvalidDocument
from tests.api.world import PATTERN, YAML, World, settings_in


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, dict[str, str]]]]:
    """A server with a key for each role; no lane runs."""
    settings = settings_in(tmp_path_factory.mktemp("guarded"))
    path = Path(settings.server.keys)
    roles = ("reader", "analyst", "author", "operator")
    headers = {role: {"Authorization": f"Bearer {add_key(path, role, (role,))}"} for role in roles}
    with opened(settings) as services, TestClient(create_app(services), "http://stakeout.example") as client:
        yield World(client, services), headers


@pytest.mark.parametrize(
    ("role", "method", "path", "body"),
    [
        ("author", "POST", "/v1/patterns/x/activate", {}),
        ("author", "POST", "/v1/patterns/x/pause", None),
        ("operator", "POST", "/v1/events", {}),
        ("operator", "POST", "/v1/decisions", {}),
        ("analyst", "POST", "/v1/alerts/alert_" + "0" * 32 + "/claim", {}),
        ("analyst", "POST", "/v1/labels", {"event_id": "x", "label": "fraud"}),
        ("reader", "GET", "/v1/alerts", None),
        ("reader", "GET", "/v1/patterns", None),
        ("reader", "GET", "/v1/lanes", None),
    ],
)
def test_a_route_is_for_its_role(
    guarded: tuple[World, dict[str, dict[str, str]]], role: str, method: str, path: str, body: object
) -> None:
    world, headers = guarded
    nobody = world.client.request(method, path, json=body)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")
    assert nobody.headers["www-authenticate"] == "Bearer"
    stranger = world.client.request(method, path, json=body, headers={"Authorization": "Bearer sk_guess"})
    assert stranger.status_code == 401
    for other, header in headers.items():
        answer = world.client.request(method, path, json=body, headers=header)
        assert (answer.status_code == 403) == (role not in ("reader", other)), (other, answer.text)


def test_the_control_log_names_who_made_a_change(guarded: tuple[World, dict[str, dict[str, str]]]) -> None:
    world, headers = guarded
    made = world.client.post("/v1/patterns", content=PATTERN, headers={**YAML, **headers["author"]})
    assert made.status_code == 201
    found = world.client.get("/v1/patterns/small-then-big", headers=headers["reader"]).json()
    assert [version["author"] for version in found["versions"]] == ["author"]


def test_a_key_is_kept_as_a_digest_and_opens_nothing_once_it_is_revoked(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    path = Path(settings.server.keys)
    add_key(path, "stays", ("reader",))
    key = add_key(path, "goes", ("reader",))
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    with opened(settings) as services:
        client = TestClient(create_app(services), "http://localhost", headers={"Authorization": f"Bearer {key}"})
        assert client.get("/v1/streams").status_code == 200
        revoke_key(path, "goes")
        assert client.get("/v1/streams").status_code == 401
    with pytest.raises(InvalidDocument, match="has a key already"):
        add_key(path, "stays", ())
    assert [each.name for each in read_keys(path)] == ["stays"]


def test_when_the_last_key_is_revoked_nobody_gets_in_instead_of_everybody(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    add_key(Path(settings.server.keys), "last", ())
    with opened(settings) as services:
        client = TestClient(create_app(services), "http://localhost")
        assert client.get("/v1/streams").status_code == 401
        revoke_key(Path(settings.server.keys), "last")
        assert client.get("/v1/streams").status_code == 401
        Path(settings.server.keys).unlink()
        assert client.get("/v1/streams").status_code == 401


def test_a_file_of_keys_that_can_not_be_read_lets_nobody_in(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    Path(settings.server.keys).write_text("{")
    with opened(settings) as services:
        answer = TestClient(create_app(services), "http://localhost").get("/v1/streams")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")


def test_without_keys_the_server_listens_on_loopback_only(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    check_address(settings)
    open_to_all = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, host="0.0.0.0"))
    with pytest.raises(InvalidDocument, match="no key is configured"):
        check_address(open_to_all)
    add_key(Path(settings.server.keys), "ana", ("analyst",))
    check_address(open_to_all)


def test_without_keys_pages_and_names_of_others_are_refused(tmp_path: Path) -> None:
    with opened(settings_in(tmp_path)) as services:
        client = TestClient(create_app(services), "http://localhost:8080")
        assert client.get("/v1/streams").status_code == 200
        assert client.get("/v1/streams", headers={"Origin": "http://localhost:8080"}).status_code == 200
        page = client.get("/v1/streams", headers={"Origin": "http://evil.example"})
        assert (page.status_code, page.json()["code"]) == (403, "foreign_origin")
        name = client.get("/v1/streams", headers={"Host": "evil.example"})
        assert (name.status_code, name.json()["code"]) == (403, "foreign_host")


def test_the_command_makes_lists_and_revokes_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STAKEOUT_SERVER_KEYS", str(tmp_path / "keys.json"))
    assert main(["keys", "add", "ana", "--role", "analyst", "--role", "author"]) == 0
    assert capsys.readouterr().out.startswith("sk_")
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out.split() == ["ana", "analyst,", "author"]
    assert main(["keys", "revoke", "ana"]) == 0
    assert main(["keys", "revoke", "ana"]) == 2
    assert "has no key" in capsys.readouterr().err
