"""What a plan did with the events of one key, step by step: which partial was tested against what, and why it ended.

    Plan × events of one key ──▶ Run: turns of partials, their ends, matches       as text: `explain_text`

A plain interpreter of the very automaton that the kernels run: its states, edges and bits. It is slow and keeps
everything, so that it can tell; a property test compares its matches with the kernel's.

    before an event    windows and gaps that are over end, instant by instant
    for the event      every partial in order of its start, then the start state; then what is complete comes out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cmp_to_key

from cep.automaton.graph import FINAL, Action, Edge, State
from cep.automaton.plan import Plan
from cep.language.pattern import Emit, Pattern, Skip
from cep.matcher.matcher import NEVER_US
from cep.matcher.records import PARTIALS_PER_KEY_MAX
from events.columns import Batch, StringTable, value_of
from events.expression import Event, Value, evaluate, references, render

START = 0
"""The number of the start state among partials, which count from 1."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of the key.

    number: what the reader calls it
    at_us:  the instant that matching uses, never before that of the event before
    stream: counts only in a pattern that reads several
    """

    number: int
    at_us: int
    fields: Event
    stream: str = ""


class Why(StrEnum):
    """How a partial ended."""

    MATCHED = "matched"
    TIMED_OUT = "timed out"
    KILLED = "killed"
    BROKEN = "broken"  # no edge held: strict contiguity, a greedy loop, an until
    PRUNED = "pruned"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A condition on an event, for one partial. value: None is unknown. past: what it read of the partial's events."""

    condition: int
    value: bool | None
    past: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """What an event was to one partial (START: to the start state).

    place:  of the event among the key's
    state:  in which it was; awaits: the steps that it could take an event for
    taken:  the events that it held before, as (step, number)
    did:    in words, in order
    """

    partial: int
    at_us: int
    place: int
    state: int
    awaits: tuple[str, ...]
    taken: tuple[tuple[str, int], ...]
    tested: tuple[Outcome, ...]
    did: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Why a partial is no more (OPEN: it still is), in words `by`. place: of the event that ended it, None if none."""

    partial: int
    why: Why
    at_us: int
    place: int | None
    by: str


@dataclass(frozen=True, slots=True)
class Found:
    """A match (or time-out) that came out. number: of the match, as `did` and `by` name it; 0 for a time-out.

    kind:  match, absence or timeout
    place: of the event with which it came out, None if time brought it
    """

    number: int
    kind: str
    at_us: int
    place: int | None
    taken: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A complete match that does not come out."""

    number: int
    at_us: int
    place: int | None
    by: str


Told = Turn | End | Found | Dropped


@dataclass(slots=True)
class Run:
    """What happened, in order. capped: partials that were not opened for want of room."""

    plan: Plan
    events: Sequence[Seen]
    story: list[Told] = field(default_factory=list)
    capped: int = 0

    @property
    def turns(self) -> list[Turn]:
        return [told for told in self.story if isinstance(told, Turn)]

    @property
    def ends(self) -> list[End]:
        return [told for told in self.story if isinstance(told, End)]

    @property
    def found(self) -> list[Found]:
        """Matches and time-outs, as they came out."""
        return [told for told in self.story if isinstance(told, Found)]


def explain_run(
    plan: Plan, events: Sequence[Seen], *, end_us: int = NEVER_US, partials_max: int = PARTIALS_PER_KEY_MAX
) -> Run:
    """Run a plan over the events of one key, which are in order; then let time pass until `end_us`.

    partials_max: partials that may be open at a time; further ones are not opened, and counted
    """
    interpreter = _Interpreter(plan, Run(plan, events), partials_max)
    for place in range(len(events)):
        interpreter.pass_time(events[place].at_us)
        interpreter.step(place)
    interpreter.pass_time(end_us)
    for partial in interpreter.partials:
        interpreter.end(partial, Why.OPEN, events[-1].at_us, None, "no event has ended it, and no window")
    return interpreter.run


