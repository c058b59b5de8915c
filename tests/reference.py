"""The reference matcher: what a pattern means, as a plain simulation. Slow on purpose, obviously right, for tests only.

A pattern becomes states with edges; a *run* is one partial match. For every event, every run looks at the edges it
can reach and moves:

    TAKE     the event joins the run, which goes on at the edge's target
    IGNORE   the event is passed over, the run goes on at the edge's target
    PROCEED  the target's edges count as well, for this same event
    KILL     the event is one that must not come: the run ends, except for what the same event completes

Runs share nothing: each is its state and its list of (step, event). Every guard is evaluated per run and per event,
against what the run held *before* the event. Semantics are those of Apache Flink CEP 2.3.0, found by running it; where
ours differ on purpose (design/semantics.md, Decisions) a docstring here says so:

    `gap`                  see `State.gap_us` and `_gap_guard`
    `not-next-at-end`      see `_absent_next`
    `duplicate`            see `match`
    `accepted-by-mistake`  see `inlined` and `tests.refusal`
    `nullable-loop`        see `tests.refusal`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from functools import reduce
from typing import NamedTuple

from cep.language.pattern import Contiguity, Emit, Group, Inner, Pattern, Skip, Step, Times, flatten
from events.expression import Binary, Constant, Expression, Field, History, OneOf, Unary

Value = int | float | bool | str | None
Item = Step | Group


class Event(NamedTuple):
    """One event of one key. Its place in the log, not its fields, is its identity.

    stream: where the pattern reads several, the one it came by
    """

    id: int
    at_us: int
    fields: Mapping[str, Value]
    stream: str = ""


Match = tuple[tuple[str, tuple[int, ...]], ...]
"""((step, event ids in order), …), steps in the order of the pattern."""


class Taken(NamedTuple):
    """An event that a run has taken: for which step, at which place of the stream."""

    step: str
    place: int
    event: Event


# ---------------------------------------------------------------------------------------------------------------------
# Conditions


def evaluate(expression: Expression, event: Event, history: Sequence[Taken]) -> Value:
    """The expression's value for an event and what its run has taken so far; None is unknown."""
    match expression:
        case Constant(value=value):
            return value
        case Field(name=name):
            return event.fields[name]
        case History(aggregate=aggregate, step=step, field=name):
            events = [taken.event for taken in history if taken.step == step]
            return _aggregate(aggregate, [event.fields[name] if name else 1 for event in events])
        case Unary(op=op, operand=operand):
            return _unary(op, evaluate(operand, event, history))
        case Binary(op=op, left=left, right=right):
            return _binary(op, evaluate(left, event, history), evaluate(right, event, history))
        case OneOf(operand=operand, options=options):
            value = evaluate(operand, event, history)
            return None if value is None else value in [option.value for option in options]


def _aggregate(aggregate: str, values: Sequence[Value]) -> Value:
    """Unknown values count for `first` and `last` only; over no values `count` is 0, the others are unknown."""
    known = [value for value in values if value is not None]
    if aggregate == "count":
        return len(known)
    if aggregate in ("first", "last") and values:
        return values[0 if aggregate == "first" else -1]
    if not known:
        return None
    numbers = [value for value in known if not isinstance(value, str)]
    match aggregate:
        case "sum":
            return sum(numbers)
        case "avg":
            return sum(numbers) / len(numbers)
        case "min":
            return min(numbers)
        case "max":
            return max(numbers)
    raise ValueError(f"the reference knows no aggregate {aggregate!r}")


def _unary(op: str, value: Value) -> Value:
    if op in ("is_null", "is_true", "is_false"):
        return value is {"is_null": None, "is_true": True, "is_false": False}[op]
    if value is None:
        return None
    match op:
        case "not":
            return not value
        case "neg":
            assert not isinstance(value, str)
            return -value
    raise ValueError(f"the reference knows no operator {op!r}")


def _binary(op: str, left: Value, right: Value) -> Value:
    """SQL: a known false decides `and`, a known true decides `or`, else unknown spreads."""
    if op in ("and", "or"):
        decisive = op == "or"
        if decisive in (left, right):
            return decisive
        return None if None in (left, right) else not decisive
    if op == "coalesce":
        return right if left is None else left
    if left is None or right is None:
        return None
    if isinstance(left, str) or isinstance(right, str):
        return {"=": left == right, "!=": left != right}[op]
    return _number(op, left, right)


