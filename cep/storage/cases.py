"""Case work: what people do with alerts. Truth, not a projection: it is in no log.

    act(connection, action) ──▶ case_actions (+1 row) · case_state (the case after it) · case_snoozes

`after` is the whole of the rules, and pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, delete, select, update

from cep.storage.queries import insert_or_leave
from cep.storage.rows import AT_US_MAX, AT_US_MIN
from cep.storage.tables import NAME_CHARS, alerts, case_actions, case_snoozes, case_state
from events.errors import InvalidDocument, Problem

Kind = Literal["claim", "release", "resolve", "escalate", "snooze", "note"]
Status = Literal["open", "claimed", "escalated", "resolved"]
Outcome = Literal["fraud", "legitimate", "unclear"]


@dataclass(frozen=True, slots=True)
class Action:
    """What someone did. outcome: of `resolve`. until_us: of `snooze`; an instant that is past ends a snooze."""

    alert_id: str
    action: Kind
    actor: str
    at_us: int
    note: str = ""
    outcome: Outcome | None = None
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Where a case stands. `revision` counts its actions."""

    status: Status = "open"
    assignee: str | None = None
    outcome: Outcome | None = None
    revision: int = 0


class Done(NamedTuple):
    """A line of the audit."""

    action: str
    actor: str
    at_us: int
    note: str
    detail: dict[str, Any]


def after(case: Case, action: Action) -> Case:
    """The case after an action. Raises InvalidDocument for an action that lacks something, or has too much.

    >>> after(Case(), Action("a", "claim", "ana", 0)).assignee
    'ana'
    """
    _check(action)
    case = replace(case, revision=case.revision + 1)
    if action.action == "claim":
        return replace(case, status="claimed", assignee=action.actor, outcome=None)
    if action.action == "release":
        return replace(case, status="open", assignee=None, outcome=None)
    if action.action == "resolve":
        return replace(case, status="resolved", outcome=action.outcome)
    if action.action == "escalate":
        return replace(case, status="escalated", outcome=None)
    return case


def act(connection: Connection, action: Action, *, revision: int | None = None) -> Case | None:
    """Records the action and answers the case after it; the transaction is the caller's.

    None if there is no such alert, or if the case isn't at `revision` any more. Raises as `after`.
    """
    _check(action)
    alert = connection.execute(
        select(alerts.c.pattern, alerts.c.key_text).where(alerts.c.alert_id == action.alert_id)
    ).first()
    if alert is None:
        return None
    case = _taken_up(connection, action)
    if revision is not None and case.revision != revision:
        return None
    changed = after(case, action)
    values = {"status": changed.status, "assignee": changed.assignee, "outcome": changed.outcome}
    query = update(case_state).where(case_state.c.alert_id == action.alert_id)
    connection.execute(query.values(**values, revision=changed.revision, changed_at=action.at_us))
    _note(connection, action)
    if action.until_us is not None:
        _snooze(connection, action, alert.pattern, alert.key_text)
    return changed


def read_actions(connection: Connection, alert_id: str) -> list[Done]:
    """The audit of a case, in order."""
    query = select(case_actions).where(case_actions.c.alert_id == alert_id).order_by(case_actions.c.action_id)
    return [
        Done(row["action"], row["actor"], row["at"], row["note"], msgspec.json.decode(row["detail"]))
        for row in connection.execute(query).mappings()
    ]


def _taken_up(connection: Connection, action: Action) -> Case:
    """The case as it stands, and nobody else's until the transaction ends."""
    first = {"alert_id": action.alert_id, "status": "open", "revision": 0, "changed_at": action.at_us}
    connection.execute(insert_or_leave(connection, case_state), [first])
    columns = (case_state.c.status, case_state.c.assignee, case_state.c.outcome, case_state.c.revision)
    query = select(*columns).where(case_state.c.alert_id == action.alert_id).with_for_update()
    return Case(*connection.execute(query).one())


def _note(connection: Connection, action: Action) -> None:
    known = {"outcome": action.outcome, "until_us": action.until_us}
    detail = {name: value for name, value in known.items() if value is not None}
    row = {
        "alert_id": action.alert_id,
        "action": action.action,
        "actor": action.actor,
        "at": action.at_us,
        "note": action.note,
        "detail": msgspec.json.encode(detail).decode(),
    }
    connection.execute(case_actions.insert(), [row])


def _snooze(connection: Connection, action: Action, pattern: str, key: str) -> None:
    same = (case_snoozes.c.pattern == pattern) & (case_snoozes.c.key_text == key)
    connection.execute(delete(case_snoozes).where(same))
    row = {"pattern": pattern, "key_text": key, "until": action.until_us, "actor": action.actor, "at": action.at_us}
    connection.execute(insert_or_leave(connection, case_snoozes), [row])


def _check(action: Action) -> None:
    problems = []
    if action.action not in get_args(Kind):
        problems.append(Problem("action", f"expected one of {', '.join(get_args(Kind))}, found {action.action!r}"))
    if (action.action == "resolve") != (action.outcome in get_args(Outcome)):
        problems.append(Problem("outcome", f"{action.action}: found {action.outcome!r}", "fraud, legitimate, unclear"))
    if (action.action == "snooze") != (action.until_us is not None):
        problems.append(Problem("until", f"{action.action}: found {action.until_us!r}", "an instant, for snooze only"))
    if not 0 < len(action.actor) <= NAME_CHARS or "\x00" in action.alert_id + action.actor + action.note:
        problems.append(Problem("actor", f"expected a name of up to {NAME_CHARS} characters, and no U+0000 anywhere"))
    if action.until_us is not None and not AT_US_MIN <= action.until_us <= AT_US_MAX:
        problems.append(Problem("until", f"{action.until_us} isn't in the years 1 to 9999"))
    if problems:
        raise InvalidDocument(f"action on {action.alert_id}", problems)
