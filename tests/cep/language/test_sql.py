"""MATCH_RECOGNIZE: what a statement becomes, what it finds, and what its author is told when it can't be read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, permutations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cep.cli.documents import EXAMPLES, load_patterns, load_streams
from cep.language.builder import Pattern as Builder
from cep.language.check import check
from cep.language.document import attempt_pattern, dump_pattern, read_pattern
from cep.language.limits import DOCUMENT_CHARS_MAX
from cep.language.pattern import Contiguity, Emit, Inner, Pattern, Skip, Step, Times, flatten
from cep.measures import measured
from cep.testing import START_US, matches, measures
from events.expression import conjuncts, evaluate, references, render
from events.schema import read_stream
from tests.reference import Event, Ties, match

ROWS = read_stream("""
stream: rows
event_time: {field: at, format: epoch_ms}
order: event_time
out_of_order: 1s
fields:
  k: int64
  at: instant
  n: {type: int64, nullable: true}
  a: bool
  b: bool
  c: bool
  d: bool
""")

ARRIVING = read_stream("""
stream: arriving
event_time: {field: at, format: epoch_ms}
fields: {k: int64, at: instant, pin: {type: string, sensitivity: secret}}
""")

STREAMS = {"rows": ROWS, "arriving": ARRIVING}
NEXMARK = EXAMPLES / "nexmark"
BIDS = Path(__file__).parent.parent.parent / "data" / "nexmark_mini" / "bid.csv"


def statement(
    pattern: str = "PATTERN (A B)",
    define: str = "",
    measures: str = "",
    skip: str = "PAST LAST ROW",
    within: str = "",
) -> str:
    """A statement over `rows` that is right unless what is given is wrong."""
    clauses = [
        "PARTITION BY k",
        "ORDER BY at",
        f"MEASURES {measures}" if measures else "",
        f"AFTER MATCH SKIP {skip}",
        pattern,
        f"WITHIN INTERVAL {within}" if within else "",
        f"DEFINE {define}" if define else "",
    ]
    body = "\n    ".join(clause for clause in clauses if clause)
    return f"INSERT INTO p SELECT * FROM rows MATCH_RECOGNIZE (\n    {body}\n)"


def read(text: str) -> Pattern:
    return read_pattern(text, STREAMS, "p.sql")


def steps(pattern: str, **clauses: str) -> list[Step]:
    return flatten(read(statement(pattern, **clauses)).steps)


# -- what a statement becomes -----------------------------------------------------------------------------------------


def test_a_statement_and_the_builder_give_the_same_pattern() -> None:
    text = """
    CREATE VIEW "falling-price" COMMENT 'the price falls, it''s up again' AS  -- a view's name is the pattern's
    SELECT T.k, bottom FROM rows MATCH_RECOGNIZE (
        PARTITION BY k
        ORDER BY at ASC
        MEASURES LAST(down.n) AS bottom, COUNT(down.*) /* not chosen */ AS falls
        ONE ROW PER MATCH
        AFTER MATCH SKIP TO LAST up
        PATTERN (start down+ up) WITHIN INTERVAL '1.5' HOUR
        DEFINE down AS down.n < start.n AND (LAST(down.n, 1) IS NULL OR down.n < LAST(down.n, 1)),
               `up` AS `up`.n > LAST(down.n)
    ) AS T;
    """
    built = (
        Builder.begin("start", key=["k"], name="falling-price", skip={"to_last": "up"}, emit="ordered")
        .next("down")
        .where("n < start.n AND (down.n IS NULL OR n < down.n)")
        .one_or_more()
        .consecutive()
        .greedy()
        .next("up")
        .where("n > last(down.n)")
        .within("1h30m")
        .measures(bottom="last(down.n)")
    )
    document = built.document() | {"stream": "rows", "description": "the price falls, it's up again"}
    assert read(text) == read_pattern(document, STREAMS, "built")


@pytest.mark.parametrize(
    ("quantifier", "times", "optional", "greedy"),
    [
        ("", Times(), False, False),
        ("*", Times(1, None), True, True),
        ("+", Times(1, None), False, True),
        ("?", Times(), True, False),
        ("{3}", Times(3, 3), False, False),
        ("{1}", Times(), False, False),
        ("{2,}", Times(2, None), False, True),
        ("{0,}", Times(1, None), True, True),
        ("{2,4}", Times(2, 4), False, True),
        ("{,4}", Times(1, 4), True, True),
        ("{0,1}", Times(), True, False),
        ("*?", Times(1, None), True, False),
        ("+?", Times(1, None), False, False),
        ("{3}?", Times(3, 3), False, False),
        ("{2,}?", Times(2, None), False, False),
        ("{2,4}?", Times(2, 4), False, False),
        ("{,4}?", Times(1, 4), True, False),
    ],
)
def test_a_quantifier_means_what_flink_makes_of_it(quantifier: str, times: Times, optional: bool, greedy: bool) -> None:
    first, loop, last = steps(f"PATTERN (A B{quantifier} C)", define="B AS a, C AS b")
    assert (loop.times, loop.optional, loop.greedy) == (times, optional, greedy)
    assert loop.inner is (Inner.RELAXED if times.single else Inner.CONSECUTIVE)
    assert (loop.contiguity, last.contiguity) == (Contiguity.NEXT, Contiguity.NEXT)
    assert first.where is None


@pytest.mark.parametrize(
    ("text", "skip", "to"),
    [
        ("PAST LAST ROW", Skip.PAST_LAST_EVENT, ""),
        ("TO NEXT ROW", Skip.TO_NEXT, ""),
        ("TO FIRST B", Skip.TO_FIRST, "B"),
        ("TO LAST B", Skip.TO_LAST, "B"),
        ("TO B", Skip.TO_LAST, "B"),
    ],
)
def test_each_way_to_skip_has_its_words_and_alerts_come_in_order(text: str, skip: Skip, to: str) -> None:
    pattern = read(statement(skip=text))
    assert (pattern.skip, pattern.skip_to, pattern.emit) == (skip, to, Emit.ORDERED)


def test_parentheses_only_hold_together() -> None:
    deep = "(" * 20_000 + "B" + ")" * 20_000
    assert steps("PATTERN ((A (B)) C)") == steps(f"PATTERN (A {deep} C)") == steps("PATTERN (A B C)")


def test_the_stream_of_a_statement_is_ordered_by_its_event_time() -> None:
    _, problems = attempt_pattern(statement().replace("rows", "arriving"), STREAMS, "p.sql")
    assert [problem.reason for problem in problems] == [
        "the stream `arriving` is matched in the order of arrival, not by `at`"
    ]


def test_comments_and_case_do_not_matter() -> None:
    plain = statement("PATTERN (A B+ C)", define="B AS B.n > 1")
    commented = (
        plain.replace(" (A", " /* (x */ (A -- y\n").replace("PARTITION", "partition").replace("SELECT", "select")
    )
    assert read(f"-- insert\n/* into */ {commented};") == read(plain)


# -- a variable's own rows --------------------------------------------------------------------------------------------

NUMBERS = st.none() | st.integers(-4, 4)
OWN: Mapping[str, Callable[[list[int | None]], float | None]] = {
    "A.n": lambda rows: rows[-1],
    "LAST(A.n)": lambda rows: rows[-1],
    "LAST(A.n, 0)": lambda rows: rows[-1],
    "LAST(A.n, 1)": lambda rows: rows[-2] if len(rows) > 1 else None,
    "FIRST(A.n)": lambda rows: rows[0],
    "COUNT(A.*)": len,
    "COUNT(A.n)": lambda rows: len(known(rows)),
    "SUM(A.n)": lambda rows: sum(known(rows)) if known(rows) else None,
    "AVG(A.n)": lambda rows: sum(known(rows)) / len(known(rows)) if known(rows) else None,
    "MIN(A.n)": lambda rows: min(known(rows), default=None),
    "MAX(A.n)": lambda rows: max(known(rows), default=None),
}


def known(rows: Sequence[int | None]) -> list[int]:
    """The values that aren't NULL."""
    return [value for value in rows if value is not None]


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, max_size=4), NUMBERS, st.sampled_from(list(OWN)), st.sampled_from(list(OWN)))
def test_in_define_the_row_at_hand_is_one_of_the_variables_rows(
    taken: list[int | None], now: int | None, left: str, right: str
) -> None:
    _, step, _ = steps("PATTERN (S A+ B)", define=f"A AS ({left} < {right} + 1 OR {left} IS NULL) AND {right} > -3")
    assert step.where is not None
    found = evaluate(step.where, {"n": now}, {"A": [{"n": value} for value in taken]})
    one, other = OWN[left]([*taken, now]), OWN[right]([*taken, now])
    below = one is None or (other is not None and one < other + 1)
    assert (found is True) == (below and other is not None and other > -3)


