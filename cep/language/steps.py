"""The steps of a document, as options of the syntax tree; their conditions stay text until every step is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cep.language.limits import DEPTH_MAX
from cep.language.pattern import Contiguity, Group, Inner, Step, Times
from cep.language.section import Section, found
from cep.language.wording import closest

LOOP_KEYS = ("contiguity", "times", "one_or_more", "greedy", "optional", "consecutive", "combinations", "until", "gap")
STEP_KEYS = ("name", "where", "or", "stream", *LOOP_KEYS, "allow_combinations")
GROUP_KEYS = ("group", *LOOP_KEYS, "allow_combinations")
PERMUTE_KEYS = ("permute", "any_of", *LOOP_KEYS, "allow_combinations")
STEP_HINTS = {
    "within": "`within` is of the whole pattern; the longest time since the event before is `gap`",
    "steps": "steps inside a step are a `group`, in any order a `permute`",
    "any_of": "`any_of` is how many of the steps of a `permute` come: {permute: [steps], any_of: 2}",
}
GROUP_HINTS = {
    "where": "a group has no condition of its own: put it on its steps",
    "or": "a group has no condition of its own: put it on its steps",
    "name": "a group has no name: its steps have",
    "stream": "a group has no stream: its steps have",
    "steps": "the steps are the value of `group`",
    "permute": "steps come in their order, a `group`, or in any order, a `permute`: keep one",
    **{word: STEP_HINTS[word] for word in ("within", "any_of")},
}
PERMUTE_HINTS = {
    **{word: hint.replace("a group", "a permute") for word, hint in GROUP_HINTS.items()},
    "steps": "the steps are the value of `permute`",
    "group": GROUP_HINTS["permute"],
}
UNREACHED = {
    "first": ("the first step has none before it, so its contiguity has no meaning", "leave it away"),
    "permuted": (
        "what comes before it is open in a permute, so its contiguity has no meaning",
        "say at the permute how its steps follow one another: `consecutive` or `combinations`",
    ),
}
"""Why a contiguity says nothing, and what to do."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The conditions of an item as text: the alternatives of `where` with their paths, and `until`."""

    where: tuple[tuple[str, str], ...] = ()
    until: str = ""


Drafts = dict[str, Draft]
"""By the item's path."""


def read_items(section: Section, key: str, stream: str, drafts: Drafts, depth: int) -> tuple[Step | Group, ...]:
    """The steps of a pattern or group, their conditions still text."""
    value = section.values.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        reason = f"must be a list of steps, found {found(value)}" if value else "there must be at least one step"
        section.wrong(key, reason, f"{key}: [{{name: first, where: ...}}]")
        return ()
    read: list[Step | Group] = []
    for index, entry in enumerate(value):
        path = f"{section.at(key)}[{index}]"
        if not isinstance(entry, Mapping):
            section.notes.add(path, f"a step is a mapping, found {found(entry)}", "{name: probe, where: ...}")
            section.notes.unread.add(path)
            read.append(Step(f"step {path}", stream=stream))
            continue
        inner = Section(entry, path, section.notes, is_item=True)
        unreached = "permuted" if key == "permute" else "" if index else "first"
        if "group" in entry or "permute" in entry:
            read.append(read_group(inner, stream, drafts, depth, unreached))
        else:
            read.append(read_step(inner, stream, drafts, unreached))
    return tuple(read)


def read_step(section: Section, stream: str, drafts: Drafts, unreached: str) -> Step:
    """One step, without its conditions."""
    section.only(STEP_KEYS, STEP_HINTS)
    options = read_options(section, unreached)
    where = alternatives(section)
    drafts[section.path] = Draft(where, section.text("until"))
    return Step(
        name=name_of(section) or f"step {section.path}",
        stream=section.text("stream", stream),
        source=joined([text for _, text in where]),
        contiguity=options.contiguity,
        times=options.times,
        inner=options.inner,
        greedy=options.greedy,
        optional=options.optional,
        gap_us=options.gap_us,
    )


def read_group(section: Section, stream: str, drafts: Drafts, depth: int, unreached: str) -> Group:
    """Steps that share a quantifier, in their order or in any, without their conditions."""
    word = "group" if "group" in section.values else "permute"
    section.only(*((GROUP_KEYS, GROUP_HINTS) if word == "group" else (PERMUTE_KEYS, PERMUTE_HINTS)))
    options = read_options(section, unreached)
    drafts[section.path] = Draft(until=section.text("until"))
    steps: tuple[Step | Group, ...] = ()
    if depth == DEPTH_MAX:
        section.wrong(word, f"groups stand at most {DEPTH_MAX} deep")
    else:
        steps = read_items(section, word, stream, drafts, depth + 1)
    return replace(options, steps=steps, any_of=read_any_of(section, len(steps)) if word == "permute" else 0)


