"""The files and folders that people name: streams and patterns, read with every problem of every file at once.

examples/                      a folder of patterns finds its streams beside it, so that
  streams/transactions.yaml        stakeout backtest examples/patterns/ …
  patterns/card-testing.yaml   needs no more than that
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cep.language.document import attempt_pattern
from cep.language.pattern import Pattern
from cep.shipped import shipped
from events.errors import InvalidDocument, Problem, ServiceUnavailable
from events.schema import Stream, read_stream

SUFFIXES = {
    "view": (".yaml", ".yml", ".json"),
    "stream": (".yaml", ".yml", ".json"),
    "pattern": (".yaml", ".yml", ".json", ".sql"),
}

EXAMPLES = shipped("examples")
"""What ships with the project."""


def text_of(path: Path, what: str) -> str:
    """A file's text. Raises ServiceUnavailable with what could be done."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ServiceUnavailable(f"{what} {path}: not text in UTF-8 ({error.reason})", "is it another file?") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServiceUnavailable(f"{what} {path}: {reason}", _beside(path)) from error


def files_in(path: Path, what: str) -> list[Path]:
    """The file itself, or the documents right in a folder, sorted. Raises ServiceUnavailable where there is none."""
    if not path.is_dir():
        text_of(path, what)
        return [path]
    suffixes = SUFFIXES[what]
    found = sorted(inner for inner in path.iterdir() if inner.suffix in suffixes and inner.is_file())
    if not found:
        raise ServiceUnavailable(f"{what} {path}: no {', '.join(suffixes)} file in this folder", _beside(path / "x"))
    return found


def load_streams(paths: Iterable[Path]) -> tuple[Stream, ...]:
    """The streams that files and folders declare. Raises InvalidDocument with every problem, ServiceUnavailable."""
    streams: dict[str, Stream] = {}
    problems: list[Problem] = []
    for file in (file for path in paths for file in files_in(path, "stream")):
        try:
            stream = read_stream(text_of(file, "stream"), str(file))
        except InvalidDocument as error:
            problems += [_in_file(file, problem) for problem in error.problems]
            continue
        if stream.name in streams:
            problems.append(Problem(f"{file} stream", f"`{stream.name}` is declared in another file too", "keep one"))
        streams[stream.name] = stream
    if problems:
        raise InvalidDocument("streams", problems)
    return tuple(streams.values())


def load_patterns(paths: Iterable[Path], streams: Mapping[str, Stream]) -> list[tuple[Path, Pattern]]:
    """Each file with its pattern. Raises InvalidDocument with every problem of every file, ServiceUnavailable."""
    read: list[tuple[Path, Pattern]] = []
    problems: list[Problem] = []
    for file in (file for path in paths for file in files_in(path, "pattern")):
        pattern, found = attempt_pattern(text_of(file, "pattern"), streams, str(file))
        problems += [_in_file(file, problem) for problem in found]
        twin = [str(other) for other, known in read if known.name == pattern.name and pattern.name]
        if twin:
            problems.append(Problem(f"{file} name", f"`{pattern.name}` is the pattern of {twin[0]} too", "rename one"))
        read.append((file, pattern))
    if problems:
        raise InvalidDocument("patterns", problems)
    return read


def stream_paths(given: Sequence[str], configured: Sequence[str], near: Sequence[Path]) -> list[Path]:
    """Where the streams are declared: what the caller names, else the settings, else `streams/` beside the patterns.

    Raises ServiceUnavailable if there are none.
    """
    for path in near:
        files_in(path, "pattern")  # a typing error in their name isn't a missing stream
    named = [Path(name) for name in given or configured]
    if named:
        return named
    looked = []
    for path in [*near, Path("patterns")]:
        folder = path if path.is_dir() else path.parent
        looked += [folder / "streams", folder.parent / "streams"]
    for folder in looked:
        if folder.is_dir():
            return [folder]
    places = ", ".join(dict.fromkeys(str(folder) for folder in looked))
    raise ServiceUnavailable(
        f"no stream is declared: looked for {places}",
        "name the files with --streams, or in STAKEOUT_STREAMS; a stream says which fields a record has:\n"
        "        stream: transactions\n"
        "        event_time: {field: at, format: epoch_ms}\n"
        "        fields: {card_id: string, at: instant, amount: 'decimal(12, 2)'}",
    )


def _in_file(file: Path, problem: Problem) -> Problem:
    """The problem with its file in front, once."""
    if problem.where.startswith(str(file)):
        return problem
    return Problem(f"{file} {problem.where}", problem.reason, problem.hint)


def _beside(path: Path) -> str:
    """What there is instead."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(other.name + "/" * other.is_dir() for other in path.parent.iterdir() if other.name[0] != ".")
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"in {path.parent} there is: {listed}" if names else f"{path.parent} is empty"
