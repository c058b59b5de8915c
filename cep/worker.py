"""The worker: puts logs, machines and clocks together and runs the lanes. A composition root.

    run_worker(settings, environ) ─┬─ kafka.bootstrap ──▶ Fleet: the lanes that the group gives this worker
                                   ├─ files ────────────▶ one lane through history, to its end
                                   └─ else ─────────────▶ one lane on the embedded log

One thread: group, replay and lanes take turns. SIGTERM and SIGINT commit what was decided and end; on any other end the
journal says where to go on. Exit codes: 0; 75, restart me (fenced, or a service is away); 70, a person must look.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cep.declared import Declared, declared, definitions
from cep.health import Health, served
from cep.lane import Flow, Lane, Machine, Online, Stages
from cep.log.files import FileSource
from cep.log.kafka import KafkaControl, KafkaSource
from cep.log.kafka_commit import KafkaCommit
from cep.log.kafka_group import Group
from cep.log.kafka_topics import check_topics
from cep.log.protocol import Failpoint, Source, no_failpoint
from cep.log.sqlite import SqliteCommit, SqliteControl, SqliteLog, SqliteSource
from cep.online import OnlineWriter
from cep.settings import Settings
from cep.telemetry import LaneCounts, log_to_stderr, render
from cep.tracing import tracing
from events.errors import Fenced, IntegrityViolation, InvalidDocument, LimitReached, Problem, ServiceUnavailable
from events.schema import read_stream
from features.store import OnlineStore

if TYPE_CHECKING:
    from cep.scored import Told

EXIT_RESTART = 75
EXIT_LOOK = 70

WAIT_SECONDS = 0.02
"""How long a lane waits for records before the others, the group and the control log have their turn."""

REPLAY_SECONDS = 0.05
"""How long a replay runs before they have."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What lanes run: the source topics, a new machine for each lane, and what is told after each commit of it.

    writer: to the online store; None without views or store
    """

    topics: tuple[str, ...]
    machine: Callable[[], Machine]
    writer: OnlineWriter | None = None

    def parts(self) -> tuple[Machine, Online | None]:
        """A machine, and who hands on its features."""
        machine, writer = self.machine(), self.writer
        if writer is None or not isinstance(machine, Flow):
            return machine, None
        return machine, lambda guard: writer.take(guard, machine.changed())

    def close(self) -> None:
        """Writes what waits."""
        if self.writer is not None:
            self.writer.close()


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        """See Clock."""
        return time.time_ns() // 1000

    def steady_us(self) -> int:
        """See Clock: the boot clock, which goes on while the machine is suspended."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass
class Stop:
    """Asked to end? A signal or another thread sets it."""

    asked: bool = False


