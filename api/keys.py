"""API keys and what their holders may do.

    `stakeout keys add NAME --role R` ──▶ file of {name, roles, sha256}      the key itself is printed once
    Authorization: Bearer sk_… ── SHA-256 ──▶ Actor(name, roles)

Every key may read. `analyst` also works on cases and labels, `author` also changes patterns, `operator` also sends
events in; a key may have several roles. Without any key, who reaches the server may do everything: then it listens on
loopback only.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal, get_args

import msgspec

from cep.storage.tables import NAME_CHARS
from events.errors import InvalidDocument, Problem, ServiceUnavailable

Role = Literal["reader", "analyst", "author", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)

PREFIX = "sk_"
KEYS_MAX = 1000
NAME = re.compile(rf"[A-Za-z0-9._@-]{{1,{NAME_CHARS}}}")


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a key."""

    name: str
    roles: tuple[Role, ...]
    sha256: str


class Actor(msgspec.Struct, frozen=True):
    """Who asks, as the audit names them."""

    name: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """May they do what that role does?"""
        return role == "reader" or role in self.roles


ANYONE = Actor("local", frozenset(ROLES))
"""Who reaches a server without keys."""

_decoder = msgspec.json.Decoder(list[Key])


class Keys:
    """The file, read anew whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._guarded = False

    def any(self) -> bool:
        """Is a key needed? Once there was one, until this process ends: a server whose last key is revoked lets nobody
        in, instead of everybody. Raises as `actor`."""
        self._guarded = self._guarded or bool(self._current())
        return self._guarded

    def actor(self, key: str) -> Actor | None:
        """Whose key it is. Raises ServiceUnavailable where the file can't be read: nobody gets in."""
        found = self._current().get(hashlib.sha256(key.encode()).hexdigest())
        return None if found is None else Actor(found.name, frozenset(found.roles))

    def _current(self) -> dict[str, Key]:
        seen = _seen(self._path)
        if seen != self._seen:
            try:
                self._keys = {key.sha256: key for key in read_keys(self._path)}
            except InvalidDocument as error:
                raise ServiceUnavailable(str(error), "mend or remove the file that server.keys names") from error
            self._seen = seen
        return self._keys


def read_keys(path: Path) -> list[Key]:
    """All keys of a file; none if there is no file. Raises ServiceUnavailable, InvalidDocument."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ServiceUnavailable(f"keys {path}: {error}", "name a file that can be read: server.keys") from error
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        hint = "a list of {name, roles, sha256}, as `stakeout keys add` writes it"
        raise InvalidDocument("keys", [Problem(str(path), str(error), hint)]) from error


def add_key(path: Path, name: str, roles: tuple[str, ...]) -> str:
    """Makes a key, keeps its digest and answers the key itself. Raises InvalidDocument, ServiceUnavailable."""
    keys = read_keys(path)
    problems = [
        Problem("role", f"expected one of {', '.join(ROLES)}, found {role!r}") for role in roles if role not in ROLES
    ]
    if not NAME.fullmatch(name):
        problems.append(Problem("name", f"expected letters, digits and any of ._@-, found {name!r}"))
    if name in {key.name for key in keys}:
        problems.append(Problem("name", f"{name!r} has a key already", "revoke it first: `stakeout keys revoke`"))
    if len(keys) >= KEYS_MAX:
        problems.append(Problem("keys", f"there are {len(keys)}, which is the limit", "revoke those that are unused"))
    if problems:
        raise InvalidDocument("keys", problems)
    key = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    _write(path, [*keys, Key(name, msgspec.convert(roles or ("reader",), tuple[Role, ...]), digest)])
    return key


def revoke_key(path: Path, name: str) -> None:
    """Forgets a key: it opens nothing any more. Raises InvalidDocument if there is none of the name."""
    keys = read_keys(path)
    if name not in {key.name for key in keys}:
        raise InvalidDocument("keys", [Problem("name", f"{name!r} has no key", "`stakeout keys list` lists them")])
    _write(path, [key for key in keys if key.name != name])


def _write(path: Path, keys: list[Key]) -> None:
    """The whole file, readable by its owner only, or as it was before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")
        beside.replace(path)
    except OSError as error:
        raise ServiceUnavailable(f"keys {path}: {error}", "name a file that can be written: server.keys") from error


def _seen(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServiceUnavailable(f"keys {path}: {error}", "name a file that can be read: server.keys") from error
    return found.st_mtime_ns, found.st_ino
