"""Pattern operators: one function each, the automaton of what follows in, the automaton of the operator and it out.

An operator is given `rest`, the entry state of everything behind it, and answers its own entry state. It never looks
behind `rest`; what it must know of its neighbours is in `Scope`: which absences are still waited for (`nots`), which
absence comes next (`next_not`), and which group it heads. Operators that quantify work on a `Body`, which says what a
single element is; a step and a group are both bodies, so every quantifier works on both.

    single      (S) ──take──▶ rest                     optional    (S) ┄proceed┄▶ rest as well
    loop        (L) ──take──▶ (L), (L) ┄proceed┄▶ rest
    times       (S1) ──▶ (S2) ──▶ … ──▶ rest
    permute     ({}) ──a──▶ ({a}) ──b──▶ ({a, b}) = rest, ({}) ──b──▶ ({b}) ──a──▶ ({a, b}): a state per set taken

Relaxed contiguity is an IGNORE edge guarded by NOT(the awaited condition), `followed_by_any` one without a guard,
strict contiguity none. FINAL (the match) has no state; edges lead to it directly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

from cep.automaton.graph import ALWAYS, FINAL, Action, Edge, Graph, Guard, State, both, kept
from cep.language.pattern import Contiguity, Group, Inner, Step, first_steps, flatten
from events.expression import Expression

Bits = Callable[[Expression | None, str], Guard]
"""The guard of a condition on a stream: one bit, or ALWAYS."""

Item = Step | Group

RELAXED, ANY, STRICT = Contiguity.FOLLOWED_BY, Contiguity.FOLLOWED_BY_ANY, Contiguity.NEXT
INNER = {Inner.RELAXED: RELAXED, Inner.COMBINATIONS: ANY, Inner.CONSECUTIVE: STRICT}


@dataclass(frozen=True, slots=True)
class Absence:
    """A `not_followed_by` that is still waited for."""

    name: str
    guard: Guard


@dataclass(frozen=True, slots=True)
class Scope:
    """What an operator knows of its surroundings.

    nots:      absences between the element taken last and this one
    next_not:  the absence right behind this one
    group:     the innermost group; `until` of it holds for everything inside
    first:     is this the first iteration of that group?
    head:      is this the first item of that group?
    """

    nots: tuple[Absence, ...] = ()
    next_not: Absence | None = None
    group: Group | None = None
    first: bool = True
    head: bool = False


def gap_of(step: Step, scope: Scope, first: bool) -> int:
    """The gap that limits an element: a loop's between its elements, a single step's since the event before it.

    A group's gap is its head's: between its passes, or before the group when it has one pass.
    """
    gaps = [step.gap_us if step.times.single or not first else 0]
    if scope.head and scope.group is not None and first and (scope.group.times.single or not scope.first):
        gaps.append(scope.group.gap_us)
    return min((gap for gap in gaps if gap), default=0)


def left_out_by_head(scope: Scope) -> bool:
    """Is a way around a whole group, which may be left out, added to the item's entry?"""
    return scope.head and scope.first and scope.group is not None and scope.group.optional


