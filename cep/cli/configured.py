"""Settings as a command gets them, and how it answers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cep.cli.documents import files_in, load_streams, stream_paths, text_of
from cep.declared import Declared, declared
from cep.settings import Settings, load
from events.errors import InvalidDocument, Problem
from events.schema import Stream

if TYPE_CHECKING:
    from cep.log.protocol import ControlLog

OF_MEASUREMENTS = "STAKEOUT_DATA"
"""Names the folder of public data sets that measurements read; no setting."""


def settings_of(options: argparse.Namespace) -> Settings:
    """From --settings and the environment."""
    environ = {name: value for name, value in os.environ.items() if name != OF_MEASUREMENTS}
    return load(Path(options.settings) if options.settings else None, environ)


def streams_of(options: argparse.Namespace, settings: Settings, near: Sequence[Path] = ()) -> dict[str, Stream]:
    """The declared streams by name, with the columns that the settings' views and models add."""
    return dict(declared_of(options, settings, near).streams)


def declared_of(options: argparse.Namespace, settings: Settings, near: Sequence[Path] = ()) -> Declared:
    """Streams, views and models."""
    return declared(
        load_streams(stream_paths(options.streams, settings.streams, near)),
        {name: text_of(Path(name), "view") for name in settings.views},
        {name: text_of(Path(name), "model") for name in settings.models},
    )


def with_streams(options: argparse.Namespace, settings: Settings) -> Settings:
    """Settings that name the files of the streams, wherever those were found."""
    paths = stream_paths(options.streams, settings.streams, ())
    return msgspec.structs.replace(
        settings, streams=tuple(str(file) for path in paths for file in files_in(path, "stream"))
    )


def pairs(texts: Sequence[str], option: str, form: str, example: str) -> dict[str, str]:
    """The values of an option that is given as NAME=VALUE, several times. Raises InvalidDocument."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise InvalidDocument(option, [Problem(text, f"must be {form}", f"write it as {option} {example}")])
        found[name] = value
    return found


@contextmanager
def control_log(settings: Settings) -> Iterator[ControlLog]:
    """Where patterns are made live: Kafka if one is named, else the embedded log."""
    if settings.kafka.bootstrap:
        from cep.log.kafka import KafkaControl

        kafka = KafkaControl(settings.kafka, settings.app)
        try:
            yield kafka
        finally:
            kafka.close()
        return
    from cep.log.sqlite import SqliteControl, SqliteLog

    log = SqliteLog(Path(settings.embedded.path), durable=settings.embedded.durable)
    control = SqliteControl(log)
    try:
        yield control
    finally:
        control.close()
        log.close()


def say(text: str) -> None:
    """A line for a person."""
    sys.stdout.write(f"{text}\n")


def say_json(value: object) -> None:
    """A value for a program: one line, flushed, so that a pipe has it at once."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")
    sys.stdout.flush()
