"""Makes a failing case small: leave something away, see whether it still fails, until nothing more can go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.conformance.cases import Json
from tests.fuzz.case import Case, every_stage, numbered

OPTIONS = ("any_of", "or", "until", "greedy", "optional", "combinations", "gap_ms", "times", "stream")
SETTINGS = ("skip", "within_ms", "emit", "timeouts", "streams")


def smallest(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A case that fails and of which no part can be left away. Deterministic; one pass tries everything left."""
    while True:
        for smaller in fewer(case):
            if fails(smaller):
                case = smaller
                break
        else:
            return case


def fewer(case: Case) -> Iterator[Case]:
    """The cases with one thing less, the largest things first."""
    if case.beside:
        yield replace(case, beside=None)
        yield replace(case, document=case.beside, beside=None)
    if case.jumps:
        yield replace(case, jumps=False)
    for key in sorted({key for key, _ in case.events}):
        yield kept(case, [place for place, (other, _) in enumerate(case.events) if other != key])
    for count in (len(case.events) // 2, 4, 2, 1):
        for first in range(0, len(case.events) - count + 1, count) if count else ():
            gone = range(first, first + count)
            yield kept(case, [place for place in range(len(case.events)) if place not in gone])
    yield from (replace(case, document=document) for document in plainer(case.document))
    if case.moves:
        yield replace(case, moves=())
    for cut in case.cuts:
        cuts, moves = (tuple(other for other in some if other != cut) for some in (case.cuts, case.moves))
        yield replace(case, cuts=cuts, moves=moves)


def kept(case: Case, places: list[int]) -> Case:
    """The case with these events only; a batch that has lost all of its own goes."""
    kept_before = [sum(place < cut for place in places) for cut in range(len(case.events) + 1)]
    inside = range(1, len(places))
    cuts, moves = (
        tuple(sorted({kept_before[cut] for cut in some}.intersection(inside))) for some in (case.cuts, case.moves)
    )
    return replace(case, events=numbered(case.events[place] for place in places), cuts=cuts, moves=moves)


def plainer(document: Json) -> Iterator[Json]:
    """Documents with one thing less whose conditions still name steps that there are."""
    streams = any("stream" in stage for stage in every_stage(document["stages"]))
    for setting in SETTINGS:
        if setting in document and not (setting == "streams" and streams):
            yield {name: value for name, value in document.items() if name != setting}
    for stages in plainer_sequence(document["stages"]):
        smaller = {**document, "stages": stages}
        names = {stage["name"] for stage in every_stage(stages) if "name" in stage}
        if named(smaller) <= names:
            yield smaller


def plainer_sequence(stages: list[Json]) -> Iterator[list[Json]]:
    """A stage less, or one of them plainer."""
    for place, stage in enumerate(stages):
        before, behind = stages[:place], stages[place + 1 :]
        if len(stages) > 1:
            yield begun([*before, *behind])
        if "group" in stage:
            yield begun(
                [*before, {**stage["group"][0], "contiguity": stage["contiguity"]}, *stage["group"][1:], *behind]
            )
            yield from ([*before, {**stage, "group": group}, *behind] for group in plainer_sequence(stage["group"]))
        for option in OPTIONS:
            if option in stage:
                yield [*before, {name: value for name, value in stage.items() if name != option}, *behind]
        if "where" in stage:
            yield from ([*before, {**stage, "where": where}, *behind] for where in plainer_condition(stage["where"]))


def begun(stages: list[Json]) -> list[Json]:
    """The first stage is a beginning."""
    return [{**stages[0], "contiguity": "begin"}, *stages[1:]]


def plainer_condition(condition: Json) -> Iterator[Json]:
    """A part of it, or one that always holds."""
    for joint in ("all", "any"):
        yield from condition.get(joint, ())
    if "true" not in condition:
        yield {"true": True}


def named(value: object) -> set[str]:
    """The steps that conditions and the skip strategy name."""
    if isinstance(value, list):
        return set().union(*map(named, value))
    if not isinstance(value, dict):
        return set()
    own = {value["stage"]} if isinstance(value.get("stage"), str) else set()
    return own.union(*map(named, value.values()))
