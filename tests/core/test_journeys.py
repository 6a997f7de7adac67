"""Journeys: steps, waits, conditions, channels and ways (S22 to S24, S29, S30, S41)."""

from __future__ import annotations

import pytest
from driver import Run, agreed
from shop import (
    APP,
    HOOK,
    ONCE,
    PUSH,
    SMS,
    USER,
    Aim,
    CityIs,
    Draft,
    Fact,
    On,
    SameSku,
    Stop,
    absence,
    at,
    back,
    cap,
    crm,
    event,
    log,
    profile,
    project,
    quiet,
    receipt,
    span,
    times,
)

from flowops.core.admission import trigger_id
from flowops.core.effects import LEFT_OUT
from flowops.core.plan import CountTrigger, EventTrigger, Experiment, UntilLocal
from flowops.core.shard import acting
from flowops.core.time import isoformat

DAY = "2022-04-21"
OPENER = Stop((APP,), name="opener")
HERE = profile(None, ok=True, address="here", city="x")


def seen(time, name="view", sku="A"):
    return event(f"{DAY} {time}", name, sku, id=f"{name} {time}")


def said(time, says, step="opener", channel="app", view="10:00"):
    """What came back of a message of the journey that the view at this time began."""
    return receipt(f"{DAY} {time}", says, f"{trigger_id('hello', USER, None, (f'view {view}',))}-{step}-{channel}")


def outcome(*steps, rows=(), receipts=(), until="23:59", told=(HERE,), plan=None, drafts=(), view="10:00"):
    own = Draft("hello", journey=steps, **(plan or {}))
    shop = project(own, *drafts)
    events = log(shop, *sorted([seen(view), *rows], key=lambda row: row.ts))
    partitions = [events, crm(shop, *told), back(shop, *receipts)]
    return agreed(shop, *partitions, until=at(until if "-" in until else f"{DAY} {until}"))


def sent(found):
    """The messages that went out: when, of which step, on which channel."""
    rows = [row for row in found.decisions if row.content is not None]
    return [(isoformat(row.decided_at)[11:16], row.step, row.channel) for row in rows]


def lost(found):
    rows = [row for row in found.decisions if row.content is None]
    return [(isoformat(row.decided_at)[11:16], row.step, row.channel, row.stage) for row in rows]


def follow_up(**more):
    return Stop((PUSH,), name="next", **more)


# Waits


def test_a_step_waits_since_the_one_before_fell_due() -> None:
    found = outcome(OPENER, follow_up(after=span("2h")), Stop((PUSH,), after=span("1h"), name="last"))
    assert sent(found) == [("10:00", "opener", "app"), ("12:00", "next", "push"), ("13:00", "last", "push")]


def test_the_first_step_may_wait_too() -> None:
    found = outcome(follow_up(after=span("1h")), until="10:59")
    assert sent(found) == []
    assert [(row.kind, isoformat(row.due)[11:16]) for row in found.pending] == [("journey", "11:00")]


def test_a_step_without_a_wait_follows_at_once() -> None:
    assert sent(outcome(OPENER, follow_up())) == [("10:00", "opener", "app"), ("10:00", "next", "push")]


def test_a_wait_may_last_until_a_local_time() -> None:
    """S10, S12: the next one, strictly later, in the user's zone."""
    clock = UntilLocal(20 * 60, frozenset(range(7)))
    told = [profile(None, ok=True, zone="Europe/Berlin")]
    assert sent(outcome(OPENER, follow_up(after=clock), told=told))[1] == ("18:00", "next", "push")


def told(found):
    """Triggers of which no attempt was made: when that was known."""
    assert all(row.step is None and row.channel is None for row in found.decisions if row.stage == LEFT_OUT)
    return [isoformat(row.decided_at)[11:16] for row in found.decisions if row.stage == LEFT_OUT]