# -- partials ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Link:
    """An event taken, behind those taken before; branches share their beginning. closed: see `records.LINK`."""

    before: _Link | None
    step: int
    place: int
    closed: bool = False

    def chain(self) -> list[_Link]:
        """From the first event on."""
        found = [self]
        while (before := found[-1].before) is not None:
            found.append(before)
        return found[::-1]

    def taken(self) -> list[tuple[int, int]]:
        """Which events for which steps: links that have this in common are equal."""
        return [(link.place, link.step) for link in self.chain()]


@dataclass(slots=True, eq=False)
class _Partial:
    number: int
    state: int
    link: _Link
    start: int


@dataclass(frozen=True, slots=True)
class _Complete:
    """A match that has not come out. partial: START if one event is all of it."""

    number: int
    kind: str
    at_us: int
    link: _Link
    start: int


def _compare(left: _Complete, right: _Complete) -> int:
    """Which of two matches comes first: by start, then as `cep.matcher.emit.compare` says."""
    if left.start != right.start:
        return left.start - right.start
    one, other = left.link.chain(), right.link.chain()
    both = list(zip(one, other, strict=False))
    by_event = next((a.place - b.place for a, b in both if a.place != b.place), 0)
    by_step = next((a.step - b.step for a, b in both if a.step != b.step), 0)
    return by_event or len(other) - len(one) or by_step


