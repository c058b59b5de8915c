"""Memory: bytes of the matcher's state per live partial, per link and per key, measured on a matcher that holds them.

The numbers of partials and links are known from the events; the bytes are those of the rows that the arrays of state
have in use afterwards (`State`). An array grows by doubling, so what is reserved can be twice that.

    one key     a a a … a b      `a` starts a partial, `b` is taken by all of them:  n partials, 2 n links, n + 1 events
    many keys   a a a … a        each of another key:                                n partials of n keys
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.traffic import HOUR_US, Traffic, sequence
from cep.matcher import records as c
from cep.matcher.matcher import Matcher
from cep.matcher.state import State

PARTIALS = 500_000
PARTIAL_MAX = 64
"""Bytes that a live partial without registers may take,"""
LINK_MAX = 24
"""and a captured event's link, the event itself left out."""


def rows(partials: int = PARTIALS) -> Iterator[tuple[str, float, str]]:
    """(name, bytes of one, note)."""
    matcher = one_key(partials)
    used, state = in_use(matcher.state), matcher.state
    found = int(state.counters[c.LIVE_PARTIALS])
    if found != partials:
        raise AssertionError(f"{found} partials are open, {partials} were started")
    each = (used["partials"] + used["queue"]) / partials
    parts = f"row {used['partials'] / partials:.0f}, entry in its window's ring {used['queue'] / partials:.0f}"
    parts += f", and {used['chains']} for the chains of their states, once"
    reserved = (state.partials.nbytes + state.queue.nbytes) / partials
    yield "partial", each, f"{parts}, reserved {reserved:.0f}, {partials} of one key, {judged(each, PARTIAL_MAX)}"
    each, event = used["links"] / (2 * partials), used["events"] / (partials + 1)
    note = f"and {event:.0f} for each captured event, once, reserved {state.links.nbytes / (2 * partials):.0f}"
    yield "link", each, f"{note}, {judged(each, LINK_MAX)}"
    matcher = many_keys(partials)
    used = in_use(matcher.state)
    each = sum(used[name] for name in ("cells", "slots", "slot_keys", "slot_table", "direct", "index")) / partials
    yield "key", each, "a key that has a partial, its part of the hash tables included, without the partial"


def judged(each: float, most: float) -> str:
    """The target, and whether it is met."""
    return f"target {most:g} {'met' if each <= most else 'missed'}"


def one_key(partials: int) -> Matcher:
    """A matcher that holds so many partials of one key, each with two links."""
    traffic = Traffic(sequence(3, HOUR_US), partials_max=partials)
    kinds = np.array([10] * partials + [20])
    traffic.take(traffic.batches(np.zeros(partials + 1, np.int64), kinds))
    traffic.matcher.state.collect(0, traffic.matcher.tables, traffic.matcher.now_us)
    return traffic.matcher


def many_keys(keys: int) -> Matcher:
    """A matcher that holds a partial of each of so many keys."""
    traffic = Traffic(sequence(3, HOUR_US))
    traffic.take(traffic.batches(np.arange(keys), np.full(keys, 10)))
    return traffic.matcher


def in_use(state: State) -> dict[str, int]:
    """Bytes of the rows in use, by array; of the hash tables, which have no such rows, all."""
    counters = state.counters
    rows = {
        "cells": counters[c.N_CELLS],
        "chains": counters[c.N_CHAINS],
        "partials": counters[c.N_PARTIALS] - c.BLOCKS_MAX,  # without those of the start state
        "links": counters[c.N_LINKS],
        "events": counters[c.N_EVENTS],
        "slots": counters[c.N_SLOTS],
        "slot_keys": counters[c.N_SLOTS],
        "queue": state.rings["length"].sum(),
    }
    arrays = state.arrays()
    return {
        name: int(rows.get(name, len(array))) * (array.nbytes // max(len(array), 1)) for name, array in arrays.items()
    }
