"""`stakeout demo, simulate, backtest`: trying it out, in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from cep.cli.configured import declared_of, pairs, say_json, settings_of
from events.errors import ServiceUnavailable

if TYPE_CHECKING:
    from cep.backtest import Report, Result, Share
    from cep.demo import Housed, Seen, Summary
    from cep.simulate import Simulated

COLOURS = {"low": "blue", "medium": "yellow", "high": "red", "critical": "bold red"}

WIDTH = 120
"""Columns that a table of figures may take, also where a pipe tells of none: figures that are cut are no figures."""

# -- demo -------------------------------------------------------------------------------------------------------------


def demo(options: argparse.Namespace, housed: Housed | None = None) -> int:
    """See cep.demo."""
    from rich.console import Console

    from cep.demo import fields_shown, load_shipped, run_demo, text_of_alert
    from cep.warm import is_warm, warm

    screen = Console(highlight=False, soft_wrap=True)
    if not is_warm():
        Console(stderr=True).print("compiling the kernels, once: about half a minute …")
        warm()
    patterns = load_shipped()
    shown = {pattern.name: fields_shown(pattern) for pattern in patterns}

    def ready(seconds: float, told: str) -> None:
        if not options.json:
            if told:
                screen.print(told, markup=False)
            until = f"for {options.seconds:g} s" if options.seconds else "until Ctrl-C"
            names = ", ".join(pattern.name for pattern in patterns)
            screen.print(f"{options.rate:g} payments a second {until}; patterns: {names}\n", markup=False)

    def show(seen: Seen) -> None:
        if options.json:
            plain = msgspec.json.decode(msgspec.json.encode(seen.alert))  # its events and measures are JSON already
            say_json({"alert": plain, "delay_ms": seen.delay_us / 1000})
            return
        lines = text_of_alert(seen.alert, shown[seen.alert.pattern])
        screen.print(lines[0], style=COLOURS[seen.alert.severity], markup=False)
        for line in lines[1:]:
            screen.print(line, markup=False)

    summary = run_demo(options.seconds, show, ready=ready, seed=options.seed, rate=options.rate, housed=housed)
    if options.json:
        say_json(summary.as_dict())
    else:
        _show_summary(summary)
    return 0


def _show_summary(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pattern", "alerts", "planted", "caught", "missed"):
        table.add_column(name, justify="left" if name == "pattern" else "right")
    for name in sorted({*summary.alerts, *summary.planted}):
        missed = summary.planted[name] - summary.caught[name]
        hid = f" ({summary.careful[name]} hid)" if summary.careful[name] else ""
        table.add_row(
            name, str(summary.alerts[name]), str(summary.planted[name]), str(summary.caught[name]), f"{missed}{hid}"
        )
    screen = Console(highlight=False, soft_wrap=True)
    planted, caught = summary.planted.total(), summary.caught.total()
    screen.print(f"\n{summary.events:,} payments in {summary.seconds:.1f} s", markup=False)
    screen.print(table)
    screen.print(
        f"{summary.alerts.total()} alerts, {summary.false_alarms} of them false; of {planted} planted frauds {caught} "
        f"caught, {planted - caught} missed ({summary.careful.total()} of these hid just outside of their pattern)",
        markup=False,
    )
    if summary.delays_us:
        screen.print(
            f"from a payment to its alert, committed: p50 {summary.delay_ms(0.5):.1f} ms, "
            f"p99 {summary.delay_ms(0.99):.1f} ms; the first alert after {summary.first_alert_s:.1f} s",
            markup=False,
        )


# -- simulate ---------------------------------------------------------------------------------------------------------


def simulate(options: argparse.Namespace) -> int:
    """See cep.simulate."""
    from cep.simulate import START_US
    from cep.simulate import simulate as simulated

    start_us = time.time_ns() // 1000 if options.live else START_US
    payments = simulated(
        options.seed,
        cards=options.cards,
        rate=options.rate,
        flow_every_s=options.flow_every,
        careful=options.careful,
        start_us=start_us,
    )
    count = options.count or (None if options.live else 10_000)
    written = 0
    with ExitStack() as stack:
        put = stack.enter_context(_sink_of(options))
        label = stack.enter_context(_labels_of(options))
        try:
            for written, one in enumerate(payments):
                if written == count:
                    break
                if options.live:
                    time.sleep(max(0.0, one.payment.at / 1000 - time.time()))
                put(one.payment.card_id.encode(), _body(one, options.label), one.payment.at)
                label(one)
        except KeyboardInterrupt:
            pass
    sys.stderr.write(f"{written:,} payments to {'standard output' if options.out == '-' else options.out}\n")
    return 0


def _body(one: Simulated, label: str | None) -> bytes:
    from cep.simulate import record

    if not label:
        return record(one.payment)
    return msgspec.json.encode({**msgspec.to_builtins(one.payment), label: one.planted is not None})


Put = Callable[[bytes, bytes, int], None]
"""(key, record, milliseconds since 1970)"""


@contextmanager
def _sink_of(options: argparse.Namespace) -> Iterator[Put]:
    """Where the records go."""
    if options.out == "-":
        out = sys.stdout.buffer
        yield lambda key, record, at_ms: _line(out.write, record, options.live and out.flush)
        out.flush()
    elif options.out != "log":
        with _opened(options.out) as file:
            yield lambda key, record, at_ms: _line(file.write, record, options.live and file.flush)
    else:
        settings = settings_of(options)
        if settings.kafka.bootstrap:
            with _kafka_topic(settings.kafka, options.topic, options.live) as put:
                yield put
        else:
            with _sqlite_topic(Path(settings.embedded.path), options.topic, options.live) as put:
                yield put


def _line(write: Callable[[bytes], object], record: bytes, flush: Callable[[], object] | bool) -> None:
    write(record + b"\n")
    if callable(flush):
        flush()


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    try:
        file = Path(name).open("wb")  # noqa: SIM115 - closed below; only opening is translated
    except OSError as error:
        raise ServiceUnavailable(f"{name}: {error.strerror}", "name a file that can be written") from error
    with file:
        yield file


@contextmanager
def _labels_of(options: argparse.Namespace) -> Iterator[Callable[[Simulated], None]]:
    """Where the truth goes."""
    if not options.labels:
        yield lambda one: None
        return
    with _opened(options.labels) as file:

        def label(one: Simulated) -> None:
            if one.planted is not None:
                fields = {"transaction_id": one.payment.transaction_id, **asdict(one.planted)}
                file.write(msgspec.json.encode(fields) + b"\n")

        yield label


@contextmanager
def _sqlite_topic(path: Path, topic: str, live: bool) -> Iterator[Put]:
    """Into the embedded log, many at once unless each has its time."""
    from cep.log.sqlite import SqliteLog

    log = SqliteLog(path)
    waiting: list[tuple[bytes | None, bytes | None]] = []

    def flush() -> None:
        if waiting:
            log.append(topic, waiting, time.time_ns() // 1000)
            waiting.clear()

    def put(key: bytes, record: bytes, at_ms: int) -> None:
        waiting.append((key, record))
        if live or len(waiting) >= 1000:
            flush()

    try:
        yield put
        flush()
    finally:
        log.close()


@contextmanager
def _kafka_topic(kafka: object, topic: str, live: bool) -> Iterator[Put]:
    """Into a Kafka topic, with the partitioner that Java's clients have: librdkafka's own splits keys between them."""
    from confluent_kafka import KafkaError, Message, Producer

    from cep.log.kafka_topics import client_settings
    from cep.settings import Kafka

    assert isinstance(kafka, Kafka)
    producer = Producer(
        {
            **client_settings(kafka),
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 0 if live else 5,
            "allow.auto.create.topics": False,
        }
    )
    failed: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error.str())

    def put(key: bytes, record: bytes, at_ms: int) -> None:
        while True:
            if failed:
                raise _undelivered(topic, failed)
            try:
                producer.produce(topic, record, key, on_delivery=delivered)
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.1)

    try:
        yield put
        left = producer.flush(kafka.call_timeout_ms / 1000)
    finally:
        producer.purge()  # what is told as failed isn't to arrive later
    if left:
        failed.append(f"no answer about {left} records in {kafka.call_timeout_ms} ms")
    if failed:
        raise _undelivered(topic, failed)


def _undelivered(topic: str, failed: list[str]) -> ServiceUnavailable:
    hint = "`stakeout topics create --partitions 4` makes the streams' topics; `stakeout doctor` says what is reachable"
    return ServiceUnavailable(f"Kafka: topic {topic}: {failed[0]}", hint)


# -- backtest ---------------------------------------------------------------------------------------------------------


def backtest(options: argparse.Namespace) -> int:
    """See cep.backtest."""
    started = time.perf_counter()
    from cep.backtest import backtest as run
    from cep.cli.documents import load_patterns
    from cep.warm import is_warm, warm

    paths = [Path(name) for name in options.patterns]
    known = declared_of(options, settings_of(options), paths)
    streams = known.streams
    patterns = [pattern for _, pattern in load_patterns(paths, streams)]
    columns = pairs(options.map, "--map", "FIELD=COLUMN", "card_id=CARD_NO")
    if not is_warm():
        sys.stderr.write("compiling the kernels, once: about half a minute …\n")
        warm()
    with _progress_bar(not options.json) as progress:
        report = run(
            patterns,
            list(streams.values()),
            Path(options.data),
            columns=columns,
            views=known.views,
            label=options.label,
            value=options.value,
            by=options.by,
            progress=progress,
            threads=len(os.sched_getaffinity(0)),
        )
    seconds = time.perf_counter() - started
    if options.json:
        say_json(_report_dict(report, seconds))
    else:
        _show_report(report, seconds)
    return 0


@contextmanager
def _progress_bar(wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """On standard error, and only where a person sees it."""
    if not wanted or not sys.stderr.isatty():
        yield lambda done, rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    look = (TextColumn("matching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*look, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, rows: bar.update(task, completed=done, total=rows)


def _show_report(report: Report, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    results = [*report.patterns, *([report.together] if len(report.patterns) > 1 else [])]
    labelled = report.together.recall is not None
    classes = list(dict.fromkeys(name for result in results for name in result.recall_by))
    timed_out = any(result.timeouts for result in results)
    names = ["pattern", "matches", *(["time-outs"] if timed_out else []), "entities"]
    names += ["precision", "recall"] if labelled else []
    names += [f"recall {name}" for name in classes]
    names += ["value caught"] if report.together.value is not None else []
    for name in names:
        table.add_column(name, justify="left" if name == "pattern" else "right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result, timed_out, labelled, classes))
    screen = Console(highlight=False, soft_wrap=True)
    screen.width = max(screen.width, WIDTH)
    screen.print(table)
    if labelled:
        screen.print("precision: matches whose last event is fraud; recall: fraud events bound in a match", style="dim")
    for line in _left_out(report):
        screen.print(line, style="yellow", markup=False)
    speed = report.rows / report.match_seconds if report.match_seconds else 0.0
    screen.print(
        f"{report.rows:,} events in {seconds:.2f} s: read {report.read_seconds:.2f} s, matched "
        f"{report.match_seconds:.2f} s ({speed:,.0f} events/s)"
    )


def _left_out(report: Report) -> list[str]:
    """How many rows weren't matched and why; of lines also which, the first of them."""
    lines = []
    for name, count in report.rejected.items():
        what = "no JSON record, or one too large" if name == "$" else f"{name} is missing or doesn't have its type"
        lines.append(f"{count:,} row{'s' if count > 1 else ''} left out: {what}")
    for letter in report.dead_letters:
        lines.append(f"  line {letter.line:,}: {letter.reason} at {letter.path}: {letter.detail}")
    more = sum(report.rejected.values()) - len(report.dead_letters)
    return [*lines, f"  and {more:,} more"] if report.dead_letters and more else lines


