"""The five works as Stakeout patterns, and the stream they run over."""

from __future__ import annotations

from typing import Any

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


def stream() -> Stream:
    """The stream of the works."""
    return read_stream(STREAM, "transactions.yaml")


def plans(work: str, *, emit: str = "eager") -> list[Plan]:
    """The work's patterns, compiled."""
    streams = {"transactions": stream()}
    return [compile_pattern(read_pattern({**one, "emit": emit}, streams, work)) for one in WORKS[work]]
