"""Reading a document key by key: a value or a default, and a note of everything that was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cep.language.source import COLUMN
from cep.language.wording import closest
from events.duration import duration_us
from events.errors import Problem

APART = ("name", "where", "or", "until", "stream", "group", "permute")
"""Keys of a step that can be judged whatever its other options are."""


@dataclass(slots=True)
class Notes:
    """The problems so far, and where a default stands for what could not be read.

    unread:  paths of values; nothing at or under them can be judged
    unsure:  paths of steps and groups of which an option could not be read; their other options can't be judged
    """

    problems: list[Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)

    def add(self, where: str, reason: str, hint: str = "") -> None:
        """One more problem."""
        self.problems.append(Problem(where, reason, hint))

    def doubts(self, where: str) -> bool:
        """Would a problem there be judged on a default?"""
        path = COLUMN.sub("", where)
        item, _, key = path.rpartition(".")
        option_of_unsure = path in self.unsure or (item in self.unsure and key not in APART)
        return option_of_unsure or any(not top or f"{path}.".startswith((f"{top}.", f"{top}[")) for top in self.unread)


def found(value: object) -> str:
    """A value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str):
        return f"`{value}`" if len(value) <= 40 else f"`{value[:39]}…`"
    return "a list" if isinstance(value, Sequence) else str(value)[:40]


@dataclass(frozen=True, slots=True)
class Section:
    """One mapping of the document. Each method answers the value of a key, or a default with a note.

    is_item: is it a step or group, whose options can only be judged together?
    """

    values: Mapping[object, object]
    path: str
    notes: Notes
    is_item: bool = False

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, reason: str, hint: str = "") -> None:
        """A value can't be used. What depends on it is not judged."""
        self.notes.add(self.at(key), reason, hint)
        self.notes.unread.add(self.at(key))
        if self.is_item and key not in APART:
            self.notes.unsure.add(self.path)

    def only(self, known: Sequence[str], hints: Mapping[str, str]) -> bool:
        """Are there no keys but these? Notes every other."""
        others = [str(key) for key in self.values if key not in known]
        for key in others:
            self.wrong(key, f"there is no `{key}` here", hints.get(key) or closest(key, known))
        return not others

    def text(self, key: str, default: str = "") -> str:
        """A text that is not empty."""
        if key not in self.values:
            return default
        value = self.values[key]
        if isinstance(value, str) and value.strip():
            return value.rstrip()
        hint = "leave the key away" if value is None or isinstance(value, str) else "put it in quotes"
        shown = "an empty one" if isinstance(value, str) else found(value)
        self.wrong(key, f"must be a text, found {shown}", hint)
        return default

    def flag(self, key: str) -> bool:
        """True or false; false when it isn't there."""
        value = self.values.get(key, False)
        if isinstance(value, bool):
            return value
        self.wrong(key, f"must be true or false, found {found(value)}")
        return False

    def one_of(self, key: str, options: Sequence[str], default: str) -> str:
        """One of these words."""
        if key not in self.values:
            return default
        value = self.values[key]
        if isinstance(value, str) and value in options:
            return value
        hint = closest(value, options) if isinstance(value, str) else f"known: {', '.join(options)}"
        self.wrong(key, f"must be one of {len(options)} words, found {found(value)}", hint)
        return default

    def length_us(self, key: str, unread: int = 0) -> int:
        """A length of time above 0; 0 when it isn't there, `unread` when it can't be read."""
        if key not in self.values:
            return 0
        try:
            length = duration_us(self.values[key])
        except ValueError as error:
            self.wrong(key, str(error))
            return unread
        if length:
            return length
        self.wrong(key, "must be longer than nothing", "leave the key away for no limit")
        return unread

    def texts(self, key: str, what: str) -> list[str]:
        """A list of texts; a single text is a list of one."""
        value = self.values.get(key)
        entries = [value] if isinstance(value, str) else value
        if isinstance(entries, Sequence) and entries and all(isinstance(entry, str) and entry for entry in entries):
            return [str(entry).rstrip() for entry in entries]
        self.wrong(key, f"must be a list of {what}, found {'an empty one' if value in ([], '') else found(value)}")
        return []