def _cells(result: Result, timed_out: bool, labelled: bool, classes: list[str]) -> list[str]:
    cells = [result.pattern, f"{result.matches:,}", *([f"{result.timeouts:,}"] if timed_out else [])]
    cells.append(f"{result.entities:,}")
    if labelled:
        cells += [_percent(result.precision), _percent(result.recall)]
    cells += [_percent(result.recall_by.get(name)) for name in classes]
    if result.value is not None:
        cells.append(f"{result.value.part:,.0f} ({_percent(result.value)})")
    return cells


def _percent(share: Share | None) -> str:
    return "–" if share is None or share.of_all is None else f"{share.of_all:.1%}"


def _report_dict(report: Report, seconds: float) -> dict[str, object]:
    def shared(share: Share | None) -> dict[str, float | None] | None:
        return None if share is None else {"part": share.part, "whole": share.whole, "share": share.of_all}

    def told(result: Result) -> dict[str, object]:
        return {
            "pattern": result.pattern,
            "matches": result.matches,
            "timeouts": result.timeouts,
            "entities": result.entities,
            "events": result.events,
            "precision": shared(result.precision),
            "recall": shared(result.recall),
            "recall_by": {name: shared(share) for name, share in result.recall_by.items()},
            "value_caught": shared(result.value),
        }

    return {
        "rows": report.rows,
        "rejected": report.rejected,
        "dead_letters": [letter._asdict() for letter in report.dead_letters],
        "patterns": [told(result) for result in report.patterns],
        "together": told(report.together),
        "seconds": {"all": seconds, "read": report.read_seconds, "match": report.match_seconds},
    }