# -- the interpreter --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Interpreter:
    """partials and held are in order of their start, as the kernel's lists are."""

    plan: Plan
    run: Run
    partials_max: int
    partials: list[_Partial] = field(default_factory=list)
    held: list[_Complete] = field(default_factory=list)
    numbers: int = 0
    matches: int = 0

    # Time

    def pass_time(self, now_us: int) -> None:
        """End what is over at `now_us`, one instant after the other."""
        while True:
            due = [(end, partial) for partial in self.partials if (end := self.end_of(partial)) is not None]
            instant = min((end for end, _ in due), default=None)
            if instant is None or instant > now_us:
                return
            complete: list[_Complete] = []
            for end, partial in due:
                if end == instant:
                    self.partials.remove(partial)
                    complete += self.over(partial, instant)
            self.come_out(complete, instant, None)

    def end_of(self, partial: _Partial) -> int | None:
        """The instant at which time ends it."""
        ends = [self.at_us(partial.start) + self.plan.pattern.within_us] if self.plan.pattern.within_us else []
        gap_us = self.plan.states[partial.state].gap_us
        if gap_us:
            ends.append(self.at_us(partial.link.place) + gap_us)
        return min(ends, default=None)

    def over(self, partial: _Partial, at_us: int) -> list[_Complete]:
        """A partial whose time has come: a match if it waited for just that."""
        link = partial.link
        within_us = self.plan.pattern.within_us
        by_window = within_us and self.at_us(partial.start) + within_us == at_us
        said = (
            f"the window that began with event {self.number(partial.start)} is over"
            if by_window
            else f"the gap since event {self.number(link.place)} is over"
        )
        if not self.plan.states[partial.state].pending:
            self.end(partial, Why.TIMED_OUT, at_us, None, said)
            if self.plan.pattern.timeouts:
                self.run.story.append(Found(0, "timeout", at_us, None, self.taken(link)))
            return []
        twin = link.closed
        complete = [] if twin else [self.complete("absence", at_us, link, partial.start)]
        what = "equal to a match before" if twin else f"match {complete[0].number}"
        self.end(partial, Why.MATCHED, at_us, None, f"{what}: {said}, and what must not come did not")
        return complete

    # Events

    def step(self, place: int) -> None:
        """One event: every partial, then the start, then what is complete."""
        complete: list[_Complete] = []
        for partial in list(self.partials):
            complete += self.turn(partial, place)
        complete += self.begin(place)
        self.come_out(complete, self.at_us(place), place)

    def turn(self, partial: _Partial, place: int) -> list[_Complete]:
        """The event for one partial, as `matcher.step` does it."""
        state = self.plan.states[partial.state]
        tested = self.outcomes(state, place, partial.link)
        open_us = self.at_us(place) - self.at_us(partial.link.place)
        holding = [edge for edge in state.edges if holds(edge, tested)]
        fired = [edge for edge in holding if not edge.gap_us or open_us < edge.gap_us]
        kills = [edge for edge in fired if edge.action is Action.KILL]
        onward = [] if kills else [edge for edge in fired if edge.target != FINAL]
        before, was = partial.link, partial.state
        complete, did = self.completed(fired, before, partial.start, place)
        links = {edge.step: _Link(before, edge.step, place) for edge in onward if edge.action is Action.TAKE}
        where = self.partials.index(partial)
        for nth, edge in enumerate(onward):
            mover = partial
            if nth:
                if len(self.partials) >= self.partials_max:
                    self.run.capped += 1
                    did.append(f"no room for a further partial: {self.partials_max} are open")
                    continue
                mover = self.new(edge.target, before, partial.start)
                self.partials.insert(where + nth, mover)
            mover.state = edge.target
            mover.link = links.get(edge.step, before) if edge.action is Action.TAKE else before
            did.append(self.moved(edge, mover.number if nth else 0, was))
        self.tell(partial.number, place, was, before, tested, did or ["goes no further"])
        if not onward:
            why, by = self.reason(state, place, kills, complete, len(holding) > len(fired))
            self.end(partial, why, self.at_us(place), place, by)
            self.partials.remove(partial)
        return complete

    def begin(self, place: int) -> list[_Complete]:
        """The event for the start state."""
        state = self.plan.states[0]
        tested = self.outcomes(state, place, None)
        fired = [edge for edge in state.edges if holds(edge, tested)]
        killed = any(edge.action is Action.KILL for edge in fired)
        complete, did = self.completed(fired, None, place, place)
        links: dict[int, _Link] = {}
        for edge in fired:
            if edge.action is not Action.TAKE or edge.target == FINAL or killed:
                continue
            if len(self.partials) >= self.partials_max:
                self.run.capped += 1
                did.append(f"no room for a further partial: {self.partials_max} are open")
                continue
            link = links.setdefault(edge.step, _Link(None, edge.step, place))
            partial = self.new(edge.target, link, place)
            self.partials.append(partial)
            did.append(f"begins #{partial.number}: {self.moved(edge, 0, 0)}")
        self.tell(START, place, 0, None, tested, did or ["begins nothing"])
        return complete

    def completed(
        self, fired: Sequence[Edge], before: _Link | None, start: int, place: int
    ) -> tuple[list[_Complete], list[str]]:
        """The matches that an event completes, and the words for them."""
        complete: list[_Complete] = []
        did: list[str] = []
        for edge in fired:
            if edge.target != FINAL or edge.action is Action.KILL:
                continue
            link = before
            if edge.action is Action.TAKE:
                link = _Link(before, edge.step, place)
            assert link is not None, "the start ignores nothing"
            if edge.action is Action.IGNORE and link.closed:
                continue
            complete.append(self.complete("match", self.at_us(place), link, start))
            takes = f"takes it as {self.plan.steps[edge.step].name}" if edge.action is Action.TAKE else "leaves it"
            did.append(f"{takes}: match {complete[-1].number} is complete")
        return complete, did

    def reason(
        self, state: State, place: int, kills: Sequence[Edge], complete: Sequence[_Complete], late: bool
    ) -> tuple[Why, str]:
        """Why a partial has no way on."""
        event = f"event {self.number(place)}"
        if kills:
            names = " and ".join(dict.fromkeys(edge.name for edge in kills))
            return Why.KILLED, f"{event} is `{names}`, which must not come"
        if complete:
            return Why.MATCHED, ", ".join(f"match {one.number}" for one in complete)
        if late:
            return Why.BROKEN, f"{event} comes later than the gap allows"
        if all(edge.action is not Action.IGNORE for edge in state.edges):
            return Why.BROKEN, f"strict contiguity: {event} is none that it may take, and it may pass over none"
        return Why.BROKEN, f"it may neither take {event} nor pass over it"

    # What is complete

    def complete(self, kind: str, at_us: int, link: _Link, start: int) -> _Complete:
        self.matches += 1
        return _Complete(self.matches, kind, at_us, link, start)

    def come_out(self, complete: list[_Complete], at_us: int, place: int | None) -> None:
        """Matches of one event (or instant) in order, each with what its skip strategy removes."""
        pattern = self.plan.pattern
        if self.plan.distinct or pattern.skip is not Skip.NO_SKIP:
            complete = sorted(complete, key=cmp_to_key(_compare))
        if self.plan.distinct:
            complete = self.distinct(complete, at_us, place)
        if pattern.skip is Skip.NO_SKIP:
            for one in complete:
                self.out(one, at_us, place)
            return
        self.held = sorted([*self.held, *complete], key=cmp_to_key(_compare))
        while self.held:
            first = self.held[0]
            if pattern.emit is Emit.ORDERED and self.partials and self.partials[0].start < first.start:
                return
            self.out(self.held.pop(0), at_us, place)
            self.skip(first, at_us, place)

    def distinct(self, complete: Sequence[_Complete], at_us: int, place: int | None) -> list[_Complete]:
        """Of equal neighbours the first. What holds just the same is not to complete it again without an event."""
        kept: list[_Complete] = []
        for one in complete:
            if kept and _compare(kept[-1], one) == 0:
                self.run.story.append(Dropped(one.number, at_us, place, f"it is the same as match {kept[-1].number}"))
            else:
                kept.append(one)
                for partial in self.partials:
                    partial.link.closed |= partial.link.taken() == one.link.taken()
        return kept

    def out(self, one: _Complete, at_us: int, place: int | None) -> None:
        self.run.story.append(Found(one.number, one.kind, at_us, place, self.taken(one.link)))

    def skip(self, done: _Complete, at_us: int, place: int | None) -> None:
        """Remove what began too early for the strategy."""
        bound, strategy = self.bound_of(done), self.plan.pattern.skip
        if bound == 0:
            return
        through = strategy in (Skip.TO_NEXT, Skip.PAST_LAST_EVENT)
        until = f"with event {self.number(bound - 1)} or before" if through else f"before event {self.number(bound)}"
        by = f"match {done.number} came out, and skip {strategy.value} removes what began {until}"
        for partial in self.partials:
            if partial.start < bound:
                self.end(partial, Why.PRUNED, at_us, place, by)
        for one in self.held:
            if one.start < bound:
                self.run.story.append(Dropped(one.number, at_us, place, by))
        self.partials = [one for one in self.partials if one.start >= bound]
        self.held = [one for one in self.held if one.start >= bound]

    def bound_of(self, one: _Complete) -> int:
        """The place before which what began is removed; 0 removes nothing."""
        pattern = self.plan.pattern
        if pattern.skip is Skip.TO_NEXT:
            return one.start + 1
        if pattern.skip is Skip.PAST_LAST_EVENT:
            return one.link.place + 1
        named = [link.place for link in one.link.chain() if self.plan.steps[link.step].name == pattern.skip_to]
        return 0 if not named else named[0 if pattern.skip is Skip.TO_FIRST else -1]

    def outcomes(self, state: State, place: int, link: _Link | None) -> tuple[Outcome, ...]:
        """Every condition that the state's edges read, on this event."""
        history: dict[str, list[Event]] = {}
        for taken in link.chain() if link else ():
            history.setdefault(self.plan.steps[taken.step].name, []).append(self.run.events[taken.place].fields)
        return outcomes(self.plan, state, self.run.events[place], history)

    # Words

    def moved(self, edge: Edge, number: int, was: int) -> str:
        """What following an edge is, in words. number: of the partial that goes on by it, if it is another one."""
        verb = f"takes it as {self.plan.steps[edge.step].name}" if edge.action is Action.TAKE else "passes it over"
        verb += "" if edge.target == was else f" → ({edge.target})"
        return f"as #{number}: {verb}" if number else verb

    def awaits(self, state: State) -> tuple[str, ...]:
        takes = (self.plan.steps[edge.step].name for edge in state.edges if edge.action is Action.TAKE)
        return tuple(dict.fromkeys(takes))

    def taken(self, link: _Link) -> tuple[tuple[str, int], ...]:
        return tuple((self.plan.steps[one.step].name, self.number(one.place)) for one in link.chain())

    def tell(
        self, partial: int, place: int, state: int, link: _Link | None, tested: tuple[Outcome, ...], did: Sequence[str]
    ) -> None:
        """state, link: as they were before the event."""
        awaits, taken = self.awaits(self.plan.states[state]), self.taken(link) if link else ()
        self.run.story.append(Turn(partial, self.at_us(place), place, state, awaits, taken, tested, tuple(did)))

    def end(self, partial: _Partial, why: Why, at_us: int, place: int | None, by: str) -> None:
        self.run.story.append(End(partial.number, why, at_us, place, by))

    def new(self, state: int, link: _Link, start: int) -> _Partial:
        self.numbers += 1
        return _Partial(self.numbers, state, link, start)

    def at_us(self, place: int) -> int:
        return self.run.events[place].at_us

    def number(self, place: int) -> int:
        return self.run.events[place].number