def _number(op: str, left: float, right: float) -> Value:
    match op:
        case "=":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right else None
    raise ValueError(f"the reference knows no operator {op!r}")


# ---------------------------------------------------------------------------------------------------------------------
# States


class Action(Enum):
    """What following an edge does with the event."""

    TAKE = "take"
    IGNORE = "ignore"
    PROCEED = "proceed"
    KILL = "kill"


class Kind(Enum):
    """FINAL: the match is complete. PENDING: it becomes a match when its window closes."""

    WAITING = "waiting"
    PENDING = "pending"
    FINAL = "final"


Guard = Callable[[Event, "Run"], bool]


@dataclass(slots=True)
class Edge:
    """An edge of a state. Greedy loops sharpen guards after the fact.

    name:   of a TAKE the step that takes, of a KILL the absent step
    gap_us: of a TAKE the longest time since the event taken before, 0 for none
    """

    action: Action
    guard: Guard
    target: State
    name: str = ""
    gap_us: int = 0


@dataclass(slots=True, eq=False)
class State:
    """Where a run waits. `gap_us` is for a PENDING state whose absent step has a gap of its own."""

    kind: Kind = Kind.WAITING
    edges: list[Edge] = field(default_factory=list)
    gap_us: int = 0

    def add(self, action: Action, guard: Guard, target: State, name: str = "", gap_us: int = 0) -> None:
        """One more edge."""
        self.edges.append(Edge(action, guard, target, name, gap_us))


@dataclass(frozen=True, slots=True)
class Run:
    """A partial match. `state` is where it waits; the run that waits for a start has taken nothing."""

    state: State
    taken: tuple[Taken, ...] = ()

    @property
    def start(self) -> Taken:
        """The event that opened it."""
        return self.taken[0]

    @property
    def last(self) -> Taken:
        """The event taken last."""
        return self.taken[-1]


def always(_event: Event, _run: Run) -> bool:
    """The guard of an edge without condition."""
    return True


def holds(condition: Expression | None, stream: str = "") -> Guard:
    """A condition that is unknown as a whole does not hold, and none of a stream holds for an event of another."""
    if condition is None:
        return lambda event, _run: came_by(event, stream)
    return lambda event, run: came_by(event, stream) and evaluate(condition, event, run.taken) is True


def came_by(event: Event, stream: str) -> bool:
    """Is it an event of that stream? Where there is one only, nobody has to say."""
    return not stream or not event.stream or event.stream == stream


def negation(guard: Guard) -> Guard:
    """NOT of a whole guard: here unknown has already become false."""
    return lambda event, run: not guard(event, run)


def both(left: Guard, right: Guard) -> Guard:
    """AND of two guards."""
    return lambda event, run: left(event, run) and right(event, run)


# ---------------------------------------------------------------------------------------------------------------------
# From pattern to states, from the last step to the first


