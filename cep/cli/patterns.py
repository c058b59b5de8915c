"""`stakeout patterns`: check, explain, apply, list."""

from __future__ import annotations

import argparse
import getpass
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cep.automaton.drawing import draw
from cep.automaton.plan import compile_pattern
from cep.automaton.plan import explain as explain_plan
from cep.cli.configured import control_log, say, say_json, settings_of, streams_of
from cep.cli.documents import load_patterns
from cep.control import Activate, Change, PatternVersion, read, write
from cep.language.check import warnings as advise
from cep.language.document import dump_pattern
from cep.language.pattern import Pattern
from cep.language.render import render
from cep.log.protocol import ControlLog
from cep.registry import Known, project
from events.errors import InvalidDocument, Problem


def check(options: argparse.Namespace) -> int:
    """Reads everything, or says what is wrong with all of it."""
    found = _loaded(options)
    for file, pattern in found:
        compile_pattern(pattern)
        if options.json:
            say_json({"file": str(file), **_described(pattern)})
            continue
        say(f"ok  {file}  {pattern.name}: {render(pattern)}")
        for problem in advise(pattern):
            say(f"    advice: {problem}")
    return 0


def explain(options: argparse.Namespace) -> int:
    """The sentence, the advice, the automaton; with --data, what it did with the events of a file."""
    paths = [Path(name) for name in options.patterns]
    streams = streams_of(options, settings_of(options), paths)
    if not options.data and (options.key or options.map):
        hint = "add --data FILE: Parquet, CSV or NDJSON"
        raise InvalidDocument("explain", [Problem("--key, --map", "say which events of a file are meant", hint)])
    for _, pattern in load_patterns(paths, streams):
        plan = compile_pattern(pattern)
        if options.mermaid:
            say(draw(plan))
            continue
        if options.json:
            say_json({**_described(pattern), "plan": explain_plan(plan)})
        else:
            say(f"{pattern.name}: {pattern.description}" if pattern.description else pattern.name)
            say(f"\n{render(pattern)}\n")
            for problem in advise(pattern):
                say(f"advice: {problem}\n")
            say(f"{explain_plan(plan)}\n")
        if options.data:
            from cep.cli.explained import explain_data

            explain_data(options, plan, list(streams.values()))
    return 0


def apply(options: argparse.Namespace) -> int:
    """New and changed patterns become live versions, all in one control record."""
    settings, found = settings_of(options), _loaded(options)
    for _, pattern in found:
        compile_pattern(pattern)
    with control_log(settings) as log:
        known = project(_all(log))
        outcome = [(pattern, *_change(pattern, known.get(pattern.name), options.partials)) for _, pattern in found]
        changes = [change for _, _, _, changed in outcome for change in changed]
        offset = write(log, changes, author=getpass.getuser(), at_us=time.time_ns() // 1000) if changes else log.end()
    for pattern, version, word, _ in outcome:
        if options.json:
            say_json({"pattern": pattern.name, "version": version, "outcome": word, "control_offset": offset})
        else:
            say(f"{word:<9}  {pattern.name} version {version}")
    return 0


def listed(options: argparse.Namespace) -> int:
    """What the control log says about every pattern."""
    settings = settings_of(options)
    with control_log(settings) as log:
        known = project(_all(log))
    if not known and not options.json:
        say("no patterns yet: `stakeout patterns apply patterns/` makes them live")
    for name, one in sorted(known.items()):
        latest = one.latest
        description = one.versions[one.live or latest].document.get("description", "")
        if options.json:
            say_json(
                {"pattern": name, "state": one.state, "live": one.live, "latest": latest, "description": description}
            )
        else:
            say(f"{one.state:<7}  {name} version {one.live or latest}  {description}")
    return 0


# -- what the control log says ----------------------------------------------------------------------------------------


def _all(log: ControlLog) -> Sequence[Any]:
    end = log.end()
    return read(log, 0, end) if end else []


def _change(pattern: Pattern, known: Known | None, partials: Any) -> tuple[int, str, list[Change]]:
    """(version, what becomes of it, the changes)."""
    document = dump_pattern(pattern)
    latest = known.latest if known else 0
    if known and known.versions[latest].document == document:
        if known.live == latest:
            return latest, "unchanged", []
        return latest, "live", [Activate(pattern.name, latest, partials=partials)]
    changes: list[Change] = [
        PatternVersion(pattern.name, latest + 1, document),
        Activate(pattern.name, latest + 1, partials=partials),
    ]
    return latest + 1, "changed" if known else "new", changes


def _loaded(options: argparse.Namespace) -> list[tuple[Path, Pattern]]:
    paths = [Path(name) for name in options.patterns]
    return load_patterns(paths, streams_of(options, settings_of(options), paths))


def _described(pattern: Pattern) -> dict[str, object]:
    advice: list[Problem] = advise(pattern)
    return {
        "pattern": pattern.name,
        "description": pattern.description,
        "sentence": render(pattern),
        "streams": list(pattern.streams),
        "key": list(pattern.key),
        "advice": [{"where": one.where, "reason": one.reason, "hint": one.hint} for one in advice],
    }
