"""A card stream with planted fraud, from a seed: the same seed gives the same payments, byte for byte.

    ordinary payments ──┐  each card pays at home: 60 % at the counter, 35 % online, 5 % at a machine
                        ├─▶ by time ─▶ Simulated(payment, planted)
    planted flows ──────┘  now and then a card falls into the hands of one of six thieves

Which payments are fraud is told beside the stream and never in it: `planted` names the flow, the shipped pattern that
should find it, and where in the flow the payment stands. Some flows are `careful`: they stay just outside of what
their pattern looks for, so that a run also shows what is missed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""

COUNTRIES = ("DE", "FR", "NL", "AT", "PL", "ES")
MERCHANTS = 5_000
CURRENCY = "EUR"
AMOUNT_MAX = 450.0
"""Of an ordinary payment."""


class Payment(msgspec.Struct, frozen=True):
    """One record of examples/streams/transactions.yaml. `at` is in milliseconds since 1970, `amount` has two places."""

    transaction_id: str
    card_id: str
    at: int
    amount: float
    currency: str
    country: str
    merchant_id: str
    channel: str
    approved: bool


@dataclass(frozen=True, slots=True)
class Planted:
    """A payment's place in a planted flow: number `step` (from 0) of `steps`; `pattern` should find the flow."""

    flow: int
    pattern: str
    careful: bool
    step: int
    steps: int

    @property
    def ends(self) -> bool:
        """Is it the flow's last payment?"""
        return self.step == self.steps - 1


@dataclass(frozen=True, slots=True)
class Simulated:
    """A payment and, beside it, the truth about it; `planted` is None for an ordinary one."""

    payment: Payment
    planted: Planted | None


@dataclass(frozen=True, slots=True)
class Move:
    """One payment of a flow: seconds after the one before, and what it is."""

    after_s: float
    amount: float
    channel: str = "ecom"
    country: str = ""
    approved: bool = True


def simulate(
    seed: int = 1,
    *,
    cards: int = 20_000,
    rate: float = 100.0,
    flow_every_s: float = 60.0,
    pace: float = 1.0,
    careful: float = 0.1,
    start_us: int = START_US,
) -> Iterator[Simulated]:
    """Payments in order of time, without end.

    rate:         ordinary payments a second
    flow_every_s: seconds between the beginnings of two planted flows, on average
    pace:         factor on the time between the payments of a flow; 0.05 for a demonstration
    careful:      share of flows that their pattern can't see

    >>> next(simulate(7)).payment.card_id
    'card-04943'
    """
    chance = random.Random(seed)
    flows: list[tuple[float, int, int, Planted, str, Move]] = []  # a heap by instant
    now_s, next_flow_s, begun = 0.0, min(0.5, flow_every_s), 0
    for number in range(10**12):
        now_s += chance.expovariate(rate)
        while next_flow_s <= now_s:
            _plant(chance, flows, begun, next_flow_s, cards, pace, careful)
            begun += 1
            next_flow_s += chance.uniform(0.5, 1.5) * flow_every_s
        due = [heapq.heappop(flows) for _ in range(len(flows)) if flows and flows[0][0] <= now_s]
        for at_s, _, step, planted, card, move in due:
            yield Simulated(
                _stolen(chance, f"t{number:09d}-{planted.flow}-{step}", card, at_s, start_us, move), planted
            )
        yield Simulated(_ordinary(chance, f"t{number:09d}", _card(chance, cards), now_s, start_us), None)


def record(payment: Payment) -> bytes:
    """The payment as the topic has it."""
    return msgspec.json.encode(payment)


def take(simulated: Iterator[Simulated], count: int) -> Iterator[Simulated]:
    """The first `count`."""
    return islice(simulated, count)


# -- ordinary life ----------------------------------------------------------------------------------------------------


def _card(chance: random.Random, cards: int) -> str:
    return f"card-{chance.randrange(cards):05d}"


def _home(card: str) -> str:
    """The country in which a card lives."""
    return COUNTRIES[int(card[5:]) % len(COUNTRIES)]


