"""Settings: one typed structure, from a YAML file and the environment; the environment wins.

    lane:                                   STAKEOUT_LANE_COMMIT_MS=50
      commit_ms: 50

A variable is STAKEOUT_ and the path in capitals; the three addresses have the short names that deploy/services.py
prints (STAKEOUT_KAFKA, STAKEOUT_REDIS, STAKEOUT_POSTGRES). `load` reports everything that is wrong at once; `table`
lists every setting with its default and meaning. Nothing here reads the environment by itself.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from cep.matcher.records import PARTIALS_PER_KEY_MAX, PATTERNS_MAX
from events.columns import STRINGS_MAX
from events.errors import NO_YAML, InvalidDocument, Problem, ServiceUnavailable

PREFIX = "STAKEOUT_"

FOREIGN = frozenset(
    {
        "STAKEOUT_CACHE",
        "STAKEOUT_DATA",
        "STAKEOUT_RUN",
        "STAKEOUT_KAFKA_JVM",
        "STAKEOUT_FAILPOINT",
        "STAKEOUT_CHAOS_EVENTS",
    }
)
"""Variables of that prefix that are no settings: of deploy/services.py, of the back-test, of the chaos tests."""


def _meta(text: str, least: int | None = None, variable: str = "") -> msgspec.Meta:
    return msgspec.Meta(description=text, ge=least, extra={"variable": variable})


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read · process · commit."""

    count: Annotated[int, _meta("lanes of the application; fixed once it has run (`stakeout lanes resize`)", 1)] = 1
    start: Annotated[
        Literal["earliest", "latest"], _meta("where a lane without a journal begins to read its source")
    ] = "earliest"
    batch_records_max: Annotated[int, _meta("records per batch; more spoil the caches, fewer cost calls", 1)] = 4096
    commit_ms: Annotated[int, _meta("longest time between commits while there is something to commit", 1)] = 100
    commit_alert_ms: Annotated[
        int,
        _meta(
            "shortest time between commits while an alert waits; one begun before the brokers have completed the last "
            "waits for 20 ms in Kafka's client",
            0,
        ),
    ] = 1
    commit_backlog_ms: Annotated[
        int, _meta("time between commits in a backlog: the lane stands still for each, and alerts are old already", 1)
    ] = 500
    commit_outputs_max: Annotated[
        int, _meta("alerts, scores, late records and dead letters that wait for a commit", 1)
    ] = 20000
    commit_bytes_max: Annotated[int, _meta("bytes of them", 1)] = 16_000_000
    commit_entries_max: Annotated[int, _meta("batches and ticks in one journal record", 1)] = 4096
    output_bytes_max: Annotated[
        int, _meta("one alert; a larger one leaves its events' payloads in the log", 10_000)
    ] = 1_000_000
    dead_letter_bytes_max: Annotated[int, _meta("of a rejected record, kept in its dead letter", 0)] = 100_000
    control_look_ms: Annotated[int, _meta("between looks at the control log", 1)] = 20
    partitions_look_ms: Annotated[int, _meta("between looks for new source partitions", 1)] = 10_000
    collect_ms: Annotated[int, _meta("between runs of Python's garbage collector, on purpose", 1)] = 10_000