STRICT, RELAXED, ANY = Contiguity.NEXT, Contiguity.FOLLOWED_BY, Contiguity.FOLLOWED_BY_ANY
CONTIGUITY_INSIDE = {Inner.CONSECUTIVE: STRICT, Inner.RELAXED: RELAXED, Inner.COMBINATIONS: ANY}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands: what is before it in its sequence, what comes behind it, and in which group.

    again: is this a later iteration of the group, not its first?
    """

    before: tuple[Item, ...]
    behind: Item | None
    group: Group | None = None
    again: bool = False

    @property
    def head_of(self) -> Group | None:
        """The group that begins here, if any; in any order none of its members is its beginning."""
        return None if self.before or (self.group and self.group.any_of) else self.group

    def unless_stopped(self, guard: Guard) -> Guard:
        """A guard that the group's `until` takes back; only the innermost group's counts."""
        return unless(self.group.until, guard) if self.group else guard


def unless(stop: Expression | None, guard: Guard, stream: str = "") -> Guard:
    """`guard`, but not on an event of that stream that satisfies `stop`."""
    return guard if stop is None else both(negation(holds(stop, stream)), guard)


def build(pattern: Pattern) -> State:
    """The start state of an accepted pattern."""
    builder = Builder(window=pattern.within_us > 0)
    items = tuple(normal(item) for item in inlined(pattern.steps))
    return builder.sequence(items, State(Kind.FINAL), None, None, again=False)


def normal(item: Item) -> Item:
    """`times(0, n)` is an optional `times(1, n)`."""
    if isinstance(item, Group):
        item = replace(item, steps=tuple(normal(inside) for inside in item.steps))
    if item.times.at_least == 0:
        item = replace(item, times=Times(1, item.times.at_most), optional=True)
    return item


def inlined(items: tuple[Item, ...], at_end: bool = True) -> tuple[Item, ...]:
    """Flink forgets a `not_followed_by` that ends a group in mid-pattern; ours is honoured in a group taken just once.

    Such a group is no more than its steps, the first reached as the group is. at_end: do `items` end the pattern?
    """
    result: list[Item] = []
    for item in items:
        if not isinstance(item, Group):
            result.append(item)
            continue
        if item.any_of:
            result.append(replace(item, steps=tuple(inlined((member,))[0] for member in item.steps)))
            continue
        last = at_end and item is items[-1]
        inside = inlined(item.steps, last and item.times.single)
        if not last and once(item) and inside[-1].contiguity is Contiguity.NOT_FOLLOWED_BY:
            result += [replace(inside[0], contiguity=item.contiguity), *inside[1:]]
        else:
            result.append(replace(item, steps=inside))
    return tuple(result)


def once(item: Item) -> bool:
    """Neither optional nor repeated?"""
    return item.times.single and not item.optional


@dataclass(slots=True)
class Builder:
    """Turns items into states, each item given the state that comes behind it.

    window: has the pattern a window as a whole?
    stops:  the condition of each absent step as first met, from the back
    plain:  of a state that a greedy loop with `until` sharpened, what it was before
    """

    window: bool
    stops: dict[str, Guard] = field(default_factory=dict)
    plain: dict[State, State] = field(default_factory=dict)

    def sequence(
        self, items: tuple[Item, ...], target: State, behind: Item | None, group: Group | None, again: bool
    ) -> State:
        """The states of a whole sequence; the result is where it is entered."""
        for index in reversed(range(len(items))):
            item = items[index]
            following = items[index + 1] if index + 1 < len(items) else behind
            place = Place(items[:index], following, group, again)
            if index and isinstance(item, Step) and item.contiguity.negated:
                target = self.absence(item, target, place)
            else:
                target = self.presence(item, target, place)
        return target

    # Absence

    def absence(self, step: Step, target: State, place: Place) -> State:
        """The states of a negated step; not_followed_by in mid-pattern lives in the states around it."""
        if step.contiguity is Contiguity.NOT_NEXT:
            return self.absent_next(step, target, place)
        if target.kind is Kind.FINAL and (self.window or step.gap_us):
            return self.absent_until_the_end(step, target, place)
        return target

    def absent_next(self, step: Step, target: State, place: Place) -> State:
        """One event is looked at and not taken; it may be the next step's.

        At the end of a pattern Flink times out if no event comes: ours is a match when the window closes.
        """
        last = target.kind is Kind.FINAL
        closes = last and (self.window or step.gap_us > 0)
        state = State(Kind.PENDING if closes else Kind.WAITING, gap_us=step.gap_us if closes else 0)
        absent = takes(step, place)
        state.add(Action.IGNORE if last else Action.PROCEED, negation(absent), target)
        self.kill(state, step.name, absent)
        return state

    def absent_until_the_end(self, step: Step, target: State, place: Place) -> State:
        """All events are passed over until time makes it a match."""
        state = State(Kind.PENDING, gap_us=step.gap_us)
        absent = takes(step, place)
        state.add(Action.IGNORE, negation(absent), state)
        self.kill(state, step.name, absent)
        return state

    def kill(self, state: State, name: str, absent: Guard) -> None:
        """A run in `state` ends on what is absent, here and as first met."""
        state.add(Action.KILL, both(absent, self.stops.setdefault(name, absent)), state, name)

    def stop_here(self, state: State, place: Place) -> None:
        """While a run waits in `state`, nothing may come that is negated right before it.

        "Right before" looks back across optional items, and only those.
        """
        for step in negated_before(place):
            self.kill(state, step.name, takes(step, place))

    def stop_inside(self, state: State, place: Place) -> None:
        """A not_followed_by behind a loop guards the inside of the loop too."""
        behind = place.behind
        if isinstance(behind, Step) and behind.contiguity is Contiguity.NOT_FOLLOWED_BY:
            self.kill(state, behind.name, takes(behind, place))

    def freed(self, state: State, item: Item, place: Place) -> State:
        """`state` as a run finds it that has taken an optional item: the negations before that are over.

        Where a group's next pass begins, nothing is known of it yet, and the way is lost: so in Flink.
        """
        names = {step.name for step in negated_before(place)}
        if not names or not item.optional:
            return state
        copy = State(state.kind, gap_us=state.gap_us)
        for edge in state.edges:
            target = copy if edge.target is state else edge.target
            if edge.action is Action.PROCEED:
                target = self.freed(edge.target, item, place)
            if edge.action is not Action.KILL or edge.name not in names:
                copy.edges.append(replace(edge, target=target))
        return copy

    # Presence

    def presence(self, item: Item, target: State, place: Place) -> State:
        """The states of a step or group with its quantifier."""
        if item.times.at_most is None:
            state = self.counted(item, self.endless(item, self.freed(target, item, place), place), target, place)
        elif not item.times.single:
            state = self.counted(item, target, target, place)
        else:
            state = self.element(item, target, target, place, first=True, optional=item.optional)
        self.stop_here(state, place)
        return state

    def counted(self, item: Item, target: State, beyond: State, place: Place) -> State:
        """A chain of elements: those at the end are optional and may go on to `beyond`."""
        least = item.times.at_least
        most = item.times.at_most or least
        if isinstance(item, Step) and item.greedy and least != most:
            self.yield_to(takes(item, place), target)
        for number in range(most, 1, -1):
            target = self.element(item, target, beyond, place, first=False, optional=number > least)
            self.stop_inside(target, place)
        return self.element(item, target, beyond, place, first=True, optional=item.optional)

    def yield_to(self, takes_more: Guard, target: State) -> None:
        """Greedy: no edge of the state behind the loop is for an event that the loop would take."""
        for edge in target.edges:
            edge.guard = both(edge.guard, negation(takes_more))

    def element(self, item: Item, target: State, beyond: State, place: Place, first: bool, optional: bool) -> State:
        """One element of a chain: a step that takes one event, or one iteration of a group."""
        if isinstance(item, Step):
            return self.single(item, target, beyond, place, first, optional)
        if item.any_of:
            return self.any_order(item, target, beyond, place, first, optional)
        state = self.iteration(item, target, place, again=not first)
        if optional:
            state.add(Action.PROCEED, place.unless_stopped(always), beyond)
        return state

    def iteration(self, group: Group, target: State, place: Place, again: bool) -> State:
        """A group's steps, once; a group at the very beginning of a sequence is strict."""
        if not place.before:
            group = replace(group, contiguity=STRICT)
        return self.sequence(group.steps, target, place.behind, group, again)

    def single(self, step: Step, target: State, beyond: State, place: Place, first: bool, optional: bool) -> State:
        """A state that takes one event. What is optional ignores in a state of its own, so that it goes beyond once."""
        state = State()
        target = self.freed(target, step, place)
        take = unless(step.until, takes(step, place), step.stream)
        gap_us = gap_of(step, place, first)
        state.add(Action.TAKE, within_gap(gap_us, take), target, step.name, gap_us)
        if optional:
            self.go_beyond(state, step, beyond, place)
        passes = passes_first(step, place) if first else passes_later(step, place)
        if passes is None:
            return state
        waiting = state
        if optional or (place.head_of and place.head_of.optional and not place.again):
            waiting = State()
            waiting.add(Action.TAKE, within_gap(gap_us, take), target, step.name, gap_us)
            waiting.add(Action.IGNORE, passes, waiting)
            self.stop_here(waiting, place)
        state.add(Action.IGNORE, passes, waiting)
        return state

    def go_beyond(self, state: State, step: Step, beyond: State, place: Place) -> None:
        """PROCEED past a loop or optional step. A greedy one's `until` event is for the next step without reserve."""
        guard = place.unless_stopped(always)
        if step.greedy and step.until is not None:
            state.add(Action.PROCEED, both(guard, holds(step.until, step.stream)), self.plain.get(beyond, beyond))
            guard = unless(step.until, guard, step.stream)
        state.add(Action.PROCEED, guard, beyond)

    def endless(self, item: Item, target: State, place: Place) -> State:
        """The state in which an unbounded loop takes one more or goes on."""
        if isinstance(item, Group):
            return self.endless_group(item, target, place)
        loop, waiting = State(), State()
        if item.greedy and item.until is not None:
            self.plain[target] = duplicate(target)
        self.go_beyond(loop, item, target, place)
        if item.greedy:
            self.yield_to(takes(item, place), target)
        take = unless(item.until, takes(item, place), item.stream)
        gap_us = gap_of(item, place, first=False)
        loop.add(Action.TAKE, within_gap(gap_us, take), loop, item.name, gap_us)
        self.stop_inside(loop, place)
        passes = passes_later(item, place)
        if passes is not None:
            waiting.add(Action.TAKE, within_gap(gap_us, take), loop, item.name, gap_us)
            waiting.add(Action.IGNORE, passes, waiting)
            self.stop_inside(waiting, place)
            loop.add(Action.IGNORE, passes, waiting)
        return loop

    def endless_group(self, group: Group, target: State, place: Place) -> State:
        """After an iteration a run waits in `rest`, which leads back to the group's head, and from there out."""
        rest = State()
        head = self.element(group, rest, target, place, first=False, optional=True)
        rest.add(Action.PROCEED, place.unless_stopped(always), head)
        return head

    # Any order

    def any_order(self, group: Group, target: State, beyond: State, place: Place, first: bool, optional: bool) -> State:
        """So many members, in every order. What is optional passes over in a state of its own, as a step does."""
        contiguity = reached(group, place) if first else CONTIGUITY_INSIDE[group.inner]
        if target.edges:
            target = self.freed(target, group, place)
        state = waiting = self.one_of(group, group.steps, group.any_of, contiguity, target, place)
        if optional or (place.head_of and place.head_of.optional and not place.again):
            state = State(edges=[replace(edge) for edge in waiting.edges])
            (self.stop_here if first else self.stop_inside)(waiting, place)
        if optional:
            state.add(Action.PROCEED, place.unless_stopped(always), beyond)
        return state

    def one_of(
        self, group: Group, missing: tuple[Item, ...], left: int, contiguity: Contiguity, target: State, place: Place
    ) -> State:
        """A tree of all orders: one of the missing members, then one of the others, until none is left to take.

        Relaxed contiguity passes over what is wanted by none of the missing members.
        """
        state = State()
        for member in missing:
            others = tuple(other for other in missing if other is not member)
            between = CONTIGUITY_INSIDE[group.inner]
            own = duplicate(target) if target.edges else target
            following = self.one_of(group, others, left - 1, between, target, place) if left > 1 else own
            inside = Place((), None if left > 1 else place.behind, group)
            state.add(Action.PROCEED, always, self.presence(member, following, inside))
        if contiguity is not STRICT:
            unwanted = reduce(
                both, [negation(holds(step.where, step.stream)) for member in missing for step in heads(member)]
            )
            state.add(Action.IGNORE, unless(group.until, always if contiguity is ANY else unwanted), state)
        return state


