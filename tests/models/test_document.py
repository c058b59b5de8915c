"""A model's document: every problem at once, each with its place and what to do."""

from __future__ import annotations

import pytest

from events.errors import InvalidDocument
from events.types import FLOAT64, INT64
from models.document import PARAMETERS, Algorithm, Split, read_model
from models.train import classifier
from tests.models.samples import SMALL, STREAMS, document, sample

FEATURES = {"payments": {"velocity.count_10m": INT64, "velocity.spend_24h": FLOAT64}}


def problems(text: object) -> dict[str, str]:
    with pytest.raises(InvalidDocument) as refused:
        read_model(text, STREAMS, FEATURES)  # type: ignore[arg-type]  # people write anything
    return {problem.where: f"{problem.reason} {problem.hint}".strip() for problem in refused.value.problems}


def test_a_document_is_read_whole() -> None:
    model = read_model(
        """
        model: risk
        stream: payments
        inputs: [amount, velocity.count_10m, velocity.spend_24h]
        missing: 0
        label: fraud
        algorithm: logistic_regression
        parameters: {C: 0.5, class_weight: balanced}
        split: {train: 7d, delay: 1d, test: 2d}
        alerts_per_day: 20
        fallback: 0.5
        """,
        STREAMS,
        FEATURES,
    )
    assert [name for name, _ in model.inputs] == ["amount", "velocity.count_10m", "velocity.spend_24h"]
    assert (model.card, model.views, model.missing) == ("card", ("velocity",), 0.0)
    assert model.split == Split(7 * 86_400_000_000, 86_400_000_000, 2 * 86_400_000_000)
    assert (model.alerts_per_day, model.fallback) == (20.0, 0.5)


def test_all_problems_come_at_once() -> None:
    found = problems(
        """
        model: no name
        stream: payments
        inputs: [amuont, card, velocity.count_10, online, online]
        label: fraud
        algorithm: random_forrest
        split: {delay: 7, test: 0s}
        alerts_per_day: none
        fallback: 2
        colour: red
        """
    )
    assert found.pop("colour").startswith("unknown key known: model, stream")
    assert found == {
        "model": "must be a name, found 'no name'",
        "inputs[0]": "no field or feature 'amuont' did you mean 'amount'?",
        "inputs[1]": "card is string a model reads int64, float64, decimal and bool; count or compare it in a feature",
        "inputs[2]": "no field or feature 'velocity.count_10' did you mean 'velocity.count_10m'?",
        "inputs[4]": "online is there twice",
        "algorithm": "must be logistic_regression, decision_tree, random_forest or hist_gradient_boosting, found "
        "'random_forrest' did you mean 'random_forest'?",
        "split.delay": "found 7, not a duration: write a number with its unit, as 10m or 500ms",
        "split.test": "must be longer than nothing",
        "alerts_per_day": "must be a number from 1e-06 to 1e+09, found 'none'",
        "fallback": "must be a number from 0 to 1, found 2",
    }


def test_what_is_missing_is_named() -> None:
    assert set(problems("{}")) == {"model", "stream", "inputs", "label", "algorithm", "split"}
    assert set(problems("[]")) == {"document"}
    assert problems(document("decision_tree", stream="paymens"))["stream"].endswith("did you mean 'payments'?")


def test_a_label_is_no_input() -> None:
    assert "is the label" in problems(document("decision_tree", label="visits"))["inputs[1]"]


def test_a_regression_asks_what_stands_for_null() -> None:
    found = problems({key: value for key, value in document("logistic_regression").items() if key != "missing"})
    assert found["missing"].startswith("is missing: logistic_regression takes no null, and visits, share may be null")


def test_parameters_are_those_of_the_algorithm() -> None:
    given = {"n_estimators": 5000, "max_depth": True, "C": 1, "class_weight": "fair", "max_features": "sqrt"}
    assert problems(document("random_forest", parameters=given)) == {
        "parameters.C": "unknown key known: max_depth, min_samples_leaf, class_weight, n_estimators, max_features",
        "parameters.n_estimators": "must be a whole number from 1 to 2000, found 5000",
        "parameters.max_depth": "must be a whole number from 1 to 32, found true",
        "parameters.class_weight": "must be 'balanced', found 'fair'",
    }


@pytest.mark.parametrize("algorithm", Algorithm)
def test_scikit_learn_knows_every_parameter_at_both_of_its_ends(algorithm: Algorithm) -> None:
    for name, allowed in PARAMETERS[algorithm].items():
        ends = [allowed.least, allowed.most] if allowed.least <= allowed.most else []
        if name in ("n_estimators", "max_iter", "max_features"):
            ends = ends[:1]  # the other would train for long, or wants more inputs than there are
        for number in [*(int(end) if allowed.whole else end for end in ends), *allowed.words]:
            model = read_model(document(algorithm.value, parameters={**SMALL[algorithm], name: number}), STREAMS)
            known = sample(model, 200)
            classifier(model).fit(known.vectors, known.fraud)