def test_a_journey_whose_steps_are_all_left_out_is_told() -> None:
    """S22, S30: its trigger is, once it is over; it is no attempt, nor a loss."""
    nobody = Stop((PUSH,), name="opener", when=CityIs("y"))
    found = outcome(nobody, follow_up(after=span("1h"), when=CityIs("y")))
    assert told(found) == ["11:00"]
    assert told(outcome(nobody, follow_up(after=span("1h"), when=CityIs("y")), until="10:59")) == []
    assert told(outcome(nobody, follow_up(after=span("1h")))) == []
    assert told(outcome(Stop((SMS,), name="opener"), told=[profile(None, ok=None)])) == []  # lost is decided about


@pytest.mark.parametrize("plan", [{"ends_at": at(f"{DAY} 11:00")}, {"exits": (On("pay"),)}])
def test_a_journey_that_ends_behind_a_step_that_was_for_others_is_told(plan) -> None:
    """S29: the step was come to, on no channel."""
    found = outcome(
        Stop((PUSH,), name="opener", only=(CityIs("y"),)),
        follow_up(after=span("2h")),
        rows=[seen("11:00", "pay")],
        plan=plan,
    )
    assert (told(found), lost(found)[1:], sent(found)) == (["11:00"], [], [])


def test_what_is_decided_of_a_trigger_after_its_first_decision_is_told_as_further() -> None:
    """Be it the next step, the next channel, or what is held; what is decided again, its `attempt` tells."""
    night = {"quiet": quiet("20:00", "09:00")}
    for steps, plan, told in (
        ((OPENER,), {}, 0),
        ((OPENER, follow_up(after=span("1h")), follow_up(after=span("1h"))), {}, 2),
        ((Stop((SMS, PUSH), name="opener"),), {}, 1),
        ((Stop((PUSH,), name="opener"), follow_up()), night, 1),
        ((Stop((PUSH,), name="opener", when=CityIs("y")),), {}, 0),
    ):
        shop = project(Draft("hello", journey=steps, **plan))
        view = event(f"{DAY} 22:00", "view", "A", id="v")
        profiles = crm(shop, profile(None, address="here", city="x"))
        run = Run(shop, [log(shop, view), profiles, back(shop)]).to_the_end(at(f"{DAY} 22:00") + span("2d"))
        assert len(run.further) == told
        assert sum(not row.attempt for row in run.decisions) - told == 1


def test_what_was_lost_still_lets_the_next_step_count() -> None:
    """S30: sent or not, it fell due; and the journey goes on."""
    found = outcome(Stop((SMS,), name="opener"), follow_up(after=span("1h")), told=[profile(None, ok=None)])
    assert lost(found) == [("10:00", "opener", "sms", "no_consent")]
    assert sent(found) == [("11:00", "next", "push")]


PAID = {"until": On("pay"), "after": span("2h")}


def test_a_wait_for_an_event_ends_with_it() -> None:
    in_time = outcome(OPENER, follow_up(**PAID), rows=[seen("10:40", "pay")])
    assert sent(in_time)[1] == ("10:40", "next", "push")
    assert sent(outcome(OPENER, follow_up(**PAID)))[1] == ("12:00", "next", "push")


@pytest.mark.parametrize(("paid", "steps"), [("11:59", []), ("12:00", ["next"]), ("13:00", ["next"])])
def test_what_came_in_time_did_not_time_out(paid, steps) -> None:
    """S10: exactly at its end the wait has timed out."""
    found = outcome(follow_up(**PAID, when=Fact("timed_out")), rows=[seen(paid, "pay")])
    assert [step for _, step, _ in sent(found)] == steps


def test_the_event_that_begins_a_journey_does_not_end_its_wait() -> None:
    """S17a: it first ends what is under way."""
    found = outcome(follow_up(until=On("view"), after=span("1h")))
    assert sent(found) == [("11:00", "next", "push")]


def test_a_wait_for_an_event_has_the_key_of_its_trigger() -> None:
    rows = [seen("10:10", sku="B"), seen("10:30", "pay", "B")]
    found = outcome(follow_up(**PAID), rows=rows, plan={"key": (0,)})
    assert sent(found) == [("10:30", "next", "push"), ("12:00", "next", "push")]


def test_an_event_that_counts_for_the_trigger_ends_a_wait_too() -> None:
    """S16, S30: whether or not it reaches what is wanted again."""
    plan = {"trigger": CountTrigger(times(1, None), 0), "counter": times(1, None)}
    found = outcome(OPENER, follow_up(until=On("view"), after=span("2h")), rows=[seen("10:30")], plan=plan)
    assert sent(found) == [("10:00", "opener", "app"), ("10:30", "next", "push")]