def takes(step: Step, place: Place) -> Guard:
    """Does an event satisfy the step? Not if it stops the group around it."""
    return place.unless_stopped(holds(step.where, step.stream))


def passes_first(step: Step, place: Place) -> Guard | None:
    """What may come before a step's first element, None for nothing. A group's head is reached as the group is."""
    return passes(reached(step, place), step, place)


def reached(item: Item, place: Place) -> Contiguity:
    """How an item's first event is reached."""
    group = place.head_of
    if group is None:
        return item.contiguity if place.before else STRICT
    return CONTIGUITY_INSIDE[group.inner] if place.again else group.contiguity


def heads(item: Item) -> list[Step]:
    """The steps that may take an item's first event."""
    if isinstance(item, Step):
        return [item]
    return [step for member in (item.steps if item.any_of else item.steps[:1]) for step in heads(member)]


def passes_later(step: Step, place: Place) -> Guard | None:
    """What may come between a loop's elements. A loop that is a group's head follows the group's inner contiguity."""
    inner = place.head_of.inner if place.head_of else step.inner
    guard = passes(CONTIGUITY_INSIDE[inner], step, place)
    return None if guard is None else unless(step.until, guard, step.stream)


def passes(contiguity: Contiguity, step: Step, place: Place) -> Guard | None:
    """Strict passes over nothing, relaxed what the step does not want, any everything."""
    if contiguity is STRICT:
        return None
    return place.unless_stopped(always if contiguity is ANY else negation(holds(step.where, step.stream)))


