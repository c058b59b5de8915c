"""The words of the command line. Only argparse is imported here, so that `stakeout --help` comes at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

ABOUT = "Sequence patterns over transaction streams: fraud alerts as they happen, exactly once."

START = """
begin here:
  stakeout demo --seconds 20                 a simulated card stream with planted fraud, alerts in the terminal
  stakeout patterns check examples/patterns  every problem of every pattern, each with its place
  stakeout backtest patterns/ --data h.parquet --label is_fraud
                                             what the patterns would have found in your history

settings come from a file (--settings) and the environment (STAKEOUT_…); the environment wins.
`stakeout doctor --settings-table` lists all of them, `stakeout doctor` says what is wrong with yours.
"""

DEMO = """
The worker's own lane on a SQLite log in a temporary folder; nothing else is needed and nothing stays behind.
Ctrl-C ends it; either way it sums up: payments, alerts per pattern, planted frauds caught and missed, delay.
"""

SIMULATE = """
  stakeout simulate --count 1000 --out payments.ndjson --labels labels.ndjson
  stakeout simulate --live --out log         into the topic `transactions`, as fast as time passes
  stakeout simulate --count 100000 --label is_fraud --out h.ndjson
  stakeout backtest examples/patterns --data h.ndjson --label is_fraud --value amount

The same seed gives the same payments. Which of them are fraud is kept aside (--labels), or written into each record
for a back-test (--label NAME): patterns can't read a field that the stream doesn't declare.
"""

BACKTEST = """
  stakeout backtest patterns/ --data transactions.parquet
  stakeout backtest examples/handbook/patterns --data transactions.parquet \\
           --label TX_FRAUD --value TX_AMOUNT --by TX_FRAUD_SCENARIO
  stakeout backtest small.yaml --data bank.csv --map card_id=CARD_NO --map at=BOOKED

precision     of the matches, the share whose last event is fraud: the event that raises the alert
recall        of the fraud events, the share that is bound in at least one match
value caught  the values of those events, and their share of the values of all fraud events

Reads only the columns that the patterns need. Events are matched by event time, those of one instant in the file's
order. A row without a needed value, or with one that doesn't have the field's type, is left out and counted; NDJSON
is decoded as it would be live, and the first lines left out are told with their reason. Every core takes a share of
the keys.
"""

PATTERNS = """
  stakeout patterns check patterns/          problems with their places; nothing is changed
  stakeout patterns explain card-testing.yaml --data transactions.parquet
                                             why it matched, or why not, event by event
  stakeout patterns apply patterns/          live in about a second, without a restart
  stakeout patterns list                     what is live now
"""

EXPLAIN = """
  stakeout patterns explain card-testing.yaml
  stakeout patterns explain card-testing.yaml --data transactions.parquet --key card_id=c-00417

The automaton: conditions with how they are found, states, and the edges between them. With --data, what it did with
the events of a key, one by one: each partial, what was tested and how it came out (a condition that is unknown does
not hold), whether it took the event, and at its end why: matched, timed out, killed by what must not come, broken by
an event it may neither take nor pass over, pruned by the skip strategy, or still open. Events are numbered as the
rows of the file, from 1. Without --key: the first keys of which an event begins the pattern (--keys), looked for in
the first 100,000 events; of each key the first events (--events). With the columns of `backtest`, in the same order.
"""

APPLY = """
A pattern that is new or has changed becomes the next version and goes live; what hasn't changed is left alone.
Matches in progress of the version before run to their end (--partials discard drops them).
"""


FEATURES = """
  stakeout features check examples/views --streams examples/streams
  STAKEOUT_VIEWS=examples/views/card_velocity.yaml stakeout features read card_velocity card-00417

What a view's document says is in docs/features.md. Without Redis, `stakeout serve` knows the features of its own lane:
GET /v1/features/VIEW/ENTITY.
"""

MODELS = """
  stakeout models train card_risk.yaml --data transactions.parquet
  stakeout models train examples/models/card_risk.yaml --simulate 100000
  stakeout models alias card_risk champion 1   score with it: live in about a second, without a restart
  stakeout models list

