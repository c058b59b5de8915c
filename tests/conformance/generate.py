"""Random patterns and streams in the shapes of the conformance file, and somewhat beyond, for comparing two matchers.

Everything comes from one `random.Random`, so a failure is one seed. Documents are in the conformance format, so that
Flink itself can be asked; about one pattern in five is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from cep.language.pattern import Pattern
from tests.conformance.cases import Json, read_event, read_pattern
from tests.reference import Event

KINDS, KIND_WEIGHTS = "abcd", (35, 35, 20, 10)
STEPS_WEIGHTS = (10, 39, 36, 15)
CONTIGUITIES = ("followed_by", "next", "followed_by_any", "not_followed_by", "not_next")
CONTIGUITY_WEIGHTS = (35, 24, 22, 11, 8)
TIMES = ([1, None], [2, None], [2, 2], [3, 3], [1, 2], [1, 3], [2, 3], [2, 4])
TIMES_WEIGHTS = (33, 13, 17, 10, 5, 5, 5, 5)
AGGREGATES = ("sum", "count", "avg", "min", "max", "first", "last")
SKIPS, SKIP_WEIGHTS = ("no_skip", "next", "past_last", "first", "last"), (45, 14, 19, 11, 11)


def random_case(seed: int, wide: bool = False) -> Json:
    """A case without its answer: a pattern over twelve streams."""
    rng = Random(seed)
    streams = {f"k{number}": random_events(rng, 14) for number in range(12)}
    return {"id": str(seed), "pattern": random_document(rng, wide), "streams": streams}


def random_pattern(rng: Random, wide: bool = False) -> Pattern:
    """A pattern; wide: with nested groups, groups with until, longer groups."""
    return read_pattern(random_document(rng, wide), name="random")


def random_permute(rng: Random) -> Json:
    """A document with steps in any order, which Flink does not have: also nested, looped, and of some of the steps."""
    while True:
        writer = Writer(rng, wide=True, permutes=0.6)
        document = rounded(rng, writer.sequence(rng.choices((1, 2, 3), (4, 4, 2))[0], depth=0))
        if rng.random() < 0.9:
            document["within_ms"] = rng.randint(6, 20)
        if writer.permuted:
            return document


def random_stream(rng: Random, length_max: int = 12) -> tuple[Event, ...]:
    """One key's events in order of time, ties included."""
    return tuple(map(read_event, random_events(rng, length_max)))


def random_events(rng: Random, length_max: int = 12) -> list[Json]:
    """A stream as a document."""
    events: list[Json] = []
    ts = 0
    for number in range(1, rng.randint(4, length_max) + 1):
        ts += rng.choices((0, 1, 2, 3), (9, 57, 23, 11))[0]
        events.append({"id": number, "ts": ts, "kind": rng.choices(KINDS, KIND_WEIGHTS)[0], "v": rng.randint(0, 9)})
    return events


def random_document(rng: Random, wide: bool = False) -> Json:
    """A pattern as a document."""
    return rounded(rng, Writer(rng, wide).sequence(rng.choices((1, 2, 3, 4), STEPS_WEIGHTS)[0], depth=0))


def rounded(rng: Random, stages: list[Json]) -> Json:
    """Stages with a window, a way to skip and a gap, or without."""
    document: Json = {"stages": stages}
    if rng.random() < 0.55:
        document["within_ms"] = rng.randint(2, 9)
    to = rng.choices(SKIPS, SKIP_WEIGHTS)[0]
    targets = [stage["name"] for stage in stages if "name" in stage]
    if to in ("first", "last") and targets:
        document["skip"] = {"to": to, "stage": rng.choice(targets)}
    elif to in ("next", "past_last"):
        document["skip"] = {"to": to}
    if rng.random() < 0.1:
        stage = rng.choice(stages)
        if "name" in stage and stage["contiguity"] not in ("begin", "not_next", "not_followed_by"):
            stage["gap_ms"] = rng.randint(1, 4)
    return document


