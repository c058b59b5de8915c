"""`stakeout serve`: the server process. Embedded it also runs lane and sink, each in a thread of its own."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn

from api.app import create_app
from api.embedded import Beside
from api.keys import Keys
from api.services import opened
from cep.cli.configured import settings_of, with_streams
from cep.settings import Settings
from cep.telemetry import log_to_stderr
from cep.tracing import tracing
from events.errors import InvalidDocument, Problem, ServiceUnavailable

HEADERS_BYTES_MAX = 64_000
"""Of one request."""

END_SECONDS = 3
"""How long open answers have, once the process is asked to end."""


def serve(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; answers the exit code."""
    settings = with_streams(options, settings_of(options))
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    server = msgspec.structs.replace(settings.server, **given)
    settings = msgspec.structs.replace(settings, server=server)
    check_address(settings)
    listening = listen(server.host, server.port)
    log_to_stderr(settings.worker.log_level)
    if not settings.kafka.bootstrap:
        from cep.warm import warm

        warm()
    with tracing("serve", os.environ), opened(settings) as services, Beside(services) as beside:
        config = uvicorn.Config(
            create_app(services),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=END_SECONDS,
            h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
            limit_concurrency=server.connections_max,
        )
        running = uvicorn.Server(config)

        def end(*_: object) -> None:
            running.should_exit = True
            services.stopping.set()

        beside.on_end = end
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)  # uvicorn raises what it caught once more when it has ended: it comes here then
        shown, port = listening.getsockname()[:2]
        sys.stderr.write(f"stakeout: http://{shown}:{port}/docs  ({_who(services.keys)})\n")
        running.run([listening])
        return beside.exit_code


def listen(host: str, port: int) -> socket.socket:
    """The port, taken before anything else is begun. Raises ServiceUnavailable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        hint = "name another one: --port, or STAKEOUT_SERVER_PORT"
        raise ServiceUnavailable(f"{host}:{port} can't be listened on: {error}", hint) from error
    return listening


def check_address(settings: Settings) -> None:
    """Raises InvalidDocument where strangers could reach a server that asks for no key."""
    if _is_loopback(settings.server.host) or Keys(Path(settings.server.keys)).any():
        return
    hint = "make a key first: `stakeout keys add NAME --role operator`; or listen on 127.0.0.1"
    reason = f"{settings.server.host} can be reached from elsewhere, and no key is configured"
    raise InvalidDocument("serve", [Problem("server.host", reason, hint)])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _who(keys: Keys) -> str:
    return "with API keys" if keys.any() else "no keys: whoever is on this machine may do everything"