def test_what_reads_the_row_alone_stays_apart_from_what_is_told_by_cases() -> None:
    step = steps("PATTERN (A+ B)", define="A AS a AND MIN(A.n) > 1 AND MAX(A.n) < 9 AND FIRST(A.n) = 5 AND b")[0]
    assert step.where is not None
    alone = [render(part) for part in conjuncts(step.where) if not references(part)]
    assert (alone, len(conjuncts(step.where))) == (["a", "b"], 5)


def test_of_another_variable_they_are_the_rows_it_took() -> None:
    step = steps("PATTERN (A+ B)", define="A AS TRUE AND n > 0, B AS n > AVG(A.n) + FIRST(A.n) AND COUNT(A.*) > 2")[1]
    assert step.where is not None
    assert render(step.where) == "n > avg(A.n) + first(A.n) AND count(A) > 2"


def test_measures_are_of_the_whole_match() -> None:
    pattern = read(statement(measures="RUNNING COUNT(A.*) AS c, FINAL LAST(B.n) - A.n AS diff, k AS who"))
    rows = [{"k": 7, "n": 3}, {"k": 7, "n": 5}]
    assert measured(pattern, {"k": 7}, {"A": rows[:1], "B": rows[1:]}) == {"c": 1, "diff": 2, "who": 7}


