"""Dockerfile and docker-compose.yml against what they speak of: files, commands, settings, versions.

No engine builds or runs them here. What can be known without one is checked against the project itself.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cep.cli.arguments import parser
from cep.settings import FOREIGN, table
from deploy import kafka, redis, stakeout
from deploy.servers import KINDS, NAMES, TOPOLOGY

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"[\w./-]+:\d+\.\d+\.?\d*[\w.-]*")
VARIABLES = {row.variable for row in table()} | FOREIGN

# Of the compose specification: what a service and its health check may say, as far as this file says it.
SERVICE_KEYS = {
    "image", "build", "command", "environment", "volumes", "healthcheck", "depends_on", "restart", "read_only",
    "cap_drop", "security_opt", "tmpfs", "user", "ports", "env_file",
}  # fmt: skip
CHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period", "disable"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def is_command(words: list[str]) -> bool:
    """Does the real parser take it?"""
    try:
        parser().parse_args(words)
    except SystemExit:
        return False
    return True


def test_a_command_that_is_none_is_noticed() -> None:
    assert not is_command(["no-such-command"])
    assert not is_command(["worker", "--no-such-option"])


def test_the_dockerfile_copies_what_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    copies = [shlex.split(rest) for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = [source for words in copies for source in words[:-1]]
    assert len(sources) > 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_every_room_that_is_installed_is_copied() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    rooms = set(re.findall(r'^    "(\w+)",$', text, re.MULTILINE)) & {path.name for path in ROOT.iterdir()}
    copied = {rest.split()[0] for name, rest in instructions() if name == "COPY"}
    assert {"cep", "events"} <= rooms
    assert rooms | {"alembic", "examples"} <= copied


def test_images_are_pinned_to_a_version() -> None:
    images = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    images += [service["image"] for service in SERVICES.values()]
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka.version()}"
    assert all(image.startswith("python:3.11.") for image in images[:2])


def test_the_last_stage_runs_as_nobody_special_and_holds_no_build_tool() -> None:
    stage = last_stage()
    user = [rest for name, rest in stage if name == "USER"]
    assert user == ["10001:10001"]
    ran = " ".join(rest for name, rest in stage if name == "RUN")
    assert not re.search(r"apt|pip|gcc|curl|wget", ran)


def test_the_image_starts_a_command_that_there_is() -> None:
    stage = dict(last_stage())
    assert json.loads(stage["ENTRYPOINT"]) == ["stakeout"]
    assert 'stakeout = "cep.cli:main"' in (ROOT / "pyproject.toml").read_text()
    words = json.loads(stage["CMD"])
    assert is_command(words)
    check = json.loads(stage["HEALTHCHECK"].partition("CMD ")[2])
    assert check[0] == "python"
    compile(check[2], "HEALTHCHECK", "exec")
    assert f":{words[words.index('--metrics-port') + 1]}/healthz" in check[2]
    set_here = set(re.findall(r"(STAKEOUT_\w+)=", " ".join(rest for name, rest in instructions() if name == "ENV")))
    assert set_here <= VARIABLES


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_one_that_compose_and_the_project_know(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS
    assert set(service.get("healthcheck", {})) <= CHECK_KEYS
    for needed, how in service.get("depends_on", {}).items():
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert SERVICES[needed]["healthcheck"]["test"][0] == "CMD"
        if how["condition"] == "service_completed_successfully":
            assert "restart" not in SERVICES[needed]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for volume in service.get("volumes", []):
        assert volume.partition(":")[0] in compose()["volumes"]
    assert service.get("user", "10001") not in {"root", "0", "0:0"}
    assert "user" in service or name in OURS  # whose image says it
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", OURS)
def test_a_process_of_ours_has_a_command_and_settings_that_there_are(name: str) -> None:
    service = OURS[name]
    assert is_command(service["command"])
    assert set(service["environment"]) <= VARIABLES
    assert service["read_only"] is True
    for needed, kind in ((server, KINDS[server]) for server in NAMES):
        assert f"{needed}:{kind.default_port}" in service["environment"][kind.variable]


def test_make_up_starts_the_same_servers_and_processes_by_the_same_commands() -> None:
    """`deploy/services.py up` beside docker-compose.yml: only ports and the two steps' place differ."""
    assert set(SERVICES) == {*TOPOLOGY, *stakeout.STEPS}
    commands = {
        name: [word.format(port=KINDS[name].default_port) for word in words]
        for name, words in stakeout.COMMANDS.items()
    }
    commands |= {name: [*words] for name, words in stakeout.STEPS.items()}
    assert {name: service["command"] for name, service in OURS.items()} == commands
    assert SERVICES["redis"]["command"] == ["redis-server", *redis.DURABLE]


@pytest.mark.parametrize("name", OURS)
def test_make_up_gives_a_process_the_same_settings(name: str, tmp_path: Path) -> None:
    """From one file, and beside it those of a place: addresses and folders. In its container the api listens to all."""
    service = OURS[name]
    (shared,) = service["env_file"]
    assert ROOT / shared == stakeout.SHARED
    ours = stakeout.settings(tmp_path)
    of_place = {key for key, value in ours.items() if f"{key}={value}" not in stakeout.SHARED.read_text().splitlines()}
    assert set(service["environment"]) == of_place | {KINDS[server].variable for server in NAMES} | (
        {"STAKEOUT_SERVER_HOST"} if name == "api" else set()
    )
    assert set(ours) <= VARIABLES
    assert Path(service["environment"]["STAKEOUT_STREAMS"].partition(":-")[2].rstrip("}")).name == stakeout.STREAMS.name


def test_make_up_gives_kafka_the_same_settings() -> None:
    """Those that aren't addresses. Ours has more: what a broker starts and comes back faster with."""
    ours = {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in kafka.settings(1, 2, "", "").items()}
    address = re.compile(r"KAFKA_(.*LISTENERS|CONTROLLER_QUORUM_VOTERS|LOG_DIRS)")
    theirs = {key: value for key, value in SERVICES["kafka"]["environment"].items() if not address.fullmatch(key)}
    assert theirs == {key: ours.get(key) for key in theirs}
    assert set(SERVICES["kafka"]["environment"]) <= set(ours)


def test_no_secret_is_in_the_file() -> None:
    """A password comes from the environment; its default says that it is none."""
    text = (ROOT / "docker-compose.yml").read_text()
    given = re.findall(r"PASSWORD[:\w]*?:?-([^}]*)}", text)
    assert given
    assert set(given) == {"development-only"}
    assert "FOR DEVELOPMENT" in text