def negated_before(place: Place) -> list[Step]:
    """The not_followed_by steps right before a place, nearest first, optional items between them not counting."""
    found = []
    for item in reversed(place.before):
        if item.contiguity is Contiguity.NOT_FOLLOWED_BY:
            assert isinstance(item, Step)
            found.append(item)
        elif not item.optional:
            break
    return found


def gap_of(step: Step, place: Place, first: bool) -> int:
    """The gap that limits an element: a loop's between its elements, a single step's since the event before.

    A group's gap is its head's: between its iterations, or before the group when it is taken once.
    """
    gaps = [step.gap_us if step.times.single or not first else 0]
    group = place.head_of
    if group is not None and first and (place.again or group.times.single):
        gaps.append(group.gap_us)
    return min((gap for gap in gaps if gap), default=0)


def within_gap(gap_us: int, guard: Guard) -> Guard:
    """`guard`, for an event less than the gap after the one taken before; a start has none before it."""
    if not gap_us:
        return guard
    return lambda event, run: (not run.taken or event.at_us - run.last.event.at_us < gap_us) and guard(event, run)


def duplicate(state: State) -> State:
    """A state of its own with the same edges."""
    copy = State(state.kind, gap_us=state.gap_us)
    copy.edges = [replace(edge, target=copy if edge.target is state else edge.target) for edge in state.edges]
    return copy


