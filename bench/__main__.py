"""`python -m bench [PART …]`: ours and the peers side by side in one run, to bench/out/results.json.

columns   the five works from columns in memory, against Flink CEP
json      the five works from JSON bytes, against Flink CEP
kafka     a topic drained exactly-once, the delay of an alert (--delay: only that)
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench import engine, lane
from bench.data import FLINK_MATCHES, OUT, ndjson, transactions
from bench.peers.run import PeerError, run_peer

PARTS = ("columns", "json", "kafka")
Row = dict[str, Any]


def row(name: str, ours: float, peer: float | None, unit: str, note: str) -> Row:
    """One line of the results; ratio is how many times faster ours is."""
    ratio = None if not peer else (peer / ours if unit == "ms" else ours / peer)
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "note": note}


def flink(work: str, known: dict[str, float]) -> float | None:
    """Flink's events per second from columns, run once; None, said aloud, where Flink can't be run."""
    if work not in known:
        try:
            known[work] = float(run_peer("flink", work)["events_per_s"])
        except PeerError as error:
            print(f"flink {work}: {error}", file=sys.stderr)
            return None
    return known[work]


def engine_rows(part: str, events: int, known: dict[str, float]) -> list[Row]:
    """The five works from columns or from JSON."""
    columns = transactions(events)
    records = ndjson(columns) if part == "json" else []
    rows = []
    for work, expected in FLINK_MATCHES.items():
        matches, speed = engine.from_columns(work, columns) if part == "columns" else engine.from_json(work, records)
        note = f"matches {matches}, Flink {expected}"
        if work == "card_testing" and part == "columns":
            note += f", ordered {engine.from_columns(work, columns, emit='ordered')[0]}"
        rows.append(show(row(f"{part}/{work}", speed, flink(work, known), "events/s", note)))
    return rows


def kafka_rows(options: argparse.Namespace) -> list[Row]:
    """The drains and the delay, each shown as it comes. Raises LaneError."""
    found = lane.delays(lane.kafka()) if options.delay else lane.rows(options.events, peers=options.peers)
    return [show(row(*one)) for one in found]


def show(one: Row) -> Row:
    """Print a line as it comes."""
    peer = f"{one['peer']:>14,.1f}" if one["peer"] else f"{'-':>14}"
    ratio = f"{one['ratio']:>9.1f}x" if one["ratio"] else f"{'-':>10}"
    print(f"{one['name']:<26}{one['ours']:>16,.1f}{peer}{ratio}  {one['unit']:<9} {one['note']}", flush=True)
    return one


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all without")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--peers", action="store_true", help="kafka: Flink on the same topic too, which takes minutes")
    parser.add_argument("--delay", action="store_true", help="kafka: only the delay of an alert, no drain")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if "kafka" in parts:
        try:
            lane.address()
        except lane.LaneError as error:
            parser.error(str(error))
    print(f"{'name':<26}{'ours':>16}{'peer':>14}{'ratio':>10}  unit      note")
    known: dict[str, float] = {}
    rows: list[Row] = []
    try:
        for part in parts:
            rows += kafka_rows(options) if part == "kafka" else engine_rows(part, options.events, known)
    except lane.LaneError as error:
        print(f"kafka: {error}", file=sys.stderr)
    OUT.mkdir(exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if {one["name"].partition("/")[0] for one in rows} == set(parts) else 1


if __name__ == "__main__":
    sys.exit(main())