# -- what a statement finds -------------------------------------------------------------------------------------------

Variable = tuple[str, int, int | None, bool, Callable[[Mapping[str, object]], bool]]
"""Name, least, most, reluctant, condition."""


def as_sql_says(variables: Sequence[Variable], rows: Sequence[Mapping[str, object]], skip: Skip) -> list[list[str]]:
    """The matches of SQL:2016, as `variable row`: from each start the preferred way, by trying all in order."""
    found, start = [], 0
    while start < len(rows):
        way = next(ways(variables, rows, start), None)
        if way is not None:
            found.append(way)
        start += len(way) if way is not None and skip is Skip.PAST_LAST_EVENT else 1
    return found


def ways(variables: Sequence[Variable], rows: Sequence[Mapping[str, object]], start: int) -> Iterator[list[str]]:
    """Every way to match from a row on, the preferred first."""
    if not variables:
        yield []
        return
    name, least, most, reluctant, holds = variables[0]
    longest = 0
    while start + longest < len(rows) and (most is None or longest < most) and holds(rows[start + longest]):
        longest += 1
    lengths = range(least, longest + 1)
    for length in lengths if reluctant else reversed(lengths):
        for rest in ways(variables[1:], rows, start + length):
            yield [f"{name}{start + place}" for place in range(length)] + rest


FIXED, RELUCTANT, GREEDY = ["", "", "{2}"], ["+?", "{2,}?", "{2,3}?"], ["+", "{2,}"]


@st.composite
def quantifiers(draw: st.DrawFn, number: int, more: Sequence[str] = ()) -> list[str]:
    """Those of a pattern that is mostly sound; `more` are greedy ones to draw from."""
    found: list[str] = []
    for place in range(number):
        after_reluctant = any(each not in FIXED and each.endswith("?") for each in found)
        after_greedy = bool(found) and found[-1] in (*GREEDY, "*", *more)
        options = list(FIXED)
        if not after_reluctant:
            options += RELUCTANT + (["*?"] if place and not after_greedy else [])
        if not after_reluctant and place < number - 1:
            options += [*GREEDY, *more] + ([] if after_greedy else ["*"])
        found.append(draw(st.sampled_from(options)))
    return found


