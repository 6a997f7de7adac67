# ruff: noqa: S608 - the only text put into the SQL is names of fields
"""The figures of `flowops report`, as typed rows. Each function asks one question of a connection to the outcomes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import NamedTuple, TypeVar

import duckdb

from flowops.core.records import Micros
from flowops.errors import ConfigError


class Attainment(NamedTuple):
    """A goal of a plan over all its tasks (S50): distinct users per task, summed; rates of users, 0 to 1."""

    plan: str
    goal: str
    tasks: int
    sent: int
    delivered: int
    attained: int
    rate: float | None
    target: float | None
    orders: int
    value: Decimal | None
    held_out: int
    held_out_attained: int
    held_out_rate: float | None
    assigned: int
    assigned_attained: int
    lift: float | None


class LayerAttainment(NamedTuple):
    """A goal of a plan among the users of a layer (S12b), over all its tasks."""

    plan: str
    layer: str
    goal: str
    sent: int
    delivered: int
    attained: int
    rate: float | None
    value: Decimal | None


class Loss(NamedTuple):
    """How many attempts of a plan were lost at a stage; `share` of the plan's attempts, 0 to 1."""

    plan: str
    stage: str
    attempts: int
    share: float


class Totals(NamedTuple):
    """A plan's sums. `attempts` = `lost` + `delivered` + `pending` (S22).

    `displayed` and `clicked` are users per task and channel, summed (S50).
    """

    plan: str
    name: str | None
    tasks: int
    triggers: int
    users: int
    attempts: int
    delivered: int
    lost: int
    pending: int
    displayed: int
    clicked: int


class Waiting(NamedTuple):
    """What waited when the engine last stopped (S6); `next_due` is the earliest time at which any of it falls due."""

    plan: str
    kind: str
    instances: int
    next_due: Micros


class Refused(NamedTuple):
    """Records that were not handled as they came: `reason` of a dead letter (S3), or `late` (S9)."""

    source: str
    reason: str
    records: int


class Imbalance(NamedTuple):
    """A task, channel and day of which the attempts do not add up (S22)."""

    plan: str
    task: str
    channel: str | None
    day: date
    attempts: int
    lost: int
    delivered: int
    pending: int


_T = TypeVar("_T", bound=tuple[object, ...])


def _rows(connection: duckdb.DuckDBPyConnection, row: Callable[..., _T], sql: str, plan: str | None = None) -> list[_T]:
    try:
        return [row(*values) for values in connection.execute(sql, {"plan": plan} if "$plan" in sql else {}).fetchall()]
    except duckdb.Error as error:
        raise ConfigError(f"the outcomes cannot be read: {error}\nrun the command again; they are renewed") from error


def attainment(connection: duckdb.DuckDBPyConnection, plan: str | None = None) -> list[Attainment]:
    """Goals of all plans, or of one."""
    sql = f"""select {", ".join(Attainment._fields)} from plan_attainment
              where $plan is null or plan = $plan order by plan, goal"""
    return _rows(connection, Attainment, sql, plan)


def by_layer(connection: duckdb.DuckDBPyConnection, plan: str | None = None) -> list[LayerAttainment]:
    """Goals by layer, where some layering has `figures: true`."""
    sql = f"""select {", ".join(LayerAttainment._fields)} from layer_attainment
              where $plan is null or plan = $plan order by plan, goal, delivered desc, layer"""
    return _rows(connection, LayerAttainment, sql, plan)


def losses(connection: duckdb.DuckDBPyConnection, plan: str | None = None) -> list[Loss]:
    """Losses of all plans, or of one, the largest of each plan first."""
    sql = """with attempts as (select plan, sum(attempts) as attempts from balance group by plan)
             select l.plan, l.stage, count(*), count(*) / any_value(a.attempts)
             from losses l join attempts a on a.plan = l.plan
             where $plan is null or l.plan = $plan
             group by l.plan, l.stage order by l.plan, count(*) desc, l.stage"""
    return _rows(connection, Loss, sql, plan)


def totals(connection: duckdb.DuckDBPyConnection, plan: str | None = None) -> list[Totals]:
    """Sums of each published plan, or of one, also of those that nothing has triggered yet."""
    sql = """with names as (
                 select plan, max_by(name, coalesce(published_at, '-infinity'::timestamptz)) as name
                 from plans group by plan),
             counted as (
                 select plan, count(distinct task) as tasks, count(distinct trigger_id) as triggers,
                        count(distinct user_id) as users
                 from facts.standing group by plan),
             summed as (
                 select plan, sum(attempts)::bigint as attempts, sum(delivered)::bigint as delivered,
                        sum(lost)::bigint as lost, sum(pending)::bigint as pending
                 from balance group by plan),
             reached as (
                 select plan, sum(displayed)::bigint as displayed, sum(clicked)::bigint as clicked
                 from reach group by plan)
             select plan, name, coalesce(tasks, 0), coalesce(triggers, 0), coalesce(users, 0), coalesce(attempts, 0),
                    coalesce(delivered, 0), coalesce(lost, 0), coalesce(pending, 0),
                    coalesce(displayed, 0), coalesce(clicked, 0)
             from names full join counted using (plan) full join summed using (plan) full join reached using (plan)
             where $plan is null or plan = $plan order by plan"""
    return _rows(connection, Totals, sql, plan)


def waiting(connection: duckdb.DuckDBPyConnection, plan: str | None = None) -> list[Waiting]:
    """What was pending when the engine last stopped, by plan and kind."""
    sql = """select plan, kind, count(*), epoch_us(min(due)) from pending
             where $plan is null or plan = $plan group by plan, kind order by plan, kind"""
    return _rows(connection, Waiting, sql, plan)


def refused(connection: duckdb.DuckDBPyConnection) -> list[Refused]:
    """Late records and dead letters by source."""
    sql = """select source, reason, count(*) from
                 (select source, reason from dead_letters union all select source, 'late' from late)
             group by source, reason order by source, reason"""
    return _rows(connection, Refused, sql)


def check_adds_up(connection: duckdb.DuckDBPyConnection) -> list[Imbalance]:
    """Where attempts are not losses + delivered + pending (S22). Anything but an empty list is a defect."""
    sql = f"""select {", ".join(Imbalance._fields)} from balance
              where not adds_up order by plan, day, task, channel"""
    return _rows(connection, Imbalance, sql)
