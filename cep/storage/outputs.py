"""The alerts of the embedded log, as the sink reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any

from cep.log.protocol import ALERTS, Drained, Partition, Positions, Rows
from cep.log.sqlite import SqliteLog, SqliteSource
from events.errors import ServiceUnavailable

LOOK_SECONDS = 0.02
"""Between looks for what the lane has written."""

QUERY = "SELECT offset, key, value FROM output WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?"


class SqliteOutputs:
    """The output topic `alerts` of the file: one partition, the one lane's."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._connection = log.connect()
        self._positions: Positions = {}

    def begin(self) -> Positions:
        """See Source."""
        rows = self._all("SELECT coalesce(min(offset), 0) FROM output WHERE topic = ?", ALERTS)
        return {Partition(ALERTS, 0): rows[0][0]}

    def end(self) -> Positions:
        """See Source."""
        rows = self._all("SELECT coalesce(max(offset) + 1, 0) FROM output WHERE topic = ?", ALERTS)
        return {Partition(ALERTS, 0): rows[0][0]}

    def identities(self) -> Mapping[str, str]:
        """See Source."""
        source = SqliteSource(self._log, [ALERTS])
        try:
            return source.identities()
        finally:
            source.close()

    def seek(self, positions: Positions) -> None:
        """See Source."""
        self._positions = dict(positions)

    def drain(self, records_max: int, wait_s: float) -> Drained:
        """See Source."""
        until = monotonic() + wait_s
        while not (slices := self._rows(records_max)) and (left := until - monotonic()) > 0:
            sleep(min(left, LOOK_SECONDS))
        return Drained(slices, any(len(rows) == records_max for rows in slices))

    def close(self) -> None:
        """See Source."""
        self._connection.close()

    def _rows(self, records_max: int) -> list[Rows]:
        slices = []
        for partition, start in self._positions.items():
            if found := self._all(QUERY, ALERTS, start, records_max):
                offsets, keys, values = zip(*found, strict=True)
                self._positions[partition] = offsets[-1] + 1
                slices.append(Rows(partition, offsets[-1] + 1, values, offsets, key_list=keys))
        return slices

    def _all(self, query: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ServiceUnavailable(f"{self._log.path}: {error}", "check that the file is ours to read") from error