@st.composite
def unambiguous(draw: st.DrawFn) -> tuple[str, list[Variable]]:
    """A statement of which SQL and Flink think alike: what follows a greedy loop excludes it."""
    variables: list[Variable] = []
    texts, defined, before = [], [], ""
    names = draw(st.sampled_from(["AB", "ABC", "ABCD"]))
    for name, text in zip(names, draw(quantifiers(len(names))), strict=True):
        field = draw(st.sampled_from("abcd"))
        least, most = BOUNDS[text.removesuffix("?")]
        condition = f"{field} AND NOT {before}" if before else field
        variables.append((name, least, most, "?" in text, wanted(field, before)))
        texts.append(name + text)
        defined.append(f"{name} AS {condition}")
        before = field if text in (*GREEDY, "*") else ""
    skip = draw(st.sampled_from(["PAST LAST ROW", "TO NEXT ROW"]))
    return statement(f"PATTERN ({' '.join(texts)})", ", ".join(defined), skip=skip, within="'1' HOUR"), variables


def wanted(field: str, excluded: str) -> Callable[[Mapping[str, object]], bool]:
    return lambda row: bool(row[field]) and not (excluded and row[excluded])


BOUNDS: Mapping[str, tuple[int, int | None]] = {
    "": (1, 1), "{2}": (2, 2), "{2,3}": (2, 3), "{2,}": (2, None), "+": (1, None), "*": (0, None)
}  # fmt: skip
FLAGS = st.lists(st.fixed_dictionaries({field: st.booleans() for field in "abcd"}), max_size=9)


@settings(max_examples=250, deadline=None)
@given(unambiguous(), FLAGS)
def test_rows_are_found_as_sql_says(drawn: tuple[str, list[Variable]], rows: list[dict[str, bool]]) -> None:
    text, variables = drawn
    pattern, problems = attempt_pattern(text, STREAMS, "p.sql")
    assume(not problems)
    events = [Event(number, number * 1_000_000, row) for number, row in enumerate(rows)]
    for ties in Ties:
        found, _ = match(pattern, events, ties)
        named = [[f"{step}{row}" for step, ids in each for row in ids] for each in found]
        assert named == as_sql_says(variables, rows, pattern.skip)
    lines = [" ".join(f"{name}={value}".lower() for name, value in {"k": 1, **row}.items()) for row in rows]
    in_the_kernel = matches(dump_pattern(pattern), "\n".join(lines), streams=(ROWS,))
    named = [[f"{step}{row - 1}" for step, taken in each.items() for row in taken] for each in in_the_kernel]
    assert named == as_sql_says(variables, rows, pattern.skip)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)), min_size=3, max_size=4), FLAGS, st.booleans())
def test_rows_are_permuted_as_sql_says(
    drawn: list[tuple[str, int]], rows: list[dict[str, bool]], past_last: bool
) -> None:
    """PERMUTE (A, B, …) is A B … | … | B A …: of what begins at a row, the first that there is."""
    variables = [
        (name, times, times, False, wanted(field, "")) for name, (field, times) in zip("ABCD", drawn, strict=False)
    ]
    *inside, last = (f"{name}{{{times}}}" for name, times, *_ in variables)
    defined = ", ".join(f"{name} AS {field}" for name, (field, _) in zip("ABCD", drawn, strict=False))
    skip = "PAST LAST ROW" if past_last else "TO NEXT ROW"
    pattern = read(statement(f"PATTERN (PERMUTE({', '.join(inside)}) {last})", defined, skip=skip, within="'1' HOUR"))
    events = [Event(number, number * 1_000_000, row) for number, row in enumerate(rows)]
    found = [[f"{step}{row}" for step, ids in each for row in ids] for each in match(pattern, events, Ties.EARLIEST)[0]]
    expected, start = [], 0
    while start < len(rows):
        orders = ([*order, variables[-1]] for order in permutations(variables[:-1]))
        way = next((way for order in orders for way in ways(order, rows, start)), None)
        expected += [sorted(way)] if way is not None else []
        start += len(way) if way is not None and past_last else 1
    assert [sorted(each) for each in found] == expected


