"""A random case: one pattern, the events of several keys, and how they come. All of it from one seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

import yaml

from cep.language.check import Dialect
from cep.language.document import dump_pattern
from cep.language.pattern import Pattern
from tests.conformance.cases import STREAMS, Json, read_pattern
from tests.conformance.generate import random_document, random_permute, random_stream
from tests.reference import Event

Keyed = tuple[int, Event]
"""An event with its key."""


@dataclass(frozen=True, slots=True)
class Case:
    """What two matchers are asked.

    document: the pattern, in the conformance format
    events:   in order of time; an event's id is its number, from 1
    cuts:     where a further batch begins: so many events are before it
    moves:    those of them where a new matcher goes on from a copy of the state
    beside:   another pattern that the same matcher has to serve
    jumps:    is each key asked alone as well, with time that jumps as Flink's does?
    """

    document: Json
    events: tuple[Keyed, ...]
    cuts: tuple[int, ...] = ()
    moves: tuple[int, ...] = ()
    beside: Json | None = None
    jumps: bool = False

    @property
    def pattern(self) -> Pattern:
        """The pattern as a tree."""
        return read_pattern(self.document, "case")

    @property
    def dialect(self) -> Dialect:
        """Flink has no permute."""
        return "native" if any("any_of" in stage for stage in every_stage(self.document["stages"])) else "flink"


def random_case(seed: int) -> Case:
    """The case of a seed."""
    rng = Random(seed)
    written = random_permute(rng) if rng.random() < 0.2 else random_document(rng, wide=rng.random() < 0.5)
    document = with_more(written, rng)
    events = random_events(document, rng)
    beside = with_more(random_document(rng), rng) if rng.random() < 0.3 else None
    cuts = random_cuts(len(events), rng)
    moves = tuple(sorted(rng.sample(cuts, k=min(rng.choice((0, 1, 1, 2)), len(cuts)))))
    jumps = rng.random() < 0.25
    if rng.random() < 0.5:
        document = as_authors_write(document)
    return Case(document, events, cuts, moves, beside, jumps)


def with_more(document: Json, rng: Random) -> Json:
    """What the conformance cases don't have: alerts at once, no time-outs (the plan is another one), two streams."""
    if rng.random() < 0.5:
        document["emit"] = "eager"
    if rng.random() < 0.4:
        document["timeouts"] = False
    stages = list(every_stage(document["stages"]))
    if rng.random() < 0.2 and not any("group" in stage and "until" in stage for stage in stages):
        document["streams"] = len(STREAMS)
        for stage in stages:
            if "group" not in stage:
                stage["stream"] = rng.choices(STREAMS, (7, 3))[0]
    return document


def as_authors_write(document: Json) -> Json:
    """The document without what a file of patterns leaves away: how the first step is reached, a condition for all."""
    for stage in every_stage(document["stages"]):
        if stage["contiguity"] == "begin":
            stage["contiguity"] = "followed_by"
        if stage.get("where") == {"true": True} and "or" not in stage:
            del stage["where"]
    return document


def every_stage(stages: Iterable[Json]) -> Iterator[Json]:
    """Steps and groups, and what is in the groups."""
    for stage in stages:
        yield stage
        yield from every_stage(stage.get("group", ()))


def random_events(document: Json, rng: Random) -> tuple[Keyed, ...]:
    """Several keys' streams merged by time; nulls in some cases."""
    null, other = rng.choice((0, 0, 0.15)), 0.3 if document.get("streams", 1) > 1 else 0
    keyed = []
    for key in range(rng.choice((1, 1, 2, 3, 4))):
        for event in random_stream(rng):
            fields = {name: None if rng.random() < null else value for name, value in event.fields.items()}
            keyed.append((key, event._replace(fields=fields, stream=STREAMS[rng.random() < other])))
    rng.shuffle(keyed)
    # A key's events of one instant keep their order among themselves only by chance: the order here is what counts.
    return numbered(sorted(keyed, key=lambda pair: pair[1].at_us))


def numbered(events: Iterable[Keyed]) -> tuple[Keyed, ...]:
    """The same events, their ids counted anew."""
    return tuple((key, event._replace(id=number)) for number, (key, event) in enumerate(events, 1))


def before(case: Case, event: int) -> Case:
    """The case without that event and those behind it."""
    cuts, moves = (tuple(cut for cut in some if cut < event - 1) for some in (case.cuts, case.moves))
    return replace(case, events=case.events[: event - 1], cuts=cuts, moves=moves)


def random_cuts(events: int, rng: Random) -> tuple[int, ...]:
    """One by one, or a few batches."""
    if events < 2 or rng.random() < 0.15:
        return tuple(range(1, events))
    return tuple(sorted(rng.sample(range(1, events), k=min(rng.randint(1, 6), events - 1))))


def text_of(case: Case) -> str:
    """The case for a reader: the document, then the events as the test kit writes them."""
    parts = ["pattern", indented(yaml.safe_dump(dump_pattern(case.pattern), sort_keys=False, width=120))]
    if case.beside:
        other = dump_pattern(read_pattern(case.beside, "beside"))
        parts += ["beside it", indented(yaml.safe_dump(other, sort_keys=False, width=120))]
    parts += ["events", indented("\n".join(event_text(key, event) for key, event in case.events))]
    if case.cuts:
        parts.append(f"a batch ends behind event {', '.join(map(str, case.cuts))}")
    if case.moves:
        parts.append(f"a new matcher takes over behind event {', '.join(map(str, case.moves))}")
    return "\n".join(parts)


def event_text(key: int, event: Event) -> str:
    """One event on a line; a field that is left out is null."""
    fields = " ".join(f"{name}={value}" for name, value in event.fields.items() if value is not None)
    return f"{event.stream}: key={key} {fields} @{event.at_us // 1000}ms  # {event.id}"


def indented(text: str) -> str:
    """Every line two spaces further in."""
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())
