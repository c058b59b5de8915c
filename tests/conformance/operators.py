"""Which operators a case needs, and which of them belong to the first subset."""

from __future__ import annotations

from tests.conformance.cases import Json

FIRST = frozenset(
    {
        "begin", "next", "followed_by", "followed_by_any", "not_next", "not_followed_by",
        "times n", "times n..m", "n or more", "one_or_more", "greedy", "optional",
        "within", "skip no_skip", "skip past_last",
    }
)  # fmt: skip


def operators(document: Json) -> set[str]:
    """All operators of a pattern document."""
    found = {"skip " + document.get("skip", {}).get("to", "no_skip")}
    if "within_ms" in document:
        found.add("within")
    return found.union(*map(stage_operators, document["stages"]))


def stage_operators(stage: Json) -> set[str]:
    """Those of a step, or of a group and all in it."""
    found = {stage["contiguity"]}
    found |= {option for option in ("greedy", "optional") if stage.get(option)}
    found |= {option for option in ("until", "or", "group") if option in stage}
    if "times" in stage:
        found.add(times_name(*stage["times"]))
    if "combinations" in stage:
        found.add("consecutive" if stage["combinations"] == "consecutive" else "combinations")
    if "gap_ms" in stage:
        found.add("gap")
    return found.union(*map(stage_operators, stage.get("group", ())))


def times_name(least: int, most: int | None) -> str:
    """What the quantifier is called."""
    if most is None:
        return "one_or_more" if least == 1 else "n or more"
    return "times n" if least == most else "times n..m"