@dataclass
class Collector:
    """Python's cyclic collector slows a loop of many objects by up to 2.5 times: it runs when the loop is idle.

    What lives when a lane goes live is set aside for good.
    """

    every_us: int
    clock: SystemClock
    last_us: int = 0

    def take_over(self) -> None:
        """Collects once, sets aside what lives, and switches the automatic runs off."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self.last_us = self.clock.steady_us()

    def turn(self, busy: bool) -> None:
        """Collects if it is time: in a quiet moment, or after three times as long in any."""
        since_us = self.clock.steady_us() - self.last_us
        if since_us >= self.every_us * (3 if busy else 1):
            gc.collect(1 if busy else 2)
            self.last_us = self.clock.steady_us()


def run_worker(
    settings: Settings,
    environ: Mapping[str, str],
    engine: Engine | None = None,
    metrics: tuple[str, int] | None = None,
) -> int:
    """Runs lanes until a signal or an error; answers the exit code.

    engine: else what the streams declare. metrics: host and port of the operator's door (cep/health.py), else none
    """
    log = log_to_stderr(settings.worker.log_level)
    stop = _stop_on_signals()
    health = Health()
    try:
        with (
            tracing("worker", environ),
            served(health, *metrics) if metrics else nullcontext(),
            closing(engine or production(settings)) as made,
        ):
            _run(settings, made, failpoint_of(environ), stop, log, health)
    except (Fenced, ServiceUnavailable) as error:
        log.error("stopped", extra={"told": {"kind": type(error).__name__, "error": str(error)}})
        return EXIT_RESTART
    except (IntegrityViolation, LimitReached, InvalidDocument) as error:
        log.error("stopped", extra={"told": {"kind": type(error).__name__, "error": str(error)}})
        return EXIT_LOOK
    log.info("ended")
    return 0


def production(settings: Settings, store: OnlineStore | None = None) -> Engine:
    """The engine of the declared streams. Raises InvalidDocument.

    store: of features, for those who read them; None: the settings' Redis, if they name one
    """
    from cep import pipeline
    from cep.matcher.matcher import Matcher
    from cep.warm import run_all
    from events.columns import StringTable
    from features.views import LiveView

    if not settings.streams:
        hint = "name their files: streams, or STAKEOUT_STREAMS"
        raise InvalidDocument("settings", [Problem("streams", "no streams are declared", hint)])
    known = declared(
        [read_stream(_text(Path(name)), name) for name in settings.streams],
        {name: _text(Path(name), "view") for name in settings.views},
        {name: _text(Path(name), "model") for name in settings.models},
    )
    champions, streams = scoring(settings, known), tuple(known.streams.values())
    stages = Stages(pipeline.enrich, pipeline.match, pipeline.advance, pipeline.due_us, pipeline.changed, pipeline.held)
    if store is None and settings.address.redis and known.views:
        from features.redis_store import RedisStore

        store = RedisStore(settings.address.redis, settings.app)
    run_all()  # the kernels are loaded, or compiled, before the first batch waits for them
    limits = settings.limits
    held_max = limits.held_events_max

    def state() -> pipeline.LaneState:
        matcher = Matcher(partials_max=limits.partials_per_key_max)
        strings = StringTable(limits.strings_max)
        views = tuple(LiveView(view) for view in known.views)
        return pipeline.LaneState(streams, strings, matcher, limits.patterns_max, views=views, told=champions())

    return Engine(
        tuple(stream.topic for stream in streams),
        lambda: Flow(streams, state(), stages, held_max),
        OnlineWriter(store, limits.online_entities_max) if store is not None and known.views else None,
    )


def scoring(settings: Settings, known: Declared) -> Callable[[], Told]:
    """What scores in a new lane. Raises ServiceUnavailable."""
    from cep.scored import Told

    if not known.models:
        return lambda: Told(streams=known.streams)
    from models.champion import Champion
    from models.registry import Registry
    from models.scorer import Scorer

    registry, views = Registry(settings.address.store), definitions(known.views)

    def load(name: str, version: int) -> Scorer:
        return Scorer(registry.card(name, version), registry.model(name, version), known.streams, views)

    def told() -> Told:
        champions = tuple(Champion(model.name, model.stream, load) for model in known.models)
        return Told(champions, known.streams, settings.scores.above)

    return told


def failpoint_of(environ: Mapping[str, str]) -> Failpoint:
    """STAKEOUT_FAILPOINT=name[:n[:stop]]: at the n-th time that point is reached this process is killed with -9, or
    stopped (SIGSTOP) to become a zombie. For chaos tests; nothing else reads the variable."""
    name, nth, how = [*environ.get("STAKEOUT_FAILPOINT", "").split(":"), "", ""][:3]
    if not name:
        return no_failpoint
    left = [int(nth or 1)]

    def fall(reached: str) -> None:
        if reached == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)

    return fall


def embedded_lane(settings: Settings, engine: Engine, log: SqliteLog, failpoint: Failpoint = no_failpoint) -> Lane:
    """The lane on the embedded log, for the server process or a worker: restore it, then step it, in one thread."""
    source: Source = SqliteSource(log, engine.topics)
    machine, online = engine.parts()
    if settings.files:
        _check_files(settings, engine.topics)
        source = FileSource({topic: Path(name) for topic, name in settings.files.items()})
    return Lane(
        settings.app,
        0,
        settings.lane,
        source=source,
        commit=SqliteCommit(log, failpoint),
        control=SqliteControl(log),
        machine=machine,
        clock=SystemClock(),
        failpoint=failpoint,
        online=online,
    )


class Fleet:
    """The lanes that a Kafka group gives this worker."""

    def __init__(self, settings: Settings, engine: Engine, failpoint: Failpoint, log: logging.Logger) -> None:
        """Joins the group. Raises InvalidDocument if the application's topics aren't as they must be."""
        check_topics(settings.app, settings.lane.count, settings.kafka)
        self._settings, self._engine, self._failpoint, self._log = settings, engine, failpoint, log
        self._clock = SystemClock()
        self._collector = Collector(settings.lane.collect_ms * 1000, self._clock)
        self.live: dict[int, Lane] = {}
        self._restoring: dict[int, tuple[Lane, Iterator[None]]] = {}
        self._pulsing = False
        self._group = Group(settings.kafka, settings.app, settings.worker.name, self._revoked, self._away)

    def turn(self, busy: bool) -> bool:
        """One turn of everything. `busy`: there were records last time. Answers whether there are."""
        self._group.poll(0.0 if self.live or self._restoring else WAIT_SECONDS)
        self._follow_group()
        self._restore_on()
        wait_s = 0.0 if busy or self._restoring else WAIT_SECONDS / max(1, len(self.live))
        found = [lane.step(wait_s) for lane in list(self.live.values())]
        self._collector.turn(any(found))
        return any(found)

    def counts(self) -> dict[int, LaneCounts]:
        """Of the lanes that are live; another thread may ask."""
        return {number: lane.counts for number, lane in self.live.copy().items()}

    def ready(self) -> bool:
        """The group has given this worker its lanes, and all of them are live; another thread may ask."""
        return self._group.joined and self._group.lanes.copy() <= self.live.keys()

    def stop(self) -> None:
        """Commits what was decided; then keeps the lanes for a restart under this name, or hands them over."""
        for lane in self.live.values():
            lane.flush()
        if self._settings.worker.on_stop == "hand_over":
            self._group.leave(self._settings.worker.stop_ms / 1000)
        self.close()

    def close(self) -> None:
        """Ends without committing."""
        for number in [*self.live, *self._restoring]:
            self._drop(number)
        self._group.close()

    def _follow_group(self) -> None:
        mine = self._group.lanes
        for number in {*self.live, *self._restoring} - mine:
            self._drop(number)
            self._tell("lane lost", number)
        for number in mine - {*self.live, *self._restoring}:
            lane = self._lane(number)
            self._restoring[number] = lane, lane.restore()
            self._tell("lane given", number)

    def _restore_on(self) -> None:
        """Replays for a short while; a lane whose replay is over goes live."""
        until_us = self._clock.steady_us() + int(REPLAY_SECONDS * 1e6)
        for number, (lane, steps) in list(self._restoring.items()):
            while next(steps, self) is not self:  # `self`: it is over
                if self._clock.steady_us() > until_us:
                    return
            if number in self._restoring:  # not revoked meanwhile
                del self._restoring[number]
                self.live[number] = lane
                self._collector.take_over()
                self._tell("lane live", number, epoch=lane.counts.epoch, replayed=lane.counts.replayed_entries)

    def _lane(self, number: int) -> Lane:
        settings, kafka = self._settings, self._settings.kafka
        machine, online = self._engine.parts()
        commit = KafkaCommit(
            kafka,
            settings.app,
            number,
            still_mine=lambda: self._group.check(number),
            pulse=self._pulse,
            failpoint=self._failpoint,
        )
        return Lane(
            settings.app,
            number,
            settings.lane,
            source=KafkaSource(kafka, settings.app, number, settings.lane.count, self._engine.topics),
            commit=commit,
            control=KafkaControl(kafka, settings.app),
            machine=machine,
            clock=self._clock,
            silent_us=kafka.session_timeout_ms * 1000,
            failpoint=self._failpoint,
            online=online,
        )

    def _pulse(self) -> None:
        """From within a lane's long call: the group must hear of us."""
        self._pulsing = True
        try:
            self._group.poll()
        finally:
            self._pulsing = False

    def _revoked(self, going: set[int]) -> None:
        """Another worker gets these lanes as soon as this returns: commits what they decided, unless one of them is in
        the middle of a commit just now; what isn't committed, the other decides again."""
        for number in going:
            self._failpoint("revoked")
            if number in self.live and not self._pulsing:
                try:
                    self.live[number].flush()
                except Fenced:
                    self._tell("lane fenced while it was handed over", number)
            if not self._pulsing and self._drop(number):
                self._tell("lane handed over", number)

    def _away(self, reason: str) -> None:
        told = {"worker": self._settings.worker.name, "brokers": self._settings.kafka.bootstrap, "error": reason}
        self._log.warning("no broker answers: nothing is committed until one does", extra={"told": told})

    def _drop(self, number: int) -> bool:
        lane = self.live.pop(number, None) or self._restoring.pop(number, (None, None))[0]
        if lane is not None:
            lane.close()
        return lane is not None

    def _tell(self, event: str, number: int, **told: object) -> None:
        self._log.info(event, extra={"told": {"lane": number, "worker": self._settings.worker.name, **told}})


