"""What analysts query: attempts that add up, goals counted once, holdouts apart."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warehouse_facts import (
    DAY,
    MINUTE,
    NOON,
    ask,
    change,
    columns,
    decision,
    goal_event,
    land,
    plan_goal,
    plan_version,
    receipt,
)

from flowops.core.effects import LOSSES, Link, Pending, dispatch_id, task_id
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.reports import check_adds_up
from flowops.warehouse.schema import PlanGoal
from flowops.warehouse.segments import Segments

properties = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


AFTER = ("expired", "send_failed", "undelivered")
"""Losses of a message that was sent."""


@st.composite
def decided_triggers(draw):
    """Triggers as a shard decides them: held any number of times, then final or not, at the channel or before it."""
    rows = []
    for number in range(draw(st.integers(1, 40))):
        held = draw(st.integers(0, 3))
        way = "main", draw(st.sampled_from(["push", "sms"]))
        common = {
            "trigger_id": f"t{number}",
            "plan": draw(st.sampled_from(["a", "b"])),
            "day": DAY + draw(st.integers(0, 1)),
            "user_id": f"u{draw(st.integers(0, 5))}",
        }
        held_rows = {"stage": "held", "step": way[0], "channel": way[1]}
        rows += [decision(**common, attempt=attempt, **held_rows) for attempt in range(held)]
        losses = [loss for loss in LOSSES if loss not in AFTER]
        stage = draw(st.sampled_from(["delivered", "sent", "sent", *losses] + ([] if held == 0 else [None])))
        if stage is not None:
            step, channel = way if stage in ("delivered", "sent") else draw(st.sampled_from([way, (None, None)]))
            rows.append(decision(**common, attempt=held, stage=stage, step=step, channel=channel))
    return rows


@st.composite
def told_of(draw, rows):
    """What became of the messages among `rows`: any number of changes of each."""
    changes = []
    for row in rows:
        if row.stage in ("delivered", "sent"):
            stages = draw(st.lists(st.sampled_from(["delivered", *AFTER]), max_size=3))
            named = {"trigger_id": row.trigger_id, "channel": row.channel}
            changes += [change(**named, change=n, stage=s) for n, s in enumerate(stages, 1)]
    return changes


@properties
@given(st.data())
def test_attempts_are_losses_and_delivered_and_pending(tmp_path_factory, data):
    """S22: each trigger of one step is one attempt, and what was decided or heard of it last is what it is."""
    rows = data.draw(decided_triggers())
    changes = data.draw(told_of(rows))
    cut = data.draw(st.integers(0, 40))
    folder = tmp_path_factory.mktemp("warehouse")
    segments = Segments(folder)
    for decided, told in ((rows[:cut], changes[:cut]), (rows[cut:], changes[cut:])):
        segments.add("decisions", columns(decided))
        segments.add("stage_changes", columns(told))
        segments.seal()
    publish(folder, segments.sealed)
    last = {row.trigger_id: row for row in rows}
    commands = [r for r in last.values() if r.stage in ("delivered", "sent")]
    for told in changes:
        last[told.trigger_id] = last[told.trigger_id]._replace(stage=told.stage)
    expected = defaultdict(Counter)
    for row in last.values():
        kind = {"held": "pending", "sent": "pending", "delivered": "delivered"}.get(row.stage, "lost")
        expected[row.plan, task_id(row.plan, row.day, row.clock), row.channel][kind] += 1
    with connect(folder) as connection:
        assert check_adds_up(connection) == []
        balance = connection.execute(
            "select plan, task, channel, attempts, lost, delivered, pending from balance"
        ).fetchall()
        lost = connection.execute("select trigger_id, stage, step, channel from losses").fetchall()
        sent = connection.execute("select trigger_id, dispatch_id, stage from dispatches").fetchall()
        fired = connection.execute("select trigger_id from triggers").fetchall()
        outcomes = connection.execute("select count(*) from outcomes").fetchall()
        latest = connection.execute(
            "select trigger_id, arg_max(stage, (attempt, change)) from outcomes group by trigger_id"
        ).fetchall()
    assert {row[:3]: row[3:] for row in balance} == {
        key: (counts.total(), counts["lost"], counts["delivered"], counts["pending"])
        for key, counts in expected.items()
    }
    assert Counter(lost) == Counter(
        (r.trigger_id, r.stage, r.step, r.channel) for r in last.values() if r.stage in LOSSES
    )
    assert Counter(sent) == Counter(
        (r.trigger_id, dispatch_id(r.trigger_id, r.step, r.channel), last[r.trigger_id].stage) for r in commands
    )
    assert Counter(fired) == Counter((trigger,) for trigger in last)
    assert outcomes == [(len(rows) + len(changes),)]
    assert dict(latest) == {trigger: row.stage for trigger, row in last.items()}


def test_each_message_of_a_journey_is_an_attempt_and_its_trigger_is_one(tmp_path):
    """S22: also where a channel refused the step, or all of it was lost before a channel was considered."""
    rows = [
        decision(step="opener", channel="push", stage="no_consent"),
        decision(step="opener", channel="sms"),
        decision(step="reminder", channel="push", stage="held"),
        decision(step="reminder", channel="sms", stage="held"),
        decision(step="reminder", channel="push", attempt=1),
        decision(step="last", channel=None, stage="not_in_audience"),
    ]
    land(tmp_path, decisions=rows, receipt_facts=[receipt(dispatch_id="t1-opener-sms")])
    with connect(tmp_path) as connection:
        assert check_adds_up(connection) == []
    assert ask(tmp_path, "select count(*) from triggers") == [(1,)]
    query = "select sum(attempts), sum(lost), sum(delivered), sum(pending) from balance"
    assert ask(tmp_path, query) == [(5, 2, 2, 1)]
    query = "select step, channel, considered, lost, sent, delivered, clicked from steps order by step, channel"
    assert ask(tmp_path, query) == [
        ("last", None, 1, 1, 0, 0, 0),
        ("opener", "push", 1, 1, 0, 0, 0),
        ("opener", "sms", 1, 0, 1, 1, 1),
        ("reminder", "push", 1, 0, 1, 1, 0),
        ("reminder", "sms", 1, 0, 0, 0, 0),
    ]


def test_a_journey_that_left_all_steps_out_is_a_trigger_and_no_attempt(tmp_path):
    """S22, S30: an analyst sees who entered and got nothing."""
    land(tmp_path, decisions=[decision(), decision(trigger_id="t2", step=None, channel=None, stage="left_out")])
    assert ask(tmp_path, "select trigger_id from triggers order by 1") == [("t1",), ("t2",)]
    assert ask(tmp_path, "select trigger_id from triggers anti join outcomes using (trigger_id)") == [("t2",)]
    assert ask(tmp_path, "select attempts, lost, delivered, pending from balance") == [(1, 0, 1, 0)]
    assert ask(tmp_path, "select count(*) from losses") == [(0,)]


def test_receipts_are_told_with_what_their_dispatch_knows(tmp_path):
    """S40: also one of a dispatch that nobody knows is there, as it came."""
    land(
        tmp_path,
        decisions=[decision()],
        receipt_facts=[receipt(detail="ok"), receipt(dispatch_id="strange", receipt="failed", user_id="u9")],
    )
    query = "select dispatch_id, plan, task, user_id, channel, receipt, epoch_us(received_at), detail from receipts"
    assert sorted(ask(tmp_path, query)) == [
        ("strange", None, None, "u9", None, "failed", NOON + 5 * MINUTE, None),
        ("t1-main-push", "reminder", "reminder@2022-04-21", "u1", "push", "clicked", NOON + 5 * MINUTE, "ok"),
    ]


def test_reach_counts_users_as_far_as_the_message_got(tmp_path):
    """S50: distinct users; repeated receipts count once, and what one implies counts with it; failures do not count."""
    users = {"t1": "u1", "t2": "u1", "t3": "u2", "t4": "u3", "t5": "u4", "t6": "u5"}
    after = {"t1": "delivered", "t3": "delivered", "t4": "send_failed", "t5": "expired", "t6": "delivered"}
    said = [("t1", "clicked"), ("t1", "clicked"), ("t3", "displayed"), ("t4", "clicked"), ("t6", "delivered")]
    land(
        tmp_path,
        decisions=[decision(trigger_id=trigger, user_id=user, stage="sent") for trigger, user in users.items()],
        stage_changes=[change(trigger_id=trigger, stage=stage) for trigger, stage in after.items()],
        receipt_facts=[
            receipt(dispatch_id=dispatch_id(trigger, "main", "push"), receipt=says) for trigger, says in said
        ],
    )
    assert ask(tmp_path, "select plan, channel, sent, delivered, displayed, clicked from reach") == [
        ("reminder", "push", 4, 3, 2, 1)
    ]


def test_what_a_lost_message_had_attained_counts_for_nothing(tmp_path):
    """S41: its windows were open while it was assumed to have arrived; a rate is of those who got it."""
    land(
        tmp_path,
        decisions=[decision(), decision(trigger_id="t2", user_id="u2")],
        stage_changes=[change(stage="send_failed")],
        goal_facts=[goal_event(), goal_event(trigger_id="t2", user_id="u2", event_id="o2")],
        plan_goals=[plan_goal()],
        plan_versions=[plan_version()],
    )
    assert ask(tmp_path, "select sent, delivered, attained, rate from attainment") == [(2, 1, 1, 1.0)]
    assert ask(tmp_path, "select user_id, delivered from goals order by 1") == [("u1", False), ("u2", True)]


def test_a_lift_compares_all_who_might_have_been_held_out(tmp_path):
    """S23: also whom no message reached; what is attained after a later message alone is no lift."""
    both = {"arm": "treatment"}
    land(
        tmp_path,
        decisions=[
            decision(**both),
            decision(step="later", decided_at=NOON + 2 * MINUTE, **both),
            decision(trigger_id="t2", user_id="u2", **both),
            decision(trigger_id="t3", user_id="u3", stage="holdout", arm="holdout"),
            decision(trigger_id="t4", user_id="u4", stage="content_invalid", **both),
            decision(trigger_id="t5", user_id="u5", stage="sent", **both),
            decision(trigger_id="t6", user_id="u6", stage="frequency_cap", **both),
            decision(trigger_id="t7", user_id="u7", version="00000002", **both),
        ],
        goal_facts=[
            goal_event(dispatch_id=dispatch_id("t1", "later", "push"), **both),
            goal_event(trigger_id="t2", user_id="u2", event_id="o2", **both),
            goal_event(trigger_id="t2", user_id="u2", event_id="o2", dispatch_id=None, **both),
            goal_event(trigger_id="t4", user_id="u4", event_id="o4", dispatch_id=None, **both),
            goal_event(trigger_id="t4", user_id="u4", event_id="o5", dispatch_id=None, credited=False, **both),
        ],
        plan_goals=[plan_goal(), plan_goal(version="00000002")],
        plan_versions=[plan_version(), plan_version(version="00000002", compares=False)],
    )
    query = "select delivered, attained, assigned, assigned_attained, held_out, lift from plan_attainment"
    assert ask(tmp_path, query) == [(3, 2, 4, 2, 1, 0.5)]
    assert ask(tmp_path, "select assigned_value from attainment") == [(2 * Decimal(str(goal_event().value)),)]
    assert ask(tmp_path, "select user_id from goals order by 1") == [("u1",), ("u2",)]
    assert ask(tmp_path, "select count(*) from goal_events") == [(2,)]


def test_who_is_held_out_is_no_measure_of_clicks(tmp_path):
    """S23: nobody clicks on what was not sent, so there is no lift."""
    land(
        tmp_path,
        decisions=[decision(), decision(trigger_id="t2", user_id="u2", stage="holdout", arm="holdout")],
        plan_goals=[plan_goal(), plan_goal(goal="clicked", receipt="clicked")],
        plan_versions=[plan_version()],
    )
    assert ask(tmp_path, "select goal, held_out, held_out_rate, lift from plan_attainment order by 1") == [
        ("clicked", 0, None, None),
        ("ordered", 1, 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        [decision(), decision()],
        [decision(stage="expired"), decision(stage="expired")],
        [decision(stage="no_such_stage")],
    ],
    ids=["delivered twice", "lost twice", "a stage outside the closed set"],
)
def test_a_fact_landed_twice_or_unknown_does_not_add_up(tmp_path, wrong):
    """S22: the check can fail."""
    land(tmp_path, decisions=[decision(trigger_id="t0"), *wrong])
    with connect(tmp_path) as connection:
        (row,) = check_adds_up(connection)
    assert (row.plan, row.channel, row.attempts) == ("reminder", "push", 2)


@pytest.mark.parametrize(
    ("first", "again", "stands"),
    [
        (decision(), decision(), 0),
        (decision(), decision(stage="frequency_cap"), 0),
        (decision(stage="frequency_cap"), decision(), 1),
        (decision(stage="frequency_cap"), decision(stage="holdout"), 0),
        (decision(attempt=1), decision(stage="held"), 0),
    ],
    ids=["sent twice", "then lost", "then sent", "lost twice", "was held, then held again"],
)
def test_an_event_that_comes_again_long_after_is_one_attempt(tmp_path, first, again, stands):
    """S4, S22: nothing of it was remembered, so it is decided twice, and counts once, as what was sent first."""
    rows = [first, again._replace(decided_at=first.decided_at + 600 * MINUTE)]
    land(tmp_path, decisions=rows, stage_changes=[change(stage="expired")] if rows[stands].stage == "delivered" else [])
    with connect(tmp_path) as connection:
        assert check_adds_up(connection) == []
    assert ask(tmp_path, "select sum(attempts) from balance") == [(1,)]
    stage = "expired" if rows[stands].stage == "delivered" else rows[stands].stage
    decided = ask(tmp_path, "select stage, epoch_us(decided_at) from facts.standing")
    assert decided == [(stage, rows[stands].decided_at)]
    changed = 1 if rows[stands].stage == "delivered" else 0
    assert ask(tmp_path, "select count(*) filter (change = 0), count(*) filter (change > 0) from outcomes") == [
        (2, changed)
    ]


@pytest.mark.parametrize("then", ["delivered", "frequency_cap"])
def test_what_was_sent_stands_also_where_its_repeat_is_held_first(tmp_path, then):
    held = {"attempt": 0, "stage": "held", "decided_at": NOON + 600 * MINUTE}
    again = {"attempt": 1, "stage": then, "decided_at": NOON + 900 * MINUTE}
    first = decision()
    land(tmp_path, decisions=[first, decision(**held), decision(**again)])
    assert ask(tmp_path, "select stage, epoch_us(decided_at) from facts.standing") == [("delivered", first.decided_at)]
    assert ask(tmp_path, "select attempts, lost, delivered, pending, adds_up from balance") == [(1, 0, 1, 0, True)]


def test_channels_of_one_step_are_attempts_of_their_own(tmp_path):
    """S22: of two channels one may be delivered while the other is lost."""
    land(tmp_path, decisions=[decision(), decision(channel="sms", stage="no_consent")])
    assert ask(tmp_path, "select channel, lost, delivered from balance order by 1") == [("push", 0, 1), ("sms", 1, 0)]


@given(
    st.text("ab-@", min_size=1),
    st.text("xy-1", min_size=1),
    st.text("pq_", min_size=1),
    st.integers(-500_000, 500_000),
    st.sampled_from([None, "09:00", "17:30"]),
)
@properties
def test_sql_and_python_agree_on_ids(tmp_path_factory, trigger, step, channel, day, clock):
    """S18a, S32: `task` and `dispatch_id` of the views are those of the core."""
    folder = tmp_path_factory.mktemp("warehouse")
    row = decision(trigger_id=trigger, step=step, channel=channel, day=day, clock=clock)
    land(folder, decisions=[row], goal_facts=[goal_event(day=day, clock=clock)])
    expected = (dispatch_id(trigger, step, channel), task_id(row.plan, day, clock))
    assert ask(folder, "select dispatch_id, task from dispatches") == [expected]
    assert ask(folder, "select dispatch_id, task from outcomes") == [expected]
    assert (
        ask(folder, "select task from triggers union all select task from tasks union all select task from goals")
        == [(expected[1],)] * 3
    )


def test_an_attempt_lost_before_a_channel_has_no_dispatch_id(tmp_path):
    land(tmp_path, decisions=[decision(step=None, channel=None, stage="not_in_audience")])
    assert ask(tmp_path, "select dispatch_id, stage from losses") == [(None, "not_in_audience")]
    assert ask(tmp_path, "select count(*) from dispatches") == [(0,)]


def test_a_trigger_is_told_as_it_was_decided_last(tmp_path):
    """The arm is drawn late in the list of decisions: a held trigger may not have had one."""
    land(
        tmp_path,
        decisions=[
            decision(attempt=0, stage="held", arm=None),
            decision(attempt=1, arm="treatment", variant="long", decided_at=NOON + 600 * MINUTE),
        ],
    )
    assert ask(tmp_path, "select trigger_id, arm, variant, evidence from triggers") == [
        ("t1", "treatment", "long", ["e1"])
    ]
    assert ask(tmp_path, "select attempt, stage from outcomes order by 1") == [(0, "held"), (1, "delivered")]


@st.composite
def goal_windows(draw):
    """Deliveries with windows that overlap, so that one event stands in several of them."""
    decisions, events = {}, {}
    users = st.integers(0, 4)
    for number in range(draw(st.integers(1, 25))):
        user = draw(users)
        held_out = user == 0
        day = DAY + draw(st.integers(0, 1))
        arm = "holdout" if held_out else "treatment"
        stage = "holdout" if held_out else draw(st.sampled_from(["delivered", "frequency_cap"]))
        row = decision(trigger_id=f"t{number}", user_id=f"u{user}", day=day, stage=stage, arm=arm)
        decisions[row.trigger_id] = row
        if stage == "frequency_cap":
            continue
        for event in draw(st.sets(st.integers(0, 6), max_size=3)):
            events[number, event] = goal_event(
                trigger_id=row.trigger_id,
                user_id=row.user_id,
                day=day,
                arm=arm,
                goal=draw(st.sampled_from(["ordered", "visited"])),
                event_id=f"u{user}-o{event}",
                value=None if event == 0 else float(event) + 0.25,
                credited=draw(st.booleans()),
                attained_at=NOON + event * MINUTE,
                **({"dispatch_id": None} if held_out else {}),
            )
    return list(decisions.values()), list(events.values())


@properties
@given(windows=goal_windows())
def test_attainment_counts_users_once_per_task_and_events_once(tmp_path_factory, windows):
    """S41, S50: distinct users per task, an event in two windows of a task once, held-out users apart."""
    decisions, events = windows
    folder = tmp_path_factory.mktemp("warehouse")
    goals = [plan_goal(), plan_goal(goal="visited", target=None)]
    land(folder, decisions=decisions, goal_facts=events, plan_goals=goals, plan_versions=[plan_version()])
    expected = {}
    for goal in ("ordered", "visited"):
        for day in {row.day for row in decisions}:
            delivered = {r.user_id for r in decisions if r.day == day and r.stage == "delivered"}
            held_out = {r.user_id for r in decisions if r.day == day and r.stage == "holdout"}
            if not delivered | held_out:
                continue
            here = [e for e in events if e.day == day and e.goal == goal]
            credited = {e.event_id: e.value for e in here if e.credited and e.arm == "treatment"}
            worth = [Decimal(str(value)) for value in credited.values() if value is not None]
            expected[task_id("reminder", day, None), goal] = (
                len(delivered),
                len({e.user_id for e in here if e.arm == "treatment"}),
                len(credited),
                sum(worth) if worth else None,
                len(held_out),
                len({e.user_id for e in here if e.arm == "holdout"}),
            )
    figures = "delivered, attained, orders, value, held_out, held_out_attained"
    got = ask(folder, f"select task, goal, {figures} from attainment")
    assert {row[:2]: row[2:] for row in got} == expected
    rates = ask(folder, "select attained, delivered, rate, held_out_attained, held_out, held_out_rate from attainment")
    for attained, delivered, rate, held_attained, held, held_rate in rates:
        assert rate == (attained / delivered if delivered else None)
        assert held_rate == (held_attained / held if held else None)
    for goal in ("ordered", "visited"):
        rows = [value for (_, name), value in expected.items() if name == goal]
        total = ask(folder, f"select tasks, attained, delivered, rate from plan_attainment where goal = '{goal}'")
        attained, delivered = sum(r[1] for r in rows), sum(r[0] for r in rows)
        wanted = [(len(rows), attained, delivered, attained / delivered if delivered else None)] if rows else []
        assert total == wanted, "a plan's rate is sum over tasks / sum over tasks"


def test_goals_are_one_row_per_user_and_task(tmp_path):
    """S41: first attained_at, values added up, each event once, in their order."""
    both = {"event_id": "o2", "attained_at": NOON + 20 * MINUTE, "value": 10.5}
    land(
        tmp_path,
        decisions=[decision(), decision(trigger_id="t2")],
        goal_facts=[
            goal_event(**both, credited=False),
            goal_event(**both, trigger_id="t2"),
            goal_event(value=60),
            goal_event(event_id="o3", credited=False, value=5, attained_at=NOON + 30 * MINUTE),
        ],
    )
    assert ask(tmp_path, "select user_id, goal, epoch_us(attained_at), orders, value, event_ids from goals") == [
        ("u1", "ordered", NOON + 10 * MINUTE, 2, Decimal("70.5"), ["o1", "o2", "o3"])
    ]


def test_a_goal_that_nobody_attained_is_reported(tmp_path):
    land(tmp_path, decisions=[decision()], plan_goals=[plan_goal()], plan_versions=[plan_version()])
    assert ask(tmp_path, "select plan, goal, sent, delivered, attained, rate, value, target from attainment") == [
        ("reminder", "ordered", 1, 1, 0, 0.0, None, 0.15)
    ]


def test_a_version_landed_by_every_run_is_one_plan(tmp_path):
    """It keeps its first time of publication; goals are not multiplied by it."""
    land(
        tmp_path,
        decisions=[decision()],
        plan_versions=[
            plan_version(),
            plan_version(published_at=NOON),
            plan_version(version="00000002", published_at=NOON),
        ],
        plan_goals=[plan_goal(), plan_goal()],
    )
    assert ask(tmp_path, "select version, epoch_us(published_at), tags, plan_group from plans order by 1") == [
        ("00000001", None, ["cart"], "Default"),
        ("00000002", NOON, ["cart"], "Default"),
    ]
    assert ask(tmp_path, "select goal_window::varchar, credit, target from plan_goals") == [("01:00:00", "every", 0.15)]
    assert ask(tmp_path, "select delivered from attainment") == [(1,)]


def test_tasks_are_days_of_a_plan(tmp_path):
    """S18a."""
    land(
        tmp_path,
        decisions=[
            decision(),
            decision(trigger_id="t2", triggered_at=NOON - MINUTE, stage="expired"),
            decision(trigger_id="t3", user_id="u2", day=DAY + 1, triggered_at=NOON + 1440 * MINUTE, version="00000002"),
            decision(trigger_id="t4", plan="other", stage="held"),
        ],
    )
    today = date(2022, 4, 21)
    assert ask(tmp_path, "select task, version, day, epoch_us(started_at), status, users from tasks order by 1") == [
        ("other@2022-04-21", "00000001", today, NOON, "running", 1),
        ("reminder@2022-04-21", "00000001", today, NOON - MINUTE, "completed", 1),
        ("reminder@2022-04-22", "00000002", today + timedelta(days=1), NOON + 1440 * MINUTE, "running", 1),
    ]


@pytest.mark.parametrize(
    ("waits", "status"),
    [
        ({}, "running"),
        ({"kind": "fallback"}, "running"),
        ({"kind": "wait"}, "completed"),
        ({"due": NOON + 2880 * MINUTE}, "completed"),
        ({"user_id": "u2"}, "completed"),
        ({"plan": "other"}, "completed"),
        ({"since": NOON + MINUTE}, "completed"),
    ],
    ids=[
        "on its way",
        "may fall back",
        "not triggered yet",
        "decided beyond it",
        "another user",
        "another plan",
        "later",
    ],
)
def test_a_task_runs_while_journeys_of_it_are_on_their_way(tmp_path, waits, status):
    """S30: the first day's journey waits for its last step, while a later day is decided."""
    fields = {"plan": "reminder", "version": "1", "user_id": "u1", "kind": "journey", "since": NOON}
    segments = Segments(tmp_path)
    later = {"trigger_id": "t2", "user_id": "u3", "day": DAY + 2, "triggered_at": NOON + 2880 * MINUTE}
    segments.add("decisions", columns([decision(), decision(**later, decided_at=NOON + 2880 * MINUTE)]))
    segments.state_pending(columns([Pending(**{**fields, "due": NOON + 4000 * MINUTE, **waits})]))
    publish(tmp_path, segments.seal())
    assert ask(tmp_path, "select status from tasks order by day") == [(status,), ("running",)]


