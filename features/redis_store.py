"""RedisStore: one value per entity and view, guarded where it lies.

    app:features:view:["card-1"]  ──▶  16 bytes of guard (big endian, so that they compare as its numbers do) ++ packed

A write is one round trip for all entries, each through a script that compares the guard. One Redis or a primary with
replicas; a Redis Cluster isn't supported.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

import redis

from events.errors import ServiceUnavailable
from features.store import Entity, EntityState, Guard, name_of

GUARD = struct.Struct(">QQ")
TIMEOUT_S = 2.0
"""To connect, and for an answer."""

WRITE = """
local before = redis.call('GETRANGE', KEYS[1], 0, 15)
if before > ARGV[1] then return 1 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 0
"""


class RedisStore:
    """The store of production."""

    def __init__(self, url: str, app: str) -> None:
        """url: as redis://host:port/0; app: the application id, in front of every key. Connects at its first use."""
        self._where = url.rpartition("@")[2]
        self._app = app
        self._redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, max_connections=64
        )
        self._write = self._redis.register_script(WRITE)

    def write(self, guard: Guard, entries: Sequence[EntityState]) -> int:
        """See OnlineStore."""
        head = GUARD.pack(*guard)
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                keep_ms = max(1, -(-entry.ttl_us // 1000))
                self._write([self._key(entry.view, entry.entity)], [head, entry.packed, keep_ms], client=pipe)
            try:
                return sum(pipe.execute())
            except redis.RedisError as error:
                raise self._away(error) from error

    def read(self, view: str, entities: Sequence[Entity]) -> list[bytes | None]:
        """See OnlineStore."""
        if not entities:
            return []
        try:
            found = self._redis.mget([self._key(view, entity) for entity in entities])
        except redis.RedisError as error:
            raise self._away(error) from error
        return [None if value is None else bytes(cast(bytes, value)[GUARD.size :]) for value in found]

    def close(self) -> None:
        """See OnlineStore."""
        self._redis.close()

    def _key(self, view: str, entity: Entity) -> str:
        return f"{self._app}:features:{view}:{name_of(entity)}"

    def _away(self, error: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"Redis {self._where}: {error}", "is it running, and is address.redis (STAKEOUT_REDIS) right?"
        )