A model learns from the older part of the data and is judged on the newest, a label's delay apart. File and card go
into the store (address.store) as the next version; nothing scores with it until an alias names it.
"""


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = argparse.ArgumentParser(
        "stakeout", description=ABOUT, epilog=START, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(metavar="command", required=True)
    _demo(commands)
    _simulate(commands)
    _backtest(commands)
    _patterns(commands)
    _features(commands)
    _models(commands)
    _services(commands)
    return top


def run(arguments: Sequence[str] | None) -> int:
    """Parse, then import what the command needs and call it."""
    options = parser().parse_args(arguments)
    module, _, name = options.run.partition(":")
    return int(getattr(import_module(module), name)(options))


if TYPE_CHECKING:  # what `add_subparsers` answers; it has no other name, and no parameter when it runs
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _command(commands: Commands, name: str, run: str, what: str, more: str = "") -> argparse.ArgumentParser:
    found = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.set_defaults(run=run)
    return found


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for a program: JSON instead of text")


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--settings", metavar="FILE", help="settings file in YAML; STAKEOUT_… variables win over it")


def _streams(command: argparse.ArgumentParser) -> None:
    what = "files or folders that declare streams (default: the settings', else streams/ beside the patterns)"
    command.add_argument("--streams", metavar="PATH", action="append", default=[], help=what)


def _map(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--map", action="append", default=[], metavar="FIELD=COLUMN", help="a field that has another name in the file"
    )


def _demo(commands: Commands) -> None:
    demo = _command(commands, "demo", "api.demo:demo", "run everything in this process on a simulated stream", DEMO)
    demo.add_argument("--seconds", type=_seconds, help="end by itself (default: run until Ctrl-C)")
    demo.add_argument("--rate", type=_rate, default=200.0, help="payments a second (default: 200)")
    demo.add_argument("--seed", type=int, default=1, help="another seed, other payments (default: 1)")
    _json(demo)


def _simulate(commands: Commands) -> None:
    what = "write a card stream with planted fraud"
    simulate = _command(commands, "simulate", "cep.cli.trial:simulate", what, SIMULATE)
    simulate.add_argument("--count", type=_count, help="so many payments (default: 10000; with --live no end)")
    simulate.add_argument(
        "--out", default="-", metavar="FILE", help="NDJSON file, - for standard output, `log` for the topic"
    )
    simulate.add_argument("--live", action="store_true", help="each payment when its time has come, dated now")
    simulate.add_argument("--labels", metavar="FILE", help="NDJSON of the planted payments: id, flow, pattern")
    simulate.add_argument("--label", metavar="NAME", help="write the truth into each record under this name")
    simulate.add_argument("--seed", type=int, default=1, help="another seed, other payments (default: 1)")
    simulate.add_argument("--cards", type=_count, default=20_000, help="(default: 20000)")
    simulate.add_argument("--rate", type=_rate, default=20.0, help="ordinary payments a second (default: 20)")
    simulate.add_argument(
        "--flow-every", type=_rate, default=60.0, metavar="SECONDS", help="between planted flows (default: 60)"
    )
    simulate.add_argument("--careful", type=_share, default=0.1, help="share of flows that hide (default: 0.1)")
    simulate.add_argument("--topic", default="transactions", help="for --out log (default: transactions)")
    _settings(simulate)


def _backtest(commands: Commands) -> None:
    backtest = _command(commands, "backtest", "cep.cli.trial:backtest", "run patterns over a file of history", BACKTEST)
    backtest.add_argument("patterns", nargs="+", help="pattern files or folders")
    backtest.add_argument("--data", required=True, metavar="FILE", help="Parquet, CSV or NDJSON")
    _map(backtest)
    backtest.add_argument(
        "--label", default="", metavar="COLUMN", help="is it fraud? true or 1; gives precision, recall"
    )
    backtest.add_argument(
        "--value", default="", metavar="COLUMN", help="what an event is worth; gives the value caught"
    )
    backtest.add_argument("--by", default="", metavar="COLUMN", help="recall apart for each value of this column")
    _streams(backtest)
    _settings(backtest)
    _json(backtest)


def _patterns(commands: Commands) -> None:
    patterns = _command(commands, "patterns", "", "check, explain, apply and list patterns", PATTERNS)
    inner = patterns.add_subparsers(metavar="command", required=True)
    check = _command(inner, "check", "cep.cli.patterns:check", "report every problem of the documents at once")
    explain = _command(
        inner, "explain", "cep.cli.patterns:explain", "say what a pattern looks for, and what it did", EXPLAIN
    )
    explain.add_argument("--mermaid", action="store_true", help="draw the automaton, as a Mermaid chart, and no more")
    apply = _command(inner, "apply", "cep.cli.patterns:apply", "make the patterns live", APPLY)
    listed = _command(inner, "list", "cep.cli.patterns:listed", "list what is live, paused and retired")
    for command in (check, explain, apply):
        command.add_argument("patterns", nargs="+", help="pattern files or folders")
        _streams(command)
    explain.add_argument("--data", metavar="FILE", help="Parquet, CSV or NDJSON: explain what happened there")
    explain.add_argument("--key", action="append", default=[], metavar="FIELD=VALUE", help="whose events")
    _map(explain)
    explain.add_argument("--keys", type=_count, default=3, metavar="N", help="without --key (default: 3)")
    explain.add_argument("--events", type=_count, default=100, metavar="N", help="of one key (default: 100)")
    apply.add_argument("--partials", choices=("drain", "discard"), default="drain", help="(default: drain)")
    for command in (check, explain, apply, listed):
        _settings(command)
        _json(command)


def _features(commands: Commands) -> None:
    features = _command(commands, "features", "", "check feature views, read features", FEATURES)
    inner = features.add_subparsers(metavar="command", required=True)
    check = _command(inner, "check", "cep.cli.features:check", "report every problem of a view's document")
    check.add_argument("views", nargs="+", help="view files or folders")
    read = _command(inner, "read", "cep.cli.features:read", "one entity's features as of now, from Redis")
    read.add_argument("view", help="its name; the setting `views` names the files")
    read.add_argument("entity", nargs="+", help="the value of each of its fields")
    for command in (check, read):
        _streams(command)
        _settings(command)
        _json(command)


def _models(commands: Commands) -> None:
    models = _command(commands, "models", "", "train, keep and choose models", MODELS)
    inner = models.add_subparsers(metavar="command", required=True)
    train = _command(inner, "train", "cep.cli.models:train", "make the next version of a model")
    train.add_argument("model", help="the file that declares it")
    data = train.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="FILE", help="Parquet, CSV or NDJSON, with the label as a column")
    data.add_argument("--simulate", type=_count, metavar="N", help="N payments of `stakeout simulate` instead")
    _map(train)
    train.add_argument("--seed", type=int, default=1, help="of --simulate (default: 1)")
    _streams(train)
    alias = _command(inner, "alias", "cep.cli.models:alias", "say which version is champion or challenger")
    alias.add_argument("model", help="its name")
    alias.add_argument("alias", choices=("champion", "challenger"))
    alias.add_argument("version", type=_count)
    listed = _command(inner, "list", "cep.cli.models:listed", "list the versions in the store and their aliases")
    show = _command(inner, "show", "cep.cli.models:show", "the card of a version")
    show.add_argument("model", help="its name")
    show.add_argument("version", type=_count, nargs="?", help="(default: the newest)")
    for command in (train, alias, listed, show):
        _settings(command)
        _json(command)


def _services(commands: Commands) -> None:
    worker = _command(
        commands, "worker", "cep.cli.services:worker", "read, match, commit: one transaction per commit, until SIGTERM"
    )
    _streams(worker)
    _settings(worker)
    sink = _command(commands, "sink", "cep.cli.services:sink", "write the alerts from their topic into the database")
    _settings(sink)
    for process in (worker, sink):
        process.add_argument(
            "--metrics-port", type=_count, metavar="N", help="serve /metrics, /healthz and /readyz there"
        )
        process.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="(default: 127.0.0.1)")
    _server(commands)
    topics = _command(commands, "topics", "", "the application's Kafka topics")
    create = _command(
        topics.add_subparsers(metavar="command", required=True),
        "create",
        "cep.cli.services:create_topics",
        "make the topics that aren't there, check those that are",
    )
    create.add_argument(
        "--partitions", type=_count, metavar="N", help="make the streams' own topics too, each with N partitions"
    )
    for add in (_streams, _settings, _json):
        add(create)
    _database(commands)
    doctor = _command(
        commands, "doctor", "cep.cli.services:doctor", "say what is reachable, what is misconfigured, and what to do"
    )
    doctor.add_argument("--settings-table", action="store_true", help="list every setting: name, variable, value")
    for add in (_streams, _settings, _json):
        add(doctor)
    _command(
        commands, "warm", "cep.cli.services:warm", "compile the kernels into the cache; at once when they are there"
    )


def _server(commands: Commands) -> None:
    what = "answer REST, the dashboard and, without Kafka, run the lane and the sink: one process"
    serve = _command(commands, "serve", "api.serve:serve", what)
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1; another one needs a key)")
    serve.add_argument("--port", type=int, help="(default: 8000)")
    _streams(serve)
    _settings(serve)
    keys = _command(commands, "keys", "", "who may use the REST interface and the dashboard")
    inner = keys.add_subparsers(metavar="command", required=True)
    add = _command(inner, "add", "api.commands:add", "make a key and show it once")
    listed = _command(inner, "list", "api.commands:listed", "list whose keys there are")
    revoke = _command(inner, "revoke", "api.commands:revoke", "end a key: it opens nothing any more")
    for command in (add, revoke):
        command.add_argument("name", help="whose it is: the audit names them so")
    roles = ("reader", "analyst", "author", "operator")
    add.add_argument(
        "--role", action="append", default=[], choices=roles, help="several times for several (default: reader)"
    )
    for command in (add, listed, revoke):
        _settings(command)
    _json(add)
    _json(listed)


def _database(commands: Commands) -> None:
    database = _command(commands, "db", "", "the tables of alerts and cases").add_subparsers(
        metavar="command", required=True
    )
    up = _command(database, "upgrade", "cep.cli.services:upgrade", "bring the tables to the newest revision")
    up.add_argument("revision", nargs="?", default="head", help="(default: head, the newest)")
    down = _command(database, "downgrade", "cep.cli.services:downgrade", "take the tables back to a revision")
    down.add_argument(
        "revision", help="a revision, -1 for one step, or `base`: no tables, and nothing that was in them"
    )
    current = _command(database, "current", "cep.cli.services:current", "say which revision the tables have")
    _json(current)
    for command in (up, down, current):
        _settings(command)


# -- numbers ----------------------------------------------------------------------------------------------------------


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, found {text}")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1e6:
        raise argparse.ArgumentTypeError(f"must be above 0, at most 1000000, found {text}")
    return number


def _seconds(text: str) -> float:
    number = float(text.removesuffix("s"))
    if not 0 < number <= 1e9:
        raise argparse.ArgumentTypeError(f"must be above 0, found {text}")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, found {text}")
    return number
