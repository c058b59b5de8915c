"""Containers of a Docker engine, where one answers. **Never run**: no engine was to be had where it was written."""

from __future__ import annotations

import functools

from deploy.kind import ServiceError
from deploy.processes import LOG_LINES, last_lines, run


@functools.cache
def engine_answers() -> bool:
    """Is there an engine? Asked once."""
    return run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=10).returncode == 0


def launch(name: str, container: str, options: list[str]) -> None:
    """Starts a container that there is, or makes it, with options, image and arguments."""
    if run(["docker", "container", "inspect", container]).returncode == 0:
        _docker(name, "start", container)
    else:
        _docker(name, "run", "--detach", "--name", container, *options)


def end(name: str, container: str, *, killed: bool) -> None:
    """Ends it; its data stays."""
    _docker(name, "kill" if killed else "stop", container)


def remove(name: str, container: str) -> None:
    """Ends it and deletes its data."""
    _docker(name, "rm", "--force", "--volumes", container)


def log(container: str) -> str:
    """The end of what it said."""
    return run(["docker", "logs", "--tail", str(LOG_LINES), container]).stdout


def _docker(name: str, *arguments: str) -> None:
    done = run(["docker", *arguments])
    if done.returncode != 0:
        raise ServiceError(
            f"{name}: docker {arguments[0]} ended with {done.returncode}:\n{last_lines(done.stdout)}\n"
            "Pull the image by hand, or leave this engine aside with DOCKER_HOST=unix:///nowhere."
        )