def test_attainment_by_layer_counts_users_of_a_task_once_in_each_of_their_layers(tmp_path):
    """S50, S12b."""
    goal = PlanGoal("reminder", "00000001", "ordered", 60 * MINUTE, "every", None, None)
    land(
        tmp_path,
        plan_goals=[goal],
        decisions=[
            decision(trigger_id="t1", user_id="u1", layer="high"),
            decision(trigger_id="t2", user_id="u1", layer="high"),
            decision(trigger_id="t3", user_id="u1", layer="low"),
            decision(trigger_id="t4", user_id="u2", layer="low"),
            decision(trigger_id="t5", user_id="u3", layer="low", stage="frequency_cap"),
            decision(trigger_id="t6", user_id="u4", layer=None),
        ],
        goal_facts=[goal_event(trigger_id="t1", user_id="u1"), goal_event(trigger_id="t6", user_id="u4")],
    )
    assert ask(tmp_path, "select layer, sent, delivered, attained, rate, value from layer_attainment order by 1") == [
        ("high", 1, 1, 1, 1.0, 60),
        ("low", 2, 2, 1, 0.5, 60),
    ]
    assert ask(tmp_path, "select trigger_id, layer from triggers order by 1 limit 3") == [
        ("t1", "high"),
        ("t2", "high"),
        ("t3", "low"),
    ]