# ---------------------------------------------------------------------------------------------------------------------
# Runs


FOREVER_US = 1 << 62


class TooManyRuns(Exception):
    """`event` has opened more than may be."""

    def __init__(self, event: int) -> None:
        super().__init__(f"event {event} opens too many runs")
        self.event = event


class Ties(StrEnum):
    """Which match comes out first among those with the same start event; it matters to a skip strategy only.

    FLINK:    the one that its binary heaps happen to have on top
    EARLIEST: the one that took the earlier event where they first differ, a longer one before its own beginning; of
              the same events, the one that took them for the earlier step where they first differ
    """

    FLINK = "flink"
    EARLIEST = "earliest"


def match(
    pattern: Pattern,
    events: Iterable[Event],
    ties: Ties = Ties.FLINK,
    jumps: bool = True,
    runs_max: int = FOREVER_US,
) -> tuple[list[Match], list[Match]]:
    """(matches, timed-out partials) of one key's events in order, each in the order in which they come out.

    Time moves to each event's instant before the event is looked at, and past everything at the end: at one stroke as
    Flink's (jumps), or from one end of a window to the next. A pattern that loops over a group can find a match twice:
    it comes out once.

    Raises TooManyRuns when more than `runs_max` are open.
    """
    lane = Lane(pattern, Queue([Run(build(pattern))]), Queue([]), ties)
    pass_time = lane.advance_time if jumps else lane.pass_time
    for place, event in enumerate(events):
        pass_time(event.at_us)
        lane.process(event, place)
        if len(lane.runs.runs) > runs_max:
            raise TooManyRuns(event.id)
    pass_time(FOREVER_US)
    return list(dict.fromkeys(lane.matches)) if loops_over_group(pattern) else lane.matches, lane.timeouts


def loops_over_group(pattern: Pattern) -> bool:
    """Is there a group that may be taken more than once?"""
    return any(isinstance(item, Group) and not item.times.single for item in items_of(pattern.steps))


def items_of(items: tuple[Item, ...]) -> list[Item]:
    """All steps and groups, outermost first."""
    return [found for item in items for found in [item, *(items_of(item.steps) if isinstance(item, Group) else [])]]


