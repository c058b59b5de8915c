"""Matcher: plans and state in one hand; batches in, matches out.

The kernels never allocate: whatever array is too short for an event is grown here, and the kernel goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from cep.automaton.plan import Plan
from cep.matcher import records as c
from cep.matcher.ahead import AHEAD_OF_TOUCH
from cep.matcher.collect import count_links, write_links
from cep.matcher.emit import release
from cep.matcher.expire import expire
from cep.matcher.lists import drop_chains, kill_partial
from cep.matcher.state import State, aligned, longer
from cep.matcher.step import step, step_one, step_strict, step_touched
from cep.matcher.tables import Mode, SpaceKey, Tables, build
from cep.matcher.touch import touch, touch_one
from cep.matcher.trail import drop_trail
from cep.matcher.visit import FIRED_MAX
from events.columns import I32, I64, Batch, Layout
from events.program import STACK_MAX

NEVER_US = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches and time-outs in the order in which they came out; row i has the events [offsets[i], offsets[i + 1]).

    plan, kind (KIND_MATCH, KIND_TIMEOUT, KIND_ABSENCE), slot: int64[m]
    complete_at: int64[m], instant at which it was a match, or timed out
    keys:        int64[m, KEY_FIELDS_MAX], the key's values as columns hold them
    offsets:     int64[m + 1]
    steps:       int32[e], number of the step among those of its plan
    sequences:   int64[e], the event's number in the log
    at:          int64[e], the event's own time
    """

    plan: I64
    kind: I64
    slot: I64
    complete_at: I64
    keys: I64
    offsets: I64
    steps: I32
    sequences: I64
    at: I64

    def __len__(self) -> int:
        return len(self.plan)


