"""Patterns: checked, registered as versions, made live, paused, ended; each change a record of the control log."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import yaml
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field

from api.deps import DOCUMENT, Author, Document, Reader, Repeatable, Used
from api.problems import ProblemOut, Refused, problem_out, refusals
from api.schemas import Instant, instant
from api.services import Services
from cep.automaton.plan import compile_pattern
from cep.control import Activate, Change, PatternVersion, Pause, Resume, Retire
from cep.language.check import warnings
from cep.language.document import dump_pattern, read_pattern
from cep.language.pattern import Pattern
from cep.language.render import render
from cep.registry import Known, State
from events.errors import InvalidDocument

router = APIRouter(tags=["patterns"], route_class=Repeatable)

LIVE_SECONDS = 1.0
"""So long an answer waits for all lanes to have applied a change."""

Name = Annotated[str, Path(max_length=255)]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
IfMatch = Annotated[str | None, Header(description="the ETag of the pattern that was looked at")]


class VersionOut(BaseModel):
    """A version as it was registered. control_offset: behind its record of the control log."""

    version: int
    author: str
    at: Instant
    control_offset: int


class PatternOut(BaseModel):
    """A pattern. live: its active version, null for none. lanes_live: have all lanes applied its last change?"""

    name: str
    description: str
    state: State
    live: int | None
    latest: int
    revision: int
    lanes_live: bool
    sentence: str
    document: dict[str, Any]
    versions: list[VersionOut]


class PatternList(BaseModel):
    """All patterns, by name."""

    items: list[PatternOut]


class WholeVersionOut(VersionOut):
    """A version and its document."""

    name: str
    document: dict[str, Any]
    text: str = Field(description="the document as YAML")


class Validated(BaseModel):
    """A pattern that may be registered, in words; and what may surprise."""

    name: str
    sentence: str
    streams: list[str]
    key: list[str]
    states: int
    warnings: list[ProblemOut]


class DiffOut(BaseModel):
    """Two versions, and how their texts differ (unified; empty where they don't)."""

    name: str
    from_version: int
    to_version: int
    diff: str


class ActivateIn(BaseModel):
    """What to make live: the newest version unless it is said. partials: of the version before."""

    version: int | None = Field(None, ge=1, le=2**31 - 1)
    partials: Literal["drain", "discard"] = "drain"


class RetireIn(BaseModel):
    """What becomes of the partials."""

    partials: Literal["drain", "discard"] = "drain"


@router.post("/patterns:validate", openapi_extra=DOCUMENT)
def validate(services: Used, _: Reader, document: Document) -> Validated:
    """Reports every problem of a pattern at once; registers nothing."""
    pattern = read_pattern(document, services.streams, "pattern")
    plan = compile_pattern(pattern)
    return Validated(
        name=pattern.name,
        sentence=render(pattern),
        streams=list(pattern.streams),
        key=list(pattern.key),
        states=len(plan.states),
        warnings=[problem_out(one) for one in warnings(pattern)],
    )


@router.post("/patterns", status_code=201, openapi_extra=DOCUMENT, responses=refusals(409))
def register(services: Used, actor: Author, document: Document, response: Response) -> PatternOut:
    """Registers a version of a pattern, which watches nothing yet. The newest version again changes nothing."""
    pattern = read_pattern(document, services.streams, "pattern")
    compile_pattern(pattern)
    dumped = dump_pattern(pattern)

    def decide(known: Mapping[str, Known]) -> list[Change]:
        before = known.get(pattern.name)
        if before and before.versions[before.latest].document == dumped:
            return []
        return [PatternVersion(pattern.name, before.latest + 1 if before else 1, dumped)]

    services.registry.change(actor.name, decide)
    response.headers["Location"] = f"/v1/patterns/{pattern.name}"
    return _one(services, pattern.name, response)


@router.get("/patterns")
def list_patterns(services: Used, _: Reader, state: State | None = None) -> PatternList:
    """All patterns with their state."""
    known = services.registry.patterns()
    return PatternList(
        items=[_out(services, name, one) for name, one in sorted(known.items()) if state in (None, one.state)]
    )


@router.get("/patterns/{name}")
def get_pattern(services: Used, _: Reader, name: Name, response: Response) -> PatternOut:
    """One pattern; its ETag is for If-Match."""
    return _one(services, name, response)


@router.get("/patterns/{name}/versions/{version}")
def get_version(services: Used, _: Reader, name: Name, version: Version) -> WholeVersionOut:
    """One version with its document."""
    found = _version(_known(services.registry.patterns(), name), name, version)
    return WholeVersionOut(
        name=name,
        version=version,
        author=found.author,
        at=instant(found.at_us),
        control_offset=found.control_offset,
        document=found.document,
        text=text_of(found.document),
    )


@router.get("/patterns/{name}/diff")
def diff(
    services: Used,
    _: Reader,
    name: Name,
    from_version: Annotated[int, Query(alias="from", ge=1, le=2**31 - 1)],
    to_version: Annotated[int, Query(alias="to", ge=1, le=2**31 - 1)],
) -> DiffOut:
    """How two versions differ."""
    known = _known(services.registry.patterns(), name)
    before, after = (
        text_of(_version(known, name, number).document).splitlines() for number in (from_version, to_version)
    )
    lines = difflib.unified_diff(before, after, f"version {from_version}", f"version {to_version}", lineterm="")
    return DiffOut(name=name, from_version=from_version, to_version=to_version, diff="\n".join(lines))


@router.post("/patterns/{name}/activate", responses=refusals(409, 412))
def activate(
    services: Used,
    actor: Author,
    name: Name,
    response: Response,
    wanted: ActivateIn | None = None,
    if_match: IfMatch = None,
) -> PatternOut:
    """Makes a version live on all lanes, at one batch boundary each; answers once they are, or after a second."""
    asked = wanted or ActivateIn(version=None)

    def decide(known: Known) -> list[Change]:
        version = asked.version or known.latest
        _version(known, name, version)
        read_pattern(known.versions[version].document, services.streams, f"{name} version {version}")
        if (known.live, known.paused) == (version, False):
            return []
        return [Activate(name, version, partials=asked.partials)]

    return _change(services, actor.name, name, if_match, decide, response)


@router.post("/patterns/{name}/rollback", responses=refusals(409, 412))
def rollback(services: Used, actor: Author, name: Name, response: Response, if_match: IfMatch = None) -> PatternOut:
    """Makes the version live that was live before."""

    def decide(known: Known) -> list[Change]:
        if not known.before:
            raise Refused(409, "nothing_before", f"{name} had no other live version", "activate one by its number")
        return [Activate(name, known.before)]

    return _change(services, actor.name, name, if_match, decide, response)


@router.post("/patterns/{name}/pause", responses=refusals(409, 412))
def pause(services: Used, actor: Author, name: Name, response: Response, if_match: IfMatch = None) -> PatternOut:
    """It starts nothing and its partials take nothing, until it is resumed."""
    return _change(services, actor.name, name, if_match, partial(_while_live, name, Pause(name), False), response)


@router.post("/patterns/{name}/resume", responses=refusals(409, 412))
def resume(services: Used, actor: Author, name: Name, response: Response, if_match: IfMatch = None) -> PatternOut:
    """Ends a pause."""
    return _change(services, actor.name, name, if_match, partial(_while_live, name, Resume(name), True), response)


@router.post("/patterns/{name}/retire", responses=refusals(409, 412))
def retire(
    services: Used,
    actor: Author,
    name: Name,
    response: Response,
    wanted: RetireIn | None = None,
    if_match: IfMatch = None,
) -> PatternOut:
    """It watches no more."""
    partials = (wanted or RetireIn()).partials
    return _change(
        services, actor.name, name, if_match, lambda known: [Retire(name, partials)] if known.live else [], response
    )


def text_of(document: Mapping[str, Any]) -> str:
    """A document as its author would write it."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)


def change_pattern(
    services: Services, author: str, name: str, if_match: str | None, decide: Callable[[Known], Sequence[Change]]
) -> None:
    """Writes what `decide` makes of the pattern, unless it isn't as it was when it was looked at. Waits until all lanes
    have applied it, for LIVE_SECONDS at most. Raises Refused (404, 412).
    """

    def checked(known: Mapping[str, Known]) -> Sequence[Change]:
        one = _known(known, name)
        if if_match not in (None, "*", etag(one)):
            hint = "look at it again, then decide anew"
            raise Refused(412, "changed_meanwhile", f"{name} is at {etag(one)}, not at {if_match} any more", hint)
        return decide(one)

    services.follower.wait_live(services.registry.change(author, checked), LIVE_SECONDS)


def etag(known: Known) -> str:
    """Of a pattern."""
    return f'"{known.revision}"'


def pattern_of(services: Services, name: str, known: Known) -> Pattern | None:
    """The live or newest version as a tree; None where its stream isn't declared (any more)."""
    try:
        return read_pattern(known.document, services.streams, name)
    except InvalidDocument:
        return None


def _change(
    services: Services,
    author: str,
    name: str,
    if_match: str | None,
    decide: Callable[[Known], Sequence[Change]],
    response: Response,
) -> PatternOut:
    change_pattern(services, author, name, if_match, decide)
    return _one(services, name, response)


def _while_live(name: str, change: Change, paused: bool, known: Known) -> list[Change]:
    if not known.live:
        raise Refused(409, "not_live", f"{name} isn't live", "activate a version of it first")
    return [change] if known.paused is paused else []


def _one(services: Services, name: str, response: Response) -> PatternOut:
    known = _known(services.registry.patterns(), name)
    response.headers["ETag"] = etag(known)
    return _out(services, name, known)


def _known(patterns: Mapping[str, Known], name: str) -> Known:
    if name not in patterns:
        near = difflib.get_close_matches(name, patterns, n=1)
        hint = f"did you mean {near[0]}?" if near else "GET /v1/patterns lists them"
        raise Refused(404, "no_such_pattern", f"there is no pattern {name!r}", hint)
    return patterns[name]


def _version(known: Known, name: str, version: int) -> Any:
    if version not in known.versions:
        raise Refused(404, "no_such_version", f"{name} has no version {version}", f"it has 1 to {known.latest}")
    return known.versions[version]


def _out(services: Services, name: str, known: Known) -> PatternOut:
    pattern = pattern_of(services, name, known)
    return PatternOut(
        name=name,
        description=str(known.document.get("description", "")),
        state=known.state,
        live=known.live or None,
        latest=known.latest,
        revision=known.revision,
        lanes_live=services.follower.live(known.revision),
        sentence=render(pattern) if pattern else "",
        document=known.document,
        versions=[
            VersionOut(version=number, author=one.author, at=instant(one.at_us), control_offset=one.control_offset)
            for number, one in sorted(known.versions.items())
        ],
    )
