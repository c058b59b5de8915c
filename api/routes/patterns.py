"""Patterns: registered, compared, and made live without a restart.

A version is a draft until it is activated; lanes apply the change between two batches. `control_offset` says where the
change stands in the control log; it is live in a lane as soon as its journal has passed that.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import yaml
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from api.deps import Author, Reader, ServicesNow
from api.forms import Cursor, Limit, bad_cursor, check_match, etag, instant, media_type, raw_body, raw_content
from api.lanes import Lanes
from api.problems import Detail, Refusal, declared, details_of, not_found
from api.services import Services
from api.writes import WRITES, WriteRoute
from cep.automaton.plan import compile_pattern
from cep.control import Activate, Change, PatternVersion, Pause, Resume, Retire
from cep.language.check import warnings as advise
from cep.language.document import attempt_pattern, dump_pattern
from cep.language.pattern import Pattern
from cep.language.render import render
from cep.registry import Known, Overtaken, State
from events.errors import InvalidDocument

VERSION_MAX = 2**31 - 1

Name = Annotated[str, Path(min_length=1, max_length=255, description="of the pattern")]
VersionNumber = Annotated[int, Path(ge=1, le=VERSION_MAX)]
IfMatch = Annotated[str | None, Header(max_length=1000, description="the ETag of what was read; else 412")]

KINDS: dict[str, dict[str, str]] = {
    "application/yaml": {"type": "string", "description": "the pattern, see docs/language.md"},
    "application/json": {"type": "object", "description": "the pattern, see docs/language.md"},
    "application/sql": {"type": "string", "description": "a MATCH_RECOGNIZE statement, see docs/sql.md"},
}
CONTENT = raw_content(**KINDS)
ANYTHING = raw_content(**{kind: {"description": "whatever is to be judged"} for kind in KINDS})

reads = APIRouter(prefix="/v1/patterns", tags=["patterns"])
writes = APIRouter(prefix="/v1/patterns", tags=["patterns"], route_class=WriteRoute, dependencies=WRITES)


class InLane(BaseModel):
    """Has a lane applied the newest change of this pattern?"""

    lane: int
    control_offset: int
    applied: bool


class VersionLine(BaseModel):
    """A version, without its document."""

    version: int
    author: str
    registered_at: datetime


class PatternLine(BaseModel):
    """A pattern in the list."""

    name: str
    state: State
    live_version: int | None = Field(description="the version that watches, also while it is paused")
    latest_version: int
    description: str
    control_offset: int = Field(description="of its newest change")
    applied: bool = Field(description="have all lanes passed that offset?")
    changed_at: datetime


class PatternWhole(PatternLine):
    """A pattern with its versions; document and sentence are those of the live version, or else of the latest."""

    document: dict[str, Any]
    yaml: str
    sentence: str
    lanes: list[InLane]
    versions: list[VersionLine]


class PatternPage(BaseModel):
    """Patterns by name."""

    items: list[PatternLine]
    next_cursor: str | None


class VersionWhole(VersionLine):
    """A version."""

    name: str
    document: dict[str, Any]
    yaml: str


class Registered(BaseModel):
    """A version exists; it watches nothing until it is activated."""

    name: str
    version: int
    created: bool = Field(description="false: the latest version has the same document")
    control_offset: int
    sentence: str
    advice: list[Detail]


class Judged(BaseModel):
    """What is wrong with a document, all of it, and what is allowed but may surprise."""

    valid: bool
    problems: list[Detail]
    advice: list[Detail]
    name: str | None
    sentence: str | None


class Changed(BaseModel):
    """A change is in the control log. It is live where `GET /v1/patterns/{name}` says `applied`."""

    name: str
    state: State
    live_version: int | None
    control_offset: int
    applied: bool


class Activation(BaseModel):
    """Which version, and what becomes of the partials of the one before."""

    version: int | None = Field(default=None, ge=1, le=VERSION_MAX, description="default: the latest")
    partials: Literal["drain", "discard"] = "drain"

    model_config = {"extra": "forbid"}


class Ending(BaseModel):
    """What becomes of the partials."""

    partials: Literal["drain", "discard"] = "drain"

    model_config = {"extra": "forbid"}


# --- Reading ----------------------------------------------------------------------------------------------------------


@reads.get("", responses=declared(422))
def list_patterns(
    services: ServicesNow, actor: Reader, limit: Limit = 100, cursor: Cursor = None, state: State | None = None
) -> PatternPage:
    """All patterns by name."""
    if cursor is not None and not cursor.startswith("after:"):
        raise bad_cursor(cursor)
    start = (cursor or "after:").removeprefix("after:")
    lanes = services.lanes
    known = sorted(services.registry.patterns().items())
    found = [(name, one) for name, one in known if name > start and state in (None, one.state)]
    items = [PatternLine(**_line(name, one, lanes)) for name, one in found[:limit]]
    return PatternPage(items=items, next_cursor=f"after:{items[-1].name}" if len(found) > limit else None)


@reads.get("/{name}", responses=declared(404, 422))
def read_pattern(name: Name, services: ServicesNow, actor: Reader, response: Response) -> PatternWhole:
    """One pattern, its versions, and whether its newest change is live in every lane. Its ETag is for `If-Match`."""
    known, lanes = _known(services, name), services.lanes
    response.headers["ETag"] = etag(known.control_offset)
    document = known.versions[known.live or known.latest].document
    return PatternWhole(
        **_line(name, known, lanes),
        document=document,
        yaml=_yaml(document),
        sentence=_sentence(document, services),
        lanes=[
            InLane(lane=one.lane, control_offset=one.control_offset, applied=one.control_offset >= known.control_offset)
            for one in lanes.statuses()
        ],
        versions=[
            VersionLine(version=number, author=version.author, registered_at=instant(version.at_us))
            for number, version in sorted(known.versions.items())
        ],
    )


@reads.get("/{name}/versions/{version}", responses=declared(404, 422))
def read_version(name: Name, version: VersionNumber, services: ServicesNow, actor: Reader) -> VersionWhole:
    """One version of a pattern. It never changes."""
    found = _version(_known(services, name), name, version)
    return VersionWhole(
        name=name,
        version=version,
        author=found.author,
        registered_at=instant(found.at_us),
        document=found.document,
        yaml=_yaml(found.document),
    )


@reads.get(
    "/{name}/diff",
    response_class=PlainTextResponse,
    responses={**declared(404, 422), 200: {"description": "unified diff of the YAML; empty if they are the same"}},
)
def diff_versions(
    name: Name,
    services: ServicesNow,
    actor: Reader,
    old: Annotated[int, Query(alias="from", ge=1, le=VERSION_MAX)],
    new: Annotated[int, Query(alias="to", ge=1, le=VERSION_MAX)],
) -> str:
    """What changed between two versions."""
    known = _known(services, name)
    before, after = (_yaml(_version(known, name, number).document).splitlines(keepends=True) for number in (old, new))
    return "".join(difflib.unified_diff(before, after, f"{name} version {old}", f"{name} version {new}"))


# --- Writing ----------------------------------------------------------------------------------------------------------


@reads.post(":validate", responses=declared(400, 413, 415), openapi_extra=ANYTHING)
def validate_pattern(
    request: Request, services: ServicesNow, actor: Reader, body: Annotated[bytes, Depends(raw_body)]
) -> Judged:
    """Every problem of a document at once, each with its place. Registers nothing."""
    pattern, problems = _attempted(request, services, body)
    if pattern is None:
        return Judged(valid=False, problems=problems, advice=[], name=None, sentence=None)
    advice = details_of(advise(pattern))
    return Judged(valid=True, problems=[], advice=advice, name=pattern.name, sentence=render(pattern))


@writes.post(
    "",
    status_code=201,
    response_model=Registered,
    responses={**declared(400, 409, 412, 413, 415, 422), 200: {"model": Registered, "description": "known already"}},
    openapi_extra=CONTENT,
)
def register_pattern(
    request: Request,
    response: Response,
    services: ServicesNow,
    actor: Author,
    body: Annotated[bytes, Depends(raw_body)],
    if_match: IfMatch = None,
) -> Registered:
    """Registers a version: a draft that watches nothing yet. A document that the latest version has already is that
    version."""
    pattern, problems = _attempted(request, services, body)
    if pattern is None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        raise Refusal(422, "invalid_document", f"the pattern has {count}", problems=problems)
    document, name = dump_pattern(pattern), pattern.name
    written: list[Change] = []

    def decide(patterns: Mapping[str, Known]) -> Sequence[Change]:
        known = patterns.get(name)
        if if_match is not None:
            check_match(if_match, known.control_offset if known else 0)
        if known is None or known.versions[known.latest].document != document:
            written.append(PatternVersion(name, known.latest + 1 if known else 1, document))
        return written

    known, offset = _change(services, actor.name, name, decide)
    response.status_code = 201 if written else 200
    response.headers["Location"] = f"/v1/patterns/{name}/versions/{known.latest}"
    response.headers["ETag"] = etag(known.control_offset)
    return Registered(
        name=name,
        version=known.latest,
        created=bool(written),
        control_offset=offset,
        sentence=render(pattern),
        advice=details_of(advise(pattern)),
    )


CHANGES = declared(400, 404, 409, 412, 413, 415, 422)


@writes.post("/{name}/activate", status_code=202, responses=CHANGES)
def activate_pattern(
    name: Name,
    services: ServicesNow,
    actor: Author,
    response: Response,
    asked: Activation | None = None,
    if_match: IfMatch = None,
) -> Changed:
    """A version goes live, in every lane at a batch boundary, without a restart."""
    asked = asked or Activation()

    def decide(patterns: Mapping[str, Known]) -> Sequence[Change]:
        known = _matched(patterns, name, if_match)
        number = asked.version or known.latest
        _version(known, name, number)
        _check_room(services, patterns, known)
        return [Activate(name, number, partials=asked.partials)]

    return _changed(services, actor.name, name, decide, response)


@writes.post("/{name}/rollback", status_code=202, responses=CHANGES)
def roll_back_pattern(
    name: Name,
    services: ServicesNow,
    actor: Author,
    response: Response,
    asked: Activation | None = None,
    if_match: IfMatch = None,
) -> Changed:
    """The version that was live before goes live again, or `version`."""
    asked = asked or Activation()

    def decide(patterns: Mapping[str, Known]) -> Sequence[Change]:
        known = _matched(patterns, name, if_match)
        before = [number for number in known.was_live if number != known.live]
        number = asked.version or (before[-1] if before else 0)
        if number == 0:
            raise Refusal(409, "nothing_before", f"no other version of {name} was ever live", "activate one by number")
        _version(known, name, number)
        _check_room(services, patterns, known)
        return [Activate(name, number, partials=asked.partials)]

    return _changed(services, actor.name, name, decide, response)


@writes.post("/{name}/pause", status_code=202, responses=CHANGES)
def pause_pattern(
    name: Name, services: ServicesNow, actor: Author, response: Response, if_match: IfMatch = None
) -> Changed:
    """It starts nothing and its partials take nothing, until it is resumed."""
    return _changed(services, actor.name, name, _if_live(name, if_match, Pause(name)), response)


@writes.post("/{name}/resume", status_code=202, responses=CHANGES)
def resume_pattern(
    name: Name, services: ServicesNow, actor: Author, response: Response, if_match: IfMatch = None
) -> Changed:
    """Ends a pause."""
    return _changed(services, actor.name, name, _if_live(name, if_match, Resume(name)), response)


@writes.post("/{name}/retire", status_code=202, responses=CHANGES)
def retire_pattern(
    name: Name,
    services: ServicesNow,
    actor: Author,
    response: Response,
    asked: Ending | None = None,
    if_match: IfMatch = None,
) -> Changed:
    """It watches no more. Its versions stay and can be activated again."""
    change = Retire(name, (asked or Ending()).partials)
    return _changed(services, actor.name, name, _if_live(name, if_match, change), response)


# --- Inside -----------------------------------------------------------------------------------------------------------

Decide = Callable[[Mapping[str, Known]], Sequence[Change]]


def _attempted(request: Request, services: Services, body: bytes) -> tuple[Pattern | None, list[Detail]]:
    """The pattern, or everything that is wrong with it. Raises Refusal for a body that isn't what it says."""
    kind = media_type(request, tuple(KINDS))
    try:
        text = body.decode()
        document: Any = json.loads(text, parse_constant=_no_constant) if kind == "application/json" else text
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "malformed_body", f"the body isn't {kind}: {error}") from error
    pattern, problems = attempt_pattern(document, services.streams, "body")
    if not problems:
        try:
            compile_pattern(pattern)
        except InvalidDocument as error:
            problems = list(error.problems)
    return (None, details_of(problems)) if problems else (pattern, [])


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _known(services: Services, name: str) -> Known:
    return _of(services.registry.patterns(), name)