def test_its_filter_may_speak_of_the_trigger() -> None:
    wait = {"until": On("pay", where=SameSku()), "after": span("2h")}
    assert sent(outcome(follow_up(**wait), rows=[seen("10:30", "pay", "B")])) == [("12:00", "next", "push")]


# Conditions


@pytest.mark.parametrize(
    ("says", "fact", "holds"),
    [
        (None, "delivered", False),
        (None, "sent", True),
        ("delivered", "delivered", True),
        ("delivered", "clicked", False),
        ("displayed", "displayed", True),
        ("clicked", "clicked", True),
        ("clicked", "displayed", True),
        ("failed", "delivered", False),
    ],
)
def test_a_condition_asks_what_is_known_of_a_step(says, fact, holds) -> None:
    receipts = [said("10:20", says)] if says else []
    for step in (None, 0):
        found = outcome(OPENER, follow_up(after=span("30m"), when=Fact(fact, step)), receipts=receipts)
        assert [each for _, each, _ in sent(found)] == ["opener", "next"][: 1 + holds]


def test_a_receipt_that_comes_when_the_step_is_due_comes_too_late() -> None:
    """S7: timers come before records."""
    found = outcome(OPENER, follow_up(after=span("30m"), when=Fact("clicked")), receipts=[said("10:30", "clicked")])
    assert sent(found) == [("10:00", "opener", "app")]


def test_the_step_before_is_the_last_that_was_come_to() -> None:
    """Who clicked the opener is not taken for one who did not, because the step between was left out."""
    between = Stop((PUSH,), after=span("30m"), when=Fact("clicked", negated=True), name="between")
    last = Stop((PUSH,), after=span("30m"), when=Fact("clicked", negated=True), name="last")
    assert sent(outcome(OPENER, between, last, receipts=[said("10:10", "clicked")])) == [("10:00", "opener", "app")]
    assert [step for _, step, _ in sent(outcome(OPENER, between, last))] == ["opener", "between", "last"]


def test_a_condition_asks_whether_a_goal_was_attained() -> None:
    aims = {"aims": (Aim(On("order"), span("1h")),)}
    wanted = follow_up(after=span("90m"), when=Fact("attained"))
    paid = Stop((PUSH,), name="opener")
    assert len(sent(outcome(paid, wanted, plan=aims, rows=[seen("10:30", "order")]))) == 2
    assert len(sent(outcome(paid, wanted, plan=aims, rows=[seen("11:00", "order")]))) == 1


def test_a_fork_leads_two_ways_that_meet_again() -> None:
    fork = Stop(
        after=span("30m"),
        when=Fact("clicked"),
        then=(Stop((PUSH,), name="thanks"),),
        otherwise=(Stop((PUSH,), name="again"), Stop((PUSH,), after=span("10m"), name="please")),
    )
    last = Stop((PUSH,), after=span("1h"), name="last")
    assert sent(outcome(OPENER, fork, last, receipts=[said("10:10", "clicked")]))[1:] == [
        ("10:30", "thanks", "push"),
        ("11:30", "last", "push"),
    ]
    assert sent(outcome(OPENER, fork, last))[1:] == [
        ("10:30", "again", "push"),
        ("10:40", "please", "push"),
        ("11:40", "last", "push"),
    ]


# Channels


BOTH = Stop((APP, PUSH), fallback_after=span("30m"), name="opener")


def test_the_first_channel_that_may_be_sent_is_taken() -> None:
    """S22: what was refused is an attempt of its own."""
    found = outcome(Stop((SMS, PUSH), name="opener"), told=[profile(None, ok=None)])
    assert lost(found) == [("10:00", "opener", "sms", "no_consent")]
    assert sent(found) == [("10:00", "opener", "push")]


def test_a_channel_may_be_for_some_only() -> None:
    step = Stop((SMS, PUSH), only=(CityIs("y"),), name="opener")
    found = outcome(step)
    assert (sent(found), lost(found)) == ([("10:00", "opener", "push")], [])