class Kafka(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The brokers, and what decides delay and fencing. Names of topics begin with the application's."""

    bootstrap: Annotated[str, _meta("host:port,… of the brokers; empty: the embedded log", variable="KAFKA")] = ""
    client: Annotated[
        dict[str, str], _meta("librdkafka settings for every client (security.protocol, sasl.…); file only")
    ] = {}
    replication: Annotated[int, _meta("copies of each topic that is created", 1)] = 1
    session_timeout_ms: Annotated[int, _meta("a worker silent for so long loses its lanes", 1000)] = 8000
    heartbeat_ms: Annotated[int, _meta("a third of the session or less", 100)] = 2000
    poll_max_ms: Annotated[int, _meta("a worker that doesn't poll for so long loses its lanes", 1000)] = 60_000
    transaction_timeout_ms: Annotated[int, _meta("the broker aborts a transaction that is open longer", 1000)] = 10_000
    call_timeout_ms: Annotated[int, _meta("longest wait for an answer about offsets or metadata", 100)] = 10_000
    fetch_wait_ms: Annotated[int, _meta("the broker holds an empty fetch so long", 1)] = 50
    fetch_backoff_ms: Annotated[
        int, _meta("the client pauses so long when its queue is full (its default is 1000)", 0)
    ] = 2
    queued_messages_min: Annotated[int, _meta("records fetched ahead per partition", 1)] = 50_000
    queued_kbytes_max: Annotated[int, _meta("kilobytes fetched ahead; more spoil the caches", 1)] = 32_768
    message_bytes_max: Annotated[int, _meta("largest record our topics take: output_bytes_max and its envelope", 1)] = (
        4_000_000
    )
    topic_retention_ms: Annotated[int, _meta("alerts, dead letters, late records; -1 keeps them for ever", -1)] = -1


class Embedded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log in one SQLite file, used when no Kafka is named."""

    path: Annotated[str, _meta("the file")] = ".stakeout/log.db"
    durable: Annotated[bool, _meta("each commit survives a power cut, not only a crash of the process")] = True


class Worker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process that runs lanes."""

    name: Annotated[
        str, _meta("static member of the group: after a restart under this name it has its lanes at once")
    ] = "worker-0"
    on_stop: Annotated[
        Literal["keep", "hand_over"],
        _meta("SIGTERM: keep the lanes for a restart under this name, or give them up now"),
    ] = "keep"
    stop_ms: Annotated[int, _meta("longest time for a hand-over", 1)] = 10_000
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _meta("of the log on standard error")] = "info"


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stakeout serve`: REST and dashboard."""

    host: Annotated[str, _meta("address to listen on; others than loopback need a key: `stakeout keys add`")] = (
        "127.0.0.1"
    )
    port: Annotated[int, _meta("port to listen on; 0: any that is free", 0)] = 8000
    keys: Annotated[str, _meta("file of the API keys, as SHA-256; without a key anyone on this machine may do all")] = (
        ".stakeout/keys.json"
    )
    body_bytes_max: Annotated[int, _meta("largest body of a request", 1000)] = 1_000_000
    lag_max: Annotated[int, _meta("events are refused (429) while the lanes are further behind, in records", 1)] = (
        100_000
    )
    connections_max: Annotated[int, _meta("connections at once; beyond it 503", 1)] = 1000
    threads: Annotated[int, _meta("requests answered at once", 1)] = 40
    streams_max: Annotated[int, _meta("connections that follow alerts at once", 1)] = 100
    waiting_max: Annotated[int, _meta("decisions that are waited for at once", 1)] = 32
    decide_ms: Annotated[int, _meta("longest wait for a decision that doesn't name its own", 1)] = 1000
    block: Annotated[
        tuple[str, ...], _meta("severities that block; any other alert is for review; commas in a variable")
    ] = ("high", "critical")
    idempotency_keys_max: Annotated[int, _meta("answers kept for requests that are sent again", 1)] = 100_000
    idempotency_hours: Annotated[int, _meta("how long they are kept", 1)] = 24


class Address(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where projections and files live."""

    postgres: Annotated[str, _meta("SQLAlchemy URL; empty: SQLite", variable="POSTGRES")] = ""
    redis: Annotated[str, _meta("URL of the online store; empty: in process", variable="REDIS")] = ""
    store: Annotated[
        str, _meta("fsspec URL of model files and snapshots; shared where there is more than one host")
    ] = ".stakeout/store"


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lane may hold; ARCHITECTURE.md says what happens there. Limits of documents: cep/language/limits.py."""

    held_events_max: Annotated[int, _meta("events a lane holds for reordering", 1)] = 1_000_000
    strings_max: Annotated[int, _meta("distinct strings in a lane's table", 1)] = STRINGS_MAX
    partials_per_key_max: Annotated[int, _meta("partials of one pattern and key", 1)] = PARTIALS_PER_KEY_MAX
    online_entities_max: Annotated[int, _meta("entities whose features wait for the online store", 1)] = 200_000
    patterns_max: Annotated[int, _meta("plans of a lane, draining ones included", 1)] = PATTERNS_MAX


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scores topic."""

    above: Annotated[float, _meta("events with this score or a higher one are told there; above 1: none")] = 2.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    app: Annotated[str, _meta("application id: prefix of topics, groups and transactions")] = "stakeout"
    streams: Annotated[tuple[str, ...], _meta("files that declare the streams; commas between them in a variable")] = ()
    views: Annotated[tuple[str, ...], _meta("files that declare feature views")] = ()
    models: Annotated[tuple[str, ...], _meta("files that declare models; their champions score")] = ()
    files: Annotated[dict[str, str], _meta("run through these NDJSON files, topic → path, and end; file only")] = {}
    lane: Lane = Lane()
    kafka: Kafka = Kafka()
    embedded: Embedded = Embedded()
    worker: Worker = Worker()
    server: Server = Server()
    address: Address = Address()
    scores: Scores = Scores()
    limits: Limits = Limits()


class Setting(NamedTuple):
    """One line of `table`."""

    path: str
    variable: str
    default: object
    meaning: str
    type: Any


def table() -> list[Setting]:
    """Every setting, in order.

    >>> next(row for row in table() if row.path == "kafka.bootstrap").variable
    'STAKEOUT_KAFKA'
    """
    return list(_leaves(Settings, ""))


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from a file (None: only defaults) and an environment.

    Raises InvalidDocument with every problem, ServiceUnavailable if the file can't be read.

    >>> load(None, {"STAKEOUT_LANE_COMMIT_MS": "50"}).lane.commit_ms
    50
    """
    rows, problems = table(), list[Problem]()
    given = {} if path is None else _flat(_document(path), rows, problems)
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in FOREIGN:
            _take_variable(variable, text, rows, given, problems)
    values = _checked(given, {row.path: row for row in rows}, problems)
    if problems:
        raise InvalidDocument("settings" if path is None else f"settings {path}", problems)
    return _built(Settings, "", values)


S = TypeVar("S", bound=msgspec.Struct)


def _leaves(kind: type[msgspec.Struct], prefix: str) -> Iterator[Setting]:
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        path, hint = f"{prefix}{field.name}", hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _leaves(hint, f"{path}.")
            continue
        meta = get_args(hint)[1]
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        short = (meta.extra or {}).get("variable") or path.replace(".", "_").upper()
        yield Setting(path, PREFIX + short, default, meta.description, hint)


def _document(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ServiceUnavailable(f"settings {path}: {error}", "name a file that exists") from error
    except UnicodeDecodeError as error:
        raise ServiceUnavailable(f"settings {path}: not text in UTF-8", "is it another file?") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "document"
        reason = f"not YAML: {getattr(error, 'problem', None) or error}"
        raise InvalidDocument(f"settings {path}", [Problem(place, reason, NO_YAML)]) from error


def _flat(document: object, rows: list[Setting], problems: list[Problem]) -> dict[str, tuple[object, bool]]:
    """path → (value, is it text of a variable?) of what the document sets."""
    known = {row.path for row in rows}
    sections = {path.split(".")[0] for path in known if "." in path}
    found: dict[str, tuple[object, bool]] = {}

    def walk(value: object, prefix: str) -> None:
        if not isinstance(value, dict):
            problems.append(Problem(prefix or "(document)", f"expected names with values, found {value!r}"))
            return
        for name, inner in value.items():
            path = f"{prefix}.{name}" if prefix else str(name)
            if path in sections:
                walk(inner, path)
            elif path in known:
                found[path] = inner, False
            else:
                problems.append(Problem(path, "no such setting", _nearest(path, known | sections)))

    walk(document, "")
    return found


def _take_variable(
    variable: str, text: str, rows: list[Setting], given: dict[str, tuple[object, bool]], problems: list[Problem]
) -> None:
    by_variable = {row.variable: row for row in rows}
    row = by_variable.get(variable)
    if row is None:
        problems.append(Problem(variable, "no such setting", _nearest(variable, by_variable)))
    elif _origin(row) is dict:
        problems.append(Problem(variable, "can only be set in the file", f"write {row.path} in the settings file"))
    elif _origin(row) is tuple:
        given[row.path] = [part for part in text.split(",") if part], True
    else:
        given[row.path] = text, True


def _origin(row: Setting) -> object:
    bare = get_args(row.type)[0]
    return get_origin(bare) if get_origin(bare) not in (Union, types.UnionType) else None


def _checked(
    given: Mapping[str, tuple[object, bool]], rows: Mapping[str, Setting], problems: list[Problem]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for path, (value, is_text) in given.items():
        where = rows[path].variable if is_text else path
        try:
            values[path] = msgspec.convert(value, rows[path].type, strict=not is_text)
        except msgspec.ValidationError as error:
            problems.append(Problem(where, f"{error}, found {value!r}", rows[path].meaning))
    return values


def _nearest(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else "`stakeout doctor --settings-table` lists all"


def _built(kind: type[S], prefix: str, values: Mapping[str, object]) -> S:
    inner = {
        field.name: _built(field.type, f"{prefix}{field.name}.", values)
        for field in msgspec.structs.fields(kind)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }
    own = {
        field.name: values[f"{prefix}{field.name}"]
        for field in msgspec.structs.fields(kind)
        if f"{prefix}{field.name}" in values
    }
    return kind(**inner, **own)