def test_attainment_by_layer_knows_who_attained_by_another_of_their_ids(tmp_path):
    """S2a: a message to a cookie that logged in since, whose order is the user's; who got it by both is one."""
    land(
        tmp_path,
        plan_goals=[plan_goal()],
        links=[Link("cookie", "u1", None)],
        decisions=[
            decision(trigger_id="t1", user_id="cookie", layer="high"),
            decision(trigger_id="t2", user_id="u1", layer="high"),
        ],
        goal_facts=[
            goal_event(trigger_id="t1", user_id="cookie", event_id="o0"),
            *(goal_event(trigger_id=trigger, user_id="u1") for trigger in ("t1", "t2")),
        ],
    )
    found = ask(tmp_path, "select layer, sent, delivered, attained, rate, value from layer_attainment")
    assert found == [("high", 1, 1, 1, 1.0, 120)]


def test_two_ids_that_lead_to_one_user_are_one_in_all_figures(tmp_path):
    """S2a, S50: one who got a message by each, and attained by each, is one user who did."""
    land(
        tmp_path,
        plan_goals=[plan_goal()],
        links=[Link("cookie", "mail", None), Link("mail", "u1", None)],
        decisions=[
            decision(trigger_id="t1", user_id="cookie"),
            decision(trigger_id="t2", user_id="u1"),
            decision(trigger_id="t3", user_id="u2"),
        ],
        goal_facts=[
            goal_event(trigger_id="t1", user_id="cookie", event_id="o0"),
            goal_event(trigger_id="t2", user_id="u1", event_id="o1"),
        ],
    )
    assert ask(tmp_path, "select sent, delivered, attained, orders, rate, value from attainment") == [
        (2, 2, 1, 2, 0.5, 120)
    ]
    assert ask(tmp_path, "select sent, delivered from reach") == [(2, 2)]
    assert ask(tmp_path, "select considered, sent, delivered from steps") == [(2, 2, 2)]
    assert ask(tmp_path, "select users from tasks") == [(2,)]
    assert ask(tmp_path, "select user_id, orders, event_ids from goals") == [("u1", 2, ["o0", "o1"])]
    assert ask(tmp_path, "select user_id from triggers order by 1") == [("cookie",), ("u1",), ("u2",)]