def test_a_permute_of_a_statement_is_one_of_a_document() -> None:
    text = statement("PATTERN (A PERMUTE(B, C{2}) D)", "B AS a, C AS C.n > B.n", "SUM(C.n) AS m", within="'5' SECOND")
    document = dump_pattern(read(text))
    assert document["steps"] == [
        {"name": "A"},
        {
            "permute": [
                {"name": "B", "where": "a"},
                {"name": "C", "where": "n > B.n", "times": 2, "consecutive": True},
            ],
            "contiguity": "next",
            "consecutive": True,
        },
        {"name": "D", "contiguity": "next"},
    ]
    assert read_pattern(document, STREAMS, "test") == read(text)


def test_a_greedy_loop_never_gives_a_row_back_and_a_reluctant_one_leaves_it() -> None:
    """SQL:2016 would find A0 A1 B2 for the greedy one too; Flink doesn't, and so we don't."""
    rows = [Event(number, number * 1_000_000, {"a": True, "b": number == 2}) for number in range(3)]
    for loop, expected in (("A+", []), ("A+?", [(("A", (0, 1)), ("B", (2,)))])):
        pattern = read(statement(f"PATTERN ({loop} B)", define="A AS a, B AS b", within="'1' HOUR"))
        assert match(pattern, rows, Ties.EARLIEST)[0] == expected


def test_the_average_of_flinks_documentation() -> None:
    prices = [12, 17, 13, 16, 25, 2, 4, 10, 15, 25, 25, 30]
    pattern = read(
        statement("PATTERN (A+ B)", "A AS AVG(A.n) < 15", "FIRST(A.at) AS began, LAST(A.at) AS ended, AVG(A.n) AS mean")
    )
    rows = [Event(place, place, {"n": price, "at": place}) for place, price in enumerate(prices)]
    assert rows_of(pattern, rows) == [
        {"began": 0, "ended": 3, "mean": 14.5},
        {"began": 5, "ended": 10, "mean": 13.5},
    ]


# -- NEXMark ----------------------------------------------------------------------------------------------------------


def rows_of(pattern: Pattern, events: Sequence[Event]) -> list[dict[str, object]]:
    """The rows of a statement over one key's events, by the reference matcher."""
    by_id = {event.id: event.fields for event in events}
    found, _ = match(pattern, events, Ties.EARLIEST)
    return [
        dict(measured(pattern, by_id[each[0][1][0]], {step: [by_id[one] for one in ids] for step, ids in each}))
        for each in found
    ]


def bids() -> list[list[Event]]:
    """The bids, by key."""
    with BIDS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    events = []
    for number, row in enumerate(rows):
        at_us = (datetime.fromisoformat(row["date_time"]).replace(tzinfo=UTC) - epoch) // timedelta(microseconds=1)
        numbers = {name: int(row[name]) for name in ("auction", "bidder", "price")}
        events.append(Event(number, at_us, {**numbers, "date_time": at_us}))
    return [list(own) for _, own in groupby(sorted(events, key=key_of), key_of)]


def key_of(event: Event) -> tuple[object, object]:
    return event.fields["auction"], event.fields["bidder"]


def falling(prices: list[int], at: list[int]) -> Iterator[dict[str, object]]:
    """A fall of one bid or more, then a rise; the next begins with the bid that rose."""
    start = 0
    while start < len(prices):
        end = start + 1
        while end < len(prices) and prices[end] < prices[end - 1]:
            end += 1
        rises = start + 1 < end < len(prices) and prices[end] > prices[end - 1]
        if rises:
            bottom = {"bottom": prices[end - 1], "bottom_at": at[end - 1]}
            yield {"start_at": at[start], **bottom, "end_at": at[end]}
        start = end if rises else start + 1