# -- conditions -------------------------------------------------------------------------------------------------------


def outcomes(plan: Plan, state: State, event: Seen, history: Mapping[str, Sequence[Event]]) -> tuple[Outcome, ...]:
    """Every condition that a state's edges read. history: step → events taken before this one."""
    read = 0
    for edge in state.edges:
        read |= edge.guard.must | edge.guard.must_not
    return tuple(outcome_of(plan, bit, event, history) for bit in range(read.bit_length()) if read >> bit & 1)


def outcome_of(plan: Plan, bit: int, event: Seen, history: Mapping[str, Sequence[Event]]) -> Outcome:
    """One condition. One on another stream is false, and reads nothing."""
    condition = plan.conditions[bit]
    if condition.stream and condition.stream != event.stream:
        return Outcome(bit, False, {})
    if condition.where is None:
        return Outcome(bit, True, {})
    value = evaluate(condition.where, event.fields, history)
    assert value is None or isinstance(value, bool), "a condition is true, false or unknown"
    past = sorted(references(condition.where), key=render)
    return Outcome(bit, value, {render(one): evaluate(one, event.fields, history) for one in past})


def holds(edge: Edge, tested: Sequence[Outcome]) -> bool:
    """The edge's guard: a bit is set where the whole condition is true."""
    seen = sum(1 << one.condition for one in tested if one.value is True)
    return not edge.guard.must & ~seen and not edge.guard.must_not & seen


