"""`stakeout keys`: makes, lists and revokes API keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from api import keys
from cep.cli.configured import say, say_json, settings_of


def add(options: argparse.Namespace) -> int:
    """Prints the key, once: only its digest is kept."""
    path = Path(settings_of(options).server.keys)
    key = keys.add_key(path, options.name, tuple(options.role))
    if options.json:
        say_json({"name": options.name, "roles": options.role or ["reader"], "key": key})
    else:
        say(f"{key}\nThis is {options.name}'s key; it is shown this once. Send it as `Authorization: Bearer …`.")
    return 0


def listed(options: argparse.Namespace) -> int:
    """Who has a key, and its roles."""
    for key in keys.read_keys(Path(settings_of(options).server.keys)):
        if options.json:
            say_json({"name": key.name, "roles": list(key.roles)})
        else:
            say(f"{key.name:<24}  {', '.join(key.roles)}")
    return 0


def revoke(options: argparse.Namespace) -> int:
    """The key opens nothing any more, at once."""
    keys.revoke_key(Path(settings_of(options).server.keys), options.name)
    return 0
