"""A pattern as its author writes it: a YAML or JSON document to the syntax tree, and back.

    name: card-testing                       stream: transactions          (or `stream` on every step)
    key: [card_id]                           within: 10m
    skip: no_skip | past_last_event | to_next | {to_first: step} | {to_last: step}
    emit: eager | ordered                    timeouts: true | false
    alert: {severity: low | medium | high | critical, message: "{count(probe)} probes"}
    measures: {probes: count(probe), loss: cashout.amount, …}, what an alert carries
    steps:
      - name, where, or: [more conditions], stream
        contiguity: next | followed_by (default) | followed_by_any | not_next | not_followed_by
        times: n | {exactly: n} | {at_least: n, at_most: m},  or  one_or_more: true
        consecutive | combinations | greedy | optional: true,  until
        gap: 5s, the longest time since the event taken before; of a loop, between its own events
      - group: [steps], contiguity, times …  as above, but no gap
      - permute: [steps], as a group, but in any order: all of them, each once (see docs/language.md)
        any_of: n, only n of them (1: alternatives)
        consecutive | combinations: true, also how one of them follows another; without, by followed_by

An SQL statement becomes a document first (`sql.py`). Every problem is reported at once, each with its place. Reading is
total: what can't be read is noted and replaced by a default, and the checks of `check.py` are left out only where they
would judge such a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cep.language.check import check
from cep.language.limits import WITHIN_MAX_US
from cep.language.message import check_message
from cep.language.pattern import AlertText, Emit, Group, Inner, Measure, Pattern, Skip, Step, Times, flatten
from cep.language.places import places
from cep.language.section import Notes, Section, found
from cep.language.source import Source, read_text
from cep.language.sql import read_statement
from cep.language.sql_text import is_sql
from cep.language.steps import Draft, Drafts, joined, name_of, read_items
from cep.language.wording import closest, column_of
from events import expression
from events.duration import duration_text
from events.errors import InvalidDocument, Problem
from events.expression import Expression
from events.schema import Sensitivity, Stream
from events.types import Kind, Type

Document = Mapping[str, object]
Fields = Mapping[str, Type]

SEVERITIES = ("low", "medium", "high", "critical")
PATTERN_KEYS = (
    "name",
    "description",
    "stream",
    "key",
    "within",
    "skip",
    "emit",
    "timeouts",
    "steps",
    "alert",
    "measures",
)


def read_pattern(document: Document | str, streams: Mapping[str, Stream], subject: str) -> Pattern:
    """The pattern of a document, given as a mapping or as YAML or JSON text, or as an SQL statement (see `sql.py`).

    streams: those that a pattern can read, by name
    subject: what the document is called in messages, as its file

    Raises InvalidDocument with every problem; from YAML and SQL text, each with its line.
    """
    pattern, problems = attempt_pattern(document, streams, subject)
    if problems:
        raise InvalidDocument(subject, problems)
    return pattern


def attempt_pattern(
    document: Document | str, streams: Mapping[str, Stream], subject: str
) -> tuple[Pattern, list[Problem]]:
    """`read_pattern` for callers that collect: the pattern is of use only when there are no problems."""
    source = source_of(document, streams)
    notes = Notes(list(source.problems))
    if source.problems and source.value is None:
        pattern = Pattern("", (), (), ())
    else:
        pattern = whole(source.value, streams, notes)
        notes.problems += [problem for problem in check(pattern) if not notes.doubts(problem.where)]
    in_order = sorted(notes.problems, key=lambda problem: source.rank(problem.where))
    placed = [replace(problem, where=source.position(subject, problem.where)) for problem in in_order]
    return pattern, list(dict.fromkeys(placed))


def source_of(document: Document | str, streams: Mapping[str, Stream]) -> Source:
    """The plain values of a document, and where each stands."""
    if not isinstance(document, str):
        return Source(document)
    return read_statement(document, streams) if is_sql(document) else read_text(document)


# -- the whole --------------------------------------------------------------------------------------------------------


def whole(value: object, streams: Mapping[str, Stream], notes: Notes) -> Pattern:
    """The pattern of a document's value."""
    if not isinstance(value, Mapping):
        notes.add("", f"a pattern is a mapping with a `name` and `steps`, found {found(value)}")
        notes.unread.add("")
        return Pattern("", (), (), ())
    section = Section(value, "", notes)
    complete = section.only(PATTERN_KEYS, {})
    drafts: Drafts = {}
    drafted = read_items(section, "steps", section.text("stream"), drafts, 0)
    used, known = read_streams(section, drafted, streams)
    within_us = section.length_us("within", unread=WITHIN_MAX_US)
    key = read_key(section, known.streams)
    skip, skip_to = read_skip(section)
    if not drafted:
        notes.unread.add("")
    return Pattern(
        name=name_of(section),
        steps=with_conditions(drafted, "steps", drafts, used, known, notes),
        streams=used,
        key=key,
        within_us=within_us if complete else within_us or WITHIN_MAX_US,
        skip=skip,
        skip_to=skip_to,
        emit=Emit(section.one_of("emit", list(Emit), Emit.EAGER)),
        timeouts=section.flag("timeouts"),
        description=section.text("description"),
        alert=read_alert(section, drafted, key, known),
        measures=read_measures(section, drafted, key, known),
    )


