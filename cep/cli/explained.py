"""`stakeout patterns explain --data`: what a pattern did with the events of a file, key by key."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cep.automaton.plan import Plan, layout_of
from cep.backtest import one_stream
from cep.cli.configured import pairs, say, say_json
from cep.explain import Key, Run, begins, event_of, events_by_key, explain_run
from cep.explain_text import text_of_key, text_of_run
from cep.history import History, NoRecords, read_history
from cep.matcher.matcher import NEVER_US
from events.columns import I64, Batch, Layout, StringTable
from events.errors import InvalidDocument, Problem
from events.schema import Stream
from events.types import Kind, Type

ROWS_SEARCHED_MAX = 100_000
"""Rows in which keys are looked for that begin a partial."""

PARTIALS_MAX = 1_000
"""Partials of one key that may be open at a time."""


def explain_data(options: argparse.Namespace, plan: Plan, streams: Sequence[Stream]) -> None:
    """Says what the plan did with each of the keys asked for. Raises InvalidDocument, ServiceUnavailable."""
    columns = pairs(options.map, "--map", "FIELD=COLUMN", "card_id=CARD_NO")
    asked = pairs(options.key, "--key", "FIELD=VALUE", "card_id=7")
    path = Path(options.data)
    stream = one_stream([plan.pattern], streams)
    layout, strings = layout_of([stream], [plan]), StringTable()
    history = read_history(path, stream, layout, strings, columns)
    for name, count in history.rejected.items():
        sys.stderr.write(f"{count:,} rows left out: {name} is missing or doesn't have its type\n")
    if asked:
        keys = [_key_asked(plan, asked, layout, strings)]
    else:
        keys = _keys_that_begin(plan, _batch(history, layout, np.arange(min(len(history), ROWS_SEARCHED_MAX))), strings,
                                options.keys)  # fmt: skip
        if not keys:
            sys.stderr.write(f"none of the first {ROWS_SEARCHED_MAX:,} events begins {plan.pattern.name}: name a key "
                             f"with --key {plan.pattern.key[0]}=…\n")  # fmt: skip
    for key in keys:
        _explain_key(options, plan, history, layout, strings, key)


def _explain_key(
    options: argparse.Namespace, plan: Plan, history: History, layout: Layout, strings: StringTable, key: Sequence[int]
) -> None:
    rows = _rows_of(plan, history, layout, key)
    if not len(rows):
        told = ", ".join(options.key)
        raise InvalidDocument("--key", [Problem(told, f"no event of it in {options.data}", "is it written as there?")])
    kept = rows[: options.events]
    numbers = (kept if history.order is None else history.order[kept]) + 1
    ((values, events),) = events_by_key(plan.pattern, _batch(history, layout, kept), strings, numbers.tolist()).items()
    left = len(rows) - len(kept)
    end_us = int(history.at_us[rows[len(kept)]]) if left else NEVER_US
    run = explain_run(plan, events, end_us=end_us, partials_max=PARTIALS_MAX)
    if options.json:
        say_json(_as_dict(plan, values, run, left))
        return
    say(text_of_key(plan.pattern.key, values))
    for line in text_of_run(run):
        say(f"  {line}")
    if run.capped:
        say(f"  of one key at most {PARTIALS_MAX:,} partials are followed here")
    if left:
        say(f"  the first {len(kept):,} of {len(rows):,} events; --events takes more")
    say("")


def _as_dict(plan: Plan, values: Key, run: Run, left: int) -> dict[str, object]:
    return {
        "pattern": plan.pattern.name,
        "key": dict(zip(plan.pattern.key, values, strict=True)),
        "events": [asdict(event) for event in run.events],
        "story": [{"what": type(told).__name__.lower(), **asdict(told)} for told in run.story],
        "capped": run.capped,
        "events_left_out": left,
    }


# -- keys -------------------------------------------------------------------------------------------------------------


def _keys_that_begin(plan: Plan, batch: Batch, strings: StringTable, most: int) -> list[tuple[int, ...]]:
    """The first keys with an event that begins a partial, as columns hold them."""
    places = _key_columns(plan, batch.layout)
    found: dict[tuple[int, ...], None] = {}
    for row in range(len(batch)):
        key = tuple(int(batch.values[place, row]) for place in places)
        if key in found:
            continue
        whole, event = event_of(plan.pattern, batch, strings, row, 0)
        if whole is not None and begins(plan, event):
            found[key] = None
            if len(found) == most:
                break
    return list(found)


def _key_asked(plan: Plan, asked: Mapping[str, str], layout: Layout, strings: StringTable) -> tuple[int, ...]:
    """The key that was given as text, as columns hold it."""
    if set(asked) != set(plan.pattern.key):
        form = " ".join(f"--key {name}=…" for name in plan.pattern.key)
        problem = Problem(", ".join(asked), f"the key of {plan.pattern.name} is {', '.join(plan.pattern.key)}", form)
        raise InvalidDocument("--key", [problem])
    kinds = [layout.columns[place].type for place in _key_columns(plan, layout)]
    return tuple(_stored(asked[name], name, kind, strings) for name, kind in zip(plan.pattern.key, kinds, strict=True))


def _stored(text: str, name: str, kind: Type, strings: StringTable) -> int:
    try:
        if kind.kind is Kind.STRING:
            return strings.codes.get(text, -1)
        if kind.kind is Kind.BOOL:
            return {"true": 1, "false": 0}[text]
        if kind.kind is Kind.INSTANT:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return (at - datetime(1970, 1, 1, tzinfo=UTC)) // datetime.resolution
        return int(text)
    except (ValueError, KeyError):
        raise InvalidDocument("--key", [Problem(name, f"is {kind}, found {text!r}")]) from None


def _key_columns(plan: Plan, layout: Layout) -> list[int]:
    return [layout.positions[plan.pattern.streams[0], name] for name in plan.pattern.key]


def _rows_of(plan: Plan, history: History, layout: Layout, key: Sequence[int]) -> I64:
    """The rows of a key, in order."""
    mine = np.ones(len(history), np.bool_)
    for place, value in zip(_key_columns(plan, layout), key, strict=True):
        mine &= (history.values[place] == value) & (history.nulls[place] == 0)
    return np.flatnonzero(mine)


def _batch(history: History, layout: Layout, rows: I64) -> Batch:
    at_us = history.at_us[rows]
    streams = np.zeros(len(rows), np.int16)
    return Batch(layout, streams, at_us, at_us, history.values[:, rows], history.nulls[:, rows], NoRecords())