class Queue:
    """Runs in a binary heap by start event, the run that waits for a start last. What is equal keeps no order.

    `runs` is the heap as an array: the children of i are 2i + 1 and 2i + 2. Its order is part of Flink's answer, so
    the textbook algorithm is meant step by step: a new run rises while it is strictly earlier than its parent, a run
    put on top sinks while a child is strictly earlier, of two equal children the left one counts.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs: list[Run] = []
        for run in runs:
            self.add(run)

    def add(self, run: Run) -> None:
        """Put at the end, let rise."""
        runs = self.runs
        runs.append(run)
        at = len(runs) - 1
        while at and opened(run) < opened(runs[(at - 1) // 2]):
            runs[at] = runs[(at - 1) // 2]
            at = (at - 1) // 2
        runs[at] = run

    def remove_first(self) -> None:
        """The last run takes the place on top and sinks."""
        last = self.runs.pop()
        if self.runs:
            self.sink(0, last)

    def drop(self, doomed: Callable[[Run], bool]) -> None:
        """Remove some; if there are any, what is left becomes a heap again from the bottom."""
        left = [run for run in self.runs if not doomed(run)]
        if len(left) < len(self.runs):
            self.runs = left
            for at in reversed(range(len(left) // 2)):
                self.sink(at, left[at])

    def sink(self, at: int, run: Run) -> None:
        """Put a run at a place, let it sink from there."""
        runs = self.runs
        while 2 * at + 1 < len(runs):
            child = min(range(2 * at + 1, min(2 * at + 3, len(runs))), key=lambda place: opened(runs[place]))
            if opened(run) <= opened(runs[child]):
                break
            runs[at] = runs[child]
            at = child
        runs[at] = run


def opened(run: Run) -> int:
    """The place of the start event."""
    return run.taken[0].place if run.taken else FOREVER_US


@dataclass(slots=True)
class Lane:
    """All there is for one key: the open runs, the complete ones held back, what came out."""

    pattern: Pattern
    runs: Queue
    complete: Queue
    ties: Ties
    matches: list[Match] = field(default_factory=list)
    timeouts: list[Match] = field(default_factory=list)

    def pass_time(self, now_us: int) -> None:
        """Time passes the end of each window and gap on its own."""
        while (end_us := min(map(self.end_us, self.runs.runs))) <= now_us and end_us < FOREVER_US:
            self.advance_time(end_us)

    def advance_time(self, now_us: int) -> None:
        """Time out what is over its window or gap; a run that only had to wait is a match then."""
        open_runs, complete = Queue([]), Queue([])
        for run in self.runs.runs:
            if self.end_us(run) > min(now_us, FOREVER_US - 1):
                open_runs.add(run)
            elif run.state.kind is Kind.PENDING:
                complete.add(run)
            else:
                self.timeouts.append(self.as_match(run))
        self.emit(open_runs, complete)

    def end_us(self, run: Run) -> int:
        """When the window closes, or every way on has lost its gap; FOREVER_US for never."""
        if not run.taken:
            return FOREVER_US
        window_us, gap_us = self.pattern.within_us, gap_over(run.state)
        ends = [FOREVER_US]
        if window_us:
            ends.append(run.start.event.at_us + window_us)
        if gap_us:
            ends.append(run.last.event.at_us + gap_us)
        return min(ends)

    def process(self, event: Event, place: int) -> None:
        """Every run looks at the event once; then matches come out."""
        open_runs, complete = Queue([]), Queue([])
        for run in self.runs.runs:
            going_on, done = moves(run, event, place)
            for other in going_on:
                open_runs.add(other)
            for other in done:
                complete.add(other)
        self.emit(open_runs, complete)

    def emit(self, open_runs: Queue, complete: Queue) -> None:
        """Let out complete matches, earliest start first, each pruning what the strategy says.

        With a strategy, a match waits while a run with an earlier start is open, unless the pattern emits eagerly.
        """
        self.runs = open_runs
        for run in complete.runs:
            self.complete.add(run)
        held = self.pattern.skip is not Skip.NO_SKIP and self.pattern.emit is Emit.ORDERED
        while self.complete.runs:
            start = opened(self.complete.runs[0])
            if held and start > min(map(opened, self.runs.runs[:1]), default=FOREVER_US):
                return
            self.emit_one(self.next_complete())

    def next_complete(self) -> Run:
        """Take the match that comes out next."""
        if self.ties is Ties.FLINK:
            first = self.complete.runs[0]
            self.complete.remove_first()
        else:
            first = min(self.complete.runs, key=self.earliest)
            self.complete.runs.remove(first)
            self.complete = Queue(self.complete.runs)
        return first

    def earliest(self, run: Run) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The order of `Ties.EARLIEST`."""
        names = [step.name for step in flatten(self.pattern.steps)]
        steps = tuple(names.index(taken.step) for taken in run.taken)
        return (*(taken.place for taken in run.taken), FOREVER_US), steps

    def emit_one(self, done: Run) -> None:
        """A match comes out, and what started too early for the strategy goes."""
        self.matches.append(self.as_match(done))
        keep_from = self.keep_from(done)
        if not keep_from:
            return
        self.runs.drop(lambda run: opened(run) < keep_from)
        self.complete.drop(lambda run: opened(run) < keep_from)

    def keep_from(self, done: Run) -> int:
        """The first place at which a start survives this match. A step that is not in the match prunes nothing."""
        named = [taken.place for taken in done.taken if taken.step == self.pattern.skip_to]
        match self.pattern.skip:
            case Skip.TO_NEXT:
                return done.taken[0].place + 1
            case Skip.PAST_LAST_EVENT:
                return done.taken[-1].place + 1
            case Skip.TO_FIRST:
                return named[0] if named else 0
            case Skip.TO_LAST:
                return named[-1] if named else 0
        return 0

    def as_match(self, run: Run) -> Match:
        """What a run has taken, by step."""
        names = [step.name for step in flatten(self.pattern.steps)]
        ids = {name: tuple(taken.event.id for taken in run.taken if taken.step == name) for name in names}
        return tuple((name, ids[name]) for name in names if ids[name])


