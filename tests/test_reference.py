"""The reference matcher on small vectors, on what Flink answered, and on its own promises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import NamedTuple, cast

import pytest

from cep.language.check import check
from cep.language.pattern import Contiguity, Emit, Group, Inner, Pattern, Skip, Step, Times
from events.expression import Aggregate, Binary, Constant, Expression, Field, History, OneOf, Unary
from events.types import BOOL, INT64, STRING
from tests.conformance.__main__ import main
from tests.conformance.cases import read_pattern as read_document
from tests.conformance.classes import difference_class, may_tie
from tests.conformance.generate import random_pattern, random_permute, random_stream
from tests.reference import Event, Item, Match, Ties, Value, evaluate, match
from tests.refusal import reject_reason

VECTORS = Path(__file__).parent / "conformance" / "vectors.txt"
SECOND_US = 1_000_000

# ---------------------------------------------------------------------------------------------------------------------
# Vectors: text to patterns, events and results


class Vector(NamedTuple):
    """One line of the file."""

    line: int
    pattern: str
    events: str
    result: str
    sentence: str


def read_vectors() -> Iterator[Vector]:
    """The lines that are no comment."""
    for number, line in enumerate(VECTORS.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            yield Vector(number, *(part.strip() for part in line.split(" | ")))


def read_events(text: str) -> list[Event]:
    """`a1@3 b x`: name, instant in seconds; the number behind a name is its value."""
    events: list[Event] = []
    for number, word in enumerate(text.split(), 1):
        name, _, instant = word.partition("@")
        at_us = int(instant) * SECOND_US if instant else number * SECOND_US
        digits = re.sub(r"\D", "", name)
        events.append(Event(number, at_us, {"name": name, "number": int(digits) if digits else None}))
    return events


@dataclass(slots=True)
class Reader:
    """Reads a pattern word by word. `names` are those of the events at hand: a step takes some of them by prefix."""

    words: list[str]
    names: list[str]
    within_us: int = 0
    skip: Skip = Skip.NO_SKIP
    skip_to: str = ""
    gaps: dict[str, int] = field(default_factory=dict)

    def pattern(self) -> Pattern:
        """All words."""
        steps = self.sequence()
        assert not self.words, self.words
        return Pattern(
            "vector",
            steps,
            ("events",),
            ("key",),
            within_us=self.within_us,
            skip=self.skip,
            skip_to=self.skip_to,
            emit=Emit.ORDERED,
        )

    def sequence(self) -> tuple[Item, ...]:
        """Items up to the end or a closing parenthesis."""
        items = [self.item(Contiguity.NEXT)]
        while self.words and not self.words[0].startswith(")"):
            word = self.words.pop(0)
            if word == "within":
                self.within_us = self.seconds()
            elif word == "skip":
                self.skip = Skip(self.words.pop(0))
                self.skip_to = self.words.pop(0) if self.skip in (Skip.TO_FIRST, Skip.TO_LAST) else ""
            else:
                items.append(self.item(Contiguity(word)))
        return tuple(items)

    def item(self, contiguity: Contiguity) -> Item:
        """A step or a group, with its quantifier and options."""
        item: Item
        if self.words[0] == "(":
            self.words.pop(0)
            item, quantifier = Group(self.sequence(), contiguity), self.words.pop(0)[1:]
        else:
            name, quantifier = split_quantifier(self.words.pop(0))
            item = Step(name, contiguity, self.condition(name))
        return self.options(replace(item, times=read_times(quantifier)))

    def options(self, item: Item) -> Item:
        """The words behind an item that belong to it."""
        while self.words:
            match self.words[0]:
                case "optional":
                    item = replace(item, optional=True)
                case "greedy":
                    item = replace(item, greedy=True)
                case "consecutive" | "combinations":
                    item = replace(item, inner=Inner(self.words[0]))
                case "until":
                    item = replace(item, until=self.condition(self.words.pop(1)))
                case "gap":
                    item = replace(item, gap_us=int(self.words.pop(1)) * SECOND_US)
                case _:
                    break
            self.words.pop(0)
        return item

    def seconds(self) -> int:
        """The next word as a duration."""
        return int(self.words.pop(0)) * SECOND_US

    def condition(self, step: str) -> Expression | None:
        """What a step of that name takes."""
        prefix, _, other = step.partition("#")[0].partition("~")
        if prefix == "any":
            return None
        names = tuple(Constant(name, STRING) for name in self.names if name.startswith(prefix))
        taken = OneOf(Field("name", STRING), names, BOOL)
        if not other:
            return taken
        same = Binary("=", Field("number", INT64), History("last", other, "number", INT64, INT64), BOOL)
        return Binary("and", taken, same, BOOL)


def split_quantifier(word: str) -> tuple[str, str]:
    """`a{2,3}` is a and {2,3}."""
    found = re.fullmatch(r"([^+{]+)(\+|\{.*\})?", word)
    assert found, word
    return found[1], found[2] or ""


def read_times(text: str) -> Times:
    """`+`, `{2}`, `{2,}`, `{1,3}`, or nothing for once."""
    if not text:
        return Times()
    if text == "+":
        return Times(1, None)
    least, comma, most = text[1:-1].partition(",")
    return Times(int(least), int(most) if most else None if comma else int(least))


def read_pattern(text: str, events: list[Event]) -> Pattern:
    """A pattern as the vectors write it."""
    words = re.findall(r"\(|\)(?:\+|\{[^}]*\})?|[^\s()]+", text)
    return Reader(words, [str(event.fields["name"]) for event in events]).pattern()


def read_result(text: str) -> tuple[Counter[str], Counter[str]]:
    """(matches, time-outs), each as the names of its events."""
    parts = [] if text == "none" else [part.strip() for part in text.split(";")]
    timeouts = [part.removeprefix("timeout ") for part in parts if part.startswith("timeout ")]
    return Counter(part for part in parts if not part.startswith("timeout ")), Counter(timeouts)


def as_names(found: list[Match], events: list[Event]) -> Counter[str]:
    """Matches as the names of their events in order."""
    names = {event.id: str(event.fields["name"]) for event in events}
    ids = [sorted(number for _, numbers in one for number in numbers) for one in found]
    return Counter(" ".join(names[number] for number in numbers) for numbers in ids)


@pytest.mark.parametrize("vector", tuple(read_vectors()), ids=lambda vector: f"{vector.line}: {vector.sentence}")
def test_vector(vector: Vector) -> None:
    """Each line of the file says what comes out."""
    events = read_events(vector.events)
    pattern = read_pattern(vector.pattern, events)
    reason = reject_reason(pattern)
    if vector.result == "rejected":
        assert reason is not None
        return
    assert reason is None
    matches, timeouts = match(pattern, events)
    assert (as_names(matches, events), as_names(timeouts, events)) == read_result(vector.result)


def test_vectors_all_have_a_sentence() -> None:
    """A vector without a sentence helps nobody."""
    assert all(vector.sentence.endswith((".", ")")) for vector in read_vectors())


# ---------------------------------------------------------------------------------------------------------------------
# Conditions

UNKNOWN = Constant(None, BOOL)
TRUE, FALSE = Constant(True, BOOL), Constant(False, BOOL)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (Unary("not", UNKNOWN, BOOL), None),
        (Binary("and", UNKNOWN, FALSE, BOOL), False),
        (Binary("and", UNKNOWN, TRUE, BOOL), None),
        (Binary("or", UNKNOWN, TRUE, BOOL), True),
        (Binary("or", FALSE, UNKNOWN, BOOL), None),
        (Binary("<", Constant(None, INT64), Constant(1, INT64), BOOL), None),
        (Binary("+", Constant(None, INT64), Constant(1, INT64), INT64), None),
        (Unary("is_null", UNKNOWN, BOOL), True),
        (OneOf(UNKNOWN, (TRUE,), BOOL), None),
    ],
)
def test_unknown_spreads_as_in_sql(expression: Expression, value: Value) -> None:
    """A known false decides AND, a known true decides OR, all else that meets unknown is unknown."""
    assert evaluate(expression, Event(1, 0, {}), ()) is value


@pytest.mark.parametrize("aggregate", ["sum", "avg", "min", "max", "first", "last"])
def test_over_no_events_only_count_is_known(aggregate: str) -> None:
    """Count is 0, the others are unknown, and so is a condition over them."""
    assert evaluate(History("count", "a", None, INT64), Event(1, 0, {}), ()) == 0
    over_nothing = History(cast(Aggregate, aggregate), "a", "n", INT64, INT64)
    assert evaluate(Binary("<=", over_nothing, over_nothing, BOOL), Event(1, 0, {}), ()) is None


def test_a_false_condition_over_history_is_ignored_and_not_the_end() -> None:
    """s, then a's whose sum stays under 5, then e: the a that is too much is passed over."""
    events = read_events("s1 a1 a2 a3 a1 e")
    loop = read_pattern("s followed_by a+ followed_by e", events)
    start, step, end = loop.steps
    assert isinstance(step, Step)
    assert step.where is not None
    taken = History("sum", "a", "number", INT64, INT64)
    total = Binary("+", Field("number", INT64), taken, INT64)
    small = Binary("<", total, Constant(5, INT64), BOOL)
    first = Binary("=", History("count", "a", None, INT64), Constant(0, INT64), BOOL)
    where = Binary("and", step.where, Binary("or", first, small, BOOL), BOOL)
    matches, _ = match(replace(loop, steps=(start, replace(step, where=where), end)), events)
    assert as_names(matches, events) == Counter({"s1 a1 e": 1, "s1 a1 a2 e": 1, "s1 a1 a2 a1 e": 1})


