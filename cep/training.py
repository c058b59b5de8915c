"""From history to what a model learns from: the file's columns as vectors, with label, instant and card of each event.

file ─ read_history ─▶ columns ─▶ (features, by the kernels that serve) ─▶ vectors ─▶ Sample
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from cep.history import History, read_history, with_views
from cep.simulate import record, simulate
from events.columns import Column, Layout, StringTable
from events.errors import InvalidDocument, Problem
from events.schema import Stream
from features.definition import View
from models.document import Model
from models.train import Sample
from models.vector import vectors_of

SIMULATED = {"cards": 5_000, "rate": 2.0, "flow_every_s": 60.0}
"""Of the stream that `sample_simulated` makes: 100,000 payments take fourteen hours, and one in twenty is fraud."""


def sample_of(
    path: Path, model: Model, stream: Stream, columns: Mapping[str, str], views: Sequence[View] = ()
) -> Sample:
    """Every good row of a file. columns: as of `read_history`; views: those that the model's inputs name

    Raises InvalidDocument where file, stream and label don't fit each other, ServiceUnavailable.
    """
    needed = dict.fromkeys([*(name for name, _ in model.inputs), model.card])
    types = {field.name: field.type for field in (*stream.fields, *stream.derived)}
    wanted = Layout((stream.name,), tuple(Column(stream.name, name, types[name]) for name in needed))
    layout = with_views(wanted, [stream], views)
    history = read_history(path, stream, layout, StringTable(), columns, views=views, label=model.label)
    if not len(history):
        hint = "the stream's declaration doesn't fit the file: `--map FIELD=COLUMN` reads another column"
        raise InvalidDocument(f"data {path}", [Problem("rows", f"none is an event of {stream.name}", hint)])
    return _sample(history, model, layout)


def sample_simulated(count: int, seed: int, model: Model, stream: Stream, views: Sequence[View] = ()) -> Sample:
    """So many payments of `cep.simulate`, read as a file of them would be."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "simulated.ndjson"
        with path.open("wb") as file:
            for number, one in enumerate(simulate(seed, **SIMULATED)):  # type: ignore[arg-type]  # whole and real numbers
                if number == count:
                    break
                truth = msgspec.json.encode({model.label: one.planted is not None})
                file.write(record(one.payment)[:-1] + b"," + truth[1:] + b"\n")
        return sample_of(path, model, stream, {}, views)


def _sample(history: History, model: Model, layout: Layout) -> Sample:
    assert history.fraud is not None, "the label was asked for"
    places = [layout.positions[model.stream, name] for name, _ in model.inputs]
    types, missing = [kind for _, kind in model.inputs], [model.missing] * len(model.inputs)
    rows = np.arange(len(history))
    return Sample(
        vectors_of(history.values, history.nulls, places, types, missing, rows),
        history.fraud,
        history.at_us,
        history.values[layout.positions[model.stream, model.card]],
    )