def averages(prices: list[int], at: list[int], overlapping: bool) -> Iterator[dict[str, object]]:
    """Bids while their average is below, then one more."""
    start = 0
    while start < len(prices):
        end = start
        while end < len(prices) and sum(prices[start : end + 1]) / (end + 1 - start) < 10_000:
            end += 1
        complete = start < end < len(prices)
        if complete:
            mean = sum(prices[start:end]) / (end - start)
            yield {"start_at": at[start], "end_at": at[end - 1], "avg_price": mean}
        start = end + 1 if complete and not overlapping else start + 1


def drops(prices: list[int], at: list[int]) -> Iterator[dict[str, object]]:
    """Bids that stay above the first less 50, then one below it, all in less than five seconds."""
    start = 0
    while start < len(prices):
        end = start + 1
        while end < len(prices) and prices[end] > prices[start] - 50:
            end += 1
        drop = end < len(prices) and prices[end] < prices[start] - 50 and at[end] - at[start] < 5_000_000
        if drop:
            yield {"drop_at": at[end], "difference": prices[start] - prices[end]}
        start = end + 1 if drop else start + 1


@pytest.mark.parametrize(
    ("name", "slowly", "rows"),
    [
        ("falling-price", falling, 5),
        ("average-below", lambda prices, at: averages(prices, at, overlapping=False), 4),
        ("average-below-overlapping", lambda prices, at: averages(prices, at, overlapping=True), 4),
        ("price-drop", drops, 7),
    ],
)
def test_nexmarks_statements_find_in_its_bids_what_a_loop_over_them_finds(
    name: str, slowly: Callable[[list[int], list[int]], Iterator[dict[str, object]]], rows: int
) -> None:
    streams = {stream.name: stream for stream in load_streams([NEXMARK / "streams"])}
    ((_, pattern),) = load_patterns([NEXMARK / "patterns" / f"{name}.sql"], streams)
    found: list[dict[str, object]] = []
    expected: list[dict[str, object]] = []
    for events in bids():
        found += rows_of(pattern, events)
        prices = [price for event in events if isinstance(price := event.fields["price"], int)]
        expected += slowly(prices, [event.at_us for event in events])
    assert (pattern.name, len(found)) == (name, rows)
    assert found == expected


@pytest.mark.parametrize("name", ["falling-price", "average-below", "average-below-overlapping", "price-drop"])
def test_the_alerts_of_a_statement_carry_the_rows_that_the_reference_finds(name: str) -> None:
    file = NEXMARK / "patterns" / f"{name}.sql"
    ((_, pattern),) = load_patterns([file], {stream.name: stream for stream in load_streams([NEXMARK / "streams"])})
    flat = sorted((event for own in bids() for event in own), key=lambda event: event.id)
    later = START_US - flat[0].at_us  # the test kit's time begins there
    lines = []
    for event in flat:
        numbers = " ".join(f"{field}={event.fields[field]}" for field in ("auction", "bidder", "price"))
        lines.append(f"{numbers} @{(event.at_us + later - START_US) // 1000}ms")
    expected = []
    for own in bids():
        moved = [
            Event(event.id, event.at_us + later, {**event.fields, "date_time": event.at_us + later}) for event in own
        ]
        expected += rows_of(pattern, moved)
    found = measures(file, "\n".join(lines), streams=NEXMARK / "streams")
    assert sorted(map(sorted, map(dict.items, found))) == sorted(map(sorted, map(dict.items, expected)))


def test_a_folder_of_patterns_may_hold_statements() -> None:
    streams = {stream.name: stream for stream in load_streams([NEXMARK / "streams"])}
    names = [pattern.name for _, pattern in load_patterns([NEXMARK / "patterns"], streams)]
    assert names == ["average-below-overlapping", "average-below", "falling-price", "price-drop"]


PAGE = Path(__file__).parents[3] / "docs" / "sql.md"