def read_any_of(section: Section, members: int) -> int:
    """How many members of a `permute` come; all of them if it isn't said."""
    value = section.values.get("any_of", max(members, 1))
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    reason = f"must be how many of the steps come, at least 1, found {found(value)}"
    section.wrong("any_of", reason, "leave it away for all of them")
    return max(members, 1)


def read_options(section: Section, unreached: str) -> Group:
    """What steps and groups have in common, as a group without steps."""
    times, optional = read_times(section)
    return Group(
        steps=(),
        contiguity=read_contiguity(section, unreached),
        times=times,
        inner=read_inner(section),
        greedy=section.flag("greedy"),
        optional=section.flag("optional") or optional,
        gap_us=section.length_us("gap"),
    )


def read_contiguity(section: Section, unreached: str) -> Contiguity:
    """How the item is reached; one that is unreached (see UNREACHED) has no say in it."""
    contiguity = Contiguity(section.one_of("contiguity", list(Contiguity), Contiguity.FOLLOWED_BY))
    if unreached and "contiguity" in section.values and not contiguity.negated:
        section.notes.add(section.at("contiguity"), *UNREACHED[unreached])
    return contiguity


def read_inner(section: Section) -> Inner:
    """How the elements of a loop follow one another."""
    combinations = [section.flag("combinations"), section.flag("allow_combinations")]
    consecutive = section.flag("consecutive")
    if consecutive and any(combinations):
        section.wrong("consecutive", "a loop can't be both consecutive and try combinations", "keep one of the two")
    if all(combinations):
        section.wrong("allow_combinations", "is the same as `combinations`", "keep one of the two")
    if consecutive:
        return Inner.CONSECUTIVE
    return Inner.COMBINATIONS if any(combinations) else Inner.RELAXED


def read_times(section: Section) -> tuple[Times, bool]:
    """The bounds of a loop, and whether it may be left out (`at_least: 0`)."""
    if section.flag("one_or_more"):
        if "times" in section.values:
            section.wrong("one_or_more", "a step has `one_or_more` or `times`, not both", "keep one of the two")
        return Times(1, None), False
    if "times" not in section.values:
        return Times(), False
    value = section.values["times"]
    if isinstance(value, int) and not isinstance(value, bool):
        return Times(value, value), False
    if not isinstance(value, Mapping):
        section.wrong("times", f"must be a number or bounds, found {found(value)}", "3, or {at_least: 2, at_most: 4}")
        return Times(), False
    return read_bounds(section, value)


def read_bounds(section: Section, bounds: Mapping[object, object]) -> tuple[Times, bool]:
    """The bounds of a loop written out."""
    known = ("exactly", "at_least", "at_most")
    for key, value in bounds.items():
        if key not in known:
            section.wrong(f"times.{key}", f"there is no `{key}` here", closest(str(key), known))
        elif not isinstance(value, int) or isinstance(value, bool):
            section.wrong(f"times.{key}", f"must be a whole number, found {found(value)}")
    whole_numbers = {str(key): value for key, value in bounds.items() if isinstance(value, int) and key in known}
    if "exactly" in whole_numbers:
        if len(whole_numbers) > 1:
            section.wrong("times", "`exactly` stands alone", "or write {at_least: n, at_most: m}")
        return Times(whole_numbers["exactly"], whole_numbers["exactly"]), False
    if not whole_numbers and not bounds:
        section.wrong("times", "the bounds are missing", "{at_least: n, at_most: m} or {exactly: n}")
    at_least, at_most = whole_numbers.get("at_least", 1), whole_numbers.get("at_most")
    if at_least == 0 and (at_most is None or at_most > 0):
        return Times(1, at_most), True
    return Times(at_least, at_most), False


def alternatives(section: Section) -> tuple[tuple[str, str], ...]:
    """The texts of `where` and `or`, each with its path."""
    where = section.text("where")
    if "or" not in section.values:
        return ((section.at("where"), where),) if where else ()
    others = section.texts("or", "conditions")
    if others and "where" not in section.values:
        section.wrong("or", "`or` adds to a `where`, and there is none", "write the first condition as `where`")
    first = [(section.at("where"), where)] if where else []
    return (*first, *((f"{section.at('or')}[{index}]", text) for index, text in enumerate(others)))


def joined(texts: Sequence[str]) -> str:
    """Alternatives as one condition."""
    return texts[0] if len(texts) == 1 else " or ".join(f"({text})" for text in texts)


def name_of(section: Section) -> str:
    """The name of a pattern or step."""
    if "name" not in section.values:
        section.wrong("name", "a name is missing")
    return section.text("name")
