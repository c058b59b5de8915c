"""The card of a model: everything that is known of a file, beside the file. JSON, so that a person can read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from events.errors import IntegrityViolation

FORMAT = 1
"""Of cards; raised when a reader of before could not read them."""

INPUT, OUTPUT = "vector", "score"
"""The names of what a graph takes, double[rows, inputs], and gives, double[rows, 1]."""

OPSETS = {"": 21, "ai.onnx.ml": 5}
"""The versions of ONNX's operators that graphs are made of; the second is the first with trees in double."""

CARD_BYTES_MAX = 1_000_000
MODEL_BYTES_MAX = 64_000_000

DECIMALS = 5
"""A score is rounded to so many, so that every replay gives the same."""


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of the vector.

    name:    a field of the stream, or `view.feature`
    type:    as a declaration writes it, as `decimal(12, 2)`
    missing: what stands for null; None: NaN does, which trees take
    """

    name: str
    type: str
    missing: float | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events from one instant (included) to another (not), how many, and how many of them are fraud."""

    from_us: int
    to_us: int
    rows: int
    frauds: int


class Bin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calibration: of rows whose scores are near each other, the mean score and the share that is fraud."""

    rows: int
    score: float
    fraud: float


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How good it is on the test window; `models.evaluate` says how each is computed.

    calibration_error: the mean distance between score and share of fraud over the bins, weighted by their rows
    """

    auc_roc: float
    average_precision: float
    card_precision_100: float
    recall_1pct_false_positives: float
    calibration_error: float
    calibration: tuple[Bin, ...]


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The score from which on an event is worth a look, and what that came to on the test window."""

    score: float
    alerts_per_day: float
    precision: float
    recall: float


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vector (None: NaN) with the score it must have."""

    vector: tuple[float | None, ...]
    score: float


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a model.

    digest:   SHA-256 of the file, 64 hex digits
    opsets:   domain → version that the graph needs
    runtime:  with which the golden rows were scored
    views:    name → the definition, as it was, of each feature view that it reads
    fingerprint: of inputs and views, by `fingerprint_of`: what a lane must have to score with it
    fallback: the score where the model fails; None: null
    """

    format: int = FORMAT
    name: str
    version: int
    stream: str
    algorithm: str
    parameters: dict[str, int | float | str]
    label: str
    digest: str
    size: int
    opsets: dict[str, int]
    runtime: str
    inputs: tuple[Input, ...]
    views: dict[str, str]
    fingerprint: str
    fallback: float | None = None
    delay_us: int
    trained: Window
    tested: Window
    metrics: Metrics
    threshold: Threshold
    golden: tuple[Golden, ...]


def fingerprint_of(inputs: Sequence[Input], views: Mapping[str, str]) -> str:
    """SHA-256 as 64 hex digits of what the numbers of a vector mean."""
    return hashlib.sha256(msgspec.json.encode((inputs, sorted(views.items())))).hexdigest()


def digest_of(model: bytes) -> str:
    """SHA-256 as 64 hex digits."""
    return hashlib.sha256(model).hexdigest()


def encode_card(card: Card) -> bytes:
    """As the store keeps it."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def decode_card(data: bytes, where: str) -> Card:
    """The card again. Raises IntegrityViolation for bytes that are no card of this format."""
    if len(data) > CARD_BYTES_MAX:
        raise IntegrityViolation(f"{where}: a card of {len(data)} bytes, the limit is {CARD_BYTES_MAX}")
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found == FORMAT:
            return msgspec.json.decode(data, type=Card)
    except msgspec.MsgspecError as error:
        hint = "`stakeout models train` writes cards: train anew"
        raise IntegrityViolation(f"{where}: the card can't be read: {error}", hint) from error
    raise IntegrityViolation(
        f"{where}: the card has format {found}, this release reads {FORMAT}", "train the model with this release"
    )


class _Format(msgspec.Struct):
    format: int