# -- streams, key, skip, alert ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What conditions, keys and messages can name.

    streams: the fields of each stream that the pattern reads, as far as the stream exists
    steps:   the fields of each step's events, as far as its stream exists
    secret:  of each such step, the fields that no message may show
    """

    streams: Mapping[str, Fields]
    steps: Mapping[str, Fields]
    secret: Mapping[str, frozenset[str]]


def read_streams(
    section: Section, steps: tuple[Step | Group, ...], streams: Mapping[str, Stream]
) -> tuple[tuple[str, ...], Known]:
    """The streams that the steps read, and what those hold; unknown and missing ones are noted."""
    flat = flatten(steps)
    used = tuple(dict.fromkeys(step.stream for step in flat if step.stream))
    if not used and "stream" not in section.values:
        section.wrong("stream", "the pattern names no stream to read", closest("", streams))
    for place in places(steps):
        if used and isinstance(place.item, Step) and not place.item.stream and "stream" not in section.values:
            section.notes.add(place.path, f"`{place.item.name}` names no stream", f"known: {', '.join(streams)}")
    for name in used:
        if name not in streams:
            section.notes.add(first_place(section, steps, name), f"there is no stream `{name}`", closest(name, streams))
    existing = {name: streams[name] for name in used if name in streams}
    types = {
        name: {each.name: each.type for each in (*stream.fields, *stream.derived)} for name, stream in existing.items()
    }
    views = {each.name.partition(".")[0] for stream in existing.values() for each in stream.derived if "." in each.name}
    for place in places(steps):
        if isinstance(place.item, Step) and place.item.name in views:
            reason = f"`{place.item.name}` is also a feature view: {place.item.name}.x could be either's"
            section.notes.add(f"{place.path}.name", reason, "give the step another name")
    return used, Known(
        types,
        {step.name: types[step.stream] for step in flat if step.stream in types},
        {step.name: secrets(existing[step.stream]) for step in flat if step.stream in types},
    )


def first_place(section: Section, steps: tuple[Step | Group, ...], stream: str) -> str:
    """Where the document names a stream first."""
    if section.values.get("stream") == stream:
        return "stream"
    own = [each.path for each in places(steps) if isinstance(each.item, Step) and each.item.stream == stream]
    return f"{own[0]}.stream"


def secrets(stream: Stream) -> frozenset[str]:
    """The fields that may not be shown."""
    return frozenset(each.name for each in stream.fields if each.sensitivity is Sensitivity.SECRET)


def read_key(section: Section, streams: Mapping[str, Fields]) -> tuple[str, ...]:
    """The fields by which partials are kept apart: in every stream, of one type, and exact."""
    if "key" not in section.values:
        section.wrong("key", "the key is missing", "name the fields whose events belong together, as key: [card_id]")
        return ()
    key = section.texts("key", "field names")
    for name in dict.fromkeys(key):
        if key.count(name) > 1:
            section.notes.add("key", f"`{name}` is there twice", "keep one")
        for stream, fields in streams.items():
            if name not in fields:
                section.notes.add("key", f"the stream `{stream}` has no field `{name}`", closest(name, fields))
        kinds = {str(fields[name]) for fields in streams.values() if name in fields}
        if len(kinds) > 1:
            section.notes.add("key", f"`{name}` is {' in one stream and '.join(sorted(kinds))} in another")
        if any(fields[name].kind in (Kind.FLOAT64, Kind.DECIMAL) for fields in streams.values() if name in fields):
            reason = f"`{name}` is {', '.join(sorted(kinds))}: an amount can't be a key"
            section.notes.add("key", reason, "use an id: a string or an int64")
    return tuple(key)


def read_skip(section: Section) -> tuple[Skip, str]:
    """What a match removes, and the step it goes by."""
    value = section.values.get("skip", Skip.NO_SKIP.value)
    targets = (Skip.TO_FIRST, Skip.TO_LAST)
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in targets:
            inner = Section(value, "skip", section.notes)
            return Skip(next(iter(value))), inner.text(next(iter(value)))
    elif isinstance(value, str) and value in list(Skip) and value not in targets:
        return Skip(value), ""
    plain = [skip.value for skip in Skip if skip not in targets]
    hint = f"{', '.join(plain)}, {{to_first: step}} or {{to_last: step}}"
    if isinstance(value, str) and value in targets:
        hint = f"name the step: {{{value}: step}}"
    section.wrong("skip", f"no such way to skip, found {found(value)}", hint)
    return Skip.NO_SKIP, ""


def read_alert(section: Section, steps: tuple[Step | Group, ...], key: Sequence[str], known: Known) -> AlertText:
    """Severity and sentence, with every placeholder checked."""
    value = section.values.get("alert", {})
    if not isinstance(value, Mapping):
        section.wrong("alert", f"must be a mapping, found {found(value)}", "alert: {severity: high, message: ...}")
        return AlertText()
    inner = Section(value, "alert", section.notes)
    inner.only(("severity", "message"), {})
    alert = AlertText(inner.one_of("severity", SEVERITIES, AlertText().severity), inner.text("message"))
    negated, taken = absent_and_taken(steps, known)
    if taken is not None:
        named = section.values.get("measures")
        measures = [str(name) for name in named] if isinstance(named, Mapping) else []
        section.notes.problems += check_message(
            alert.message, taken, key, negated, known.secret, "alert.message", measures
        )
    return alert


def absent_and_taken(steps: tuple[Step | Group, ...], known: Known) -> tuple[list[str], Mapping[str, Fields] | None]:
    """The steps that must not occur, and the fields of the others; None if a step's stream is unknown."""
    flat = flatten(steps)
    negated = [step.name for step in flat if step.contiguity.negated]
    if any(step.name not in known.steps for step in flat):
        return negated, None
    return negated, {name: fields for name, fields in known.steps.items() if name not in negated}