def test_the_next_channel_is_taken_when_nothing_is_heard() -> None:
    assert sent(outcome(BOTH)) == [("10:00", "opener", "app"), ("10:30", "opener", "push")]
    assert sent(outcome(BOTH, receipts=[said("10:29", "delivered")])) == [("10:00", "opener", "app")]
    late = outcome(BOTH, receipts=[said("10:40", "delivered")])
    assert (len(sent(late)), late.stages[-1].stage) == (2, "delivered")  # both stand


def test_left_out_it_waits_as_long_as_its_channel_does() -> None:
    assert sent(outcome(Stop((APP, PUSH), name="opener")))[1] == ("11:00", "opener", "push")


def test_the_next_channel_is_taken_at_once_when_the_first_fails() -> None:
    assert sent(outcome(BOTH, receipts=[said("10:10", "failed")]))[1] == ("10:10", "opener", "push")
    hook = Stop((HOOK, PUSH), name="opener")  # of which nothing is waited for
    found = outcome(hook, receipts=[said("14:00", "failed", channel="hook")])
    assert sent(found) == [("10:00", "opener", "hook"), ("14:00", "opener", "push")]


def test_no_channel_is_taken_when_the_step_has_expired() -> None:
    """S31a: and what is sent instead expires with it."""
    hook = Stop((HOOK, PUSH), expires=span("2h"), name="opener")
    assert len(sent(outcome(hook, receipts=[said("12:00", "failed", channel="hook")]))) == 1
    found = outcome(hook, receipts=[said("11:00", "failed", channel="hook")])
    assert [isoformat(row.expires_at)[11:16] for row in found.decisions] == ["12:00", "12:00"]


def test_a_step_may_go_out_on_each_of_its_channels() -> None:
    found = outcome(Stop((SMS, PUSH), each=True, name="opener"))
    assert sent(found) == [("10:00", "opener", "sms"), ("10:00", "opener", "push")]


def test_the_next_step_does_not_wait_for_a_fallback() -> None:
    found = outcome(BOTH, follow_up(after=span("10m")))
    assert sent(found) == [("10:00", "opener", "app"), ("10:10", "next", "push"), ("10:30", "opener", "push")]


# The decision


def test_no_step_comes_before_the_one_before_was_decided() -> None:
    """S26: what is held falls due when it did; the step after it then counts from when it could."""
    night = {"quiet": quiet("09:00", "12:00")}
    found = outcome(Stop((PUSH,), name="opener"), follow_up(after=span("1h")), plan=night)
    assert lost(found) == [("10:00", "opener", "push", "held")]
    assert sent(found) == [("12:00", "opener", "push"), ("12:00", "next", "push")]
    later = outcome(Stop((PUSH,), name="opener"), follow_up(after=span("3h")), plan=night)
    assert sent(later) == [("12:00", "opener", "push"), ("13:00", "next", "push")]


def test_the_audience_is_asked_at_every_step() -> None:
    told = [HERE, profile(f"{DAY} 10:30", city="y"), profile(f"{DAY} 11:30", city="x")]
    steps = [
        Stop((PUSH,), name="a"),
        Stop((PUSH,), after=span("1h"), name="b"),
        Stop((PUSH,), after=span("1h"), name="c"),
    ]
    found = outcome(*steps, told=told, plan={"audience": CityIs("x")})
    assert lost(found) == [("11:00", "b", None, "not_in_audience")]
    assert [step for _, step, _ in sent(found)] == ["a", "c"]


def test_a_journey_enters_once() -> None:
    """S21: its later steps are not refused for its own sake; a second journey is."""
    found = outcome(OPENER, follow_up(after=span("1h")), rows=[seen("10:30")], plan={"reentry": ONCE})
    assert len(sent(found)) == 2
    assert lost(found) == [("10:30", "opener", None, "reentry")]


def test_further_triggers_begin_journeys_of_their_own() -> None:
    found = outcome(OPENER, follow_up(after=span("1h")), rows=[seen("10:30")])
    assert [time for time, _, _ in sent(found)] == ["10:00", "10:30", "11:00", "11:30"]


