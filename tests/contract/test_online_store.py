"""What both online stores keep to: the newest commit of the newest lane counts; what was packed comes back whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cep.online import OnlineWriter
from deploy.servers import Services as Machines
from deploy.servers import start
from events.errors import ServiceUnavailable
from features.redis_store import RedisStore
from features.store import Entity, EntityState, Guard, MemoryStore, OnlineStore
from tests.api.world import eventually

FIRST = Guard(1, 1)
HOUR_US = 3_600_000_000


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, unique: str) -> Iterator[OnlineStore]:
    found: OnlineStore = MemoryStore()
    if request.param == "redis":
        found = RedisStore(request.getfixturevalue("redis_url"), unique)
    yield found
    found.close()


def state(card: str | int, packed: bytes = b"x", view: str = "v") -> EntityState:
    return EntityState(view, (card,), packed, HOUR_US)


def test_what_was_written_is_read_in_the_order_that_is_asked(store: OnlineStore) -> None:
    every_byte = bytes(range(256)) * 40
    assert store.write(FIRST, [state("a", b"1"), state("b", every_byte), state("a", b"2", "w")]) == 0
    assert store.read("v", [("b",), ("nobody",), ("a",)]) == [every_byte, None, b"1"]
    assert store.read("w", [("a",), ("b",)]) == [b"2", None]
    assert store.read("v", []) == []


@pytest.mark.parametrize(
    ("later", "counts"),
    [
        (Guard(1, 1), True),
        (Guard(1, 2), True),
        (Guard(2, 0), True),
        (Guard(1, 300), True),
        (Guard(1, 0), False),
        (Guard(0, 2**63 - 1), False),
    ],
)
def test_an_older_lane_or_commit_is_left_out(store: OnlineStore, later: Guard, counts: bool) -> None:
    store.write(FIRST, [state("a", b"before")])
    assert store.write(later, [state("a", b"after"), state("new", b"new")]) == (0 if counts else 1)
    assert store.read("v", [("a",), ("new",)]) == [b"after" if counts else b"before", b"new"]


def test_entities_that_look_alike_are_kept_apart(store: OnlineStore) -> None:
    entities: list[Entity] = [(1,), ("1",), ("a:b",), ("a", "b"), ('"a"',), ("ä\n€",), ("",), (-1,), ("a,b",)]
    store.write(FIRST, [EntityState("v", entity, repr(entity).encode(), HOUR_US) for entity in entities])
    assert store.read("v", entities) == [repr(entity).encode() for entity in entities]


def test_several_threads_write_and_read(store: OnlineStore) -> None:
    def work(card: str) -> None:
        for number in range(50):
            store.write(Guard(1, number), [state(card, f"{card}{number}".encode())])
            assert store.read("v", [(card,)]) == [f"{card}{number}".encode()]

    failed: list[threading.ExceptHookArgs] = []
    threading.excepthook = failed.append
    threads = [threading.Thread(target=work, args=(card,)) for card in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = threading.__excepthook__
    assert not failed


def test_the_memory_forgets_what_was_written_first() -> None:
    store = MemoryStore(entries_max=2)
    store.write(FIRST, [state("a"), state("b"), state("c")])
    assert store.read("v", [("a",), ("b",), ("c",)]) == [None, b"x", b"x"]
    assert store.forgotten == 1


@pytest.mark.redis
def test_redis_forgets_a_state_after_its_ttl(redis_url: str, unique: str) -> None:
    store = RedisStore(redis_url, unique)
    store.write(FIRST, [state("a"), EntityState("v", ("brief",), b"x", 1)])
    with redis.Redis.from_url(redis_url) as plain:
        left_ms = plain.pttl(f'{unique}:features:v:["a"]')
        assert isinstance(left_ms, int)
        assert HOUR_US // 1000 - 60_000 < left_ms <= HOUR_US // 1000
    assert eventually(lambda: store.read("v", [("brief",)]) == [None])
    store.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """A Redis of this test's own, which it stops."""
    with start(["redis"], tmp_path / "services", environ={}) as found:
        yield found


@pytest.mark.redis
@pytest.mark.slow
def test_while_redis_is_away_states_wait_and_the_newest_is_written_afterwards(machines: Machines) -> None:
    store = RedisStore(machines.redis, "app")
    writer = OnlineWriter(store, 3)
    writer.take(FIRST, [state("a", b"1")])
    assert eventually(lambda: store.read("v", [("a",)]) == [b"1"])
    machines.stop_one("redis")
    with pytest.raises(ServiceUnavailable, match=r"(?s)Redis .*STAKEOUT_REDIS"):
        store.read("v", [("a",)])
    for number in range(2, 5):
        writer.take(Guard(1, number), [state("a", str(number).encode()), state(f"other-{number}")])
    eventually(lambda: writer.failed)
    assert writer.dropped == 1
    machines.restart_one("redis")
    assert eventually(lambda: read_or_nothing(store, "a") == [b"4"])
    writer.close()
    assert store.read("v", [("other-2",), ("other-3",), ("other-4",)]) == [None, b"x", b"x"]
    assert (len(writer), writer.left_out) == (0, 0)
    store.close()


def read_or_nothing(store: OnlineStore, card: str) -> list[bytes | None]:
    """While it starts again, reads may fail."""
    try:
        return store.read("v", [(card,)])
    except ServiceUnavailable:
        return []


def test_a_writer_that_ends_has_written_what_waited(store: OnlineStore) -> None:
    writer = OnlineWriter(store, 100_000)
    writer.take(FIRST, [state(f"card-{number}", str(number).encode()) for number in range(5000)])
    writer.close()
    assert store.read("v", [("card-0",), ("card-4999",)]) == [b"0", b"4999"]
    assert writer.written == 5000
