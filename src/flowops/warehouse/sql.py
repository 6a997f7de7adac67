# ruff: noqa: S608 - the text put together is constant, and paths are quoted
"""SQL text: quoting, and the views that analysts query. `docs/warehouse.md` describes every relation and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from flowops.core.effects import ASSIGNED, LEFT_OUT, LOSSES
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

_RANK = f"(stage not in {_COMMANDED}, if(stage in {_COMMANDED}, 0, -attempt), decided_at)"
"""Of the decisions of one attempt the least stands."""

_TASK = "plan || '@' || day || coalesce('T' || clock, '')"
"""The id of a task, as `core.effects.task_id` makes it."""

_PENDING = "('held', 'sent')"

_ASSIGNED = "(" + ", ".join(quote(stage) for stage in ASSIGNED) + ")"

_COMPARES = "(dispatch_id is null and arm is not distinct from 'treatment')"
"""Goal facts of who was not held out since their arm was drawn: for the lift, beside those of their messages."""

_NO_ATTEMPT = quote(LEFT_OUT)
"""The stage of a trigger of which no attempt was made."""

_LOST = "(" + ", ".join(quote(stage) for stage in LOSSES) + ")"

VIEWS: Mapping[str, str] = {
    "identities": """
        select identity, user_id, linked_at from facts.links
    """,
    # Of each identity its newest link, followed to its end: two links of one time stand in no order here.
    "facts.persons": """
        with recursive newest as (
            select identity, max_by(user_id, coalesce(linked_at, '-infinity'::timestamptz)) as user_id
            from facts.links
            group by identity),
        led as (
            select identity as user_id, user_id as person from newest
            union
            select led.user_id, newest.user_id from led join newest on newest.identity = led.person)
        select user_id, person from led where person not in (select identity from newest)
    """,
    "people": """
        select user_id, person from facts.persons
    """,
    # The decisions that still stand. One is replaced by a later one of the same attempt; and a held one by any later
    # decision that ended its trigger before a channel was considered.
    # Only a trigger decided more than once has rows with an attempt above 0, so the side searched is small.
    # An event that comes again when nothing of it is remembered any more is decided anew (S4): of one attempt the first
    # that sent something stands, else the first of the last decision. What was decided at one instant is no repeat, but
    # a defect.
    "facts.decided": f"""
        select d.*, {_TASK} as task
        from facts.decisions d anti join (
            select trigger_id, attempt, step from facts.decisions where attempt > 0 and channel is null) later
        on later.trigger_id = d.trigger_id and later.attempt > d.attempt
           and d.stage = 'held' and (later.step is null or later.step = d.step)
        anti join (
            select trigger_id, step, channel, min({_RANK}) as rank
            from facts.decisions
            where hash(trigger_id, step, channel) in (
                select hash(trigger_id, step, channel) from facts.decisions group by all having count(*) > 1)
            group by all) again
        on again.trigger_id = d.trigger_id
           and again.step is not distinct from d.step and again.channel is not distinct from d.channel
           and again.rank < {_RANK}
    """,
    # What became of a message since it was sent: of each, its last change. Most projects have none.
    "facts.last_changes": """
        select trigger_id, step, channel, arg_max(stage, change) as stage, max(change) as change,
               arg_max(changed_at, change) as changed_at, arg_max(detail, change) as detail
        from facts.stage_changes
        group by trigger_id, step, channel
    """,
    # Each attempt as it stands now; `stage_at` is when it came to its stage, `commanded` whether there is a command,
    # `person` whom figures count: two ids of one user are one.
    "facts.standing": f"""
        select d.* exclude (stage, detail), coalesce(person, d.user_id) as person, coalesce(c.stage, d.stage) as stage,
               case when c.stage is null then d.detail else c.detail end as detail,
               coalesce(c.changed_at, d.decided_at) as stage_at, d.stage in {_COMMANDED} as commanded
        from facts.decided d left join facts.last_changes c
        on c.trigger_id = d.trigger_id and c.step = d.step and c.channel = d.channel and d.stage in {_COMMANDED}
        left join facts.persons p on p.user_id = d.user_id
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
    # Of a journey several decisions stand, which tell the same of their trigger.
    "triggers": """
        select distinct on (trigger_id) trigger_id, plan, version, task, day, user_id, key, triggered_at, evidence, arm,
               variant, layer
        from facts.standing
        order by trigger_id, decided_at
    """,
    "outcomes": f"""
        select trigger_id, attempt, 0 as change, step, channel,
               trigger_id || '-' || step || '-' || channel as dispatch_id,
               plan, version, {_TASK} as task, day, user_id, stage, decided_at as ended_at, detail
        from facts.decisions
        where stage <> {_NO_ATTEMPT}
        union all
        select trigger_id, d.attempt, c.change, step, channel,
               trigger_id || '-' || step || '-' || channel as dispatch_id,
               plan, version, task, day, user_id, c.stage, c.changed_at, c.detail
        from facts.stage_changes c join facts.decided d using (trigger_id, step, channel)
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
    "goal_events": f"""
        select plan, version, {_TASK} as task, day, user_id, goal, trigger_id, dispatch_id, arm, variant,
               event_id, attained_at, value, credited
        from facts.goal_facts
        where not {_COMPARES}
    """,
    # An event that two windows of one task contain counts once, and is credited if one of the windows is.
    "goals": f"""
        with events as (
            select plan, {_TASK} as task, day, coalesce(person, user_id) as user_id, goal,
                   coalesce(arm = 'holdout', false) as held_out,
                   event_id, bool_or(dispatch_id is not null and lost is null) as delivered,
                   min(attained_at) as attained_at,
                   bool_or(credited) as credited, max(value) filter (credited) as value
            from facts.goal_facts left join (
                select trigger_id || '-' || step || '-' || channel as dispatch_id, stage as lost
                from facts.last_changes where stage <> 'delivered') using (dispatch_id)
                left join facts.persons using (user_id)
            where not {_COMPARES}
            group by all)
        select plan, task, day, user_id, goal, held_out, bool_or(delivered) as delivered,
               min(attained_at) as attained_at, count(*) filter (credited) as orders, sum(value) as value,
               list(event_id order by attained_at, event_id) as event_ids
        from events
        group by plan, task, day, user_id, goal, held_out
    """,
    # `assigned` is who might have been held out and was not, whatever became of the message: what a lift is told by.
    "attainment": f"""
        with holding as (
            select distinct plan, version, compares
            from facts.plan_versions
            where compares),
        users as (
            select plan, version, task, day, person, bool_or(stage in {_SENT}) as sent,
                   bool_or(stage = 'delivered') as delivered, bool_or(stage = 'holdout') as held_out,
                   bool_or(compares and stage in {_ASSIGNED}) as assigned
            from facts.standing left join holding using (plan, version)
            where stage in {_SENT} or stage = 'holdout' or compares and stage in {_ASSIGNED}
            group by all),
        reached as (
            select u.plan, u.task, u.day, g.goal, max(g.target) as target,
                   count(distinct u.person) filter (u.sent) as sent,
                   count(distinct u.person) filter (u.delivered) as delivered,
                   count(distinct u.person) filter (u.held_out and g.receipt is null) as held_out,
                   count(distinct u.person) filter (u.assigned and g.receipt is null) as assigned
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
            group by plan, task, goal),
        compared as (
            select plan, task, goal, count(distinct user_id) as assigned_attained, sum(value) as assigned_value
            from (select plan, {_TASK} as task, goal, coalesce(person, user_id) as user_id, event_id,
                         max(value) filter (credited) as value
                  from facts.goal_facts left join facts.persons using (user_id)
                  where {_COMPARES}
                  group by all)
            group by plan, task, goal)
        select plan, task, day, goal, sent, delivered, coalesce(attained, 0) as attained,
               coalesce(attained, 0) / nullif(delivered, 0) as rate, target,
               coalesce(orders, 0)::bigint as orders, value,
               held_out, coalesce(held_out_attained, 0) as held_out_attained,
               coalesce(held_out_attained, 0) / nullif(held_out, 0) as held_out_rate, held_out_value,
               assigned, coalesce(assigned_attained, 0) as assigned_attained, assigned_value
        from reached left join attained using (plan, task, goal) left join compared using (plan, task, goal)
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
               count(distinct s.person) as sent,
               count(distinct s.person) filter (s.stage = 'delivered') as delivered,
               count(distinct s.person) filter (s.stage = 'delivered' and seen.displayed) as displayed,
               count(distinct s.person) filter (s.stage = 'delivered' and seen.clicked) as clicked
        from facts.standing s left join seen
        on seen.dispatch_id = s.trigger_id || '-' || s.step || '-' || s.channel
        where s.stage in {_SENT}
        group by s.plan, s.task, s.day, s.channel
    """,
    # The same by step, in the order in which its messages first went out.
    "steps": f"""
        with seen as (
            select dispatch_id, bool_or(receipt in ('displayed', 'clicked')) as displayed,
                   bool_or(receipt = 'clicked') as clicked
            from facts.receipt_facts
            where receipt in ('displayed', 'clicked')
            group by dispatch_id)
        select s.plan, s.task, s.day, s.step, s.channel,
               count(distinct s.person) as considered,
               count(distinct s.person) filter (s.stage in {_LOST}) as lost,
               count(distinct s.person) filter (s.stage in {_SENT}) as sent,
               count(distinct s.person) filter (s.stage = 'delivered') as delivered,
               count(distinct s.person) filter (s.stage = 'delivered' and seen.displayed) as displayed,
               count(distinct s.person) filter (s.stage = 'delivered' and seen.clicked) as clicked,
               min(s.decided_at) as first_at
        from facts.standing s left join seen
        on seen.dispatch_id = s.trigger_id || '-' || s.step || '-' || s.channel
        where s.step is not null
        group by s.plan, s.task, s.day, s.step, s.channel
    """,
    "plan_attainment": """
        select plan, goal, count(*) as tasks, sum(sent)::bigint as sent, sum(delivered)::bigint as delivered,
               sum(attained)::bigint as attained, sum(attained) / nullif(sum(delivered), 0) as rate,
               max_by(target, day) as target, sum(orders)::bigint as orders, sum(value) as value,
               sum(held_out)::bigint as held_out, sum(held_out_attained)::bigint as held_out_attained,
               sum(held_out_attained) / nullif(sum(held_out), 0) as held_out_rate,
               sum(assigned)::bigint as assigned, sum(assigned_attained)::bigint as assigned_attained,
               sum(assigned_attained) / nullif(sum(assigned), 0)
                   - sum(held_out_attained) / nullif(sum(held_out), 0) as lift
        from attainment
        group by plan, goal
    """,
    "pending": """
        select plan, version, user_id, kind, since, due
        from facts.pending_facts
        where statement = (select max(statement) from facts.pending_facts) and plan is not null
    """,
    # A journey that is on its way is not pending as an attempt. What is known of it is what waited when the engine last
    # stopped, as long as nothing was decided beyond its time; its trigger is the first of its user since it began.
    "tasks": f"""
        with on_the_way as (
            select plan, coalesce(person, user_id) as person, since
            from pending left join facts.persons using (user_id)
            where kind in ('journey', 'fallback') and due > (select max(decided_at) from facts.decisions)),
        under_way as (
            select arg_min(task, triggered_at) as task
            from facts.standing join on_the_way using (plan, person)
            where triggered_at >= since
            group by plan, person, since)
        select task, plan, max_by(version, (decided_at, version)) as version, day, min(triggered_at) as started_at,
               case when bool_or(stage in {_PENDING}) or day = (select max(day) from facts.decisions)
                         or task in (select task from under_way)
                    then 'running' else 'completed' end as status,
               count(distinct person) as users
        from facts.standing
        group by task, plan, day
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
            where stage <> {_NO_ATTEMPT}
            group by plan, task, channel, day)
    """,
    # The attainment of a plan by the layers of its users; whose layer changed within a task counts in both.
    "layer_attainment": f"""
        with aims as (
            select plan, task, layer, person, goal, bool_or(stage in {_SENT}) as sent,
                   bool_or(stage = 'delivered') as delivered
            from facts.standing join (select distinct plan, version, goal from facts.plan_goals) using (plan, version)
            where layer is not null and stage in {_SENT}
            group by all),
        attained as (
            select task, user_id as person, goal, sum(value) as value, true as reached
            from goals
            where not held_out and delivered
            group by all)
        select plan, layer, goal, count(*) filter (sent) as sent, count(*) filter (delivered) as delivered,
               count(*) filter (delivered and reached) as attained,
               count(*) filter (delivered and reached) / nullif(count(*) filter (delivered), 0) as rate,
               sum(value) filter (delivered) as value
        from aims left join attained using (task, person, goal)
        group by plan, layer, goal
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