def test_of_so_many_journeys_under_way_a_further_one_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """S17a: each event of a user looks at all that is under way. Of another key, or once one is over, it does."""
    monkeypatch.setattr(acting, "UNDER_WAY", 2)
    monkeypatch.setattr("model.UNDER_WAY", 2)
    rows = [seen("10:10"), seen("10:20"), seen("10:30", sku="B"), seen("11:05")]
    found = outcome(OPENER, follow_up(after=span("1h")), rows=rows, plan={"key": (0,)})
    assert [time for time, step, _ in sent(found) if step == "opener"] == ["10:00", "10:10", "10:30", "11:05"]
    assert lost(found) == []


@pytest.mark.parametrize("plan", [{"trigger": EventTrigger(span("1h"))}, {"quiet": quiet("10:00", "11:00")}])
def test_what_is_delayed_or_held_is_under_way_too(monkeypatch: pytest.MonkeyPatch, plan) -> None:
    monkeypatch.setattr(acting, "UNDER_WAY", 2)
    monkeypatch.setattr("model.UNDER_WAY", 2)
    shop = project(Draft("hello", **plan))
    found = agreed(shop, log(shop, *map(seen, ("10:00", "10:10", "10:20", "11:05"))), until=at(f"{DAY} 23:59"))
    went_out = [row.evidence[0] for row in found.decisions if row.content]
    assert went_out == ["view 10:00", "view 10:10", "view 11:05"]


@pytest.mark.parametrize(("audience", "sms"), [(None, [("12:00", "opener", "sms")]), (CityIs("x"), [])])
def test_what_is_held_for_a_channel_that_is_for_others_by_then_is_lost(audience, sms) -> None:
    """S22, S30: it is an attempt; the next channel is considered, unless the plan is not for the user at all."""
    step = Stop((PUSH, SMS), only=(CityIs("x"), None), name="opener")
    moved = profile(f"{DAY} 11:00", city="y")
    plan = {"quiet": quiet("09:00", "12:00"), "audience": audience}
    found = outcome(step, told=(HERE, moved), plan=plan)
    assert lost(found) == [("10:00", "opener", "push", "held"), ("12:00", "opener", "push", "not_in_audience")]
    assert [row.attempt for row in found.decisions if row.channel == "push"] == [0, 1]
    assert all(row.attempt == 0 for row in found.decisions if row.channel == "sms")
    assert sent(found) == sms
    assert sent(outcome(step, plan=plan)) == [("12:00", "opener", "push")]


def test_who_is_held_out_is_so_for_the_whole_journey() -> None:
    plan = {
        "experiment": Experiment("half", 0.5, (), pinned=((USER, "holdout"),)),
        "aims": (Aim(On("order"), span("2h")),),
    }
    found = outcome(OPENER, follow_up(after=span("1h")), rows=[seen("11:30", "order")], plan=plan)
    assert lost(found) == [("10:00", "opener", "app", "holdout")]
    assert [(row.arm, row.dispatch_id) for row in found.goals] == [("holdout", None)]


def test_a_journey_is_compared_once_from_its_first_message_on() -> None:
    """S23: as who is held out has one window; also after that window has closed."""
    plan = {
        "experiment": Experiment("half", 0.5, (), pinned=((USER, "treatment"),)),
        "aims": (Aim(On("order"), span("30m")),),
    }
    steps = [Stop((PUSH,), name="opener"), Stop((PUSH,), name="last", after=span("1h"))]
    found = outcome(*steps, rows=[seen("10:10", "order"), seen("11:10", "order")], plan=plan)
    assert [row.event_id for row in found.goals] == ["order 10:10", "order 11:10"]
    assert [row.event_id for row in found.compared] == ["order 10:10"]


def test_a_step_counts_once_for_caps_however_many_channels_it_uses() -> None:
    """S24: but towards a channel's cap each message counts."""
    both = Stop((SMS, PUSH), each=True, name="opener")
    rows = [seen("10:30"), seen("10:40")]
    twice = outcome(both, rows=rows, plan={"caps": (cap(2, span("1d")),)})
    assert len(sent(twice)) == 4
    assert [row[3] for row in lost(twice)] == ["frequency_cap"] * 2
    once = outcome(both, rows=rows, plan={"caps": (cap(1, span("1d"), channel=SMS),)})
    assert [channel for _, _, channel in sent(once)] == ["sms", "push", "push", "push"]