def _of(patterns: Mapping[str, Known], name: str) -> Known:
    known = patterns.get(name)
    if known is None:
        close = difflib.get_close_matches(name[:255], list(patterns), n=1)
        raise not_found("pattern", name, f"did you mean {close[0]}?" if close else "GET /v1/patterns lists them")
    return known


def _matched(patterns: Mapping[str, Known], name: str, if_match: str | None) -> Known:
    known = _of(patterns, name)
    check_match(if_match, known.control_offset)
    return known


def _version(known: Known, name: str, number: int) -> Any:
    found = known.versions.get(number)
    if found is None:
        raise not_found("version", f"{name} version {number}", f"its versions are 1 to {known.latest}")
    return found


def _if_live(name: str, if_match: str | None, change: Change) -> Decide:
    def decide(patterns: Mapping[str, Known]) -> Sequence[Change]:
        known = _matched(patterns, name, if_match)
        if not known.live:
            raise Refusal(409, "not_live", f"{name} is {known.state}", "activate it first")
        return [change]

    return decide


def _check_room(services: Services, patterns: Mapping[str, Known], known: Known) -> None:
    """A lane that is given more plans than it holds stops: so it isn't."""
    live, most = sum(1 for one in patterns.values() if one.live), services.settings.limits.patterns_max
    if not known.live and live >= most:
        hint = "retire one, or raise limits.patterns_max of servers and workers"
        raise Refusal(409, "too_many_patterns", f"{live} patterns are live, which is the limit", hint)