def read_measures(
    section: Section, steps: tuple[Step | Group, ...], key: Sequence[str], known: Known
) -> tuple[Measure, ...]:
    """The named values, by name, each an expression over the steps that take events and over the key."""
    value = section.values.get("measures", {})
    if not isinstance(value, Mapping):
        section.wrong("measures", f"must be a mapping, found {found(value)}", "measures: {total: sum(probe.amount)}")
        return ()
    inner = Section(value, "measures", section.notes)
    texts = {str(name): inner.text(name) for name in value}
    _, taken = absent_and_taken(steps, known)
    if taken is None:
        return ()
    own = {name: fields[name] for fields in known.streams.values() for name in key if name in fields}
    measures = []
    for name, text in sorted(texts.items()):
        where = f"measures.{name}"
        tree, problems = expression.attempt(text, own, taken, "", where, None) if text else (None, ())
        section.notes.problems += [*problems, *(secret_shown(tree, known, where, text) if tree else ())]
        if tree is not None:
            measures.append(Measure(name, tree, text))
    return tuple(measures)


def secret_shown(tree: Expression, known: Known, where: str, text: str) -> list[Problem]:
    """The secret fields that a measure would show; how many there were may be told."""
    past = [(each.step, each.field) for each in expression.references(tree) if each.field and each.aggregate != "count"]
    hidden = {name for step, name in past if name in known.secret[step]}
    hidden |= {name for name in expression.fields_of(tree) if any(name in names for names in known.secret.values())}
    return [
        Problem(where + column_of(text, name), f"`{name}` is secret: no measure may show it") for name in sorted(hidden)
    ]


# -- conditions -------------------------------------------------------------------------------------------------------


