"""`python -m bench [PART …]`: ours and the peers side by side in one run, to bench/out/results.json.

columns   the five works and a thousand patterns from columns, against Flink CEP, Esper's best form and a loop in C
json      the same works from JSON bytes, against Flink CEP
memory    bytes of a partial, of a link, of a key
kafka     a topic drained exactly-once, the delay of an alert (--delay: only that)
api       a decision over HTTP, a read of features
flatness  speed against open partials, windows and steps, to docs/flatness.md; only when it is named

A peer that can't be run, or that counts other matches than ours, is said at the end, and then the run has failed. A
target that was missed is part of its row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import engine, flatness, lane, memory, rest
from bench.data import FLINK_MATCHES, OUT, ndjson, thousand_ndjson, thousand_patterns, transactions
from bench.peers.run import PEERS, PeerError, run_peer
from bench.works import THOUSAND

Row = dict[str, Any]

DOCS = Path(__file__).parent.parent / "docs"

FIVE = tuple(FLINK_MATCHES)
TIMES_ESPER = {
    "small_big": 10.0,
    "country_change": 10.0,
    "card_testing": 50.0,
    "rising_triple": 10.0,
    "twenty_patterns": 10.0,
}
"""So many times Esper we want to be from columns,"""
TIMES_FLINK = {
    "small_big": 5.0,
    "country_change": 3.0,
    "card_testing": 6.0,
    "rising_triple": 6.0,
    "twenty_patterns": 30.0,
}
"""and so many times Flink from JSON;"""
PER_SECOND = {"columns": 500_000.0, "json": 300_000.0}
"""with a thousand patterns, so many events per second."""
TIMES_BELOW_C = (10.0, 4.0)
"""Behind the loop in C by less than the first is good, by less than the second is what we want."""

HELD_BACK = "card_testing"
"""Flink holds back a match of this work while an earlier start is open, and drops it if that one matches first. So does
`emit: ordered`."""
THOUSAND_EVENTS = 50_000
"""Of the thousand patterns on Esper, which takes seconds for them."""
THOUSAND_PASSES = 3


@dataclass(slots=True)
class Run:
    """One run: what was asked for, what the peers said, and what is wrong.

    events: of each work;  passes: ours, Esper's and those of the loop in C, None for each one's own number
    """

    events: int
    passes: int | None = None
    said: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def peer(self, name: str, work: str, matches: int, events: int | None = None) -> float | None:
        """A peer's events per second, run once. None where it can't be run; that, and another count, is a problem."""
        if (name, work) not in self.said:
            passes = self.passes if "--passes" in PEERS[name].options else None
            try:
                self.said[name, work] = run_peer(name, work, events=events or self.events, passes=passes)
            except PeerError as error:
                self.said[name, work] = None
                self.problems.append(f"{name} {work}: {error}")
        line = self.said[name, work]
        if line is None:
            return None
        if line["matches"] != matches:
            self.problems.append(f"{name} {work}: {line['matches']} matches, where ours are {matches}")
        return float(line["events_per_s"])

    def form(self, work: str) -> str:
        """Which of its forms Esper ran (peers/esper Texts.java): the best one of the work."""
        return str((self.said["esper", work] or {}).get("form", "not run"))


def row(name: str, ours: float, peer: float | None, unit: str, note: str) -> Row:
    """One line of the results; ratio is how many times faster ours is."""
    ratio = None if not peer else (peer / ours if unit == "ms" else ours / peer)
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "note": note}


def against(name: str, ours: float, peer: float | None, note: str, times: float) -> Row:
    """A line of events per second, with a target of so many times the peer."""
    found = row(name, ours, peer, "events/s", note)
    if found["ratio"] is not None:
        found["note"] += f", target {times:g}x {'met' if found['ratio'] >= times else 'missed'}"
    return found


def columns_rows(run: Run) -> Iterator[Row]:
    """The five works and a thousand patterns from columns."""
    passes = run.passes or engine.PASSES
    columns = transactions(run.events)
    for work in FIVE:
        matches, speed = engine.from_columns(work, columns, passes=passes)
        flinks, note = matches, f"matches {matches}"
        if work == HELD_BACK:
            flinks = engine.from_columns(work, columns, emit="ordered", passes=1)[0]
            note += f", ordered {flinks} as Flink"
        yield row(f"columns/{work}", speed, run.peer("flink", work, flinks), "events/s", f"peer Flink CEP, {note}")
        esper = run.peer("esper", work, matches)
        note = f"peer Esper ({run.form(work)}), matches {matches}"
        yield against(f"esper/{work}", speed, esper, note, TIMES_ESPER[work])
        if work in PEERS["c"].works:
            yield behind_c(work, speed, run.peer("c", work, matches), matches)
    yield from thousand_rows(run)


def behind_c(work: str, ours: float, peer: float | None, matches: int) -> Row:
    """Our distance from the loop that was written for this work alone."""
    found = row(f"c/{work}", ours, peer, "events/s", f"peer a loop in C, matches {matches}")
    if peer is not None:
        good, best = TIMES_BELOW_C
        behind = peer / ours
        judged = "as we want it" if behind <= best else "good" if behind <= good else "too far"
        found["note"] += f", {behind:.1f}x ours: {judged} (good {good:g}x, wanted {best:g}x)"
    return found


def thousand_rows(run: Run) -> Iterator[Row]:
    """A thousand patterns from columns: on all events, and on those few that Esper gets."""
    passes = run.passes or THOUSAND_PASSES
    matches, speed = engine.from_columns(THOUSAND, thousand_patterns(run.events)[0], passes=passes)
    yield thousand_row("columns", speed, matches)
    few = min(run.events, THOUSAND_EVENTS)
    matches, speed = engine.from_columns(THOUSAND, thousand_patterns(few)[0], passes=passes)
    esper = run.peer("esper", THOUSAND, matches, few)
    note = f"peer Esper ({run.form(THOUSAND)}), matches {matches}, {few} events"
    yield row(f"esper/{THOUSAND}", speed, esper, "events/s", note)


def thousand_row(part: str, ours: float, matches: int) -> Row:
    """Ours alone, with its target."""
    least = PER_SECOND[part]
    note = f"matches {matches}, target {least:,.0f} {'met' if ours >= least else 'missed'}"
    return row(f"{part}/{THOUSAND}", ours, None, "events/s", note)


def json_rows(run: Run) -> Iterator[Row]:
    """The five works and a thousand patterns from JSON records."""
    columns = transactions(run.events)
    records = ndjson(columns)
    for work in FIVE:
        matches, speed = engine.from_json(work, records)
        flinks = engine.from_columns(work, columns, emit="ordered", passes=1)[0] if work == HELD_BACK else matches
        note = f"peer Flink CEP from columns, matches {matches}"
        yield against(f"json/{work}", speed, run.peer("flink", work, flinks), note, TIMES_FLINK[work])
    del records, columns
    matches, speed = engine.from_json(THOUSAND, thousand_ndjson(thousand_patterns(run.events)[0]))
    yield thousand_row("json", speed, matches)


def memory_rows(_: Run) -> Iterator[Row]:
    """Bytes of a partial, a link and a key."""
    for name, measured, note in memory.rows():
        yield row(f"memory/{name}", measured, None, "bytes", note)


def kafka_rows(options: argparse.Namespace) -> Iterator[Row]:
    """The drains and the delay. Raises LaneError."""
    found = lane.delays(lane.kafka()) if options.delay else lane.rows(options.events, peers=options.peers)
    return (row(*one) for one in found)


def api_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Decisions and reads of features. Raises LaneError."""
    return (row(*one) for one in rest.rows(lane.kafka()))