def test_what_failed_is_given_back_and_what_was_sent_instead_counts() -> None:
    drafts = [Draft("other", on=On("order"), caps=(cap(1, span("1d")),))]
    rows = [seen("10:20", "order")]
    assert len(sent(outcome(BOTH, rows=rows, receipts=[said("10:10", "failed")], drafts=drafts))) == 2
    alone = outcome(OPENER, rows=rows, receipts=[said("10:10", "failed")], drafts=drafts)
    assert sent(alone)[1] == ("10:20", "send", "push")


def test_the_end_of_the_plan_ends_its_journeys() -> None:
    """S29, S20: at once; what was not decided before is lost."""
    ends = {"ends_at": at(f"{DAY} 11:00")}
    found = outcome(OPENER, follow_up(after=span("2h")), plan=ends)
    assert (len(sent(found)), lost(found), [row.kind for row in found.pending]) == (1, [], [])
    waiting = outcome(follow_up(after=span("2h")), plan=ends)
    assert lost(waiting) == [("11:00", None, None, "plan_ended")]


def test_each_step_opens_goal_windows_of_its_own() -> None:
    """S41."""
    plan = {"aims": (Aim(On("order"), span("1h")),)}
    steps = [Stop((PUSH,), name="opener"), follow_up(after=span("90m"))]
    found = outcome(*steps, rows=[seen("10:30", "order"), seen("12:00", "order")], plan=plan)
    assert [(row.dispatch_id[25:], isoformat(row.attained_at)[11:16]) for row in found.goals] == [
        ("opener-push", "10:30"),
        ("next-push", "12:00"),
    ]


def test_a_late_event_that_would_have_kept_the_trigger_from_firing_ends_no_journey() -> None:
    """S9: it has come to its steps; what ends it is an exit."""
    plan = {"trigger": absence(span("30m")), "without": (On("pay"),)}
    own = Draft("hello", journey=(follow_up(after=span("1h")),), **plan)
    shop = project(own)
    rows = [seen("10:00"), seen("10:50", "order"), seen("10:10", "pay")]
    assert len(sent(agreed(shop, log(shop, *rows), crm(shop, HERE), back(shop), until=at(f"{DAY} 13:00")))) == 1


# Touches (S29)


def test_an_exit_loses_no_trigger_that_was_known_before() -> None:
    """S4, S29: a repeated event waits out its delay, and would have begun nothing."""
    again = event(f"{DAY} 12:00", "view", id="view 10:00")
    plan = {"trigger": EventTrigger(span("1h")), "exits": (On("pay"),), "aims": (Aim(On("cart"), span("1d")),)}
    found = outcome(Stop((PUSH,), name="only"), rows=[again, seen("12:30", "pay")], plan=plan)
    assert sent(found) == [("11:00", "only", "push")]
    assert lost(found) == []


def test_a_journey_ends_after_so_many_touches() -> None:
    """S29: at once, so nothing waits any more and nothing is told of the step that would have followed."""
    found = outcome(
        OPENER, follow_up(after=span("1h")), follow_up(after=span("1h")), plan={"touches": 2}, until="11:00"
    )
    assert sent(found) == [("10:00", "opener", "app"), ("11:00", "next", "push")]
    assert lost(found) == []
    assert [row.kind for row in found.pending] == []


def test_a_step_that_sent_nothing_is_no_touch() -> None:
    """S29: what was refused; a step counts once, on however many channels it is sent."""
    both = Stop((APP, PUSH), each=True, name="opener")
    nobody = Stop((SMS,), name="never")
    found = outcome(
        nobody, both, follow_up(after=span("1h")), follow_up(after=span("1h")), plan={"touches": 2}, told=()
    )
    assert sent(found) == [("10:00", "opener", "app"), ("10:00", "opener", "push"), ("11:00", "next", "push")]
    assert lost(found) == [("10:00", "never", "sms", "no_consent")]
