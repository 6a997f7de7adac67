"""What the outcomes have of one user, by whatever ids, and one plan, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from flowops.core.records import Micros
from flowops.errors import ConfigError


class Stage(NamedTuple):
    """A decision (`change` 0), or what became of its message later."""

    at: Micros
    trigger_id: str
    attempt: int
    change: int
    version: str
    stage: str
    channel: str | None
    dispatch_id: str | None
    detail: str | None
    key: str | None
    triggered_at: Micros | None
    content: str | None  # of a message that was sent


class Receipt(NamedTuple):
    """What came back of a message."""

    at: Micros
    dispatch_id: str
    receipt: str
    event_id: str
    detail: str | None


class Attained(NamedTuple):
    """An event in a goal window."""

    at: Micros
    goal: str
    trigger_id: str
    event_id: str
    value: float | None
    credited: bool
    dispatch_id: str | None  # None: held out


class Waiting(NamedTuple):
    """What waited when the engine last stopped."""

    kind: str
    since: Micros
    due: Micros


@dataclass(frozen=True, slots=True)
class History:
    """All of it. `upto`: the newest decision of any user, so far the outcomes go."""

    stages: list[Stage]
    receipts: list[Receipt]
    goals: list[Attained]
    waiting: list[Waiting]
    upto: Micros | None


_STAGES = """
    select epoch_us(o.ended_at), o.trigger_id, o.attempt, o.change, o.version, o.stage, o.channel, o.dispatch_id,
           o.detail, t.key, epoch_us(t.triggered_at), case when o.change = 0 then d.content end
    from outcomes o
    left join (select trigger_id, any_value(key) as key, any_value(triggered_at) as triggered_at
               from facts.decisions where plan = $plan and list_contains($users, user_id) group by trigger_id) t
         using (trigger_id)
    left join (select dispatch_id, any_value(content) as content
               from dispatches where plan = $plan and list_contains($users, user_id) group by dispatch_id) d
         on d.dispatch_id = o.dispatch_id and o.stage in ('sent', 'delivered')
    where o.plan = $plan and list_contains($users, o.user_id)
    order by o.ended_at, o.trigger_id, o.attempt, o.change"""
_RECEIPTS = """
    select epoch_us(received_at), dispatch_id, receipt, event_id, detail from receipts
    where plan = $plan and list_contains($users, user_id) order by received_at, event_id"""
_GOALS = """
    select epoch_us(attained_at), goal, trigger_id, event_id, value::double, credited, dispatch_id
    from goal_events where plan = $plan and list_contains($users, user_id)
    order by attained_at, goal, event_id, trigger_id"""
_WAITING = """
    select kind, epoch_us(since), epoch_us(due) from pending
    where plan = $plan and list_contains($users, user_id) order by due, kind"""


def history(connection: duckdb.DuckDBPyConnection, plan: str, users: Iterable[str]) -> History:
    """Ask the outcomes. Raises ConfigError where they cannot be read."""
    whose = {"plan": plan, "users": sorted(users)}
    try:
        upto = connection.execute("select epoch_us(max(decided_at)) from facts.decisions").fetchone()
        return History(
            stages=[Stage(*row) for row in connection.execute(_STAGES, whose).fetchall()],
            receipts=[Receipt(*row) for row in connection.execute(_RECEIPTS, whose).fetchall()],
            goals=[Attained(*row) for row in connection.execute(_GOALS, whose).fetchall()],
            waiting=[Waiting(*row) for row in connection.execute(_WAITING, whose).fetchall()],
            upto=None if upto is None else upto[0],
        )
    except duckdb.Error as error:
        raise ConfigError(f"the outcomes cannot be read: {error}\nrun the command again; they are renewed") from error
