"""How good scores are: the figures of a card, each by the definition that its function names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from events.columns import F64, I64
from events.duration import UNITS_US
from models.card import Bin, Metrics, Threshold

Bools = npt.NDArray[np.bool_]

DAY_US = UNITS_US["d"]
CARDS = 100
"""Cards that are looked at each day, for the card precision."""

FALSE_POSITIVES = 0.01
BINS = 10
"""Of the calibration."""


def evaluate(scores: F64, fraud: Bools, at_us: I64, card: I64) -> Metrics:
    """The figures of n scored events, in order of time. Both fraud and good events must be there.

    card: int64[n], equal numbers for events of one card
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    bins = calibration(scores, fraud)
    apart = [one.rows * abs(one.score - one.fraud) for one in bins]
    return Metrics(
        auc_roc=float(roc_auc_score(fraud, scores)),
        average_precision=float(average_precision_score(fraud, scores)),
        card_precision_100=card_precision(scores, fraud, at_us, card),
        recall_1pct_false_positives=recall_at(scores, fraud, FALSE_POSITIVES),
        calibration_error=float(sum(apart) / len(scores)),
        calibration=bins,
    )


def card_precision(scores: F64, fraud: Bools, at_us: I64, card: I64, cards: int = CARDS) -> float:
    """The Fraud Detection Handbook's card precision: of the cards ranked first each day, the share with a fraud.

    A card has its highest score of the day. A card that was found is looked at no more. Days are counted from the first
    event; equal scores rank by the card's number. The mean over the days.
    """
    day = (at_us - at_us[0]) // DAY_US
    found: set[int] = set()
    shares = []
    for number in np.unique(day):
        today = day == number
        names, place = np.unique(card[today], return_inverse=True)
        highest, stolen = np.full(len(names), -np.inf), np.zeros(len(names), np.bool_)
        np.maximum.at(highest, place, scores[today])
        np.logical_or.at(stolen, place, fraud[today])
        left = np.array([name not in found for name in names.tolist()])
        ranked = np.lexsort((names[left], -highest[left]))[:cards]
        caught = names[left][ranked][stolen[left][ranked]]
        found.update(caught.tolist())
        shares.append(len(caught) / cards)
    return float(np.mean(shares))


def recall_at(scores: F64, fraud: Bools, false_positives: float) -> float:
    """The largest share of frauds above a score that at most this share of good events is above, too."""
    from sklearn.metrics import roc_curve

    wrong, right, _ = roc_curve(fraud, scores)
    return float(right[wrong <= false_positives].max(initial=0.0))


def calibration(scores: F64, fraud: Bools, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of as many rows each, from the lowest scores to the highest."""
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return tuple(
        Bin(rows=len(part), score=float(scores[part].mean()), fraud=float(fraud[part].mean()))
        for part in parts
        if len(part)
    )


def threshold_for(scores: F64, fraud: Bools, at_us: I64, alerts_per_day: float) -> Threshold:
    """The lowest of the scores that gives at most so many alerts a day, or the highest where all give more."""
    days = max((int(at_us[-1]) - int(at_us[0])) / DAY_US, 1e-9)
    distinct, counts = np.unique(scores, return_counts=True)
    above = np.cumsum(counts[::-1])[::-1]
    few = np.flatnonzero(above / days <= alerts_per_day)
    place = int(few[0]) if len(few) else len(distinct) - 1
    alerted = scores >= distinct[place]
    caught = int((alerted & fraud).sum())
    return Threshold(
        score=float(distinct[place]),
        alerts_per_day=float(above[place] / days),
        precision=caught / int(above[place]),
        recall=caught / max(int(fraud.sum()), 1),
    )
