"""`stakeout worker, sink, topics, db, doctor, warm`: each a few lines around what does the work."""

from __future__ import annotations

import argparse
import os

from cep.cli.configured import say, say_json, settings_of, streams_of, with_streams
from events.errors import InvalidDocument, Problem


def worker(options: argparse.Namespace) -> int:
    """See cep.worker."""
    settings = with_streams(options, settings_of(options))
    from cep.warm import warm as warm_up
    from cep.worker import run_worker

    warm_up()
    metrics = (options.metrics_host, options.metrics_port) if options.metrics_port else None
    return run_worker(settings, os.environ, metrics=metrics)


def sink(options: argparse.Namespace) -> int:
    """See cep.storage.sink."""
    settings = settings_of(options)
    from cep.storage.sink import run_sink

    metrics = (options.metrics_host, options.metrics_port) if options.metrics_port else None
    return run_sink(settings, os.environ, metrics)


def create_topics(options: argparse.Namespace) -> int:
    """See cep.log.kafka_topics."""
    settings = settings_of(options)
    if not settings.kafka.bootstrap:
        hint = "export STAKEOUT_KAFKA=host:9092; without Kafka everything is in one file and needs no topics"
        raise InvalidDocument("topics", [Problem("kafka.bootstrap", "no Kafka is named", hint)])
    from cep.log import kafka_topics

    sources = {}
    if options.partitions:
        sources = {stream.topic: options.partitions for stream in streams_of(options, settings).values()}
    made = kafka_topics.create_topics(settings.app, settings.lane.count, settings.kafka, sources)
    if options.json:
        say_json({"made": made})
        return 0
    for name in made:
        say(f"made  {name}")
    say(f"the topics of {settings.app} are as they must be")
    return 0


def upgrade(options: argparse.Namespace) -> int:
    """See cep.storage.migrate."""
    from cep.storage import migrate
    from cep.storage.database import database_url

    url = database_url(settings_of(options))
    migrate.upgrade(url, options.revision)
    say(f"the tables have revision {migrate.current(url) or 'none'}")
    return 0


def downgrade(options: argparse.Namespace) -> int:
    """See cep.storage.migrate."""
    from cep.storage import migrate
    from cep.storage.database import database_url

    url = database_url(settings_of(options))
    migrate.downgrade(url, options.revision)
    say(f"the tables have revision {migrate.current(url) or 'none'}")
    return 0


def current(options: argparse.Namespace) -> int:
    """See cep.storage.migrate."""
    from cep.storage import migrate
    from cep.storage.database import database_url

    url = database_url(settings_of(options))
    found, newest = migrate.current(url), migrate.head()
    if options.json:
        say_json({"current": found, "head": newest})
    else:
        to_do = "" if found == newest else f"; this release has {newest}: `stakeout db upgrade`"
        say(f"the tables have revision {found or 'none'}{to_do}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """See cep.doctor. 2 if something keeps the engine from running."""
    from cep.doctor import examine, settings_table

    if options.settings_table:
        rows = settings_table(options)
        for row in rows:
            if options.json:
                say_json(row)
            else:
                say(f"{row['setting']:<32} {row['variable']:<38} {row['value']!s:<24} {row['meaning']}")
        return 0
    findings = examine(options)
    for finding in findings:
        if options.json:
            say_json({"what": finding.what, "verdict": finding.verdict, "found": finding.found, "do": finding.do})
        else:
            say(
                f"{finding.verdict:<5} {finding.what:<12} {finding.found}"
                + (f"\n      do: {finding.do}" if finding.do else "")
            )
    return 2 if any(finding.verdict == "bad" for finding in findings) else 0


def warm(options: argparse.Namespace) -> int:
    """See cep.warm."""
    from cep.warm import warm as warm_up

    seconds = warm_up()
    say(f"kernels compiled in {seconds:.0f} s" if seconds else "the kernels are compiled already")
    return 0
