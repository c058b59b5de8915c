"""`stakeout models`: train, list, show, alias."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cep.cli.configured import control_log, declared_of, pairs, say, say_json, settings_of
from cep.cli.documents import text_of
from cep.control import Change, ControlRecord, ModelAlias, ModelVersion, read, write
from cep.declared import definitions
from models.document import read_model
from models.registry import Registry

if TYPE_CHECKING:
    from models.card import Card


def train(options: argparse.Namespace) -> int:
    """Reads, trains, checks, and keeps the next version."""
    from cep.training import sample_of, sample_simulated
    from models import train as training

    settings, path = settings_of(options), Path(options.model)
    text = text_of(path, "model")
    known = declared_of(options, msgspec.structs.replace(settings, models=()), [path])
    model = read_model(text, known.streams, known.features, str(path))
    stream, views = known.streams[model.stream], [view for view in known.views if view.name in model.views]
    if options.data:
        columns = pairs(options.map, "--map", "FIELD=COLUMN", "card_id=CARD_NO")
        sample = sample_of(Path(options.data), model, stream, columns, views)
    else:
        sample = sample_simulated(options.simulate, options.seed, model, stream, views)
    registry = Registry(settings.address.store)
    card, data = training.train(model, sample, registry.next_version(model.name), definitions(views), _tell)
    registry.add(card, data)
    if options.json:
        say_json(msgspec.to_builtins(card))
    else:
        say(described(card))
        say(f"\nkept as {registry.where(card.name, card.version)}")
        say(f"score with it: stakeout models alias {card.name} champion {card.version}")
    return 0


def alias(options: argparse.Namespace) -> int:
    """Verifies the version, then names it in the control log."""
    from models.graph import verified

    settings = settings_of(options)
    registry = Registry(settings.address.store)
    card = registry.card(options.model, options.version)
    verified(card, registry.model(card.name, card.version), registry.where(card.name, card.version))
    changes: list[Change] = [
        ModelVersion(card.name, card.version, card.digest, card.runtime),
        ModelAlias(card.name, options.alias, card.version),
    ]
    with control_log(settings) as log:
        offset = write(log, changes, author=getpass.getuser(), at_us=time.time_ns() // 1000)
    if options.json:
        say_json({"model": card.name, "version": card.version, "alias": options.alias, "control_offset": offset})
    else:
        say(f"{options.alias}  {card.name} version {card.version}")
    return 0


def listed(options: argparse.Namespace) -> int:
    """Every version in the store, with its aliases."""
    settings = settings_of(options)
    registry = Registry(settings.address.store)
    with control_log(settings) as log:
        end = log.end()
        aliases = aliases_of(placed.record for placed in (read(log, 0, end) if end else ()))
    cards = [registry.card(name, number) for name in registry.names() for number in registry.versions(name)]
    if not cards and not options.json:
        say(f"no models in {settings.address.store}: `stakeout models train` makes the first")
    for card in cards:
        named = sorted(alias for alias, version in aliases.get(card.name, {}).items() if version == card.version)
        if options.json:
            figures = {"auc_roc": card.metrics.auc_roc, "average_precision": card.metrics.average_precision}
            say_json({"model": card.name, "version": card.version, "aliases": named, **figures})
        else:
            figure = f"AUC {card.metrics.auc_roc:.3f}  AP {card.metrics.average_precision:.3f}"
            say(f"{card.name} version {card.version}  {figure}  {' '.join(named)}".rstrip())
    return 0


def show(options: argparse.Namespace) -> int:
    """One card."""
    registry = Registry(settings_of(options).address.store)
    version = options.version or max(registry.versions(options.model), default=1)
    card = registry.card(options.model, version)
    if options.json:
        say_json(msgspec.to_builtins(card))
    else:
        say(described(card))
    return 0


def aliases_of(records: Iterable[ControlRecord]) -> dict[str, dict[str, int]]:
    """Model → alias → version, after all changes."""
    aliases: dict[str, dict[str, int]] = {}
    for change in (change for record in records for change in record.changes):
        if isinstance(change, ModelAlias):
            aliases.setdefault(change.name, {})[change.alias] = change.version
    return aliases


def described(card: Card) -> str:
    """A card for a person."""
    metrics, threshold = card.metrics, card.threshold
    rows: list[tuple[str, Any]] = [
        ("model", f"{card.name} version {card.version}: {card.algorithm} on {card.stream}"),
        ("inputs", ", ".join(one.name for one in card.inputs)),
        ("trained on", f"{card.trained.rows:,} events, {card.trained.frauds:,} of them fraud"),
        ("tested on", f"{card.tested.rows:,} later events, {card.tested.frauds:,} of them fraud"),
        ("AUC ROC", f"{metrics.auc_roc:.3f}"),
        ("average precision", f"{metrics.average_precision:.3f}"),
        ("card precision@100", f"{metrics.card_precision_100:.3f}"),
        ("recall at 1 % false positives", f"{metrics.recall_1pct_false_positives:.3f}"),
        ("calibration error", f"{metrics.calibration_error:.4f}"),
        ("threshold", f"{threshold.score:.5f}: about {threshold.alerts_per_day:,.0f} alerts a day"),
        ("there", f"precision {threshold.precision:.3f}, recall {threshold.recall:.3f}"),
        ("file", f"{card.size:,} bytes, SHA-256 {card.digest}"),
        ("features", f"fingerprint {card.fingerprint[:16]}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