def show(one: Row) -> Row:
    """Print a line as it comes."""
    peer = f"{one['peer']:>14,.1f}" if one["peer"] else f"{'-':>14}"
    ratio = f"{one['ratio']:>9.{1 if one['ratio'] >= 1 else 2}f}x" if one["ratio"] else f"{'-':>10}"
    print(f"{one['name']:<26}{one['ours']:>16,.1f}{peer}{ratio}  {one['unit']:<9} {one['note']}", flush=True)
    return one


PARTS: dict[str, Callable[[Run], Iterator[Row]]] = {"columns": columns_rows, "json": json_rows, "memory": memory_rows}
ON_SERVICES = {"kafka": kafka_rows, "api": api_rows}
ALL = (*PARTS, *ON_SERVICES)
FLATNESS = "flatness"


def measured(parts: list[str], options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """The rows of the parts, each shown as it comes, and what is wrong with them."""
    print(f"{'name':<26}{'ours':>16}{'peer':>14}{'ratio':>10}  unit      note")
    run = Run(options.events, options.passes)
    rows: list[Row] = []
    for part in parts:
        try:
            rows.extend(show(one) for one in (ON_SERVICES[part](options) if part in ON_SERVICES else PARTS[part](run)))
        except lane.LaneError as error:
            run.problems.append(f"{part}: {error}")
    return rows, run.problems


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join((*ALL, FLATNESS))}")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--passes", type=int, help="columns: ours, Esper's, the C loop's; of 1 the first counts")
    parser.add_argument("--peers", action="store_true", help="kafka: Flink on the same topic too, which takes minutes")
    parser.add_argument("--delay", action="store_true", help="kafka: only the delay of an alert, no drain")
    options = parser.parse_args()
    parts = options.parts or list(ALL)
    unknown = set(parts) - {*ALL, FLATNESS}
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}: there are {', '.join((*ALL, FLATNESS))}")
    if not ON_SERVICES.keys().isdisjoint(parts):
        try:
            lane.address()
        except lane.LaneError as error:
            parser.error(str(error))
    if FLATNESS in parts:
        flatness.write(DOCS)
    problems: list[str] = []
    if others := [part for part in parts if part != FLATNESS]:
        rows, problems = measured(others, options)
        OUT.mkdir(exist_ok=True)
        (OUT / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    for problem in problems:
        print(f"wrong: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
