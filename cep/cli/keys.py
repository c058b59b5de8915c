"""`stakeout keys`: who may ask the REST interface."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from cep.cli.configured import say, say_json, settings_of
from cep.storage import access
from cep.storage.database import database_url, open_database, reached
from events.errors import InvalidDocument, Problem


def add(options: argparse.Namespace) -> int:
    """Makes a key and prints it, once."""
    with _tables(options) as connection:
        key = access.add_key(connection, options.name, options.role, time.time_ns() // 1000)
    if options.json:
        say_json({"name": options.name, "role": options.role, "key": key})
    else:
        say(f"{key}\n(of {options.name}, {options.role}; it is shown this once and kept nowhere)")
    return 0


def revoke(options: argparse.Namespace) -> int:
    """Ends a key."""
    with _tables(options) as connection:
        if not access.revoke_key(connection, options.name, time.time_ns() // 1000):
            hint = "`stakeout keys list` shows them"
            raise InvalidDocument("API key", [Problem("name", f"no live key is called {options.name!r}", hint)])
    say(f"{options.name} has ended")
    return 0


def listed(options: argparse.Namespace) -> int:
    """All keys, without the keys."""
    with _tables(options) as connection:
        keys = access.read_keys(connection)
    for one in keys:
        if options.json:
            say_json({"name": one.name, "role": one.role, "live": one.revoked_at_us is None})
        else:
            say(f"{'live ' if one.revoked_at_us is None else 'ended'}  {one.role:<8}  {one.name}")
    if not keys and not options.json:
        say("no keys: `stakeout serve` listens on loopback only, and asks for none")
    return 0


@contextmanager
def _tables(options: argparse.Namespace) -> Iterator[Connection]:
    engine = open_database(database_url(settings_of(options)), connections=1)
    try:
        with reached(engine), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
