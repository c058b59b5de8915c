"""The works as Stakeout patterns, and the streams they run over."""

from __future__ import annotations

from typing import Any

from bench.data import StepPattern, thousand_patterns
from cep.automaton.plan import Plan, compile_pattern
from cep.language.document import read_pattern
from events.schema import Stream, read_stream

# Without an event id: Flink's job doesn't look for duplicates either.
STREAM = """
stream: transactions
topic: transactions
event_time: {field: event_time, format: epoch_ms}
key: [card_id]
order: arrival
fields:
  transaction_id: {type: string}
  card_id: {type: string}
  event_time: {type: instant}
  amount: {type: float64}
  country: {type: string}
"""

THOUSAND = "thousand_patterns"

# What `bench.data.thousand_patterns` draws: f0 .. f9.
STREAM_OF_THOUSAND = """
stream: transactions
topic: transactions
event_time: {field: event_time, format: epoch_ms}
key: [card_id]
order: arrival
fields:
  transaction_id: {type: string}
  card_id: {type: string}
  event_time: {type: instant}
""" + "".join(f"  f{number}: {{type: float64}}\n" for number in range(10))


def document(name: str, within: str, *steps: dict[str, Any]) -> dict[str, Any]:
    """A pattern keyed by card, skip past last event."""
    head = {"name": name, "stream": "transactions", "key": ["card_id"], "within": within, "skip": "past_last_event"}
    return {**head, "steps": list(steps)}


def small_then_big(name: str, small: float, big: float) -> dict[str, Any]:
    """amount < small, followed by amount > big, within ten minutes."""
    return document(
        name,
        "10m",
        {"name": "small", "where": f"amount < {small!r}"},
        {"name": "big", "contiguity": "followed_by", "where": f"amount > {big!r}"},
    )


WORKS: dict[str, list[dict[str, Any]]] = {
    "small_big": [small_then_big("small-big", 1.0, 500.0)],
    "country_change": [
        document(
            "country-change",
            "1m",
            {"name": "first", "where": "amount > 500"},
            {"name": "other", "contiguity": "next", "where": "country <> first.country"},
        )
    ],
    "card_testing": [
        document(
            "card-testing",
            "30m",
            {"name": "probe", "where": "amount < 5", "times": {"at_least": 3}, "greedy": True},
            {"name": "cash", "contiguity": "followed_by", "where": "amount > 50 * avg(probe.amount)"},
        )
    ],
    "rising_triple": [
        document(
            "rising-triple",
            "10m",
            {"name": "a", "where": "amount > 10"},
            {"name": "b", "contiguity": "next", "where": "amount > a.amount"},
            {"name": "c", "contiguity": "next", "where": "amount > b.amount"},
        )
    ],
    "twenty_patterns": [small_then_big(f"small-big-{i:02d}", 0.2 + 0.1 * i, 500.0 + 100 * i) for i in range(20)],
}


def steps_in_turn(pattern: StepPattern) -> dict[str, Any]:
    """One of the thousand patterns."""
    steps = [
        {"name": f"s{place}", "where": f"{step.field} {step.op} {step.constant!r}"}
        | ({"contiguity": "followed_by"} if place else {})
        for place, step in enumerate(pattern.steps)
    ]
    return document(pattern.name, f"{pattern.within_ms}ms", *steps)


def documents(work: str) -> list[dict[str, Any]]:
    """The work's patterns as their authors would write them."""
    if work == THOUSAND:
        return [steps_in_turn(pattern) for pattern in thousand_patterns(0)[1]]
    return WORKS[work]


def stream(work: str) -> Stream:
    """The stream of a work."""
    return read_stream(STREAM_OF_THOUSAND if work == THOUSAND else STREAM, "transactions.yaml")


def plans(work: str, *, emit: str = "eager") -> list[Plan]:
    """The work's patterns, compiled."""
    streams = {"transactions": stream(work)}
    return [compile_pattern(read_pattern({**one, "emit": emit}, streams, work)) for one in documents(work)]
