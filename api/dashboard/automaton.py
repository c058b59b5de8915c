"""A plan's automaton as a drawing: states from left to right. Pure.

    (start) ──probe──▶ (1) ──probe──▶ (2) ──cashout──▶ ((match))      solid: the event is taken
                        ╰╌╌╮  not probe                               dashed, below: the event is passed over
                           ✕  login                                   the partial ends

The words on the edges are those of `cep.automaton.drawing`. A state's column is its distance from the start.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from cep.automaton.drawing import condition_name, edge_label, goal
from cep.automaton.graph import Action
from cep.automaton.plan import Plan

STATES_DRAWN_MAX = 24
"""Beyond it a drawing tells less than the sentence."""

COLUMN, LANE = 176, 148
RADIUS = 22
LABEL_CHARS, LABEL_LINES = 24, 3
NUDGE = 10


@dataclass(frozen=True, slots=True)
class Node:
    """A state. kind: start, state, pending (a match when its window ends), match."""

    name: str
    kind: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge. kind: take, ignore, kill. `path` is SVG's; the words stand in lines from (x, y), in full in `title`."""

    kind: str
    path: str
    x: float
    y: float
    lines: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All of it, in its own units."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]


Edges = dict[tuple[str, str, Action], list[str]]


def draw_automaton(plan: Plan) -> Drawing | None:
    """The drawing; None beyond STATES_DRAWN_MAX states."""
    if len(plan.states) > STATES_DRAWN_MAX:
        return None
    edges = _edges(plan)
    nodes = _nodes(plan, edges)
    arrows = tuple(_arrow(nodes, *ends, labels) for ends, labels in edges.items())
    width = max(node.x for node in nodes.values()) + 96
    height = max(node.y for node in nodes.values()) + 112
    return Drawing(width, height, tuple(nodes.values()), arrows)


def _edges(plan: Plan) -> Edges:
    """(from, to, action) → labels, in order."""
    names = [condition_name(condition, plan.pattern) for condition in plan.conditions]
    found: Edges = defaultdict(list)
    for number, state in enumerate(plan.states):
        for edge in state.edges:
            labels = found[f"s{number}", goal(edge), edge.action]
            label = edge_label(edge, names, plan)
            if label not in labels:
                labels.append(label)
    return dict(found)


def _nodes(plan: Plan, edges: Edges) -> dict[str, Node]:
    columns, queue = {"s0": 0}, deque(["s0"])
    while queue:
        here = queue.popleft()
        for source, target, action in edges:
            if source == here and action is not Action.KILL and target not in columns:
                columns[target] = columns[here] + 1
                queue.append(target)
    states = [f"s{number}" for number in range(len(plan.states))]
    last = max(columns.values()) + ("match" not in columns)
    columns["match"] = max([last, *(columns.get(state, 0) + 1 for state in states)])
    filled: dict[int, int] = defaultdict(int)
    nodes = {}
    for name in (*states, "match"):
        column = columns.get(name, 0)
        x, y = 64 + COLUMN * column, 112 + LANE * filled[column]
        filled[column] += 1
        pending = name != "match" and plan.states[int(name[1:])].pending
        kind = "match" if name == "match" else "start" if name == "s0" else "pending" if pending else "state"
        nodes[name] = Node(name if name == "match" else "start" if name == "s0" else name[1:], kind, x, y)
    return nodes


def _arrow(nodes: dict[str, Node], source: str, target: str, action: Action, labels: list[str]) -> Arrow:
    kind, title = action.name.lower(), " or ".join(labels)
    lines = _lines(labels)
    start = nodes[source]
    if action is Action.KILL:
        x, y = start.x + 30, start.y + 62
        path = f"M{start.x + 10},{start.y + RADIUS - 2} L{x - 5},{y - 12}"
        return Arrow(kind, path, x + 12, y, lines, title)
    if source == target:
        side = 1 if action is Action.IGNORE else -1
        edge, far = start.y + side * (RADIUS - 4), start.y + side * 62
        path = f"M{start.x - 12},{edge} C{start.x - 40},{far} {start.x + 40},{far} {start.x + 12},{edge}"
        rise = 13 * (len(lines) - 1) if side < 0 else 0
        return Arrow(kind, path, start.x, start.y + (60 if side > 0 else -54) - rise, lines, title)
    return _between(kind, start, nodes[target], lines, title)


def _between(kind: str, start: Node, end: Node, lines: tuple[str, ...], title: str) -> Arrow:
    """Straight to the neighbour, else in an arc: forward above, backward below."""
    forward = end.x > start.x
    if forward and end.x - start.x == COLUMN:
        dashed = NUDGE if kind == "ignore" else 0
        begin, stop = (start.x + RADIUS, start.y + dashed), (end.x - RADIUS - 7, end.y + dashed)
        path = f"M{begin[0]},{begin[1]} L{stop[0]},{stop[1]}"
        y = (begin[1] + stop[1]) / 2 - 8 - 13 * (len(lines) - 1) + (28 if dashed else 0)
        return Arrow(kind, path, (begin[0] + stop[0]) / 2, y, lines, title)
    side = -1 if forward else 1
    lift = side * min(88, 40 + abs(end.x - start.x) / 12)
    middle, peak = (start.x + end.x) / 2, (start.y + end.y) / 2 + lift
    path = f"M{start.x + 8},{start.y + side * RADIUS} Q{middle},{peak + lift} {end.x - 8},{end.y + side * (RADIUS + 6)}"
    return Arrow(kind, path, middle, peak + (side * 12 if side > 0 else -6 - 13 * (len(lines) - 1)), lines, title)


def _lines(labels: list[str]) -> tuple[str, ...]:
    """Labels one under the other, long ones and long lists cut.

    >>> _lines(["a", "b"]), _lines(["x" * 40])[0][-1], len(_lines(list("abcde")))
    (('a', 'or b'), '…', 3)
    """
    shown = [label if len(label) <= LABEL_CHARS else label[: LABEL_CHARS - 1] + "…" for label in labels]
    if len(shown) > LABEL_LINES:
        shown = [*shown[: LABEL_LINES - 1], f"{len(shown) - LABEL_LINES + 1} more"]
    return tuple(text if place == 0 else f"or {text}" for place, text in enumerate(shown))
