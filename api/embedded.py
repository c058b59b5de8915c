"""The embedded lane and sink beside the server, each in a thread of its own. With Kafka nothing runs here.

lane thread   step, step, …; after each commit the follower looks, so that whoever waits for an event hears of it
sink thread   alerts of the file → rows
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from types import TracebackType

from api.services import Services
from cep.lane import Lane
from cep.log.sqlite import SqliteLog
from cep.storage.outputs import SqliteOutputs
from cep.storage.sink import AlertSink
from cep.worker import EXIT_LOOK, EXIT_RESTART, WAIT_SECONDS, Collector, Engine, SystemClock, embedded_lane, production
from events.errors import Fenced, ServiceUnavailable, StakeoutError

_log = logging.getLogger("stakeout")


class Beside:
    """Starts both on entering, once the lane is restored; ends them on leaving.

    A lane or sink that can't go on ends the process: `on_end` is called and `exit_code` says how, as a worker's does.
    """

    def __init__(self, services: Services) -> None:
        self.lane: Lane | None = None
        self._engine: Engine | None = None
        self.exit_code = 0
        self.on_end: Callable[[], None] = lambda: None
        self._services = services
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Beside:
        """Raises what restoring a lane raises."""
        log = self._services.log
        if log is None:
            return self
        self._engine = production(self._services.settings, self._services.store)
        self.lane = embedded_lane(self._services.settings, self._engine, log)
        for _ in self.lane.restore():
            pass
        self._services.counts[0] = self.lane.counts
        self._services.follower.look()
        self._start("lane", lambda: self._run_lane(self._lane_now()))
        self._start("sink", lambda: self._run_sink(log))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._services.stopping.set()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.lane is not None:
            self.lane.close()
        if self._engine is not None:
            self._engine.close()

    def _lane_now(self) -> Lane:
        assert self.lane is not None
        return self.lane

    def _start(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(name, run), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except (Fenced, ServiceUnavailable) as error:
            self._end(name, error, EXIT_RESTART)
        except StakeoutError as error:
            self._end(name, error, EXIT_LOOK)
        except Exception as error:
            _log.exception("defect", extra={"told": {"thread": name}})
            self._end(name, error, EXIT_LOOK)

    def _end(self, name: str, error: Exception, code: int) -> None:
        told = {"thread": name, "kind": type(error).__name__, "error": str(error)}
        _log.error("stopped", extra={"told": told})
        self.exit_code = self.exit_code or code
        self.on_end()

    def _run_lane(self, lane: Lane) -> None:
        follower, collector = self._services.follower, Collector(10_000_000, SystemClock())
        collector.take_over()
        commits = lane.counts.commits
        try:
            while not self._stop.is_set():
                if follower.lanes.waited_for:
                    lane.hurry()
                collector.turn(lane.step(WAIT_SECONDS))
                if lane.counts.commits != commits:
                    commits = lane.counts.commits
                    follower.look()
            lane.flush()
        finally:
            gc.unfreeze()
            gc.enable()

    def _run_sink(self, log: SqliteLog) -> None:
        source = SqliteOutputs(log)
        try:
            AlertSink(source, self._services.engine, log=_log).run(self._stop.is_set)
        finally:
            source.close()