def _ordinary(chance: random.Random, number: str, card: str, at_s: float, start_us: int) -> Payment:
    amount = min(max(chance.lognormvariate(3.3, 1.0), 1.0), AMOUNT_MAX)
    channel = "pos" if (drawn := chance.random()) < 0.6 else "ecom" if drawn < 0.95 else "atm"
    if channel == "atm":
        amount = max(10.0, amount // 10 * 10)
    move = Move(0.0, amount, channel, "", chance.random() < 0.97)
    return _stolen(chance, number, card, at_s, start_us, move)


def _stolen(chance: random.Random, number: str, card: str, at_s: float, start_us: int, move: Move) -> Payment:
    return Payment(
        number,
        card,
        start_us // 1000 + int(at_s * 1000),
        round(move.amount, 2),
        CURRENCY,
        move.country or _home(card),
        f"m-{chance.randrange(MERCHANTS):05d}",
        move.channel,
        move.approved,
    )


# -- six thieves ------------------------------------------------------------------------------------------------------

Thief = Callable[[random.Random, str, bool], list[Move]]


def _plant(
    chance: random.Random,
    flows: list[tuple[float, int, int, Planted, str, Move]],
    number: int,
    at_s: float,
    cards: int,
    pace: float,
    careful: float,
) -> None:
    """Put the payments of one flow among those to come. The kinds take turns."""
    pattern = list(THIEVES)[number % len(THIEVES)]
    hides, card = chance.random() < careful, _card(chance, cards)
    moves = THIEVES[pattern](chance, _home(card), hides)
    for step, move in enumerate(moves):
        at_s += move.after_s * pace
        heapq.heappush(flows, (at_s, number, step, Planted(number, pattern, hides, step, len(moves)), card, move))


def _tests_card(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """Small probes, then a cash-out; a careful thief probes twice only."""
    probes = 2 if careful else chance.randint(3, 5)
    tries = [Move(chance.uniform(5, 40), chance.uniform(0.2, 1.95)) for _ in range(probes)]
    return [*tries, Move(chance.uniform(65, 180), chance.uniform(520, 1500))]


def _copies_card(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """The owner pays at home, the copy abroad; a careful thief orders online."""
    abroad = chance.choice([country for country in (*COUNTRIES, "RO", "NG") if country != home])
    channel = "ecom" if careful else "pos"
    return [
        Move(0, chance.uniform(10, 80), "pos"),
        Move(chance.uniform(40, 120), chance.uniform(90, 480), channel, abroad),
    ]


def _tries_once(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """One tiny purchase, at once a big one; a careful thief's first is not that tiny."""
    small = chance.uniform(1.2, 2) if careful else chance.uniform(0.1, 0.95)
    return [Move(0, small), Move(chance.uniform(5, 30), chance.uniform(510, 1200))]


def _finds_limit(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """Each purchase larger than the last; a careful thief rises slowly."""
    amount, moves = chance.uniform(110, 200), list[Move]()
    for _ in range(5):
        moves.append(Move(chance.uniform(20, 90), amount))
        amount *= chance.uniform(1.1, 1.3) if careful else chance.uniform(1.6, 2.2)
    return moves


def _is_machine(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """Many purchases at once; a careful one knows the limit."""
    return [
        Move(chance.uniform(0.5, 4), chance.uniform(15, 90)) for _ in range(7 if careful else chance.randint(9, 14))
    ]


def _is_declined(chance: random.Random, home: str, careful: bool) -> list[Move]:
    """Declined, declined, declined, then approved with less; a careful thief gives up."""
    moves = [Move(chance.uniform(10, 40), chance.uniform(700, 1400), approved=False) for _ in range(3)]
    return [*moves, Move(chance.uniform(20, 60), chance.uniform(120, 290), approved=not careful)]


THIEVES: dict[str, Thief] = {
    "small-then-big": _tries_once,
    "card-testing": _tests_card,
    "country-change": _copies_card,
    "velocity-burst": _is_machine,
    "rising-amounts": _finds_limit,
    "declined-then-approved": _is_declined,
}
"""The shipped pattern that should find it → the flow."""
