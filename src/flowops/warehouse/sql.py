# ruff: noqa: S608 - the text put together is constant, and paths are quoted
"""SQL text: quoting, and the views that analysts query. `docs/warehouse.md` describes every relation and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from flowops.core.effects import LOSSES
from flowops.warehouse.schema import Relation


def quote(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def file_list(files: Iterable[Path]) -> str:
    """The argument of `read_parquet` for exactly these files."""
    return "[" + ", ".join(quote(str(file)) for file in files) + "]"


def relation_view(relation: Relation, files: Iterable[Path]) -> str:
    """The view `facts.<relation>` over these files; typed all the same where there are none."""
    files = list(files)
    if files:
        columns = ", ".join(column.name for column in relation.columns)
        body = f"select {columns} from read_parquet({file_list(files)}, hive_partitioning = false)"
    else:
        columns = ", ".join(f"null::{column.storage.duckdb} as {column.name}" for column in relation.columns)
        body = f"select {columns} where false"
    return f"create or replace view facts.{relation.name} as {body}"


_SENT = "('sent', 'delivered', 'send_failed', 'undelivered')"
"""Stages of attempts of which the message went out; what expired did not."""

_COMMANDED = "('sent', 'delivered')"
"""Stages that a decision leaves an attempt in for which there is a command."""

_PENDING = "('held', 'sent')"

_LOST = "(" + ", ".join(quote(stage) for stage in LOSSES) + ")"

VIEWS: Mapping[str, str] = {
    # The decisions that still stand. One is replaced by a later one of the same attempt; and a held one by any later
    # decision on its trigger that is about the same step or that ended the trigger before a channel was considered.
    # Only a trigger decided more than once has rows with an attempt above 0, so the side searched is small.
    "facts.decided": """
        select d.*, d.plan || '@' || d.day as task
        from facts.decisions d anti join (
            select trigger_id, attempt, step, channel from facts.decisions where attempt > 0) later
        on later.trigger_id = d.trigger_id and later.attempt > d.attempt
           and (later.step is not distinct from d.step and later.channel is not distinct from d.channel
                or d.stage = 'held' and (d.step is null or later.step is null or later.step = d.step))
    """,
    # What became of a message since it was sent: of each, its last change. Most projects have none.
    "facts.last_changes": """
        select trigger_id, step, channel, arg_max(stage, change) as stage, max(change) as change,
               arg_max(changed_at, change) as changed_at, arg_max(detail, change) as detail
        from facts.stage_changes
        group by trigger_id, step, channel
    """,
    # Each attempt as it stands now; `stage_at` is when it came to its stage, `commanded` whether there is a command.
    "facts.standing": f"""
        select d.* exclude (stage, detail), coalesce(c.stage, d.stage) as stage,
               case when c.stage is null then d.detail else c.detail end as detail,
               coalesce(c.changed_at, d.decided_at) as stage_at, d.stage in {_COMMANDED} as commanded
        from facts.decided d left join facts.last_changes c
        on c.trigger_id = d.trigger_id and c.step = d.step and c.channel = d.channel and d.stage in {_COMMANDED}
    """,
    "plans": """
        select distinct on (plan, version) plan, version, name, plan_group, owner, tags, zone, published_at
        from facts.plan_versions
        order by plan, version, published_at nulls first
    """,
    "plan_goals": """
        select distinct plan, version, goal, to_microseconds(goal_window) as goal_window, credit, target, receipt
        from facts.plan_goals
    """,
    # A plan sends one step on one channel, so of each trigger one decision stands.
    "triggers": """
        select trigger_id, plan, version, task, day, user_id, key, triggered_at, evidence, arm, variant,
               null::varchar as layer
        from facts.standing
    """,
    "outcomes": f"""
        select trigger_id, attempt, 0 as change, step, channel,
               trigger_id || '-' || step || '-' || channel as dispatch_id,
               plan, version, plan || '@' || day as task, day, user_id, stage, decided_at as ended_at, detail
        from facts.decisions
        union all
        select trigger_id, d.attempt, c.change, step, channel,
               trigger_id || '-' || step || '-' || channel as dispatch_id,
               d.plan, d.version, d.plan || '@' || d.day as task, d.day, d.user_id, c.stage, c.changed_at, c.detail
        from facts.stage_changes c join facts.decisions d using (trigger_id, step, channel)
        where d.stage in {_COMMANDED}
    """,
    "losses": f"""
        select trigger_id, attempt, step, channel, trigger_id || '-' || step || '-' || channel as dispatch_id,
               plan, version, task, day, user_id, arm, variant, stage, stage_at as lost_at, detail
        from facts.standing
        where stage in {_LOST}
    """,
    "dispatches": """
        select trigger_id || '-' || step || '-' || channel as dispatch_id,
               trigger_id, plan, version, task, day, user_id, key, channel, step, arm, variant, stage,
               triggered_at, decided_at, expires_at, cost, null::varchar as coupon, content, evidence
        from facts.standing
        where commanded
    """,
    # A receipt names its dispatch and mostly nothing else; what the dispatch knows is taken from there.
    "receipts": """
        select r.dispatch_id, d.plan, d.task, coalesce(d.user_id, r.user_id) as user_id, d.channel, r.receipt,
               r.received_at, r.detail, r.event_id
        from facts.receipt_facts r left join dispatches d using (dispatch_id)
    """,
    "tasks": f"""
        select task, plan, max_by(version, (decided_at, version)) as version, day, min(triggered_at) as started_at,
               case when bool_or(stage in {_PENDING}) or day = (select max(day) from facts.decisions)
                    then 'running' else 'completed' end as status,
               count(distinct user_id) as users
        from facts.standing
        group by task, plan, day
    """,
    "goal_events": """
        select plan, version, plan || '@' || day as task, day, user_id, goal, trigger_id, dispatch_id, arm, variant,
               event_id, attained_at, value, credited
        from facts.goal_facts
    """,
    # An event that two windows of one task contain counts once, and is credited if one of the windows is.
    "goals": """
        with events as (
            select plan, plan || '@' || day as task, day, user_id, goal, coalesce(arm = 'holdout', false) as held_out,
                   event_id, bool_or(dispatch_id is not null and lost is null) as delivered,
                   min(attained_at) as attained_at,
                   bool_or(credited) as credited, max(value) filter (credited) as value
            from facts.goal_facts left join (
                select trigger_id || '-' || step || '-' || channel as dispatch_id, stage as lost
                from facts.last_changes where stage <> 'delivered') using (dispatch_id)
            group by all)
        select plan, task, day, user_id, goal, held_out, bool_or(delivered) as delivered,
               min(attained_at) as attained_at, count(*) filter (credited) as orders, sum(value) as value,
               list(event_id order by attained_at, event_id) as event_ids
        from events
        group by plan, task, day, user_id, goal, held_out
    """,
    "attainment": f"""
        with users as (
            select plan, version, task, day, user_id, bool_or(stage in {_SENT}) as sent,
                   bool_or(stage = 'delivered') as delivered, bool_or(stage = 'holdout') as held_out
            from facts.standing
            where stage in {_SENT} or stage = 'holdout'
            group by all),
        reached as (
            select u.plan, u.task, u.day, g.goal, max(g.target) as target,
                   count(distinct u.user_id) filter (u.sent) as sent,
                   count(distinct u.user_id) filter (u.delivered) as delivered,
                   count(distinct u.user_id) filter (u.held_out and g.receipt is null) as held_out
            from users u join (select distinct plan, version, goal, target, receipt from facts.plan_goals) g
                using (plan, version)
            group by u.plan, u.task, u.day, g.goal),
        attained as (
            select plan, task, goal,
                   count(*) filter (not held_out and delivered) as attained,
                   sum(orders) filter (not held_out and delivered) as orders,
                   sum(value) filter (not held_out and delivered) as value,
                   count(*) filter (held_out) as held_out_attained,
                   sum(value) filter (held_out) as held_out_value
            from goals
            group by plan, task, goal)
        select plan, task, day, goal, sent, delivered, coalesce(attained, 0) as attained,
               coalesce(attained, 0) / nullif(delivered, 0) as rate, target,
               coalesce(orders, 0)::bigint as orders, value,
               held_out, coalesce(held_out_attained, 0) as held_out_attained,
               coalesce(held_out_attained, 0) / nullif(held_out, 0) as held_out_rate, held_out_value
        from reached left join attained using (plan, task, goal)
    """,
    # How far the messages of a task got, in users (S50). What a receipt implies is counted with it.
    "reach": f"""
        with seen as (
            select dispatch_id, bool_or(receipt in ('displayed', 'clicked')) as displayed,
                   bool_or(receipt = 'clicked') as clicked
            from facts.receipt_facts
            where receipt in ('displayed', 'clicked')
            group by dispatch_id)
        select s.plan, s.task, s.day, s.channel,
               count(distinct s.user_id) as sent,
               count(distinct s.user_id) filter (s.stage = 'delivered') as delivered,
               count(distinct s.user_id) filter (s.stage = 'delivered' and seen.displayed) as displayed,
               count(distinct s.user_id) filter (s.stage = 'delivered' and seen.clicked) as clicked
        from facts.standing s left join seen
        on seen.dispatch_id = s.trigger_id || '-' || s.step || '-' || s.channel
        where s.stage in {_SENT}
        group by s.plan, s.task, s.day, s.channel
    """,
    "plan_attainment": """
        select plan, goal, count(*) as tasks, sum(sent)::bigint as sent, sum(delivered)::bigint as delivered,
               sum(attained)::bigint as attained, sum(attained) / nullif(sum(delivered), 0) as rate,
               max_by(target, day) as target, sum(orders)::bigint as orders, sum(value) as value,
               sum(held_out)::bigint as held_out, sum(held_out_attained)::bigint as held_out_attained,
               sum(held_out_attained) / nullif(sum(held_out), 0) as held_out_rate,
               sum(attained) / nullif(sum(delivered), 0)
                   - sum(held_out_attained) / nullif(sum(held_out), 0) as lift
        from attainment
        group by plan, goal
    """,
    "pending": """
        select plan, version, user_id, kind, since, due
        from facts.pending_facts
        where statement = (select max(statement) from facts.pending_facts) and plan is not null
    """,
    # Attempts are counted by what they are, the rest by rows: a fact landed twice, or a stage that is none of the
    # three, shows as a row that does not add up (S22).
    "balance": f"""
        select plan, task, channel, day, attempts, lost, delivered, pending,
               attempts = lost + delivered + pending as adds_up
        from (
            select plan, task, channel, day, count(distinct (trigger_id, coalesce(step, ''))) as attempts,
                   count(*) filter (stage in {_LOST}) as lost,
                   count(*) filter (stage = 'delivered') as delivered,
                   count(*) filter (stage in {_PENDING}) as pending
            from facts.standing
            group by plan, task, channel, day)
    """,
    "late": """
        select source, partition, position, event, event_id, user_id, ts, watermark, watermark - ts as late_by
        from facts.late
    """,
    "dead_letters": """
        select source, partition, position, reason, detail, sample from facts.dead_letters
    """,
}
"""In the order in which they build on each other."""
