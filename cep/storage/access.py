"""Who may ask: API keys. And what was answered to an Idempotency-Key, so that it is answered again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from sqlalchemy import Connection, delete, select, update

from cep.storage.queries import insert_or_leave
from cep.storage.tables import NAME_CHARS, api_answers, api_keys
from events.errors import InvalidDocument, Problem

Role = Literal["reader", "analyst", "author", "operator"]
"""Each may do what those before it may: look; work cases; change patterns; everything."""

ROLES: tuple[Role, ...] = get_args(Role)
PREFIX = "stk_"


class Key(NamedTuple):
    """An API key, without the key."""

    name: str
    role: Role
    made_at_us: int
    revoked_at_us: int | None


class Answer(NamedTuple):
    """What a request was answered; status 0: it is still at work. request: digest of what was asked."""

    request: str
    at_us: int
    status: int
    headers: str
    body: bytes


def digest_of(key: str) -> str:
    """SHA-256 in hexadecimal. Keys are 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_key(connection: Connection, name: str, role: Role, at_us: int) -> str:
    """Makes a key and answers it: it can't be had again. Raises InvalidDocument for a name that is taken or is none."""
    problems = []
    if role not in ROLES:
        problems.append(Problem("role", f"expected one of {', '.join(ROLES)}, found {role!r}"))
    if not 0 < len(name) <= NAME_CHARS or "\x00" in name:
        problems.append(Problem("name", f"expected up to {NAME_CHARS} characters"))
    if problems:
        raise InvalidDocument("API key", problems)
    key = PREFIX + secrets.token_urlsafe(32)
    row = {"name": name, "role": role, "digest": digest_of(key), "made_at": at_us, "revoked_at": None}
    if connection.execute(insert_or_leave(connection, api_keys), [row]).rowcount != 1:
        hint = "names are never used again, as the audit has them: take another"
        raise InvalidDocument("API key", [Problem("name", f"there is a key {name!r} already", hint)])
    return key


def revoke_key(connection: Connection, name: str, at_us: int) -> bool:
    """Ends a key; False if there is no such key, or it has ended."""
    query = update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None)).values(revoked_at=at_us)
    return connection.execute(query).rowcount == 1


def read_keys(connection: Connection) -> Sequence[Key]:
    """All of them, by name."""
    query = select(api_keys.c.name, api_keys.c.role, api_keys.c.made_at, api_keys.c.revoked_at).order_by(
        api_keys.c.name
    )
    return [Key(*row) for row in connection.execute(query)]


def live_keys(connection: Connection) -> dict[str, tuple[str, Role]]:
    """digest → (name, role) of the keys that haven't ended."""
    query = select(api_keys.c.digest, api_keys.c.name, api_keys.c.role).where(api_keys.c.revoked_at.is_(None))
    return {row.digest: (row.name, row.role) for row in connection.execute(query)}


def begin_answer(connection: Connection, actor: str, key: str, request: str, at_us: int) -> Answer | None:
    """Takes the key for a request that begins; else what is known of the request that has it."""
    row = {"actor": actor, "key": key, "request": request, "at": at_us, "status": 0, "headers": "{}", "body": b""}
    if connection.execute(insert_or_leave(connection, api_answers), [row]).rowcount == 1:
        return None
    columns = api_answers.c
    query = select(columns.request, columns.at, columns.status, columns.headers, columns.body)
    found = connection.execute(query.where(columns.actor == actor, columns.key == key)).first()
    return None if found is None else Answer(*found)


def end_answer(connection: Connection, actor: str, key: str, status: int, headers: str, body: bytes) -> None:
    """The request was answered."""
    query = update(api_answers).where(api_answers.c.actor == actor, api_answers.c.key == key)
    connection.execute(query.values(status=status, headers=headers, body=body))


def drop_answer(connection: Connection, actor: str, key: str) -> None:
    """The request failed: the key may be used again."""
    connection.execute(delete(api_answers).where(api_answers.c.actor == actor, api_answers.c.key == key))


def forget_answers(connection: Connection, before_us: int) -> None:
    """Those of requests that began before."""
    connection.execute(delete(api_answers).where(api_answers.c.at < before_us))
