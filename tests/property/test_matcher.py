"""The kernel on random patterns and streams: equal to the reference, however its input comes. See `tests/fuzz`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from cep.automaton.plan import Plan
from tests.conformance.cases import STREAMS, Json
from tests.fuzz.case import Case, every_stage, numbered, random_case, text_of
from tests.fuzz.compare import Answer, Outcome, ask, in_batches
from tests.fuzz.search import search, show
from tests.fuzz.shrink import smallest
from tests.reference import Event

CHUNKS, SEEDS = 10, 350

CONTIGUITIES = {"next", "followed_by", "followed_by_any", "not_next", "not_followed_by"}
OF_STAGES = {"any_of", "greedy", "group", "optional", "or", "times", "until"}
OPTIONS = OF_STAGES | {
    "bare", "consecutive", "allow", "nested", "gap_ms", "within_ms", "streams", "timeouts", "eager", "ordered",
    "no_skip", "skip_next", "past_last", "first", "last",
}  # fmt: skip
WAYS = {"keys", "cuts", "moves", "beside", "jumps", "tie", "null"}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_kernel_answers_as_the_reference_does(chunk: int) -> None:
    """Several keys, any batches, a state that moves, other patterns, ties, nulls: the same matches and time-outs."""
    cases = 0
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        outcome = ask(random_case(seed))
        assert not outcome.disagreement, f"python -m tests.fuzz --case {seed}"
        cases += not outcome.refused
    assert cases > 0.8 * SEEDS


def test_the_cases_have_everything() -> None:
    """Every operator, and every way of asking, is there often enough to be tested by a few thousand cases."""
    found: Counter[str] = Counter()
    for case in map(random_case, range(1_000)):
        found.update(traits(case))
    rare = {trait: count for trait, count in found.items() if count < 15}
    assert not rare
    assert found.keys() >= {*CONTIGUITIES, *OPTIONS, *WAYS}


def traits(case: Case) -> set[str]:
    """What a case has."""
    stages = list(every_stage(case.document["stages"]))
    found = {stage["contiguity"] for stage in stages} - {"begin"}
    found |= {option for stage in stages for option in stage} & OF_STAGES
    found |= {stage["combinations"] for stage in stages if "combinations" in stage}
    found |= {"bare" for stage in stages if not {"where", "group"} & stage.keys()}
    found |= {"gap_ms" for stage in stages if "gap_ms" in stage}
    found |= {"nested" for stage in stages for inside in stage.get("group", ()) if "group" in inside}
    found |= set(case.document) & {"within_ms", "streams", "timeouts"}
    skip = case.document.get("skip", {}).get("to", "no_skip")
    found |= {case.document.get("emit", "ordered"), "skip_next" if skip == "next" else skip}
    found |= {name for name in ("cuts", "moves", "beside", "jumps") if getattr(case, name)}
    instants = Counter((key, event.at_us) for key, event in case.events)
    found |= {"tie"} if instants and max(instants.values()) > 1 else set()
    found |= {"null"} if any(None in event.fields.values() for _, event in case.events) else set()
    return found | ({"keys"} if len({key for key, _ in case.events}) > 1 else set())


def stage(name: str, contiguity: str, kind: str = "", **options: object) -> Json:
    """A step that takes events of one kind, or all."""
    return {"name": name, "contiguity": contiguity, **({"where": {"kind": kind}} if kind else {}), **options}


LEFT_OUT = [
    stage("s", "begin", "a"),
    stage("n", "not_followed_by", "c"),
    stage(
        "t", "followed_by", times=[1, None], greedy=True, optional=True, until={"any": [{"kind": "b"}, {"kind": "c"}]}
    ),
    stage("u", "followed_by_any", "d"),
]
LOOK_BACK = [stage("s", "begin", "a", times=[1, None]), stage("n", "not_next", "b")]
FREED = [stage("s", "begin", "a"), stage("n", "not_followed_by", "c"), stage("t", "followed_by", "b", optional=True)]


@pytest.mark.parametrize(
    ("document", "events", "found"),
    [
        pytest.param(
            {
                "stages": [
                    stage("s", "begin", "a"),
                    stage("t", "followed_by", "b", times=[1, None], optional=True, until={"kind": "b"}),
                    stage("u", "followed_by", "d", gap_ms=2),
                ],
                "within_ms": 8,
            },
            "a@3 c@9",
            2,
            id="a loop that can take nothing keeps its partial from ending by the gap behind it",
        ),
        pytest.param(
            {"stages": [{"contiguity": "begin", "group": FREED, "times": [2, None]}]},
            "a@1 a@2 a@3 b@4",
            5,
            id="a further pass that takes what is optional behind an absence leads nowhere",
        ),
        pytest.param(
            {"stages": [stage("s", "begin", times=[1, None], greedy=True), stage("t", "next", "b")], "within_ms": 8},
            "a@1 b@2",
            2,
            id="a greedy loop that takes every event leaves none to the next step",
        ),
        pytest.param(
            {"stages": [{"contiguity": "begin", "group": LOOK_BACK, "times": [1, 2]}]},
            "a@1 a@2 a@3 a@4",
            10,
            id="of equal matches the one that a further event completes does not come again",
        ),
        pytest.param(
            {"stages": LEFT_OUT},
            "a@1 b@2 c@3 d@4",
            0,
            id="a greedy loop that its until leaves out does not end the absence before it",
        ),
    ],
)
def test_what_was_decided(document: Json, events: str, found: int) -> None:
    """What the kernel or the reference once answered wrongly, each with how many matches and time-outs it has."""
    read = [text.split("@") for text in events.split()]
    keyed = [(0, Event(0, 1_000 * int(at), {"kind": kind, "v": 0}, STREAMS[0])) for kind, at in read]
    outcome = ask(Case(document, numbered(keyed)))
    assert not outcome.disagreement
    assert outcome.found == found


def forgetful(case: Case, plans: Sequence[Plan], cuts: Sequence[int]) -> Answer:
    """A kernel that loses a match of three events."""
    answer = in_batches(case, plans, cuts)
    return Counter({
        (kind, match): count
        for (kind, match), count in answer.items()
        if sum(len(ids) for _, ids in match) != 3
    })  # fmt: skip


def test_a_wrong_answer_is_found_and_made_small() -> None:
    """What is left of a failing case is no more than the fault needs: three events in one batch."""

    def fails(case: Case) -> bool:
        return ask(case, forgetful).disagreement is not None

    seed = next(seed for seed in range(100) if fails(random_case(seed)))
    small = smallest(random_case(seed), fails)
    assert fails(small)
    assert (len(small.events), small.cuts, small.moves, small.beside, small.jumps) == (3, (), (), None, False)
    disagreement = ask(small, forgetful).disagreement
    assert disagreement is not None
    assert "only the kernel has       nothing" in str(disagreement)
    assert "name: case" in text_of(small)
    assert "key=" in text_of(small)


def test_an_event_of_another_stream_starts_nothing() -> None:
    """Also where every event of the pattern's own stream would."""
    stage = {"name": "s", "contiguity": "begin", "where": {"true": True}, "stream": "events"}
    document = {"stages": [stage], "streams": 2}
    events = tuple(
        (key, Event(number, 1_000 * number, {"kind": "a", "v": 1}, stream))
        for number, (key, stream) in enumerate([(0, "others"), (0, "events"), (0, "others"), (1, "others")], 1)
    )
    outcome = ask(Case(document, events, cuts=(1, 3)))
    assert not outcome.disagreement
    assert outcome.found == 1


def test_a_kernel_that_dies_is_a_disagreement() -> None:
    def dying(case: Case, plans: Sequence[Plan], cuts: Sequence[int]) -> Answer:
        raise IndexError("out of room")

    outcomes: list[Outcome] = [ask(random_case(seed), dying) for seed in range(5)]
    assert any("IndexError: out of room" in str(outcome.disagreement) for outcome in outcomes)


def test_a_search_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert search(first=0, cases=20, jobs=2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("20 cases in ")
    assert lines[-1] == "no disagreement"
    assert show(0) == 0
    assert capsys.readouterr().out.endswith("case 0: no disagreement\n")
