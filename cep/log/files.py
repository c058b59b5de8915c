"""Files of JSON lines as a source: history to run through once. A run commits to SQLite.

    offset    0                 57                    119 = end
              {"card_id": …}\\n  {"card_id": …, …}\\n

The offset of a record is its first byte's position, so that going on after a crash is one seek. Each file is the
partition 0 of a topic of its own; what stands behind the last newline is a record too. Files must not change meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from cep.log.protocol import Drained, Partition, Positions, Rows, Slice
from events.errors import IntegrityViolation, InvalidDocument, Problem

CHUNK_BYTES = 1 << 18
"""Read at once from a file."""


class FileSource:
    """NDJSON files as partitions, read a share each."""

    finite = True

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files`: topic → file. Raises InvalidDocument if one can't be opened."""
        self._paths = dict(sorted(files.items()))
        self._files = {Partition(topic, 0): _Lines(path) for topic, path in self._paths.items()}
        self._reading: tuple[Partition, ...] = ()
        self._held: frozenset[Partition] = frozenset()

    def partitions(self) -> tuple[Partition, ...]:
        """See Source."""
        return tuple(self._files)

    def begin(self) -> Positions:
        """See Source."""
        return dict.fromkeys(self._files, 0)

    def end(self) -> Positions:
        """See Source."""
        return {partition: lines.end for partition, lines in self._files.items()}

    def identities(self) -> Mapping[str, str]:
        """See Source. A file is another one when its length or its first line is."""
        return {partition.topic: lines.identity() for partition, lines in self._files.items()}

    def seek(self, positions: Positions) -> None:
        """See Source."""
        self._reading = tuple(sorted(positions))
        self._held = frozenset()
        for partition, offset in positions.items():
            self._files[partition].seek(offset)

    def hold(self, partitions: frozenset[Partition]) -> None:
        """See Source."""
        self._held = partitions

    def drain(self, records_max: int, wait_s: float) -> Drained:
        """See Source. A file never makes anyone wait."""
        slices: list[Slice] = []
        left = records_max
        reading = [partition for partition in self._reading if partition not in self._held]
        for place, partition in enumerate(reading):
            rows = self._files[partition].take(partition, left // (len(reading) - place) or 1)
            if len(rows):
                slices.append(rows)
                left -= len(rows)
        return Drained(slices, bool(slices))

    def read_to(self, positions: Positions) -> list[Slice]:
        """See Source."""
        slices = (self._files[partition].take_to(partition, stop) for partition, stop in sorted(positions.items()))
        return [rows for rows in slices if len(rows)]

    def at_end(self) -> frozenset[Partition]:
        """See Source."""
        return frozenset(part for part in self._reading if self._files[part].position >= self._files[part].end)

    def close(self) -> None:
        """See Source."""
        for lines in self._files.values():
            lines.file.close()


class _Lines:
    """One open file: what was read and not yet taken, and the offset at which it begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = _opened(path)
        self.end = _end(self.file)
        self.position = 0
        self._lines: list[bytes] = []  # whole lines without their newline, the next one last
        self._rest = b""  # behind them, read, without its newline so far

    def identity(self) -> str:
        self.file.seek(0)
        first = self.file.readline(200).hex()[:64]
        self.seek(self.position)
        return f"{self.end}:{first}"

    def seek(self, offset: int) -> None:
        self.file.seek(offset)
        self.position, self._lines, self._rest = offset, [], b""

    def take(self, partition: Partition, lines_max: int) -> Rows:
        """The next lines, at most so many."""
        taken: list[bytes] = []
        while len(taken) < lines_max and (self._lines or self._fill()):
            count = min(lines_max - len(taken), len(self._lines))
            taken += reversed(self._lines[-count:])
            del self._lines[-count:]
        return self._rows(partition, taken)

    def take_to(self, partition: Partition, stop: int) -> Rows:
        """The lines up to an offset, which must be that of a line or the end."""
        taken: list[bytes] = []
        reached = self.position
        while reached < stop and (self._lines or self._fill()):
            taken.append(self._lines.pop())
            reached += len(taken[-1]) + 1
        if reached != stop:
            hint = "the file was changed since the run began: begin a new run"
            raise IntegrityViolation(f"{self.path}: no line begins at byte {stop}", hint)
        return self._rows(partition, taken)

    def _rows(self, partition: Partition, taken: list[bytes]) -> Rows:
        starts = list(accumulate((len(line) + 1 for line in taken), initial=self.position))
        self.position = starts.pop()
        return Rows(partition, self.position, taken, starts)

    def _fill(self) -> bool:
        """Reads on until there is a whole line; False at the end."""
        while chunk := self.file.read(CHUNK_BYTES):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if lines:
                self._lines = lines[::-1]
                return True
        if self._rest:
            self._lines, self._rest = [self._rest], b""
            return True
        return False


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        problem = Problem(str(path), error.strerror or str(error), "name a file of JSON lines that can be read")
        raise InvalidDocument("files", [problem]) from error


def _end(file: BinaryIO) -> int:
    """The offset behind the last line, as if that always had its newline."""
    size = file.seek(0, SEEK_END)
    file.seek(max(size - 1, 0))
    unfinished = size > 0 and file.read(1) != b"\n"
    file.seek(0)
    return size + unfinished
