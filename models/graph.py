"""Graph: a model's file in ONNX Runtime. The same vector gives the same score, whatever vectors come with it.

    bytes ─ digest, size, opsets, input and output as the card says ─▶ session: one thread, one operator after the other
    float64[n, inputs] ─▶ chunks of CHUNK rows, the last one filled up ─▶ float64[n], rounded to DECIMALS places

The runtime chooses how it computes by the number of rows, and sums may differ in their last bits between the ways. So
that number is always the same; what differs still between two machines, the rounding takes away.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from events.columns import F64
from events.errors import IntegrityViolation, LimitReached
from models.card import DECIMALS, INPUT, MODEL_BYTES_MAX, OPSETS, OUTPUT, Card, digest_of

CHUNK = 8
"""Rows per call of the runtime: one event alone costs as much as so many; beyond it a row doesn't become cheaper."""

OPSETS_MAX = OPSETS
"""The newest operators that this release promises to run."""

DOUBLE = "tensor(double)"


class Graph:
    """A loaded file. One thread uses it."""

    def __init__(self, model: bytes, inputs: int, where: str) -> None:
        """Raises IntegrityViolation for a file that isn't a graph of that many inputs, LimitReached for a large one."""
        import onnxruntime as runtime

        if len(model) > MODEL_BYTES_MAX:
            raise LimitReached(
                f"{where}: {len(model)} bytes, the limit is {MODEL_BYTES_MAX}", "train fewer or shallower trees"
            )
        check_opsets(opsets_of(model, where), where)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what goes wrong is raised
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no other base
            raise IntegrityViolation(f"{where}: {runtime_name()} can't load it: {error}", "train it anew") from error
        found = [
            (one.name, one.type, one.shape[-1:]) for one in (*self._session.get_inputs(), *self._session.get_outputs())
        ]
        wanted = [(INPUT, DOUBLE, [inputs]), (OUTPUT, DOUBLE, [1])]
        if found != wanted:
            raise IntegrityViolation(
                f"{where}: takes and gives {_described(found)}; the card asks for {_described(wanted)}",
                "card and file aren't of one model: copy both from where it was trained",
            )
        self._chunk = np.zeros((CHUNK, inputs), np.float64)

    def score(self, vectors: F64) -> F64:
        """float64[n] of float64[n, inputs]; NaN where the runtime failed or gave no probability."""
        scores = np.empty(len(vectors), np.float64)
        for first in range(0, len(vectors), CHUNK):
            part = vectors[first : first + CHUNK]
            self._chunk[: len(part)] = part
            scores[first : first + CHUNK] = self._run()[: len(part)]
        wrong = ~((scores >= 0) & (scores <= 1))
        scores[wrong] = np.nan
        return np.round(scores, DECIMALS)

    def _run(self) -> F64:
        try:
            (found,) = self._session.run([OUTPUT], {INPUT: self._chunk})
        except Exception:  # the runtime's errors have no other base; whoever asks counts the rows that have no score
            return np.full(CHUNK, np.nan)
        scores: F64 = found[:, 0]
        return scores


def verified(card: Card, model: bytes, where: str) -> Graph:
    """The graph of a card, after everything that the card says of the file was looked at.

    Raises IntegrityViolation with the difference, LimitReached.
    """
    if (card.digest, card.size) != (found := (digest_of(model), len(model))):
        raise IntegrityViolation(
            f"{where}: the file has {found[1]} bytes and the SHA-256 {found[0]}; the card says {card.size} bytes and "
            f"{card.digest}",
            "the file was changed after it was trained: copy it again from where it was trained",
        )
    if (opsets := opsets_of(model, where)) != card.opsets:
        raise IntegrityViolation(f"{where}: opsets {_versions(opsets)}, the card says {_versions(card.opsets)}")
    graph = Graph(model, len(card.inputs), where)
    check_golden(graph, card, where)
    return graph


def check_golden(graph: Graph, card: Card, where: str) -> None:
    """Raises IntegrityViolation where a golden row has another score here than where it was trained."""
    if not card.golden:
        raise IntegrityViolation(f"{where}: the card has no golden rows", "train it anew")
    vectors = np.array([[np.nan if one is None else one for one in row.vector] for row in card.golden], np.float64)
    scores = graph.score(vectors).tolist()
    wrong = [
        f"row {number}: {score:.{DECIMALS}f}, the card says {row.score:.{DECIMALS}f}"
        for number, (row, score) in enumerate(zip(card.golden, scores, strict=True))
        if score != row.score
    ]
    if wrong:
        raise IntegrityViolation(
            f"{where}: {len(wrong)} of {len(scores)} golden rows differ with {runtime_name()}: {'; '.join(wrong[:3])}",
            f"it was trained with {card.runtime}: run that, or train it anew",
        )


def opsets_of(model: bytes, where: str) -> dict[str, int]:
    """Domain → version of the operators that a file needs. Raises IntegrityViolation for what is no ONNX."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        found = ModelProto.FromString(model)
    except DecodeError as error:
        raise IntegrityViolation(f"{where}: not an ONNX file: {error}", "name a file that was trained") from error
    return {one.domain: one.version for one in found.opset_import}


def check_opsets(opsets: dict[str, int], where: str) -> None:
    """Raises IntegrityViolation for operators newer than this release runs, or of a domain that it doesn't know."""
    newer = {domain: number for domain, number in opsets.items() if number > OPSETS_MAX.get(domain, 0)}
    if newer or not opsets:
        raise IntegrityViolation(
            f"{where}: needs the opsets {_versions(opsets)}; this release runs up to {_versions(OPSETS_MAX)}",
            "run the release that trained it, or train it with this one",
        )


def runtime_name() -> str:
    """The runtime and its version, as cards and journals have it."""
    return f"onnxruntime {version('onnxruntime')}"


def _versions(opsets: dict[str, int]) -> str:
    return ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in sorted(opsets.items())) or "none"


def _described(values: list[tuple[str, str, list[int]]]) -> str:
    return ", ".join(f"`{name}` {kind} of {width[0] if width else '?'} columns" for name, kind, width in values)