def _run(
    settings: Settings, engine: Engine, failpoint: Failpoint, stop: Stop, log: logging.Logger, health: Health
) -> None:
    if settings.kafka.bootstrap and not settings.files:
        fleet = Fleet(settings, engine, failpoint, log)
        health.metrics, health.ready = lambda: render(fleet.counts()), fleet.ready
        _run_fleet(fleet, stop)
        return
    sqlite = SqliteLog(Path(settings.embedded.path), durable=settings.embedded.durable)
    try:
        _run_embedded(embedded_lane(settings, engine, sqlite, failpoint), settings, stop, health)
    finally:
        sqlite.close()


def _check_files(settings: Settings, topics: tuple[str, ...]) -> None:
    """Is each file that of a topic which a stream declares?"""
    hint = f"the declared streams have {', '.join(topics)}"
    unknown = [name for name in settings.files if name not in topics]
    if unknown:
        raise InvalidDocument(
            "settings", [Problem(f"files.{name}", "no stream has this topic", hint) for name in unknown]
        )


def _run_fleet(fleet: Fleet, stop: Stop) -> None:
    busy = False
    try:
        while not stop.asked:
            busy = fleet.turn(busy)
        fleet.stop()
    finally:
        fleet.close()


def _run_embedded(lane: Lane, settings: Settings, stop: Stop, health: Health) -> None:
    clock = SystemClock()
    collector = Collector(settings.lane.collect_ms * 1000, clock)
    try:
        for _ in lane.restore():
            if stop.asked:
                return
        collector.take_over()
        health.metrics, health.ready = lambda: render({lane.number: lane.counts}), lambda: True
        while not (stop.asked or lane.done):
            collector.turn(lane.step(WAIT_SECONDS))
        lane.flush()
    finally:
        lane.close()


def _stop_on_signals() -> Stop:
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return stop


def _text(path: Path, what: str = "stream") -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDocument(what, [Problem(str(path), str(error), "name a file that can be read")]) from error
