"""Training: what ONNX scores is what scikit-learn scores, the split looks only back, the figures mean what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cep.cli.documents import EXAMPLES
from cep.training import sample_simulated
from events.errors import InvalidDocument
from events.schema import read_stream
from models.card import DECIMALS
from models.convert import to_onnx
from models.document import Split, read_model
from models.evaluate import calibration, card_precision, evaluate, recall_at, threshold_for
from models.graph import Graph
from models.train import classifier, divided, train, windows
from tests.models.samples import SMALL, declared, sample

DAY = 86_400_000_000


@pytest.mark.parametrize("algorithm", SMALL)
@pytest.mark.parametrize("seed", range(3))
def test_onnx_scores_every_row_as_scikit_learn_does(algorithm: str, seed: int) -> None:
    """Also rows that no split has seen: nulls, zeros, far too large ones, and those that float32 can't hold."""
    model = declared(algorithm)
    known = sample(model, 2000, seed)
    trained = classifier(model).fit(known.vectors, known.fraud)
    far = np.random.default_rng(seed).lognormal(3, 4, (3000, 4)) + 1e-9
    rows = np.concatenate([sample(model, 3000, seed + 9).vectors, far, -far, np.zeros((1, 4))])
    served = Graph(to_onnx(trained), 4, "test").score(rows)
    assert np.array_equal(served, np.round(trained.predict_proba(rows)[:, 1], DECIMALS))


@pytest.mark.parametrize("algorithm", ["decision_tree", "random_forest"])
def test_a_tree_that_is_one_leaf_is_a_graph_too(algorithm: str) -> None:
    model = declared(algorithm, parameters={"min_samples_leaf": 1900})
    known = sample(model, 2000)
    trained = classifier(model).fit(known.vectors, known.fraud)
    served = Graph(to_onnx(trained), 4, "test").score(known.vectors)
    assert np.array_equal(served, np.round(trained.predict_proba(known.vectors)[:, 1], DECIMALS))


def test_the_same_sample_gives_the_same_file() -> None:
    model = declared("random_forest")
    (card, data), again = train(model, sample(model), 1), train(model, sample(model), 1)
    assert (card, data) == again


def test_a_model_of_the_simulated_stream_knows_fraud_of_a_time_it_has_not_seen() -> None:
    stream = read_stream((EXAMPLES / "streams" / "transactions.yaml").read_text())
    model = read_model((EXAMPLES / "models" / "card_risk.yaml").read_text(), {stream.name: stream})
    payments = sample_simulated(60_000, 3, model, stream)
    card, _ = train(model, payments, 1)
    assert card.tested.from_us >= card.trained.to_us + model.split.delay_us
    assert card.metrics.auc_roc > 0.85
    assert card.metrics.average_precision > 10 * card.tested.frauds / card.tested.rows


def test_a_model_of_labels_by_chance_knows_nothing() -> None:
    model = declared("random_forest")
    payments = sample(model)
    np.random.default_rng(5).shuffle(payments.fraud)
    assert 0.4 < train(model, payments, 1)[0].metrics.auc_roc < 0.6


@pytest.mark.parametrize(
    ("split", "test", "train_rows"),
    [
        (Split(0, 0, 3), slice(7, 10), slice(0, 7)),
        (Split(0, 2, 3), slice(7, 10), slice(0, 5)),
        (Split(2, 2, 3), slice(7, 10), slice(3, 5)),
        (Split(99, 2, 3), slice(7, 10), slice(0, 5)),
        (Split(2, 20, 3), slice(7, 10), slice(0, 0)),
        (Split(0, 0, 99), slice(0, 10), slice(0, 0)),
    ],
)
def test_the_split_goes_backwards_from_the_last_event(split: Split, test: slice, train_rows: slice) -> None:
    assert windows(np.arange(10), split) == (test, train_rows)


def test_a_window_without_fraud_is_refused_with_what_was_found() -> None:
    model = declared("decision_tree", split={"delay": "1h", "test": "1h"})
    with pytest.raises(InvalidDocument) as refused:
        divided(sample(model), model)
    found = {problem.where: problem.reason for problem in refused.value.problems}
    assert found == {"split.train": "0 events with 0 frauds: both frauds and good events are needed"}


def test_a_card_that_was_found_is_looked_at_no_more() -> None:
    """Two days, two cards looked at each: card 1 is found on the first day, so 3 and 2 are looked at on the second."""
    at_us = np.array([0, 1, 2, DAY, DAY + 1, DAY + 2])
    card = np.array([1, 2, 3, 1, 2, 3])
    scores = np.array([0.9, 0.5, 0.1, 0.9, 0.2, 0.8])
    fraud = np.array([True, False, False, True, False, True])
    assert card_precision(scores, fraud, at_us, card, cards=2) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_a_card_has_its_highest_score_of_the_day_and_any_fraud_of_it() -> None:
    at_us, card = np.arange(4), np.array([1, 1, 2, 3])
    scores, fraud = np.array([0.9, 0.1, 0.5, 0.4]), np.array([False, True, False, True])
    assert card_precision(scores, fraud, at_us, card, cards=1) == 1.0


def test_recall_is_that_above_the_false_positives_allowed() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    fraud = np.array([True, False, True, True, False, False])
    assert recall_at(scores, fraud, 0.0) == pytest.approx(1 / 3)
    assert recall_at(scores, fraud, 0.34) == 1.0


def test_the_threshold_is_the_lowest_that_gives_few_enough_alerts() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.1, 0.1])
    fraud = np.array([True, True, False, False, False])
    at_us = np.array([0, 1, 2, 3, DAY])
    assert threshold_for(scores, fraud, at_us, 3).score == 0.8
    low = threshold_for(scores, fraud, at_us, 2)
    assert (low.score, low.alerts_per_day, low.precision, low.recall) == (0.9, 1.0, 1.0, 0.5)
    assert threshold_for(scores, fraud, at_us, 0.5).score == 0.9, "none is few enough: the highest"


def test_scores_that_are_shares_are_calibrated() -> None:
    chance = np.random.default_rng(1)
    scores = chance.random(50_000)
    fraud = chance.random(50_000) < scores
    metrics = evaluate(scores, fraud, np.arange(50_000), np.arange(50_000))
    assert metrics.calibration_error < 0.02
    assert [one.rows for one in calibration(scores, fraud)] == [5000] * 10


def test_a_file_names_its_label_and_columns(tmp_path: Path) -> None:
    from cep.training import sample_of

    stream = read_stream((EXAMPLES / "streams" / "transactions.yaml").read_text())
    model = read_model((EXAMPLES / "models" / "card_risk.yaml").read_text(), {stream.name: stream})
    path = tmp_path / "h.csv"
    path.write_text("at,CARD,amount,approved,is_fraud\n2000,b,2.50,true,1\n1000,a,10.00,false,0\n")
    found = sample_of(path, model, stream, {"card_id": "CARD"})
    assert found.vectors.tolist() == [[10.0, 0.0], [2.5, 1.0]]
    assert (found.fraud.tolist(), found.at_us.tolist()) == ([False, True], [1_000_000, 2_000_000])
    assert found.card[0] != found.card[1]