def test_the_page_shows_what_its_statement_finds() -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = page.partition("```sql\n")[2].partition("```")[0]
    table = page.partition("```text\n")[2].partition("```")[0]
    streams = {stream.name: stream for stream in load_streams([NEXMARK / "streams"])}
    pattern = read_pattern(text, streams, "page")
    shown = ["auction bidder bottom bottom_at"]
    for events in bids():
        for row in rows_of(pattern, events):
            at_us = row["bottom_at"]
            assert isinstance(at_us, int)
            clock = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).time().isoformat("milliseconds")
            shown.append(f"{events[0].fields['auction']} {events[0].fields['bidder']} {row['bottom']} {clock}")
    assert [" ".join(line.split()) for line in table.splitlines()] == shown


# -- there and back ---------------------------------------------------------------------------------------------------

CONDITIONS = st.sampled_from(
    ["a", "{0}.n > 1", "{0}.n < LAST({0}.n, 1)", "AVG({0}.n) < 3 AND MIN({0}.n) > 0", "COUNT({0}.n) + FIRST({0}.n) > 2",
     "b OR c AND n BETWEEN 1 AND 3", "A.n < n", "COUNT(A.*) > 1", "`n` IN (1, 2)", "at > A.at - INTERVAL '5' SECOND"]
)  # fmt: skip
MEASURES = st.sampled_from(
    ["", "A.n AS first_n", "COUNT(A.*) AS c, k AS z, AVG(A.n) / 2 AS m", "LAST(A.at) - A.at AS x"]
)
SKIPS = st.sampled_from(["PAST LAST ROW", "TO NEXT ROW", "TO FIRST B", "TO LAST B", "TO LAST A"])


@st.composite
def statements(draw: st.DrawFn) -> str:
    """Statements of which many have no problems."""
    names = draw(st.sampled_from(["AB", "ABC", "ABCD", "AXYB"]))
    texts = [name + text for name, text in zip(names, draw(quantifiers(len(names), ["{1,3}", "{,2}"])), strict=True)]
    defined = [f"{name} AS {draw(CONDITIONS).format(name)}" for name in names if draw(st.integers(0, 3))]
    within = draw(st.sampled_from(["", "'5' SECOND", "'0.25' MINUTE", "'2' DAY"]))
    return statement(f"PATTERN ({' '.join(texts)})", ", ".join(defined), draw(MEASURES), draw(SKIPS), within)


@settings(max_examples=150, deadline=None)
@given(statements())
def test_the_pattern_of_a_statement_comes_back_from_its_document(text: str) -> None:
    pattern, problems = attempt_pattern(text, STREAMS, "p.sql")
    assume(not problems)
    document = dump_pattern(pattern)
    assert read_pattern(document, STREAMS, "test") == pattern
    assert dump_pattern(read_pattern(document, STREAMS, "test")) == document
    assert check(pattern, "flink") == []


WHOLE = statement(
    "PATTERN (A B+ C*? D)", "B AS MIN(B.n) > 1, C AS C.a", "COUNT(B.*) AS c", "TO LAST B", within="'5' SECOND"
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_a_statement_holds_is_read_or_refused_with_its_place(data: st.DataObject) -> None:
    place = data.draw(st.integers(len("INSERT "), len(WHOLE)))
    length = data.draw(st.integers(0, 20))
    insert = data.draw(st.text("()[]{}'\"`,.;-*+?|/^$<>= \nABn01\x00é", max_size=6))
    text = WHOLE[:place] + insert + WHOLE[place + length :]
    _, problems = attempt_pattern(text, STREAMS, "p.sql")
    for problem in problems:
        line, column = problem.where.removeprefix("p.sql:").split(":")
        assert 1 <= int(line) <= text.count("\n") + 1
        assert 1 <= int(column) <= len(text.split("\n")[int(line) - 1]) + 1


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 30_000,
        statement(define="A AS " + "(" * 20_000 + "a" + ")" * 20_000),
        statement("PATTERN (" + " ".join(f"v{number}" for number in range(5_000)) + ")"),
        statement("PATTERN (A{999999999999999999999} B)"),
        "select " + "a" * DOCUMENT_CHARS_MAX,
        f"{statement()} AS",
    ],
)
def test_a_statement_out_of_bounds_is_refused_before_it_costs_anything(text: str) -> None:
    assert attempt_pattern(text, STREAMS, "p.sql")[1]