def _change(services: Services, author: str, name: str, decide: Decide) -> tuple[Known, int]:
    try:
        offset, patterns = services.registry.change(decide, author=author, at_us=services.clock.wall_us())
    except Overtaken as error:
        raise Refusal(409, "overtaken", error.message, error.hint) from error
    return patterns[name], offset


def _changed(services: Services, author: str, name: str, decide: Decide, response: Response) -> Changed:
    known, offset = _change(services, author, name, decide)
    response.headers["ETag"] = etag(known.control_offset)
    return Changed(
        name=name,
        state=known.state,
        live_version=known.live or None,
        control_offset=offset,
        applied=services.lanes.passed(offset),
    )


def _line(name: str, known: Known, lanes: Lanes) -> dict[str, Any]:
    return {
        "name": name,
        "state": known.state,
        "live_version": known.live or None,
        "latest_version": known.latest,
        "description": str(known.versions[known.live or known.latest].document.get("description", "")),
        "control_offset": known.control_offset,
        "applied": lanes.passed(known.control_offset),
        "changed_at": instant(known.changed_at_us),
    }


def _sentence(document: dict[str, Any], services: Services) -> str:
    """What it looks for; empty where the declared streams have changed so that it can't be read any more."""
    pattern, problems = attempt_pattern(document, services.streams, "pattern")
    return "" if problems else render(pattern)


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
