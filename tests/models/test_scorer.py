"""The scorer: what it verifies before it scores, and that a score depends on nothing but its own event."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from events.columns import Batch, Layout
from events.errors import IntegrityViolation, LimitReached
from events.schema import read_stream
from models import graph
from models.card import Card, digest_of, fingerprint_of
from models.scorer import Scorer
from models.train import train
from tests.models.samples import LAYOUT, SMALL, STREAMS, batch, declared, part, sample

replace = msgspec.structs.replace


@cache
def trained(algorithm: str = "random_forest") -> tuple[Card, bytes]:
    model = declared(algorithm)
    return train(model, sample(model), 1)


def scorer(algorithm: str = "random_forest") -> Scorer:
    found = Scorer(*trained(algorithm), STREAMS)
    found.use(LAYOUT, lambda text: 0)
    return found


def scores_of(scored: Batch) -> list[float | None]:
    values, nulls = scored.values[-1].view(np.float64), scored.nulls[-1]
    return [None if null else value for value, null in zip(values.tolist(), nulls.tolist(), strict=True)]


# -- scoring ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first of each algorithm trains
@given(
    algorithm=st.sampled_from(list(SMALL)),
    cuts=st.lists(st.integers(0, 60), max_size=12),
    seed=st.integers(0, 1000),
)
def test_any_split_into_batches_gives_the_same_scores(algorithm: str, cuts: list[int], seed: int) -> None:
    judge, whole = scorer(algorithm), batch(60, seed)
    edges = [0, *sorted(cuts), 60]
    parts = [part(whole, first, last) for first, last in pairwise(edges)]
    for one in parts:
        judge.compute(one)
    judge.compute(whole)
    assert [score for one in parts for score in scores_of(one)] == scores_of(whole)


def test_events_of_the_stream_have_a_score_and_others_have_none() -> None:
    judge, events = scorer(), batch(200, 4)
    judge.compute(events)
    of_stream = [score is not None for score in scores_of(events)]
    assert of_stream == (events.stream == 1).tolist()
    assert 0 < sum(of_stream) < 200
    assert (judge.failed, len(judge.failed_rows)) == (0, 0)


def test_a_score_is_that_of_the_golden_rows() -> None:
    """The vectors that the lane makes of stored integers are those that training made."""
    judge, model = scorer(), declared("random_forest")
    events = part(batch(400, 7), 0, 400)
    judge.compute(events)
    mine = events.stream == 1
    vectors = events.values[1:5, mine].astype(np.float64)
    vectors[0] /= 100
    vectors[2] = events.values[3, mine].view(np.float64)
    vectors[events.nulls[1:5, mine] != 0] = np.nan
    expected = graph.Graph(trained()[1], 4, "test").score(np.ascontiguousarray(vectors.T))
    assert [score for score in scores_of(events) if score is not None] == expected.tolist()
    assert model.missing is None


def test_what_a_lane_must_have_is_the_inputs_and_what_it_gets_is_the_score() -> None:
    judge = scorer()
    assert judge.needed() == {("payments", name) for name in ("amount", "visits", "share", "online")}
    assert [(column.stream, column.name) for column in judge.columns()] == [("payments", "score")]


def test_where_nobody_reads_the_score_nothing_is_computed() -> None:
    judge, events = scorer(), batch(20, 1)
    judge.use(Layout(LAYOUT.streams, LAYOUT.columns[:-1]), lambda text: 0)
    judge.compute(events)
    assert events.nulls[-1].all()


@pytest.mark.parametrize(("fallback", "score"), [(None, None), (0.25, 0.25)])
def test_a_model_that_fails_gives_its_fallback_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, fallback: float | None, score: float | None
) -> None:
    card, data = trained()
    judge, events = Scorer(replace(card, fallback=fallback), data, STREAMS), batch(30, 2)
    judge.use(LAYOUT, lambda text: 0)
    with monkeypatch.context() as broken:
        broken.setattr(judge._graph._session, "run", lambda *_: 1 / 0)
        judge.compute(events)
    mine = int((events.stream == 1).sum())
    assert (judge.failed, len(judge.failed_rows)) == (mine, mine)
    assert {one for one, of in zip(scores_of(events), events.stream, strict=True) if of == 1} == {score}
    judge.compute(batch(30, 2))
    assert (judge.failed, len(judge.failed_rows)) == (mine, 0)


# -- what is verified -------------------------------------------------------------------------------------------------


def edited(data: bytes, change: Callable[[ModelProto], object]) -> tuple[bytes, Card]:
    """Another file, with a card that says so: digest and size are right."""
    model = ModelProto.FromString(data)
    change(model)
    changed = model.SerializeToString()
    return changed, replace(trained()[0], digest=digest_of(changed), size=len(changed))


def refused(card: Card, data: bytes, views: dict[str, str] | None = None) -> str:
    with pytest.raises(IntegrityViolation) as error:
        Scorer(card, data, STREAMS, views)
    return str(error.value)


def test_a_file_with_one_bit_changed_is_refused() -> None:
    card, data = trained()
    for place in (0, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        assert card.digest in refused(card, bytes(changed))


def test_a_newer_opset_is_refused() -> None:
    changed, card = edited(trained()[1], lambda model: setattr(model.opset_import[0], "version", 99))
    message = refused(replace(card, opsets={**card.opsets, "": 99}), changed)
    assert "needs the opsets ai.onnx 99, ai.onnx.ml 5; this release runs up to ai.onnx 21, ai.onnx.ml 5" in message


def test_another_opset_than_the_card_says_is_refused() -> None:
    card, data = trained()
    assert "opsets ai.onnx 21, ai.onnx.ml 5, the card says ai.onnx 20" in refused(replace(card, opsets={"": 20}), data)


def test_a_graph_that_takes_something_else_is_refused() -> None:
    def wider(model: ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9

    changed, card = edited(trained()[1], wider)
    assert "takes and gives `vector` tensor(double) of 9 columns" in refused(card, changed)


def test_what_is_no_onnx_is_refused() -> None:
    for data in (b"", b"no model", b"\x80" * 100):
        card = replace(trained()[0], digest=digest_of(data), size=len(data))
        assert "model risk version 1" in refused(card, data)


def test_a_golden_row_that_scores_otherwise_is_refused_with_both_scores() -> None:
    card, data = trained()
    last = card.golden[-1]
    changed = (*card.golden[:-1], replace(last, score=0.12345))
    message = refused(replace(card, golden=changed), data)
    assert f"row {len(changed) - 1}: {last.score:.5f}, the card says 0.12345" in message


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MODEL_BYTES_MAX", 100)
    with pytest.raises(LimitReached, match="the limit is 100"):
        Scorer(*trained(), STREAMS)


def test_a_stream_with_other_fields_is_refused_with_the_difference() -> None:
    other = read_stream("{stream: payments, event_time: at, fields: {at: instant, amount: int64, visits: int64}}")
    with pytest.raises(IntegrityViolation) as error:
        Scorer(*trained(), {"payments": other})
    assert "amount was decimal(12, 2), is int64; share was float64, is gone" in str(error.value)


def test_features_that_were_defined_otherwise_are_refused_with_the_lines_that_differ() -> None:
    card, data = trained()
    then = {"velocity": "entity: card\ncount: 10m\n"}
    card = replace(card, views=then, fingerprint=fingerprint_of(card.inputs, then))
    Scorer(card, data, STREAMS, {**then, "another": "is of no concern"})
    message = refused(card, data, {"velocity": "entity: card\ncount: 15m\n"})
    assert "-count: 10m" in message
    assert "+count: 15m" in message
    assert "entity" not in message
    assert "view velocity: isn't there" in refused(card, data, {})


def test_inputs_that_were_changed_in_the_card_are_refused() -> None:
    card, data = trained()
    changed = (replace(card.inputs[0], missing=3.0), *card.inputs[1:])
    assert "the card's inputs were changed" in refused(replace(card, inputs=changed), data)