# -- columns to events of a key ---------------------------------------------------------------------------------------

Key = tuple[Value, ...]


def events_by_key(
    pattern: Pattern, batch: Batch, strings: StringTable, numbers: Sequence[int]
) -> dict[Key, list[Seen]]:
    """The batch's events by key, keys in order of their first event. An event with a NULL in its key has none.

    numbers: what to call each row
    """
    found: dict[Key, list[Seen]] = {}
    for row, number in enumerate(numbers):
        key, event = event_of(pattern, batch, strings, row, number)
        if key is not None:
            found.setdefault(key, []).append(event)
    return found


def event_of(pattern: Pattern, batch: Batch, strings: StringTable, row: int, number: int) -> tuple[Key | None, Seen]:
    """One row of a batch, with its key."""
    stream = batch.layout.streams[batch.stream[row]]
    fields: dict[str, Value | None] = {
        column.name: None if batch.nulls[place, row] else value_of(int(batch.values[place, row]), column.type, strings)
        for place, column in enumerate(batch.layout.columns)
        if column.stream == stream
    }
    key = [fields.get(name) for name in pattern.key]
    known = tuple(value for value in key if value is not None)
    several = stream if len(pattern.streams) > 1 else ""
    whole = known if len(known) == len(key) and stream in pattern.streams else None
    return whole, Seen(number, int(batch.at_us[row]), fields, several)


def begins(plan: Plan, event: Seen) -> bool:
    """Would the event begin a partial, or be a match by itself?"""
    start = plan.states[0]
    tested = outcomes(plan, start, event, {})
    return any(edge.action is Action.TAKE and holds(edge, tested) for edge in start.edges)