class Matcher:
    """All plans of a lane over all its keys.

    partials_max: partials that one pattern may have open for one key
    jumps: let all windows of a key that are over end at one stroke (as Flink does; see `expire`)
    """

    def __init__(self, jumps: bool = False, partials_max: int = c.PARTIALS_PER_KEY_MAX) -> None:
        self.jumps = jumps
        self.partials_max = partials_max
        self.plans: list[Plan | None] = []
        self.spaces: dict[SpaceKey, int] = {}
        self.tables: Tables = build([], Layout((), ()), lambda text: 0, [], self.spaces)
        self.state = State.empty()
        self.sequence = 0
        """Number in the log of the next event."""
        self.now_us = -NEVER_US
        self._stack = np.zeros(STACK_MAX + 2, np.int64)
        self._fired = np.zeros(FIRED_MAX, np.int64)
        self._likely = (np.zeros(AHEAD_OF_TOUCH, np.int32), np.zeros(AHEAD_OF_TOUCH, np.uint32))
        self._words = np.zeros(0, np.int64)
        self._matches = aligned(1024, c.HELD)
        self._out = aligned(16_384, c.OUT)
        self._awake = np.zeros(0, np.uint8)
        self._touched: tuple[I32, I32, I64] = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))

    def use(
        self,
        plans: Sequence[Plan | None],
        layout: Layout,
        code_of: Callable[[str], int],
        modes: Sequence[Mode] | None = None,
    ) -> None:
        """Match with these plans from the next batch on; a plan keeps its place, None is a retired one. What a place
        holds of a plan that is no longer there is dropped.

        modes: one per plan; all live without it
        """
        assert len(plans) >= len(self.plans), "a place is left, not lost: its cells are there"
        for place, (before, plan) in enumerate(zip(self.plans, plans, strict=False)):
            if before is not None and before is not plan:
                self.discard(place)
        self.plans = list(plans)
        modes = modes or [Mode.LIVE] * len(self.plans)
        widest = self.tables.widest  # rows that such a partial has left fit no narrower one
        self.tables = build(self.plans, layout, code_of, modes, self.spaces, self.jumps, self.partials_max)
        self.tables = replace(self.tables, widest=max(widest, self.tables.widest))
        self.state.fit_plans(self.tables)
        self._words = np.zeros(len(self.plans), np.int64)
        self._touched = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))

    def forget(self) -> None:
        """Every event so far; plans and memory stay."""
        self.state.forget()
        self.sequence = 0
        self.now_us = -NEVER_US

    def process(self, batch: Batch) -> Matches:
        """Match a batch. Its events get the next numbers of the log."""
        rows = len(batch)
        if rows == 0 or not self.plans:
            self.sequence += rows
            return self.taken()
        done = 0
        while done < rows:
            done = self._rows(batch, done)
        self.sequence += rows
        return self.advance(int(batch.at_us[-1]))

    def live_sequences(self) -> I64:
        """Numbers in the log of the events that partials hold, ascending (some held by none are among them)."""
        return cast(I64, self.state.events["sequence"][: self.state.counters[c.N_EVENTS]])

    def busy(self) -> set[int]:
        """The plans that have partials or matches held back."""
        self.state.sweep(self.tables, self.now_us)
        cells = self.state.cells[: self.state.counters[c.N_CELLS]]
        used = (cells["count"] > 0) | (cells["held"] != c.NIL)
        return set(cells["plan"][used].tolist())

    def due_us(self) -> int | None:
        """The instant at which the next window may end, None when none is open."""
        due = int(self.state.rings["due"].min(initial=NEVER_US))
        return None if due == NEVER_US else due

    def discard(self, place: int) -> None:
        """Drop every partial of a plan."""
        state = self.state
        for cell in np.flatnonzero(state.cells["plan"][: state.counters[c.N_CELLS]] == place).astype(np.uint32):
            while state.cells[cell]["first"] != c.NIL:
                blocks = int(self.tables.plans[place]["blocks"])
                first = state.cells[cell]["first"]
                kill_partial(state.cells, state.chains, state.partials, state.counters, blocks, cell, first)
            drop_chains(state.cells, state.chains, state.counters, cell)
            if state.cells[cell]["trail"] != c.NIL:
                drop_trail(self.tables.plans, state.cells, state.partials, state.registers, state.counters, cell)
            state.cells[cell]["interest"], state.cells[cell]["bound"] = 0, np.nan
            while state.cells[cell]["held"] != c.NIL:
                release(state.held, state.cells, state.counters, cell)

    def advance(self, now_us: int) -> Matches:
        """Let time pass without an event: windows that end at `now_us` or before are over."""
        self.now_us = max(self.now_us, now_us)
        while True:
            state, tables = self.state, self.tables
            need = expire(
                tables.plans, tables.states, state.cells, state.chains, state.partials, state.links, state.events,
                state.held, state.queue, state.rings, self._matches, self._out, state.counters, self.now_us,
            )  # fmt: skip
            if need == c.DONE:
                break
            self._grow(need)
        return self.taken()

    # -- the kernels ----------------------------------------------------------------------------------------------

    def _rows(self, batch: Batch, first: int) -> int:
        """Touch and step as many rows as the touched lists have room for; answers the next row."""
        tables = self.tables
        room = max(len(batch) - first, 4096) + 4 * len(self.plans)
        if len(self._touched[0]) < room:
            self._awake = np.zeros(room, np.uint8)
            self._touched = (np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.int64))
        touch_row, touch_plan, touch_word = self._touched
        until, touches = (touch_one if len(tables.plans) == 1 else touch)(
            tables.predicates, tables.ranges, tables.bounds, tables.codes, tables.code_values, tables.lists,
            tables.members, tables.dense, tables.always, tables.ops, tables.args, self._stack, self._words,
            self._awake[: len(batch)], batch.stream, batch.values, batch.nulls, first, touch_row, touch_plan,
            touch_word,
        )  # fmt: skip
        if len(self._likely[0]) < len(batch):
            self._likely = (np.zeros(len(batch), np.int32), self._likely[1])
        self.state.counters[c.RESUME_ROW] = first
        stepping = step_touched
        if tables.scan:
            stepping = step_one if len(tables.plans) == 1 and len(tables.keyspaces) == tables.streams else step
            if tables.crowds and 4 * touches > until - first:
                stepping = step_strict
        if stepping is not step_strict:
            self.state.counters[c.TRAILS_KNOWN] = 0
        while True:
            state = self.state
            need = stepping(
                tables.plans, tables.states, tables.edges, tables.conditions, tables.updates, tables.ops, tables.args,
                tables.keyspaces, tables.streams, state.cells, state.chains, state.partials, state.registers,
                state.links, state.events, state.held, state.queue, state.rings, state.slots, state.slot_keys,
                state.slot_table, state.direct, state.index, state.counters, self._matches, self._out, self._stack,
                self._fired, batch.stream, batch.values, batch.nulls, batch.at_us[:until], batch.event_at_us,
                self.sequence, touch_row, touch_plan, touch_word, touches, tables.widest,
                *self._likely,
            )  # fmt: skip
            if need == c.DONE:
                return int(until)
            self._grow(need)

    def _grow(self, need: int) -> None:
        """Room for what a kernel needs."""
        more = int(self.state.counters[c.NEED])
        if need == c.NEED_OUT:
            self._out = longer(self._out, more + int(self.state.counters[c.LIVE_HELD]))
        elif need == c.NEED_SCRATCH:
            self._matches = longer(self._matches, more)
        else:
            self.state.grow(need, self.tables, self.now_us)

    def taken(self) -> Matches:
        """The output so far, which is empty afterwards."""
        state = self.state
        rows = int(state.counters[c.N_OUT])
        state.counters[c.N_OUT] = 0
        out = self._out[:rows]
        offsets = np.zeros(rows + 1, np.int64)
        count_links(state.links, state.events, out, rows, offsets)
        total = int(offsets[-1])
        steps, sequences, at = np.zeros(total, np.int32), np.zeros(total, np.int64), np.zeros(total, np.int64)
        write_links(state.links, state.events, out, rows, offsets, steps, sequences, at)
        slot = out["slot"].astype(np.int64)
        matches = Matches(
            plan=out["plan"].astype(np.int64),
            kind=out["kind"].astype(np.int64),
            slot=slot,
            complete_at=out["at"].copy(),
            keys=state.slot_keys.take(slot, axis=0),
            offsets=offsets,
            steps=steps,
            sequences=sequences,
            at=at,
        )
        state.collect(7 / 8, self.tables, self.now_us)
        state.compact_keys(self.tables, self.now_us)
        return matches