# ---------------------------------------------------------------------------------------------------------------------
# Emission


def test_eager_emission_holds_nothing_back() -> None:
    """The match that waits for an earlier start when emitted in order comes at once, and prunes."""
    events = read_events("a1 a2 b2 x b1")
    ordered = read_pattern("a followed_by b~a skip past_last_event", events)
    assert as_names(match(ordered, events)[0], events) == Counter({"a1 b1": 1})
    eager = match(replace(ordered, emit=Emit.EAGER), events)[0]
    assert as_names(eager, events) == Counter({"a2 b2": 1})


def test_the_earliest_events_win_a_tie() -> None:
    """Of two matches with one start, the simple rule lets out first the one with the earlier events, the longer one."""
    events = read_events("a1 a2 b1")
    pattern = read_pattern("a+ followed_by b skip to_next", events)
    matches, _ = match(pattern, events, Ties.EARLIEST)
    assert as_names(matches, events) == Counter({"a1 a2 b1": 1, "a2 b1": 1})


def test_ties_need_two_ways_on() -> None:
    """A pattern that may not tie gives the same under both rules; the seed is the stream's number."""
    checked = 0
    for seed in range(400):
        pattern = random_pattern(Random(seed))
        if pattern.skip is Skip.NO_SKIP or may_tie(pattern) or reject_reason(pattern):
            continue
        checked += 1
        for number in range(5):
            stream = random_stream(Random(number))
            assert match(pattern, stream, Ties.FLINK) == match(pattern, stream, Ties.EARLIEST), seed
    assert checked > 20