LANGUAGE = {
    "plans": "plan, version, name, plan_group, owner, tags, published_at",
    "tasks": "task, plan, version, day, started_at, status, users",
    "triggers": "trigger_id, plan, version, task, day, user_id, key, triggered_at, evidence, arm, variant, layer",
    "outcomes": "trigger_id, step, channel, dispatch_id, plan, version, task, day, user_id, stage, ended_at, detail",
    "losses": "trigger_id, step, channel, dispatch_id, plan, version, task, day, user_id, stage, lost_at, detail",
    "receipts": "dispatch_id, plan, task, user_id, channel, receipt, received_at, detail",
    "dispatches": "dispatch_id, trigger_id, plan, version, task, day, user_id, channel, step, variant, triggered_at, "
    "decided_at, expires_at, cost, coupon, content, evidence",
    "goal_events": "plan, version, task, day, user_id, goal, trigger_id, dispatch_id, arm, event_id, attained_at, "
    "value, credited",
    "goals": "plan, task, user_id, goal, attained_at, value, event_ids",
    "attainment": "plan, task, goal, sent, delivered, attained, rate, value",
    "pending": "plan, user_id, kind, since, due",
}


@pytest.mark.parametrize("relation", LANGUAGE)
def test_relations_have_the_columns_of_the_language(tmp_path, relation):
    """More columns are welcome, none may be missing."""
    land(tmp_path)
    assert ask(tmp_path, f"select {LANGUAGE[relation]} from {relation}") == []
