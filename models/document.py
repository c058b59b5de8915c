"""Model: what is to be learnt from which numbers, read from a YAML document.

    model: card_risk
    stream: transactions
    inputs: [amount, approved, card_velocity.tx_count_10m]
    missing: 0                      # what stands for null; default: null itself, which trees take
    label: is_fraud                 # a column of the history that it is trained on
    card: card_id                   # whose days are judged together; default: the stream's key
    algorithm: random_forest
    parameters: {n_estimators: 200, max_depth: 12}
    split: {train: 7d, delay: 7d, test: 7d}
    alerts_per_day: 100             # decides the threshold
    fallback: 0.5                   # the score where the model fails; default: null

Needed are `model`, `stream`, `inputs`, `label`, `algorithm` and `split`. Time is split backwards from the last event:

    ├──── train ────┤── delay ──┤── test ──┤   `delay`: labels come so late. Without `train`: all that is before it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from events.errors import InvalidDocument
from events.schema import NAME, Field, Stream, _did_you_mean, _parse, _Reader, _shown
from events.types import FLOAT64, Kind, Type

INPUTS_MAX = 512
ALERTS_PER_DAY = 100.0
"""What a small team looks at."""

ALERTS_PER_DAY_MAX = 1e9

SCORE = "score"
"""The column that a model adds to its stream."""


class Algorithm(StrEnum):
    """The classifiers of scikit-learn that `models.convert` turns into a graph."""

    LOGISTIC_REGRESSION = "logistic_regression"
    DECISION_TREE = "decision_tree"
    RANDOM_FOREST = "random_forest"
    HIST_GRADIENT_BOOSTING = "hist_gradient_boosting"


class Range(NamedTuple):
    """What a parameter may be; `words` instead of a number."""

    least: float
    most: float
    whole: bool = True
    words: tuple[str, ...] = ()


_WEIGHTS = Range(1, 0, words=("balanced",))
_TREE = {"max_depth": Range(1, 32), "min_samples_leaf": Range(1, 1_000_000), "class_weight": _WEIGHTS}
_FEATURES = Range(1, INPUTS_MAX, words=("sqrt", "log2"))

PARAMETERS: dict[Algorithm, dict[str, Range]] = {
    Algorithm.LOGISTIC_REGRESSION: {
        "C": Range(1e-9, 1e9, whole=False),
        "max_iter": Range(100, 100_000),
        "class_weight": _WEIGHTS,
    },
    Algorithm.DECISION_TREE: _TREE,
    Algorithm.RANDOM_FOREST: {**_TREE, "n_estimators": Range(1, 2_000), "max_features": _FEATURES},
    Algorithm.HIST_GRADIENT_BOOSTING: {
        **_TREE,
        "max_iter": Range(1, 5_000),
        "learning_rate": Range(1e-6, 1, whole=False),
        "max_leaf_nodes": Range(2, 10_000),
        "l2_regularization": Range(0, 1e9, whole=False),
    },
}
"""What a document may set of each, by scikit-learn's names. All else is scikit-learn's default."""


@dataclass(frozen=True, slots=True)
class Split:
    """How time is divided (the drawing in the module docstring). train_us: 0 for all there is."""

    train_us: int
    delay_us: int
    test_us: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model as declared (the keys of the document are explained in the module docstring).

    inputs: name and type of each number, in order
    """

    name: str
    stream: str
    inputs: tuple[tuple[str, Type], ...]
    missing: float | None
    label: str
    card: str
    algorithm: Algorithm
    parameters: Mapping[str, int | float | str]
    split: Split
    alerts_per_day: float = ALERTS_PER_DAY
    fallback: float | None = None

    @property
    def views(self) -> tuple[str, ...]:
        """The feature views that its inputs name."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name, _ in self.inputs if "." in name))


def read_model(
    document: str | Mapping[str, object],
    streams: Mapping[str, Stream],
    features: Mapping[str, Mapping[str, Type]] | None = None,
    where: str = "model",
) -> Model:
    """The model that a document declares, YAML text or what was parsed from it.

    features: the live features of each stream, `view.feature` → type
    where:    what to call the document in messages, as `models/card_risk.yaml`

    Raises InvalidDocument with every problem, each at its path in the document.
    """
    reader = _Reader()
    parsed = _parse(document, reader) if isinstance(document, str) else document
    model = _model(parsed, streams, features or {}, reader) if not reader.problems else None
    if model is None or reader.problems:
        raise InvalidDocument(where, reader.problems)
    return model


KEYS = (
    "model", "stream", "inputs", "missing", "label", "card", "algorithm", "parameters", "split", "alerts_per_day",
    "fallback",
)  # fmt: skip
NEEDED = ("model", "stream", "inputs", "label", "algorithm", "split")


def _model(
    document: object, streams: Mapping[str, Stream], features: Mapping[str, Mapping[str, Type]], reader: _Reader
) -> Model | None:
    """The model, or None where it has problems (then the reader holds them all)."""
    doc = reader.mapping(document, "", KEYS)
    if not isinstance(document, Mapping):
        return None
    for needed in NEEDED:
        if needed not in doc:
            reader.problem(needed, "is missing")
    name = reader.name(doc["model"], "model", NAME, "a name") if "model" in doc else ""
    stream = _stream(doc, streams, reader)
    label = reader.name(doc["label"], "label", NAME, "a column's name") if "label" in doc else ""
    given = features.get(stream.name, {}) if stream else {}
    inputs = _inputs(doc["inputs"], stream, given, label, reader) if stream and "inputs" in doc else ()
    algorithm = reader.choice(doc.get("algorithm"), "algorithm", Algorithm, Algorithm.DECISION_TREE)
    missing = _number(doc, "missing", -1e300, 1e300, None, reader)
    if stream and "algorithm" in doc and missing is None and algorithm is Algorithm.LOGISTIC_REGRESSION:
        _takes_no_null(inputs, stream, reader)
    model = Model(
        name=name,
        stream=stream.name if stream else "",
        inputs=inputs,
        missing=missing,
        label=label,
        card=_card(doc, stream, reader) if stream else "",
        algorithm=algorithm,
        parameters=_parameters(doc.get("parameters"), algorithm, reader) if "algorithm" in doc else {},
        split=_split(doc["split"], reader) if "split" in doc else Split(0, 0, 0),
        alerts_per_day=_number(doc, "alerts_per_day", 1e-6, ALERTS_PER_DAY_MAX, ALERTS_PER_DAY, reader)
        or ALERTS_PER_DAY,
        fallback=_number(doc, "fallback", 0, 1, None, reader),
    )
    return None if reader.problems else model


def _stream(doc: Mapping[str, object], streams: Mapping[str, Stream], reader: _Reader) -> Stream | None:
    given = doc.get("stream")
    if isinstance(given, str) and given in streams:
        return streams[given]
    if "stream" in doc:
        found = (
            f"no stream {given!r} is declared" if isinstance(given, str) else f"must be a name, found {_shown(given)}"
        )
        reader.problem("stream", found, _did_you_mean(given, list(streams)))
    return None


def _inputs(
    value: object, stream: Stream, features: Mapping[str, Type], label: str, reader: _Reader
) -> tuple[tuple[str, Type], ...]:
    if not isinstance(value, list) or not value:
        reader.problem(
            "inputs", f"must be a list of fields and features, found {_shown(value)}", "as `inputs: [amount]`"
        )
        return ()
    if len(value) > INPUTS_MAX:
        reader.problem("inputs", f"{len(value)} inputs: at most {INPUTS_MAX}")
        return ()
    types = {**{field.name: field.type for field in stream.fields}, **features}
    inputs: list[tuple[str, Type]] = []
    for place, name in enumerate(value):
        at = f"inputs[{place}]"
        if not isinstance(name, str) or name not in types:
            found = (
                f"no field or feature {name!r}" if isinstance(name, str) else f"must be a name, found {_shown(name)}"
            )
            reader.problem(at, found, _did_you_mean(name, list(types)))
        elif name == label:
            reader.problem(at, f"{name} is the label: a model that reads it learns nothing else", "remove it")
        elif any(name == other for other, _ in inputs):
            reader.problem(at, f"{name} is there twice")
        elif not (types[name].is_number or types[name].kind is Kind.BOOL):
            hint = "a model reads int64, float64, decimal and bool; count or compare it in a feature"
            reader.problem(at, f"{name} is {types[name]}", hint)
        else:
            inputs.append((name, types[name]))
    return tuple(inputs)


def _takes_no_null(inputs: tuple[tuple[str, Type], ...], stream: Stream, reader: _Reader) -> None:
    fields: dict[str, Field] = {field.name: field for field in stream.fields}
    nullable = [name for name, _ in inputs if name not in fields or fields[name].nullable]
    if nullable:
        reason = f"is missing: logistic_regression takes no null, and {', '.join(nullable)} may be null"
        reader.problem("missing", reason, "say what stands for it, as `missing: 0`")


def _card(doc: Mapping[str, object], stream: Stream, reader: _Reader) -> str:
    fields = {field.name: field for field in stream.fields}
    if "card" in doc:
        return reader.of_field(doc["card"], "card", fields)
    if len(stream.key) == 1:
        return stream.key[0]
    reader.problem(
        "card", f"is missing: the stream {stream.name} is not keyed by one field", "name one, as `card: card_id`"
    )
    return ""


def _parameters(value: object, algorithm: Algorithm, reader: _Reader) -> dict[str, int | float | str]:
    if value is None:
        return {}
    known = PARAMETERS[algorithm]
    found: dict[str, int | float | str] = {}
    for name, given in reader.mapping(value, "parameters", list(known)).items():
        allowed = known.get(name)
        if allowed is None:
            continue
        if not (isinstance(given, int | float | str) and _fits(given, allowed)):
            reader.problem(f"parameters.{name}", f"must be {_allowed(allowed)}, found {_shown(given)}")
            continue
        found[name] = given
    return found


def _fits(given: int | float | str, allowed: Range) -> bool:
    if isinstance(given, str):
        return given in allowed.words
    is_number = not isinstance(given, bool) and (isinstance(given, int) or not allowed.whole)
    return is_number and allowed.least <= given <= allowed.most


def _allowed(allowed: Range) -> str:
    kind = "a whole number" if allowed.whole else "a number"
    numbers = [f"{kind} from {allowed.least:g} to {allowed.most:g}"] if allowed.least <= allowed.most else []
    return " or ".join([*numbers, *map(repr, allowed.words)])


def _split(value: object, reader: _Reader) -> Split:
    parts = reader.mapping(value, "split", ("train", "delay", "test"))
    for needed in ("delay", "test"):
        if isinstance(value, Mapping) and needed not in parts:
            reader.problem(f"split.{needed}", "is missing", "write `split: {delay: 7d, test: 7d}`")
    split = Split(*(reader.duration(parts.get(name), f"split.{name}", 0) for name in ("train", "delay", "test")))
    for name, length in (("train", split.train_us), ("test", split.test_us)):
        if parts.get(name) is not None and length == 0 and not any(name in one.where for one in reader.problems):
            reader.problem(f"split.{name}", "must be longer than nothing")
    return split


def _number(
    doc: Mapping[str, object], key: str, least: float, most: float, default: float | None, reader: _Reader
) -> float | None:
    value = doc.get(key)
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    reader.problem(key, f"must be a number from {least:g} to {most:g}, found {_shown(value)}")
    return default


def score_field() -> Field:
    """What a model adds to its stream: `score`, null until a model has judged the event."""
    return Field(SCORE, FLOAT64, nullable=True)
