"""Training: vectors, labels and a document in; a graph and its card out.

Sample ─ split in time ─┬─ train ─▶ scikit-learn ─▶ ONNX ─┐
                        └─ test ──▶ both score it: they must agree ─▶ metrics, threshold, golden rows ─▶ card

The same sample and document give the same file on the same machine: what chance scikit-learn takes has a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from events.columns import F64, I64
from events.duration import duration_text
from events.errors import IntegrityViolation, InvalidDocument, Problem
from models.card import DECIMALS, Card, Golden, Input, Threshold, Window, digest_of, fingerprint_of
from models.document import Algorithm, Model, Split
from models.evaluate import Bools, evaluate, threshold_for
from models.graph import Graph, opsets_of, runtime_name

SEED = 0
GOLDEN_ROWS = 16
"""Rows kept in the card: spread over the scores, from the lowest to the highest."""


@dataclass(frozen=True, slots=True)
class Sample:
    """n events in order of time.

    vectors: float64[n, inputs], NaN where null and the document has no `missing`
    fraud:   bool[n]   at_us: int64[n]   card: int64[n], equal numbers for events of one card
    """

    vectors: F64
    fraud: Bools
    at_us: I64
    card: I64

    def __len__(self) -> int:
        return len(self.at_us)

    def of(self, rows: slice) -> Sample:
        """Some of it."""
        return Sample(self.vectors[rows], self.fraud[rows], self.at_us[rows], self.card[rows])


def train(
    model: Model,
    sample: Sample,
    version: int,
    views: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Card, bytes]:
    """The card and the file of a new version.

    views: name → definition of the feature views that the vectors were computed with
    tell:  hears what is going on, a line at a time

    Raises InvalidDocument where the split leaves too little, IntegrityViolation if the graph doesn't score as
    scikit-learn does.
    """
    known, held_out = divided(sample, model)
    tell(f"train {described(known)}")
    tell(f"test  {described(held_out)}, {duration_text(model.split.delay_us)} later")
    trained = classifier(model)
    trained.fit(known.vectors, known.fraud)
    tell(f"{model.algorithm} fitted")
    from models.convert import to_onnx

    data = to_onnx(trained)
    graph = Graph(data, len(model.inputs), f"model {model.name} version {version}")
    scores = graph.score(held_out.vectors)
    agree(scores, trained.predict_proba(held_out.vectors)[:, 1], model.name)
    tell(f"ONNX: {len(data):,} bytes; the scores of all {len(scores):,} test rows are those of scikit-learn")
    threshold = threshold_for(scores, held_out.fraud, held_out.at_us, model.alerts_per_day)
    return card_of(model, version, views or {}, data, known, held_out, scores, threshold), data


def divided(sample: Sample, model: Model) -> tuple[Sample, Sample]:
    """(train, test) as the document splits them. Raises InvalidDocument if one of them lacks frauds or good events."""
    split = model.split
    test, train = windows(sample.at_us, split)
    problems = []
    for name, part in (("train", sample.of(train)), ("test", sample.of(test))):
        frauds = int(part.fraud.sum())
        if not 0 < frauds < len(part):
            reason = f"{len(part)} events with {frauds} frauds: both frauds and good events are needed"
            hint = (
                f"the data spans {duration_text(int(sample.at_us[-1] - sample.at_us[0]))}" if len(sample) else "no data"
            )
            problems.append(Problem(f"split.{name}", reason, hint))
    if problems:
        raise InvalidDocument(f"model {model.name}", problems)
    return sample.of(train), sample.of(test)


def windows(at_us: I64, split: Split) -> tuple[slice, slice]:
    """(test, train) as rows.

    >>> windows(np.arange(10) * 1_000_000, Split(0, 2_000_000, 3_000_000))
    (slice(7, 10, None), slice(0, 5, None))
    """
    if not len(at_us):
        return slice(0, 0), slice(0, 0)
    test_us = int(at_us[-1]) + 1 - split.test_us
    until_us = test_us - split.delay_us
    first_us = until_us - split.train_us if split.train_us else int(at_us[0])
    test, until, first = (int(np.searchsorted(at_us, instant)) for instant in (test_us, until_us, first_us))
    return slice(test, len(at_us)), slice(min(first, until), until)


def classifier(model: Model) -> Any:
    """scikit-learn's, not fitted."""
    given = dict(model.parameters)
    if model.algorithm is Algorithm.LOGISTIC_REGRESSION:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(**{"max_iter": 1000, **given}))
    if model.algorithm is Algorithm.DECISION_TREE:
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(random_state=SEED, **given)
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if model.algorithm is Algorithm.RANDOM_FOREST:
        return RandomForestClassifier(random_state=SEED, n_jobs=-1, **given)
    # To stop early it would set rows aside by chance, and so look ahead in time.
    return HistGradientBoostingClassifier(random_state=SEED, early_stopping=False, **given)


def agree(served: F64, trained: F64, name: str) -> None:
    """Raises IntegrityViolation for rows whose scores differ at DECIMALS places."""
    wrong = np.flatnonzero(served != np.round(trained, DECIMALS))
    if len(wrong):
        row = int(wrong[0])
        raise IntegrityViolation(
            f"model {name}: {len(wrong)} of {len(served)} scores differ between ONNX and scikit-learn, the first in "
            f"row {row}: {served[row]:.{DECIMALS}f} and {trained[row]:.{DECIMALS}f}",
            "a release of scikit-learn or ONNX Runtime computes otherwise: run those of the lock file",
        )


def card_of(
    model: Model,
    version: int,
    views: Mapping[str, str],
    data: bytes,
    known: Sample,
    held_out: Sample,
    scores: F64,
    threshold: Threshold,
) -> Card:
    """Everything that is known of the file."""
    inputs = tuple(Input(name=name, type=str(kind), missing=model.missing) for name, kind in model.inputs)
    read = {name: views[name] for name in model.views}
    return Card(
        name=model.name,
        version=version,
        stream=model.stream,
        algorithm=model.algorithm.value,
        parameters=dict(model.parameters),
        label=model.label,
        digest=digest_of(data),
        size=len(data),
        opsets=opsets_of(data, model.name),
        runtime=runtime_name(),
        inputs=inputs,
        views=read,
        fingerprint=fingerprint_of(inputs, read),
        fallback=model.fallback,
        delay_us=model.split.delay_us,
        trained=window(known),
        tested=window(held_out),
        metrics=evaluate(scores, held_out.fraud, held_out.at_us, held_out.card),
        threshold=threshold,
        golden=golden_rows(held_out.vectors, scores),
    )


def window(sample: Sample) -> Window:
    """What a part of the sample covers."""
    return Window(
        from_us=int(sample.at_us[0]),
        to_us=int(sample.at_us[-1]) + 1,
        rows=len(sample),
        frauds=int(sample.fraud.sum()),
    )


def golden_rows(vectors: F64, scores: F64) -> tuple[Golden, ...]:
    """Rows of the test window with their scores."""
    ranked = np.argsort(scores, kind="stable")
    places = np.unique(np.linspace(0, len(ranked) - 1, GOLDEN_ROWS).astype(np.int64))
    return tuple(
        Golden(
            vector=tuple(None if np.isnan(number) else number for number in vectors[row].tolist()),
            score=float(scores[row]),
        )
        for row in ranked[places]
    )


def described(sample: Sample) -> str:
    """In words."""
    span = duration_text((int(sample.at_us[-1]) - int(sample.at_us[0])) // 60_000_000 * 60_000_000)
    return f"{len(sample):,} events over {span}, {int(sample.fraud.sum()):,} of them fraud"
