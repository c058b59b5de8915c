"""`python -m cep.warm`: compiles the kernels into Numba's cache, so that no first event waits for it.

A child process runs patterns with every kind of step and condition over a few events: compiling leaves hundreds of
megabytes behind, and the machine code is in the cache anyway. A mark in the cache folder, which is named after all
kernel sources, makes the next call return at once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from events.errors import ServiceUnavailable

MARK = "warm"

CHILD = "from cep.warm import run_all; run_all()"


def is_warm() -> bool:
    """Has every kernel of this release been compiled on this machine?"""
    return (_folder() / MARK).exists()


def warm() -> float:
    """Compile what isn't compiled; answers the seconds it took, 0 if there was nothing to do.

    Raises ServiceUnavailable with what the child process said if it failed.
    """
    if is_warm():
        return 0.0
    started = time.perf_counter()
    root = Path(__file__).resolve().parent.parent
    child = subprocess.run([sys.executable, "-c", CHILD], cwd=root, capture_output=True, text=True)
    if child.returncode:
        raise ServiceUnavailable(
            f"compiling the kernels failed:\n{child.stderr.strip()[-2000:]}",
            f"can {_folder()} be written? STAKEOUT_CACHE names another folder",
        )
    _folder().mkdir(parents=True, exist_ok=True)
    (_folder() / MARK).touch()
    return time.perf_counter() - started


def _folder() -> Path:
    from events.kernel import cache_folder

    return cache_folder()


FIELDS = "card=1 amount={amount} country={country} approved={approved} note={note}"

STEPS = (
    """
  - {name: a, where: "amount < 2 and country <> 'DE'", times: {at_least: 2, at_most: 4}, greedy: true}
  - {name: b, contiguity: followed_by_any, where: "amount > 5 * avg(a.amount) and country in ('FR', 'NL', 'ES')"}
""",
    """
  - {name: a, where: "amount > 1"}
  - {name: n, contiguity: not_followed_by, where: "country = 'XX'"}
  - {name: b, contiguity: next, where: "amount >= max(a.amount) or approved", optional: true}
  - {name: c, contiguity: followed_by, where: "amount <> a.amount and country <> a.country"}
""",
    """
  - {name: a, where: "approved"}
  - {name: n, contiguity: not_followed_by, where: "amount > 1000"}
""",
    """
  - {name: a, where: "amount > 1"}
  - {name: b, contiguity: followed_by, where: "amount > 2 * a.amount"}
""",
)

STRICT = """
name: warm-strict
stream: events
key: [country]
steps:
  - {name: a, where: "amount > 1"}
  - {name: b, contiguity: next, where: "amount > a.amount"}
"""

KEYS = 5_000
"""Cards with a second each: windows end, and tables are compacted."""

OPTIONS = (
    "skip: past_last_event",
    "skip: no_skip\nemit: ordered\ntimeouts: true",
    "skip: to_next",
    "skip: {to_first: a}",
    "skip: {to_last: a}",
    "skip: past_last_event\nemit: ordered",
)


def documents() -> list[str]:
    """Patterns that between them make every kernel run."""
    return [
        f"name: warm-{skip}-{steps}\nstream: events\nkey: [card]\nwithin: 1m\n{option}\nsteps:{text}"
        for skip, option in enumerate(OPTIONS)
        for steps, text in enumerate(STEPS)
    ]


STREAM = """
stream: events
event_time: {field: at, format: rfc3339}
event_id: id
fields:
  {id: string, at: instant, epoch: {type: instant, format: epoch_ms}, card: int64, amount: 'decimal(12, 2)',
   share: float64, country: string, approved: {type: bool, nullable: true}}
"""


def run_all() -> None:
    """Run every kernel at least once, in this process."""
    take_messages()
    read_records()
    match_patterns()
    keep_features()


def take_messages() -> None:
    """Kafka's messages to arrays."""
    from cep.log import kafka_records

    kafka_records.warm()


def read_records() -> None:
    """JSON to columns: enough distinct texts that tables grow, and records that aren't plain."""
    from events.columns import Column, Layout, StringTable
    from events.decode import Decoder
    from events.schema import read_stream

    stream = read_stream(STREAM)
    columns = tuple(Column(stream.name, field.name, field.type) for field in stream.fields)
    decoder = Decoder(stream, Layout((stream.name,), columns), StringTable())
    for first in (0, 2000):
        records = [
            f'{{"id":"e{number}","at":"2026-01-01T00:00:{number % 60:02d}.5Z","epoch":{1_767_225_600_000 + number},'
            f'"card":{number},"amount":{number}.25,"share":0.{number},"country":"c{number}","approved":'
            f'{("true", "false", "null")[number % 3]},"more":{{"a":[1,"\\n",null]}}}}'.encode()
            for number in range(first, first + 2000)
        ]
        decoder.decode([*records, b"{", records[0].replace(b"c", b"\\u0063"), records[1].replace(b".25", b"e2")])


def match_patterns() -> None:
    """Every kind of step, condition, skip and end."""
    from cep.matcher.records import LOOK_AGAIN
    from cep.testing import scene

    countries, events = ("DE", "FR", "NL", "AT"), []
    for number in range(24):
        fields = FIELDS.format(
            amount=f"{number % 7 * 1.5 + 0.25:.2f}",
            country=countries[number % 4],
            approved="true" if number % 2 else "false",
            note=f"x{number}",
        )
        events.append(f"{fields} @{number * 4}s")
    for document in documents():
        scene(document, "\n".join(events))
        state = scene(document, "\n".join(events), until="92s").state  # with partials left to discard
        state.matcher.state.collect(0, state.matcher.tables, state.matcher.now_us)
        state.matcher.state.counters[LOOK_AGAIN] = 0
        state.matcher.state.compact_keys(state.matcher.tables, state.matcher.now_us)
        for place in range(len(state.running)):
            state.matcher.discard(place)
    keys = "\n".join(f"card={number} amount=1 country=FR approved=true" for number in range(KEYS))
    scene(documents()[0], keys)
    scene(STRICT, "\n".join(events)).state.matcher.discard(0)
    scene(documents()[0], "\n".join(events), beside=documents()[1:])


VIEW = """
view: warm
entity: [card]
ttl: 1d
features:
  - {name: kinds, aggregate: distinct(note), window: {sliding: 1m}, where: "amount > 1"}
  - {name: spent, aggregate: sum(amount), window: {session: 1m}}
"""


def keep_features() -> None:
    """Many events of one card, so that its block grows; many cards, so that tables do; and a read."""
    from cep.testing import scene

    events = [f"card={number % 3} amount={number}.5 note=n{number}" for number in range(24)]
    cards = [f"card={number} amount=2.5 note=n" for number in range(2000)]
    pattern = f"name: warm\nstream: events\nkey: [card]\nsteps:\n  - {{name: a, where: 'warm.spent > 1'}}\n{OPTIONS[0]}"
    (live,) = scene(pattern, "\n".join([*events, *cards]), views=[VIEW]).state.views
    live.shape.read([changed.packed for changed in live.changed(str)], 0)


if __name__ == "__main__":
    try:
        seconds = warm()
    except ServiceUnavailable as error:
        sys.exit(str(error))
    if seconds:
        sys.stderr.write(f"kernels compiled in {seconds:.0f} s\n")
