"""Patterns in Python, in Flink's words.

    Pattern.begin("probe", key=["card_id"], skip="past_last_event").where("amount < 2").times_or_more(3).greedy() \\
           .followed_by("cashout").where("amount > 500 and amount > 50 * avg(probe.amount)").within("10m") \\
           .build(streams)

Every call answers a new builder, so a beginning can be shared. A builder only collects a document (`document()`), and
`build` reads that: there is one way in, with one set of checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cep.language import pattern as tree
from cep.language.document import attempt_pattern
from cep.language.steps import joined
from events.duration import duration_us
from events.errors import InvalidDocument, Problem
from events.schema import Stream

QUANTIFIERS = ("times", "one_or_more")


@dataclass(frozen=True, slots=True)
class PatternBuilder:
    """A pattern in the making; options go to the step or group begun last.

    settings: keys of the whole document
    steps:    the steps so far, as a document has them
    faults:   calls that no document can express, as a second quantifier on one step
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    steps: tuple[Mapping[str, object], ...] = ()
    faults: tuple[Problem, ...] = ()

    @classmethod
    def begin(
        cls,
        first: str | PatternBuilder,
        *,
        key: Sequence[str] = (),
        name: str = "",
        stream: str = "",
        skip: str | Mapping[str, str] = "",
        emit: str = "",
        timeouts: bool = False,
        description: str = "",
    ) -> PatternBuilder:
        """A pattern that begins with a step of this name, or with a group. The keywords are those of a document.

        name:   `pattern` if it is left away
        stream: not needed where `build` is given one stream only
        """
        settings = {
            "name": name, "description": description, "stream": stream, "key": list(key), "skip": skip, "emit": emit,
            "timeouts": timeouts,
        }  # fmt: skip
        return cls({word: value for word, value in settings.items() if value}).then("", first)

    @classmethod
    def permute(cls, *members: str | PatternBuilder, any_of: int = 0) -> PatternBuilder:
        """Steps in any order, all of them or any so many: what `begin`, `next` and their like take in place of a step.

            Pattern.begin("login", key=["user"]).followed_by(Pattern.permute("phone", Pattern.begin("email").times(2)))

        A member is a step or, with several steps, a group.

        any_of: how many of them come; 0 for all
        """
        builders = [cls(steps=({"name": member},)) if isinstance(member, str) else member for member in members]
        items = [member.as_item(len(member.steps) == 1) for member in builders]
        faults = [
            fault
            for number, member in enumerate(builders)
            for fault in member.faults_at(f"steps[0].permute[{number}]", len(member.steps) == 1)
        ]
        return cls(steps=({"permute": items, **({"any_of": any_of} if any_of else {})},), faults=tuple(faults))

    # -- the next step ------------------------------------------------------------------------------------------------

    def next(self, step: str | PatternBuilder) -> PatternBuilder:
        """The key's very next event."""
        return self.then("next", step)

    def followed_by(self, step: str | PatternBuilder) -> PatternBuilder:
        """The next event that matches; others are passed over."""
        return self.then("followed_by", step)

    def followed_by_any(self, step: str | PatternBuilder) -> PatternBuilder:
        """Every later event that matches, each as a match of its own."""
        return self.then("followed_by_any", step)

    def not_next(self, step: str) -> PatternBuilder:
        """The key's very next event must not match."""
        return self.then("not_next", step)

    def not_followed_by(self, step: str) -> PatternBuilder:
        """No event up to the next step, or to the end of the window, may match."""
        return self.then("not_followed_by", step)

    def then(self, contiguity: str, step: str | PatternBuilder) -> PatternBuilder:
        """One more step or group, reached in this way."""
        reached = {"contiguity": contiguity} if contiguity else {}
        if isinstance(step, str):
            return replace(self, steps=(*self.steps, {"name": step, **reached}))
        alone = len(step.steps) == 1 and "permute" in step.last
        longer = replace(self, steps=(*self.steps, {**step.as_item(alone), **reached}))
        return replace(longer, faults=(*longer.faults, *step.faults_at(longer.path, alone)))

    # -- its conditions -----------------------------------------------------------------------------------------------

    def where(self, condition: str) -> PatternBuilder:
        """A condition; together with those before by AND."""
        before = self.condition()
        return self.set("where", f"({before}) and ({condition})" if before else condition, "or")

    def or_(self, condition: str) -> PatternBuilder:
        """An alternative to everything that was said about the step before."""
        others = self.last.get("or", [])
        assert isinstance(others, list)
        return self.set("or", [*others, condition]) if "where" in self.last else self.set("where", condition)

    def until(self, condition: str) -> PatternBuilder:
        """What ends the loop."""
        return self.once("until", condition)

    def from_stream(self, stream: str) -> PatternBuilder:
        """The stream that the step reads, in a pattern over several."""
        return self.set("stream", stream)

    # -- its quantifiers ----------------------------------------------------------------------------------------------

    def times(self, at_least: int, at_most: int | None = None) -> PatternBuilder:
        """So many events; with two numbers from the first to the second (from 0: none at all is fine too)."""
        value = at_least if at_most is None else {"at_least": at_least, "at_most": at_most}
        return self.quantified("times", value)

    def times_or_more(self, at_least: int) -> PatternBuilder:
        """So many events or more."""
        if at_least < 1:  # a document reads 0 as "or none"; who writes "or more" did not mean that
            return self.quantified("times", at_least)
        return self.quantified("times", {"at_least": at_least})

    def one_or_more(self) -> PatternBuilder:
        """One event or more."""
        return self.quantified("one_or_more", True)

    def optional(self) -> PatternBuilder:
        """It may be left out."""
        return self.once("optional", True)

    def greedy(self) -> PatternBuilder:
        """The loop takes every event that it can; the step behind it never gets one of those."""
        return self.set("greedy", True)

    def consecutive(self) -> PatternBuilder:
        """No other event of the key between the loop's events."""
        return self.once("consecutive", True)

    def allow_combinations(self) -> PatternBuilder:
        """The loop may also leave out events that it could take."""
        return self.once("combinations", True)

    def gap(self, length: str) -> PatternBuilder:
        """The longest time since the event taken before, as `5s`; of a loop, between its own events."""
        return self.set("gap", length)

    # -- the whole ----------------------------------------------------------------------------------------------------

    def within(self, length: str) -> PatternBuilder:
        """The window of the whole match, as `10m`; of several the shortest counts."""
        before = self.settings.get("within")
        shorter = before if isinstance(before, str) and lasts(before) <= lasts(length) else length
        return replace(self, settings={**self.settings, "within": shorter})

    def measures(self, **expressions: str) -> PatternBuilder:
        """Named values of a match that its alert carries, as `total="sum(probe.amount)"`."""
        before = self.settings.get("measures", {})
        assert isinstance(before, Mapping)
        return replace(self, settings={**self.settings, "measures": {**before, **expressions}})

    def alert(self, *, severity: str = "medium", message: str = "") -> PatternBuilder:
        """What an alert of the pattern says."""
        said = {"severity": severity, "message": message}
        return replace(self, settings={**self.settings, "alert": {key: value for key, value in said.items() if value}})

    def document(self) -> dict[str, object]:
        """The pattern as a document. What `build` would refuse is in it as it was said."""
        return {"name": "pattern", **self.settings, "steps": [dict(step) for step in self.steps]}

    def build(self, streams: Mapping[str, Stream], subject: str = "") -> tree.Pattern:
        """The pattern's syntax tree.

        streams: those that a pattern can read, by name
        subject: what messages call it; its name if left away

        Raises InvalidDocument with every problem.
        """
        document = self.document()
        if "stream" not in document and len(streams) == 1:
            document["stream"] = next(iter(streams))
        name = subject or str(document["name"])
        pattern, problems = attempt_pattern(document, streams, name)
        if self.faults or problems:
            raise InvalidDocument(name, (*self.faults, *problems))
        return pattern

    # -- inside another -----------------------------------------------------------------------------------------------

    def as_item(self, alone: bool) -> dict[str, object]:
        """Its steps as an item of another builder: a group, or the only one for itself."""
        return dict(self.last) if alone else {"group": list(self.steps)}

    def faults_at(self, path: str, alone: bool) -> list[Problem]:
        """Its faults, once it is the item at that path; what is of a whole pattern has no meaning there."""
        own, there = ("steps[0]", path) if alone else ("steps", f"{path}.group")
        return [
            *(Problem(there + fault.where.removeprefix(own), fault.reason, fault.hint) for fault in self.faults),
            *(
                Problem(f"{path}.{word}", f"`{word}` is of the whole pattern, not of a group", "give it outside")
                for word in self.settings
            ),
        ]

    # -- the step begun last ------------------------------------------------------------------------------------------

    @property
    def last(self) -> Mapping[str, object]:
        """The step or group begun last."""
        return self.steps[-1]

    @property
    def path(self) -> str:
        """Where that stands in the document."""
        return f"steps[{len(self.steps) - 1}]"

    def condition(self) -> str:
        """What was said about it so far, as one text."""
        others = self.last.get("or", [])
        assert isinstance(others, list)
        return joined([str(self.last["where"]), *others]) if "where" in self.last else ""

    def set(self, option: str, value: object, *cleared: str) -> PatternBuilder:
        """The same with an option of the last step set and others cleared."""
        kept = {key: given for key, given in self.last.items() if key not in cleared}
        return replace(self, steps=(*self.steps[:-1], {**kept, option: value}))

    def once(self, option: str, value: object) -> PatternBuilder:
        """An option that may be given once."""
        return self.fault(option, f"`{option}` is given twice") if option in self.last else self.set(option, value)

    def quantified(self, option: str, value: object) -> PatternBuilder:
        """A quantifier; a step has one."""
        if any(quantifier in self.last for quantifier in QUANTIFIERS):
            return self.fault("times", "a step has one quantifier, and here is a second")
        return self.set(option, value)

    def fault(self, option: str, reason: str) -> PatternBuilder:
        """The same with one more call that can't be followed."""
        return replace(self, faults=(*self.faults, Problem(f"{self.path}.{option}", reason, "keep one")))


Pattern = PatternBuilder
"""The name that authors use: `Pattern.begin("probe")`."""


def lasts(length: str) -> float:
    """A length of time, to find the shortest; one that can't be read comes first, so that `build` reports it."""
    try:
        return duration_us(length)
    except ValueError:
        return -1
