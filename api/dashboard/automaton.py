"""A plan's automaton as a drawing: states from left to right. Pure.

    (start) ──probe──▶ (1) ──probe──▶ (2) ──cashout──▶ ((match))      solid: the event is taken
                        ╰╌╌╮  not probe                               dashed, below: the event is passed over
                           ✕  login                                   the partial ends

The words on the edges are those of `cep.automaton.drawing`. A state's column is its distance from the start.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from textwrap import wrap

from cep.automaton.drawing import condition_name, edge_label, goal
from cep.automaton.graph import Action
from cep.automaton.plan import Plan

STATES_DRAWN_MAX = 24
"""Beyond it a drawing tells less than the sentence."""

COLUMN, LANE = 196, 190
RADIUS = 22
LABEL_CHARS, LABEL_LINES, LINE = 23, 3, 13
NUDGE = 9
ARC, ARC_STEP = 124, 34
"""How high the first arc over the states is, and how much higher each further one."""


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
    """All of it, in its own units, from y = `top` on."""

    top: int
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
    ranks = {-1: 0, 1: 0}
    arrows = []
    for (source, target, action), labels in edges.items():
        start, end = nodes[source], nodes[target] if action is not Action.KILL else None
        kind, lines, title = action.name.lower(), _lines(labels), " or ".join(labels)
        if end is None:
            arrows.append(_kill(kind, start, lines, title))
        elif start is end:
            arrows.append(_loop(kind, start, lines, title))
        elif end.x - start.x == COLUMN:
            arrows.append(_straight(kind, start, end, lines, title))
        else:
            side = -1 if end.x > start.x else 1
            arrows.append(_arc(kind, start, end, side, ranks[side], lines, title))
            ranks[side] += 1
    above, below = (0.75 * (ARC + ARC_STEP * ranks[side]) if ranks[side] else 0 for side in (-1, 1))
    xs, ys = [node.x for node in nodes.values()], [node.y for node in nodes.values()]
    top = min(ys) - max(98, round(above))
    height = max(ys) + max(118, round(below)) - top
    return Drawing(top, max(xs) + 96, height, tuple(nodes.values()), tuple(arrows))


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
        x, y = 64 + COLUMN * column, LANE * filled[column]
        filled[column] += 1
        pending = name != "match" and plan.states[int(name[1:])].pending
        kind = "match" if name == "match" else "start" if name == "s0" else "pending" if pending else "state"
        nodes[name] = Node(name if name == "match" else "start" if name == "s0" else name[1:], kind, x, y)
    return nodes


def _kill(kind: str, start: Node, lines: tuple[str, ...], title: str) -> Arrow:
    """Down to the right, to a cross."""
    x, y = start.x + 40, start.y + 46
    path = f"M{start.x + 16},{start.y + 15} L{x - 5},{y - 11}"
    return Arrow(kind, path, x + 12, y, lines, title)


def _loop(kind: str, start: Node, lines: tuple[str, ...], title: str) -> Arrow:
    """Above the state where the event is taken, below where it is passed over."""
    side = 1 if kind == "ignore" else -1
    edge, far = start.y + side * (RADIUS - 4), start.y + side * 68
    path = f"M{start.x - 12},{edge} C{start.x - 40},{far} {start.x + 40},{far} {start.x + 12},{edge}"
    y = start.y + 80 if side > 0 else start.y - 62 - LINE * (len(lines) - 1)
    return Arrow(kind, path, start.x, y, lines, title)


def _straight(kind: str, start: Node, end: Node, lines: tuple[str, ...], title: str) -> Arrow:
    """To the next column; the dashed one a little lower, so that both can be there."""
    down = NUDGE if kind == "ignore" else -NUDGE // 2
    x1, x2 = start.x + RADIUS, end.x - RADIUS - 7
    y = (start.y + end.y) / 2 + (down + 16 if kind == "ignore" else down - 7 - LINE * (len(lines) - 1))
    return Arrow(kind, f"M{x1},{start.y + down} L{x2},{end.y + down}", (x1 + x2) / 2, y, lines, title)


def _arc(kind: str, start: Node, end: Node, side: int, rank: int, lines: tuple[str, ...], title: str) -> Arrow:
    """Forward above the states, backward below them, each further one higher."""
    lift, lean = side * (ARC + ARC_STEP * rank), 60 if end.x > start.x else -60
    x1, x2 = start.x + lean // 4, end.x - lean // 4
    y1, y2 = start.y + side * 16, end.y + side * (RADIUS + 1)
    path = f"M{x1},{y1} C{x1 + lean},{start.y + lift} {x2 - lean},{end.y + lift} {x2},{y2}"
    peak = (start.y + end.y) / 2 + 0.75 * lift + side * 5
    y = peak + 15 if side > 0 else peak - 5 - LINE * (len(lines) - 1)
    return Arrow(kind, path, (x1 + x2) / 2, y, lines, title)


def _lines(labels: list[str]) -> tuple[str, ...]:
    """Labels one under the other, at most LABEL_LINES lines of LABEL_CHARS.

    >>> _lines(["a", "b"]), _lines(["not cashout and not probe"]), _lines(list("abcde"))
    (('a', 'or b'), ('not cashout and not', 'probe'), ('a', 'or b', '…'))
    """
    texts = [label if place == 0 else f"or {label}" for place, label in enumerate(labels)]
    lines = [line for text in texts for line in wrap(text, LABEL_CHARS)]
    return tuple(lines) if len(lines) <= LABEL_LINES else (*lines[: LABEL_LINES - 1], "…")