class Builder:
    """Builds one pattern's graph. `bits` answers the guard of a condition and numbers new ones."""

    def __init__(self, bits: Bits, steps: list[Step]) -> None:
        self.graph = Graph()
        self.bits = bits
        self.numbers = {id(step): place for place, step in enumerate(steps)}

    # -- guards ---------------------------------------------------------------------------------------------------

    def until(self, scope: Scope) -> list[Guard]:
        """NOT(the group's until), as guards of which exactly one holds."""
        if scope.group is None or scope.group.until is None:
            return [ALWAYS]
        return self.bits(scope.group.until, "").negated()

    def condition(self, step: Step, scope: Scope) -> list[Guard]:
        """When the step takes an event: its condition, and the group's until has not come."""
        return both(self.until(scope), [self.bits(step.where, step.stream)])

    def own_until(self, step: Step) -> list[Guard]:
        """NOT(the loop's until)."""
        return [ALWAYS] if step.until is None else self.bits(step.until, step.stream).negated()

    def ignore(self, step: Step, contiguity: Contiguity, scope: Scope) -> list[Guard]:
        """When an event is passed over while the step is awaited; empty for never."""
        if contiguity in (STRICT, Contiguity.NOT_NEXT):
            return []
        if contiguity is ANY:
            return self.until(scope)
        return both(self.until(scope), self.bits(step.where, step.stream).negated())

    def outer(self, item: Item, scope: Scope) -> Contiguity:
        """How the first element is reached: a group's head is reached as the group is."""
        if not scope.head or scope.group is None:
            return item.contiguity
        return scope.group.contiguity if scope.first else INNER[scope.group.inner]

    def inner(self, step: Step, scope: Scope) -> Contiguity:
        """How a further element is reached."""
        return INNER[scope.group.inner if scope.head and scope.group is not None else step.inner]

    # -- pieces ---------------------------------------------------------------------------------------------------

    def kills(self, nots: tuple[Absence, ...]) -> tuple[Edge, ...]:
        """The edges by which awaited absences end a partial."""
        return tuple(Edge(absence.guard, Action.KILL, name=absence.name) for absence in nots)

    def loop_kills(self, scope: Scope) -> tuple[Edge, ...]:
        """A loop is also ended by the absence behind it."""
        return self.kills((scope.next_not,) if scope.next_not else ())

    def without_nots(self, rest: int, optional: bool, scope: Scope) -> int:
        """`rest` once an optional element was taken: the absences before that element no longer count.

        Where `rest` is the end of a loop's body, nothing is left of it: the way is lost, as in Flink.
        """
        if rest == FINAL or not optional or not scope.nots:
            return rest
        names = {absence.name for absence in scope.nots}
        edges = []
        for edge in self.graph.states[rest].edges:
            if edge.action is Action.KILL:
                if edge.name not in names:
                    edges.append(edge)
            elif edge.action is Action.PROCEED and edge.target != FINAL:
                edges.append(replace(edge, target=self.without_nots(edge.target, optional, scope)))
            else:
                edges.append(edge)
        return self.graph.copy(rest, edges)

    def guard(self, rest: int, taken: list[Guard]) -> None:
        """Greedy: whatever the loop would take never moves `rest`, whichever way it was reached."""
        if rest == FINAL:
            return
        refused = [ALWAYS]
        for guard in taken:
            refused = both(refused, guard.negated())
        state = self.graph.states[rest]
        edges = [replace(edge, guard=guard) for edge in state.edges for guard in kept(both([edge.guard], refused))]
        self.graph.states[rest] = replace(state, edges=tuple(edges))

    # -- elements -------------------------------------------------------------------------------------------------

    def element(
        self,
        item: Item,
        rest: int,
        skip: list[tuple[list[Guard], int]],
        contiguity_inner: bool,
        scope: Scope,
    ) -> int:
        """One element of `item`, then `rest`; `skip` are the ways around it when it is optional (guards, target)."""
        if isinstance(item, Group) and item.any_of:
            return self.permuted(item, rest, skip, contiguity_inner, scope)
        if isinstance(item, Group):
            return self.iteration(item, rest, skip, replace(scope, first=not contiguity_inner))
        contiguity = self.inner(item, scope) if contiguity_inner else self.outer(item, scope)
        take = self.taken(item, scope)
        ignore = self.ignore(item, contiguity, scope)
        if contiguity_inner:
            ignore = both(self.own_until(item), ignore)
        onward = self.without_nots(rest, item.optional, scope)
        number = self.numbers[id(item)]
        state = self.graph.add(State(step=number, label=item.name))
        takes = [Edge(guard, Action.TAKE, onward, gap_us=gap_of(item, scope, not contiguity_inner)) for guard in take]
        self.graph.append(state, *takes)
        self.skip_edges(state, skip)
        if ignore:
            waiting = state
            if skip or left_out_by_head(scope):
                waiting = self.graph.add(State(step=number, label=item.name))
                self.graph.append(waiting, *takes)
                self.graph.append(waiting, *(Edge(guard, Action.IGNORE, waiting) for guard in ignore))
                self.graph.append(waiting, *self.kills(scope.nots))
            self.graph.append(state, *(Edge(guard, Action.IGNORE, waiting) for guard in ignore))
        return state

    def taken(self, step: Step, scope: Scope) -> list[Guard]:
        """When an element of the step is taken: its condition, and neither until has come."""
        return kept(both(self.own_until(step), self.condition(step, scope)))

    def skip_edges(self, state: int, skip: list[tuple[list[Guard], int]]) -> None:
        """The ways around an optional element."""
        for guards, target in skip:
            self.graph.append(state, *(Edge(guard, Action.PROCEED, target) for guard in kept(guards)))

    def iteration(self, group: Group, rest: int, skip: list[tuple[list[Guard], int]], scope: Scope) -> int:
        """One pass through a group's items, then `rest`. A group that begins another is strict, as in Flink."""
        if scope.head:
            group = replace(group, contiguity=STRICT)
        entry = self.sequence(group.steps, rest, Scope(next_not=scope.next_not, group=group, first=scope.first))
        self.skip_edges(entry, skip)
        return entry

    # -- any order ------------------------------------------------------------------------------------------------

    def permuted(self, group: Group, rest: int, skip: list[tuple[list[Guard], int]], again: bool, scope: Scope) -> int:
        """Any `any_of` of a group's members, in any order, then `rest`. again: is it a further pass of a loop?

        What is awaited follows from what was taken, not from the order in which it came: a state per set of members
        taken so far, 2^k of them and not k!, and no two paths to one match.
        """
        onward = rest if rest != FINAL and self.is_open(rest) else self.without_nots(rest, group.optional, scope)
        places = range(len(group.steps))
        between = INNER[group.inner]
        states = {frozenset(taken): onward for taken in combinations(places, group.any_of)}
        for size in range(group.any_of - 1, -1, -1):
            inside = Scope(next_not=scope.next_not if size == group.any_of - 1 else None, group=group)
            contiguity = between if size or again else self.outer(group, scope)
            states = {
                taken: self.one_more(group, taken, states, contiguity, inside)
                for taken in map(frozenset, combinations(places, size))
            }
        waiting = entry = states[frozenset()]
        if skip or left_out_by_head(scope):  # the way around is there only until an event was passed over
            entry = self.graph.add(self.graph.states[waiting])
            self.graph.append(waiting, *(self.loop_kills(scope) if again else self.kills(scope.nots)))
            self.skip_edges(entry, skip)
        return entry

    def one_more(
        self, group: Group, taken: frozenset[int], states: dict[frozenset[int], int], between: Contiguity, scope: Scope
    ) -> int:
        """One of the members that are not taken yet, then the state of the set with it.

        Members are strict (`opened`): what is passed over is decided here for all of them at once. Relaxed contiguity
        passes over what none of them would take.
        """
        missing = [(item, taken | {place}) for place, item in enumerate(group.steps) if place not in taken]
        entries = [self.quantified(item, self.own(states[after], item), scope) for item, after in missing]
        awaited = [step for item, _ in missing for step in first_steps(item)]
        passed = [] if between is STRICT else self.until(scope)
        if between is RELAXED:
            for step in awaited:
                passed = both(passed, self.bits(step.where, step.stream).negated())
        state = self.graph.add(State(label=" or ".join(step.name for step in awaited)))
        self.graph.append(state, *(Edge(ALWAYS, Action.PROCEED, entry) for entry in entries))
        self.graph.append(state, *(Edge(guard, Action.IGNORE, state) for guard in passed))
        return state

    def own(self, rest: int, item: Item) -> int:
        """`rest`, as a copy where a greedy loop of the item takes its events from it: other members lead there too."""
        if rest == FINAL or self.is_open(rest) or not any(step.greedy for step in flatten((item,))):
            return rest
        return self.graph.copy(rest, self.graph.states[rest].edges)

    def is_open(self, number: int) -> bool:
        """Is it the end of a loop's body, whose edges back are still to come?"""
        return not self.graph.states[number].edges

    # -- quantifiers ----------------------------------------------------------------------------------------------

    def quantified(self, item: Item, rest: int, scope: Scope) -> int:
        """An item with its quantifier, then `rest`."""
        entry = self.loop(item, rest, scope) if item.times.at_most is None else self.times(item, rest, scope)
        self.graph.append(entry, *self.kills(scope.nots))
        return entry

    def ways_around(self, item: Item, rest: int, plain: int, scope: Scope) -> list[tuple[list[Guard], int]]:
        """How to leave out what is optional. A greedy loop with `until` reaches `plain`, the unguarded rest, by it."""
        free = self.until(scope)
        if isinstance(item, Group) or not item.greedy or item.until is None or plain == rest:
            return [(free, rest)]
        stop = [self.bits(item.until, item.stream)]
        return [(both(free, stop), plain), (both(free, self.own_until(item)), rest)]

    def times(self, item: Item, rest: int, scope: Scope) -> int:
        """At least `at_least`, at most `at_most` elements. One is a single element."""
        least, most = item.times.at_least, item.times.at_most
        assert most is not None
        if item.greedy and least != most and isinstance(item, Step):
            self.guard(rest, self.condition(item, scope))
        around = self.ways_around(item, rest, rest, scope)
        entry = rest
        for _ in range(least, most):
            entry = self.element(item, entry, around, True, scope)
            self.graph.append(entry, *self.loop_kills(scope))
        for _ in range(least - 1):
            entry = self.element(item, entry, [], True, scope)
            self.graph.append(entry, *self.loop_kills(scope))
        return self.element(item, entry, around if item.optional else [], False, scope)

    def loop(self, item: Item, rest: int, scope: Scope) -> int:
        """At least `at_least` elements, no bound above."""
        inside = self.without_nots(rest, item.optional, scope)
        plain = inside
        if item.greedy and isinstance(item, Step):
            if item.until is not None and inside != FINAL:
                plain = self.graph.copy(inside, self.graph.states[inside].edges)
            self.guard(inside, self.condition(item, scope))
        around = self.ways_around(item, inside, plain, scope)
        again = (
            self.loop_of_step(item, around, scope)
            if isinstance(item, Step)
            else self.loop_of_group(item, around, scope)
        )
        for _ in range(item.times.at_least - 1):
            again = self.element(item, again, [], True, scope)
            self.graph.append(again, *self.loop_kills(scope))
        unguarded = plain if inside == rest else rest  # what is left out ends no absence, and guards a copy only
        skip = self.ways_around(item, rest, unguarded, scope) if item.optional else []
        return self.element(item, again, skip, False, scope)

    def loop_of_step(self, step: Step, around: list[tuple[list[Guard], int]], scope: Scope) -> int:
        """The state of an open loop: takes more, or goes on with what follows."""
        take = self.taken(step, scope)
        ignore = both(self.own_until(step), self.ignore(step, self.inner(step, scope), scope))
        number = self.numbers[id(step)]
        looping = self.graph.add(State(step=number, label=step.name))
        self.skip_edges(looping, around)
        takes = [Edge(guard, Action.TAKE, looping, gap_us=gap_of(step, scope, first=False)) for guard in take]
        self.graph.append(looping, *takes, *self.loop_kills(scope))
        if ignore:
            waiting = self.graph.add(State(step=number, label=step.name))
            self.graph.append(
                waiting,
                *takes,
                *(Edge(guard, Action.IGNORE, waiting) for guard in ignore),
                *self.loop_kills(scope),
            )
            self.graph.append(looping, *(Edge(guard, Action.IGNORE, waiting) for guard in ignore))
        return looping

    def loop_of_group(self, group: Group, around: list[tuple[list[Guard], int]], scope: Scope) -> int:
        """A further pass through the group, or what follows."""
        back = self.graph.add(State(label="again"))
        entry = self.element(group, back, around, True, scope)
        self.graph.append(back, *(Edge(guard, Action.PROCEED, entry) for guard in self.until(scope)))
        return entry

    # -- absences and sequences -----------------------------------------------------------------------------------

    def not_next(self, step: Step, rest: int, scope: Scope) -> int:
        """The very next event must not be one of `step`; at the end of a pattern the window's end is as good."""
        guards = self.condition(step, scope)
        clear = [ALWAYS]
        for guard in guards:
            clear = both(clear, guard.negated())
        action = Action.IGNORE if rest == FINAL else Action.PROCEED
        return self.graph.add(
            State(
                edges=(
                    *(Edge(guard, action, rest) for guard in kept(clear)),
                    *(Edge(guard, Action.KILL, name=step.name) for guard in guards),
                ),
                pending=rest == FINAL,
                gap_us=step.gap_us if rest == FINAL else 0,
                label=step.name,
            )
        )

    def absence_at_end(self, step: Step, scope: Scope) -> int:
        """A trailing `not_followed_by`: a match when the window ends and nothing of `step` came."""
        guards = self.condition(step, scope)
        clear = [ALWAYS]
        for guard in guards:
            clear = both(clear, guard.negated())
        place = len(self.graph.states)
        return self.graph.add(
            State(
                edges=(
                    *(Edge(guard, Action.KILL, name=step.name) for guard in guards),
                    *(Edge(guard, Action.IGNORE, place) for guard in clear),
                ),
                pending=True,
                gap_us=step.gap_us,
                label=step.name,
            )
        )

    def sequence(self, items: tuple[Item, ...], rest: int, scope: Scope) -> int:
        """Items one after the other, then `rest`; built from the last to the first."""
        nots = self.nots_before(items, scope)
        next_not = scope.next_not
        for place in range(len(items) - 1, -1, -1):
            item = items[place]
            inside = replace(scope, nots=nots[place], next_not=next_not, head=place == 0 and scope.group is not None)
            if isinstance(item, Step) and item.contiguity is Contiguity.NOT_FOLLOWED_BY:
                if rest == FINAL:
                    rest = self.absence_at_end(item, inside)
            elif isinstance(item, Step) and item.contiguity is Contiguity.NOT_NEXT:
                rest = self.not_next(item, rest, inside)
            else:
                rest = self.quantified(item, rest, inside)
            next_not = self.absence(item, inside)
        return rest

    def absence(self, item: Item, scope: Scope) -> Absence | None:
        """The item as an absence, if it is a `not_followed_by`. What ends the group around it is none."""
        if not isinstance(item, Step) or item.contiguity is not Contiguity.NOT_FOLLOWED_BY:
            return None
        (going_on,) = self.until(scope)
        return Absence(item.name, going_on & self.bits(item.where, item.stream))

    def nots_before(self, items: tuple[Item, ...], scope: Scope) -> list[tuple[Absence, ...]]:
        """For each item the absences before it: those behind the last item that must be taken."""
        found: list[tuple[Absence, ...]] = []
        waiting: tuple[Absence, ...] = ()
        for item in items:
            found.append(waiting)
            absence = self.absence(item, scope)
            if absence is not None:
                waiting = (absence, *waiting)
            elif not item.optional:
                waiting = ()
        return found


def construct(items: tuple[Item, ...], bits: Bits, steps: list[Step]) -> tuple[Graph, int]:
    """The graph of a pattern's items with PROCEED edges, and its start state.

    steps: the items' flat list of steps; a state's `step` is a position in it
    """
    builder = Builder(bits, steps)
    start = builder.sequence(items, FINAL, Scope())
    return builder.graph, start