@dataclass(slots=True)
class Writer:
    """Writes stages front to back; `names` are those that conditions may look back at.

    permutes: the share of stages whose steps come in any order; `permuted` counts them
    """

    rng: Random
    wide: bool
    permutes: float = 0
    permuted: int = 0
    names: list[str] = field(default_factory=list)

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return self.rng.random() < share

    def sequence(self, length: int, depth: int) -> list[Json]:
        """Stages of the whole pattern or of a group."""
        return [self.stage(index, depth) for index in range(length)]

    def stage(self, index: int, depth: int) -> Json:
        """A step or a group, the first of its sequence a beginning."""
        negations = 2 if index else 0
        contiguity = self.rng.choices(CONTIGUITIES[: 3 + negations], CONTIGUITY_WEIGHTS[: 3 + negations])[0]
        negated = contiguity.startswith("not")
        stage: Json = {"contiguity": contiguity if index else "begin"}
        deepest = 2 if self.wide else 1
        if not negated and depth < deepest and self.permutes and self.chance(self.permutes / (1 + 2 * depth)):
            stage |= self.permute(depth)
        elif not negated and depth < deepest and self.chance(0.13 if depth == 0 else 0.2):
            stage["group"] = self.sequence(self.rng.randint(1, 3 if self.wide else 2), depth + 1)
        else:
            stage["name"] = f"s{len(self.names)}"
            self.names.append(stage["name"])
            stage["where"] = self.condition()
            if self.chance(0.06):
                stage["or"] = [self.condition()]
        return stage if negated else self.quantified(stage)

    def permute(self, depth: int) -> Json:
        """Two to four members, some of which come, sometimes in a row or in any combination."""
        self.permuted += 1
        members = [self.stage(0, depth + 1) for _ in range(self.rng.choices((2, 3, 4), (45, 40, 15))[0])]
        for member in members:
            member.pop("optional", None)
        any_of = len(members) if self.chance(0.6) else self.rng.randint(1, len(members))
        permute: Json = {"group": members, "any_of": any_of}
        if any_of > 1 and self.chance(0.4):
            permute["combinations"] = self.rng.choice(("consecutive", "allow"))
        return permute

    def quantified(self, stage: Json) -> Json:
        """Times, inner contiguity, greedy, until, optional."""
        group = "group" in stage
        if self.chance(0.15 if "any_of" in stage else 0.55):
            stage["times"] = list(self.rng.choices(TIMES, TIMES_WEIGHTS)[0])
            if self.chance(0.4):
                stage["combinations"] = self.rng.choice(("consecutive", "allow"))
            if not group and stage.get("combinations") != "allow" and self.chance(0.25):
                stage["greedy"] = True
            if stage["times"][1] is None and (self.wide or not group) and self.chance(0.25):
                stage["until"] = self.condition() if self.wide and self.chance(0.3) else self.kind()
        if self.chance(0.17):
            stage["optional"] = True
        return stage

    def kind(self) -> Json:
        """The most common condition."""
        return {"kind": self.rng.choices(KINDS, KIND_WEIGHTS)[0]}

    def condition(self) -> Json:
        """A condition over the event and what the run has taken."""
        return self.rng.choices(
            (
                self.kind(),
                {"all": [self.kind(), self.comparison()]},
                self.comparison(),
                {"any": [self.kind(), self.kind()]},
                {"not": self.kind()},
                {"true": True},
                {"any": [self.kind(), {"all": [self.kind(), self.comparison()]}]},
            ),
            (50, 26, 12, 5, 3, 3, 1),
        )[0]

    def comparison(self) -> Json:
        """A field against a number or an aggregate, or a sum of both against a number."""
        op = self.rng.choice(("<", "<=", ">", ">="))
        number, total = self.rng.randint(1, 9), self.rng.randint(3, 20)
        v: Json = {"field": "v"}
        if not self.names or self.chance(0.45):
            return {"cmp": [v, op, number]}
        aggregate = {"agg": self.rng.choice(AGGREGATES), "stage": self.looked_at(), "field": "v"}
        if self.chance(0.6):
            return {"cmp": [v, op, aggregate]}
        return {"cmp": [{"add": [v, aggregate]}, op, total]}

    def looked_at(self) -> str:
        """A step to look back at: most often the one at hand."""
        back = self.rng.choices((0, 1, 2), (62, 28, 10))[0]
        return self.names[max(0, len(self.names) - 1 - back)]