def moves(run: Run, event: Event, place: int) -> tuple[list[Run], list[Run]]:
    """(runs that go on, runs that are complete) after one event. The run that waits for a start never ends."""
    edges = reachable(run.state, event, run)
    going_on: list[Run] = []
    complete: list[Run] = []
    for edge in edges:
        if edge.action is Action.TAKE:
            longer = Run(edge.target, (*run.taken, Taken(edge.name, place, event)))
            if edge.target.kind is not Kind.FINAL:
                going_on.append(longer)
            if ends_here(edge.target, event, run):
                complete.append(longer)
        elif edge.action is Action.IGNORE and run.taken:
            (complete if edge.target.kind is Kind.FINAL else going_on).append(Run(edge.target, run.taken))
    if any(edge.action is Action.KILL for edge in edges):
        going_on = []
    if not run.taken:
        going_on.append(run)
    return going_on, complete


def reachable(state: State, event: Event, run: Run) -> list[Edge]:
    """The edges whose guard holds: a state's own first, then those of the states it may proceed to, last one first."""
    found, states = [], [state]
    while states:
        for edge in states.pop().edges:
            if not edge.guard(event, run):
                continue
            if edge.action is Action.PROCEED:
                states.append(edge.target)
            else:
                found.append(edge)
    return found


def ends_here(state: State, event: Event, run: Run) -> bool:
    """Is a run that has just come to `state` complete? It may proceed to the end; `run` is from before the event."""
    if state.kind is Kind.FINAL:
        return True
    ways = [edge for edge in state.edges if edge.action is Action.PROCEED]
    return any(edge.guard(event, run) and ends_here(edge.target, event, run) for edge in ways)


def gap_over(state: State) -> int:
    """The time without a taken event after which no way on is left, 0 for never."""
    gaps = ways_on(state)
    return max(gaps) if gaps and all(gaps) else 0


def ways_on(state: State) -> list[int]:
    """The gaps of all that could still be taken from here, and of an end that takes nothing."""
    gaps = [state.gap_us] if state.kind is Kind.PENDING else []
    for edge in state.edges:
        if edge.action is Action.TAKE:
            gaps.append(edge.gap_us)
        elif edge.action is Action.IGNORE and edge.target.kind is Kind.FINAL and state.kind is not Kind.PENDING:
            gaps.append(0)  # an event that is not the absent one ends it, however late
        elif edge.action is Action.PROCEED:
            gaps += ways_on(edge.target)
    return gaps