def with_conditions(
    steps: tuple[Step | Group, ...], path: str, drafts: Drafts, used: tuple[str, ...], known: Known, notes: Notes
) -> tuple[Step | Group, ...]:
    """The same steps, each with its conditions as trees, and with its stream only where there are several."""
    done: list[Step | Group] = []
    for index, item in enumerate(steps):
        here = f"{path}[{index}]"
        draft = drafts.get(here, Draft())
        until = ((f"{here}.until", draft.until),) if draft.until else ()
        if isinstance(item, Group):
            fields = known.streams.get(used[0]) if len(used) == 1 else None
            if until and len(used) > 1:
                reason = "the `until` of a group needs a pattern that reads one stream"
                notes.add(until[0][0], reason, "put `until` on a loop of one step")
            inside = with_conditions(item.steps, f"{here}.{item.word}", drafts, used, known, notes)
            done.append(replace(item, steps=inside, until=condition(until, fields, known, "", notes)))
        else:
            fields = known.steps.get(item.name)
            where = condition(draft.where, fields, known, item.name, notes)
            ends = condition(until, fields, known, item.name, notes)
            done.append(replace(item, where=where, until=ends, stream=item.stream if len(used) > 1 else ""))
    return tuple(done)


def condition(
    texts: tuple[tuple[str, str], ...], fields: Fields | None, known: Known, own_step: str, notes: Notes
) -> Expression | None:
    """The tree of a condition given as alternatives, None for none or where it can't be read."""
    if not texts or fields is None:
        return None
    read = [expression.attempt(text, fields, known.steps, own_step, where) for where, text in texts]
    problems = [problem for _, found_problems in read for problem in found_problems]
    tree = read[0][0]
    if len(texts) > 1 and not problems:
        tree, together = expression.attempt(
            joined([text for _, text in texts]), fields, known.steps, own_step, texts[0][0]
        )
        problems = list(together)
    notes.problems += problems
    return None if problems else tree


# -- and back ---------------------------------------------------------------------------------------------------------


def dump_pattern(pattern: Pattern) -> dict[str, object]:
    """The canonical document: `read_pattern(dump_pattern(p), …) == p` for every pattern that was read.

    The version is no part of it; what has its default value is left away.
    """
    one_stream = pattern.streams[0] if len(pattern.streams) == 1 else ""
    skip: object = {pattern.skip.value: pattern.skip_to} if pattern.skip_to else pattern.skip.value
    alert = {"severity": pattern.alert.severity, "message": pattern.alert.message}
    return given(
        name=pattern.name,
        description=pattern.description,
        stream=one_stream,
        key=list(pattern.key),
        within=dumped_length(pattern.within_us),
        skip="" if pattern.skip is Skip.NO_SKIP else skip,
        emit="" if pattern.emit is Emit.EAGER else pattern.emit.value,
        timeouts=pattern.timeouts,
        steps=[dump_item(item, index == 0) for index, item in enumerate(pattern.steps)],
        measures={measure.name: measure.source for measure in pattern.measures},
        alert=given(**alert) if pattern.alert != AlertText() else "",
    )


def given(**values: object) -> dict[str, object]:
    """The keys whose values say something."""
    return {key: value for key, value in values.items() if value}


def dump_item(item: Step | Group, unreached: bool) -> dict[str, object]:
    """One step or group as a document writes it; unreached: one whose contiguity has no meaning."""
    if isinstance(item, Group):
        members = [dump_item(inner, item.any_of > 0 or index == 0) for index, inner in enumerate(item.steps)]
        own = given(**{item.word: members}, any_of=item.any_of if item.any_of != len(members) else 0)
    else:
        own = given(name=item.name, stream=item.stream, where=item.source or dumped_condition(item.where))
    return own | given(
        contiguity="" if unreached else item.contiguity.value,
        **dump_times(item.times),
        consecutive=item.inner is Inner.CONSECUTIVE,
        combinations=item.inner is Inner.COMBINATIONS,
        greedy=item.greedy,
        optional=item.optional,
        until=dumped_condition(item.until),
        gap=dumped_length(item.gap_us),
    )


def dump_times(times: Times) -> dict[str, object]:
    """The bounds of a loop; nothing for a single element."""
    if times.single:
        return {}
    if times == Times(1, None):
        return {"one_or_more": True}
    if times.at_most is None:
        return {"times": {"at_least": times.at_least}}
    if times.at_least == times.at_most:
        return {"times": times.at_least}
    return {"times": {"at_least": times.at_least, "at_most": times.at_most}}


def dumped_condition(tree: Expression | None) -> str:
    """A condition as text."""
    return expression.render(tree) if tree is not None else ""


def dumped_length(length_us: int) -> str:
    """A length of time as text, empty for none."""
    return duration_text(length_us) if length_us else ""