# ---------------------------------------------------------------------------------------------------------------------
# Classes, generators, conformance


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a followed_by b gap 5 followed_by c gap 5", None),
        ("a not_followed_by n followed_by b gap 5", None),
        ("a followed_by (b gap 5 next c) followed_by d gap 5", None),
        ("a{2} followed_by b gap 5", None),
        ("a gap 3 followed_by b", "gap"),
        ("a+ followed_by b gap 5", "gap"),
        ("a followed_by b+ gap 5", "gap"),
        ("a followed_by b optional followed_by c gap 5", "gap"),
        ("a followed_by b optional gap 5 followed_by c", "gap"),
        ("a followed_by (b gap 5)+ followed_by c", "gap"),
        ("a not_next n followed_by b gap 5", "gap"),
        ("a next b not_next c within 5", "not-next-at-end"),
        ("a next b not_next c", None),
        ("(a next b){2} followed_by c", "duplicate"),
        ("(a next b) followed_by c", None),
        ("(a not_followed_by b) followed_by c", "accepted-by-mistake"),
        ("a followed_by (b not_followed_by c) within 5", None),
        ("(a optional)+ followed_by b", "nullable-loop"),
    ],
)
def test_the_shape_of_a_pattern_decides_its_class(text: str, name: str | None) -> None:
    """Classes are a closed list, and a pattern is in the first that its shape fits."""
    assert difference_class(read_pattern(text, [])) == name


def test_random_patterns_are_mostly_accepted_and_sometimes_match() -> None:
    """A generator of patterns that are all rejected or never match would test nothing."""
    accepted = [pattern for pattern in map(random_pattern, map(Random, range(200))) if not reject_reason(pattern)]
    assert len(accepted) > 120
    found = [bool(match(pattern, random_stream(Random(7)))[0]) for pattern in accepted]
    assert sum(found) > 30


def test_random_permutes_are_often_accepted_and_sometimes_match() -> None:
    """The same of those with a `permute`."""
    patterns = [read_document(random_permute(Random(seed)), "random") for seed in range(100)]
    accepted = [pattern for pattern in patterns if not check(pattern)]
    assert len(accepted) > 60
    found = [bool(match(pattern, random_stream(Random(7)))[0]) for pattern in accepted]
    assert sum(found) > 10


def test_the_reference_answers_as_flink_does(capsys: pytest.CaptureFixture[str]) -> None:
    """All shipped cases pass, with the heaps by which Flink chooses among matches with one start."""
    assert main(["--engine", "reference", "--ties", "flink"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1493 passed, 0 failed"


def test_the_simple_rule_for_ties_decides_few_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it decides at all, a skip strategy chose among matches with one start."""
    assert main(["--engine", "reference"]) == 0
    ties = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("tie "))
    assert int(ties.split()[1]) <= 8


def test_the_kernel_answers_as_flink_does(capsys: pytest.CaptureFixture[str]) -> None:
    """All shipped cases pass, with the simple rule for ties."""
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1493 passed, 0 failed"


def test_the_first_subset_needs_no_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """346 cases use the first operators only."""
    assert main(["--engine", "reference", "--subset", "first"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("346 of 1493 cases use only")
    assert lines[-1] == "346 passed, 0 failed"
