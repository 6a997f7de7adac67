"""The decision list: what may be sent to whom and when (S20 to S27), and in which order it is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from driver import Run, agreed
from shop import (
    ALWAYS,
    APP,
    ATTRIBUTES,
    NEIGHBOUR,
    ONCE,
    UTC,
    CityIs,
    Draft,
    On,
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
)
from stages import BERLIN, HELLO, NIGHT, SHANGHAI, only_stages, stages

from flowops.core.admission import arm_of
from flowops.core.effects import LOSSES
from flowops.core.plan import AllTrigger, Experiment, Reentry
from flowops.core.time import HOUR

# Caps (S24)


def test_a_rolling_cap_frees_at_the_instant() -> None:
    """S24: sends with `now - t < per` count."""
    plan = replace(HELLO, caps=(cap(1, rolling=span("24h")),))
    assert only_stages("2022-04-21 10:00", "2022-04-22 09:59", "2022-04-22 10:00", drafts=[plan]) == [
        "delivered",
        "frequency_cap",
        "delivered",
    ]


def test_what_was_refused_does_not_count() -> None:
    """S24: only what was sent does, so a refusal cannot keep a cap shut."""
    plan = replace(HELLO, caps=(cap(1, rolling=span("2h")),))
    times = [f"2022-04-21 {time}" for time in ("10:00", "11:00", "12:00", "13:00", "14:00")]
    assert only_stages(*times, drafts=[plan]) == ["delivered", "frequency_cap"] * 2 + ["delivered"]


@pytest.mark.parametrize(
    ("unit", "first", "second"),
    [
        ("day", "2022-04-21 23:00", "2022-04-22 00:00"),
        ("week", "2022-04-24 23:00", "2022-04-25 00:00"),  # Sunday, Monday
        ("month", "2022-04-30 23:00", "2022-05-01 00:00"),
        ("month", "2021-12-31 23:00", "2022-01-01 00:00"),
        ("month", "2024-02-29 23:00", "2024-03-01 00:00"),
    ],
)
def test_a_calendar_cap_begins_anew_at_midnight(unit, first, second) -> None:
    """S24: 23:00 and 00:00 both pass `1 per calendar day`."""
    plan = replace(HELLO, caps=(cap(1, calendar=unit),))
    again = second.replace("00:00", "01:00")
    assert only_stages(first, second, again, drafts=[plan]) == ["delivered", "delivered", "frequency_cap"]


def test_a_week_is_a_week_over_the_turn_of_a_month() -> None:
    plan = replace(HELLO, caps=(cap(1, calendar="week"),))
    assert only_stages("2022-02-28 10:00", "2022-03-06 23:59", drafts=[plan]) == ["delivered", "frequency_cap"]


def test_a_calendar_day_is_local() -> None:
    """S10: midnight in Shanghai is 16:00 UTC; the user's own zone goes before the plan's."""
    plan = replace(HELLO, caps=(cap(1, calendar="day"),), zone=SHANGHAI)
    times = "2022-04-21 15:00", "2022-04-21 16:00", "2022-04-21 23:00"
    assert only_stages(*times, drafts=[plan]) == ["delivered", "delivered", "frequency_cap"]
    told = [profile(None, zone="UTC")]
    assert only_stages(*times, drafts=[plan], told=told) == ["delivered", "frequency_cap", "frequency_cap"]


@pytest.mark.parametrize(
    ("night", "hours"), [("2022-03-26 23:00", 23), ("2022-10-29 22:00", 25), ("2022-04-20 22:00", 24)]
)
def test_a_calendar_day_is_as_long_as_the_clock_makes_it(night, hours) -> None:
    """S10: 23, 25 and 24 hours in Berlin."""
    midnight = at(night)
    plan = replace(HELLO, caps=(cap(1, calendar="day"),), zone=BERLIN)
    shop = project(plan)
    views = [event(ts, "view") for ts in (midnight, midnight + (hours * HOUR) - 1, midnight + hours * HOUR)]
    outcome = agreed(shop, log(shop, *views))
    assert [row.stage for row in outcome.decisions] == ["delivered", "frequency_cap", "delivered"]


def test_a_cap_for_ever() -> None:
    plan = replace(HELLO, caps=(cap(1),))
    assert only_stages("2012-04-21 10:00", "2022-04-21 10:00", drafts=[plan]) == ["delivered", "frequency_cap"]


def test_all_caps_must_allow_and_each_counts_what_it_names() -> None:
    """S24: the second plan may send once an hour, and both together twice a day."""
    together = cap(2, rolling=span("24h"))
    plans = [
        replace(HELLO, caps=(together,)),
        Draft("other", caps=(cap(1, rolling=span("1h"), plans=[1]), together)),
    ]
    assert stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=plans) == [
        ("hello", "2022-04-21 10:00", "delivered"),
        ("other", "2022-04-21 10:00", "delivered"),
        ("hello", "2022-04-21 11:00", "frequency_cap"),
        ("other", "2022-04-21 11:00", "frequency_cap"),
    ]


def test_the_plan_of_higher_priority_takes_what_the_cap_leaves() -> None:
    """S7: plans in their order, timers too."""
    plans = [Draft(name, on=On("view"), caps=(cap(1),)) for name in ("first", "second")]
    assert only_stages("2022-04-21 10:00", drafts=plans) == ["delivered", "frequency_cap"]
    waiting = [replace(plan, trigger=absence(HOUR), without=(On("order"),)) for plan in plans]
    assert stages("2022-04-21 10:00", drafts=waiting, until="2022-04-22 00:00") == [
        ("first", "2022-04-21 11:00", "delivered"),
        ("second", "2022-04-21 11:00", "frequency_cap"),
    ]


def test_a_cap_of_a_channel_binds_and_counts_that_channel() -> None:
    one_sms = cap(1, rolling=span("24h"), channel=1)
    plans = [replace(HELLO, caps=(one_sms,)), Draft("texting", channel=1, caps=(one_sms,))]
    told = [profile(None, ok=True, address="here")]
    assert only_stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=plans, told=told) == [
        "delivered",
        "delivered",
        "delivered",
        "frequency_cap",
    ]


def test_what_cannot_be_rendered_gives_back_what_it_reserved() -> None:
    """S24, S33."""
    plan = replace(HELLO, needs_city=True, caps=(cap(1),))
    told = [profile("2022-04-21 10:30", city="x")]
    assert only_stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=[plan], told=told) == [
        "content_invalid",
        "delivered",
    ]


def test_a_cap_with_a_key_counts_each_value_on_its_own() -> None:
    """S24: those of events that do not tell it together."""
    shop = project(replace(HELLO, caps=(cap(1, rolling=span("24h"), key=0),)))
    told = [("10:00", "A"), ("11:00", "B"), ("12:00", "A"), ("13:00", None), ("14:00", None)]
    outcome = agreed(shop, log(shop, *(event(f"2022-04-21 {time}", "view", sku) for time, sku in told)))
    assert [row.stage for row in outcome.decisions] == [
        "delivered",
        "delivered",
        "frequency_cap",
        "delivered",
        "frequency_cap",
    ]


def test_a_cap_reads_its_key_from_the_first_event_that_tells_it() -> None:
    """S24: of `all`, the first member that has it; and it counts what other plans sent of the same."""
    each = cap(1, rolling=span("24h"), key=0)
    both = Draft("both", trigger=AllTrigger(2, HOUR, 0), members=(On("view"), On("order")), caps=(each,))
    shop = project(both, replace(HELLO, on=On("pay"), caps=(each,)))
    rows = [
        event("2022-04-21 10:00", "view", None),
        event("2022-04-21 10:10", "order", "B"),
        event("2022-04-21 11:00", "pay", "B"),
        event("2022-04-21 11:10", "pay", "A"),
        event("2022-04-21 12:00", "view", "A"),
        event("2022-04-21 12:10", "order", "C"),
    ]
    outcome = agreed(shop, log(shop, *rows))
    assert [(row.plan, row.stage) for row in outcome.decisions] == [
        ("both", "delivered"),
        ("hello", "frequency_cap"),
        ("hello", "delivered"),
        ("both", "frequency_cap"),
    ]


def test_a_cap_of_several_names_counts_what_all_of_them_name() -> None:
    """S24: text messages of the second plan."""
    texts = cap(1, rolling=span("24h"), plans=[1], channel=1)
    plans = [replace(HELLO, channel=1, caps=(texts,)), Draft("push", caps=(texts,)), Draft("texts", channel=1)]
    plans[1], plans[2] = replace(plans[2], caps=(texts,)), replace(plans[1], id="push")
    told = [profile(None, ok=True, address="here")]
    assert stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=plans, told=told) == [
        ("hello", "2022-04-21 10:00", "delivered"),
        ("texts", "2022-04-21 10:00", "delivered"),
        ("push", "2022-04-21 10:00", "delivered"),
        ("hello", "2022-04-21 11:00", "frequency_cap"),
        ("texts", "2022-04-21 11:00", "frequency_cap"),
        ("push", "2022-04-21 11:00", "delivered"),
    ]


# Harassment window (S25)


def test_a_user_whom_another_plan_reached_is_skipped_until_the_windows_end() -> None:
    """S25: exactly at its end no more; what the plan itself sent does not matter."""
    plans = [replace(HELLO, on=On("order")), Draft("calm", skip=(span("3d"), None, None))]
    shop = project(*plans)
    views = ["2022-04-20 10:00", "2022-04-21 10:00", "2022-04-22 09:00", "2022-04-25 08:59", "2022-04-25 09:00"]
    rows = [event(views[0], "view"), event(views[1], "view"), event("2022-04-22 09:00", "order")]
    outcome = agreed(shop, log(shop, *rows, *(event(at_, "view", id=f"v{at_}") for at_ in views[2:])))
    assert [(row.plan, row.stage) for row in outcome.decisions] == [
        ("calm", "delivered"),
        ("calm", "delivered"),
        ("hello", "delivered"),
        ("calm", "harassment_window"),
        ("calm", "harassment_window"),
        ("calm", "delivered"),
    ]


def test_a_window_may_ask_for_some_plans_only() -> None:
    """S25: `by`; a plan that is named beside others never skips for its own sake."""
    plans = [HELLO, Draft("promo", on=On("order")), Draft("calm", on=On("pay"), skip=(span("3d"), (1, 2), None))]
    shop = project(*plans)
    rows = [("10:00", "view"), ("10:01", "pay"), ("10:02", "pay"), ("10:03", "order"), ("10:04", "pay")]
    outcome = agreed(shop, log(shop, *(event(f"2022-04-21 {time}", name) for time, name in rows)))
    assert [row.stage for row in outcome.decisions if row.plan == "calm"] == [
        "delivered",
        "delivered",
        "harassment_window",
    ]


def test_one_whom_a_message_did_not_reach_was_not_reached() -> None:
    """S25, S24: a failure gives it back, from then on; until something is known it may arrive at any moment."""
    plans = [replace(HELLO, channel=APP, on=On("order")), Draft("calm", skip=(span("3d"), None, None))]
    shop = project(*plans)
    orders = log(shop, event("2022-04-21 10:00", "order"), *(event(f"2022-04-21 10:{m}", "view") for m in (10, 40)))
    (sent, *_) = Run(shop, [orders]).to_the_end().dispatches
    failed = back(shop, receipt("2022-04-21 10:30", "failed", sent.dispatch_id))
    outcome = agreed(shop, orders, failed)
    assert [row.stage for row in outcome.decisions] == ["sent", "harassment_window", "delivered"]


def test_the_window_is_asked_after_quiet_and_before_caps() -> None:
    plan = replace(HELLO, skip=(span("3d"), None, None), caps=(cap(0),))
    assert only_stages("2022-04-21 10:00", drafts=[Draft("other"), plan]) == ["delivered", "harassment_window"]
    plan = replace(plan, quiet=quiet("09:00", "11:00", hold=False))
    assert only_stages("2022-04-21 10:00", drafts=[Draft("other"), plan]) == ["delivered", "quiet_hours"]


def test_who_was_skipped_has_entered() -> None:
    """S21: an entry is a trigger that passed as far as the address."""
    plan = replace(HELLO, skip=(HOUR, None, None), reentry=ONCE)
    other = Draft("other", on=On("order"))
    shop = project(other, plan)
    rows = [event("2022-04-21 10:00", "order"), event("2022-04-21 10:30", "view"), event("2022-04-21 12:00", "view")]
    outcome = agreed(shop, log(shop, *rows))
    assert [row.stage for row in outcome.decisions] == ["delivered", "harassment_window", "reentry"]


# What users wait for (S24)


def test_what_a_user_waits_for_is_neither_held_nor_counted() -> None:
    """S24: no caps, no window, no quiet hours of plan or channel; and others neither count nor mind it."""
    shut = quiet("00:00", "23:59", hold=False)
    code = Draft(
        "code",
        transactional=True,
        caps=(cap(0),),
        skip=(span("7d"), None, None),
        quiet=shut,
        channel_quiet=shut,
    )
    calm = replace(HELLO, caps=(cap(1),), skip=(span("7d"), None, None))
    assert stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=[code, calm]) == [
        ("code", "2022-04-21 10:00", "delivered"),
        ("hello", "2022-04-21 10:00", "delivered"),
        ("code", "2022-04-21 11:00", "delivered"),
        ("hello", "2022-04-21 11:00", "frequency_cap"),
    ]


def test_what_a_user_waits_for_needs_consent_all_the_same() -> None:
    """S24, S27."""
    code = Draft("code", transactional=True, channel=1)
    assert only_stages("2022-04-21 10:00", drafts=[code], told=[profile(None, ok=False)]) == ["no_consent"]


# Re-entry (S21)


def test_a_gap_that_is_full_passes() -> None:
    """S21: from decision to decision."""
    plan = replace(HELLO, reentry=Reentry(always=False, gap=span("7d")))
    assert only_stages("2022-04-01 10:00", "2022-04-08 09:59", "2022-04-08 10:00", drafts=[plan]) == [
        "delivered",
        "reentry",
        "delivered",
    ]


def test_once_is_once() -> None:
    plan = replace(HELLO, reentry=ONCE)
    assert only_stages("2012-04-01 10:00", "2022-04-08 10:00", drafts=[plan]) == ["delivered", "reentry"]


def test_a_repeat_of_what_entered_is_no_second_trigger() -> None:
    """S4, S22: as long as the entry refuses others; then nothing of it is remembered, and it is decided anew."""
    for reentry, again in ((ONCE, "2022-05-08 10:00"), (Reentry(always=False, gap=span("7d")), "2022-04-08 09:59")):
        shop = project(replace(HELLO, reentry=reentry))
        views = [event(time, "view", id="v") for time in ("2022-04-01 10:00", again)]
        assert [row.stage for row in agreed(shop, log(shop, *views)).decisions] == ["delivered"]
    views = [event(time, "view", id="v") for time in ("2022-04-01 10:00", "2022-04-08 10:00")]
    assert [row.stage for row in Run(shop, [log(shop, *views)]).to_the_end().decisions] == ["delivered", "delivered"]


def test_reentry_is_per_key() -> None:
    """S17a."""
    shop = project(replace(HELLO, reentry=ONCE, key=(0,)))
    views = [event(f"2022-04-21 10:0{i}", "view", sku) for i, sku in enumerate("ABA")]
    assert [row.stage for row in agreed(shop, log(shop, *views)).decisions] == ["delivered", "delivered", "reentry"]


def test_an_entry_is_forgotten_when_its_gap_is_full() -> None:
    """What a user does every day with another key must not grow without end."""
    shop = project(replace(HELLO, reentry=Reentry(always=False, gap=HOUR), key=(0,)))
    views = [event(at("2022-04-21 10:00") + n * HOUR // 2, "view", f"SKU-{n}") for n in range(20)]
    engine = Run(shop, [log(shop, *views)]).to_the_end()
    users = [user for shard in engine.shards.values() for _, user in shard._users.each()]
    assert [[key for _, key, _, _ in user.entries] for user in users] == [["SKU-18", "SKU-19"]]


def test_a_loss_before_a_channel_is_considered_is_no_entry() -> None:
    """S21: nor is one for want of consent or address; one by a later check is."""
    for draft, told, first in (
        (replace(HELLO, channel=1), profile("2022-04-21 10:30", ok=True, address="here"), "no_consent"),
        (replace(HELLO, channel=2), profile("2022-04-21 10:30", address="here"), "no_address"),
        (replace(HELLO, needs_city=True), profile("2022-04-21 10:30", city="x"), "content_invalid"),
    ):
        second = "reentry" if first == "content_invalid" else "delivered"
        plan = replace(draft, reentry=ONCE)
        assert only_stages("2022-04-21 10:00", "2022-04-21 11:00", drafts=[plan], told=[told]) == [first, second]


def test_what_is_held_is_no_entry_until_it_is_decided() -> None:
    """S21, S26: of two that were held, the first enters."""
    plan = replace(HELLO, quiet=NIGHT, reentry=ONCE)
    assert only_stages("2022-04-21 23:00", "2022-04-21 23:30", drafts=[plan], until="2022-04-23 00:00") == [
        "held",
        "held",
        "delivered",
        "reentry",
    ]


# Consent and address (S27)


@pytest.mark.parametrize(
    ("channel", "told", "stage"),
    [
        (1, {}, "no_consent"),
        (1, {"ok": False, "address": "here"}, "no_consent"),
        (1, {"ok": True}, "no_address"),
        (1, {"ok": True, "address": "here"}, "delivered"),
        (2, {"ok": True, "address": "here"}, "no_consent"),
        (2, {"address": "here"}, "delivered"),
        (2, {"ok": False}, "no_address"),
        (0, {}, "delivered"),
    ],
)
def test_consent_is_as_the_channel_declares_it(channel, told, stage) -> None:
    """Opt-in must be true; opt-out must not be."""
    updates = [profile(None, **told)] if told else []
    assert only_stages("2022-04-21 10:00", drafts=[replace(HELLO, channel=channel)], told=updates) == [stage]


def test_consent_that_is_withdrawn_while_a_wait_is_pending_is_withdrawn() -> None:
    """S27: at once, also for what is pending."""
    plan = replace(HELLO, trigger=absence(HOUR), without=(On("order"),), channel=1)
    told = profile(None, ok=True, address="here"), profile("2022-04-21 10:30", ok=False)
    assert only_stages("2022-04-21 10:00", drafts=[plan], told=told, until="2022-04-22 00:00") == ["no_consent"]


# Experiments (S23)

BOTH = Experiment("copy", 0.3, (("short", 0.5), ("long", 0.5)))


def test_an_arm_is_a_share_of_the_users() -> None:
    arms = [arm_of(BOTH, f"user-{i}") for i in range(20_000)]
    held_out = sum(arm == "holdout" for arm, _ in arms) / len(arms)
    short = sum(variant == "short" for _, variant in arms) / len(arms)
    assert abs(held_out - 0.3) < 0.015
    assert abs(short - 0.35) < 0.015
    assert {(arm, variant) for arm, variant in arms} == {
        ("holdout", None),
        ("treatment", "short"),
        ("treatment", "long"),
    }


def test_an_arm_is_the_users_own_in_each_experiment() -> None:
    """S23: the same user always, and experiments do not follow each other."""
    users = [f"user-{i}" for i in range(2_000)]
    assert [arm_of(BOTH, user) for user in users] == [arm_of(BOTH, user) for user in users]
    half = Experiment("one", 0.5, ()), Experiment("two", 0.5, ())
    together = sum(arm_of(half[0], user)[0] == arm_of(half[1], user)[0] for user in users) / len(users)
    assert abs(together - 0.5) < 0.05


def test_nobody_and_everybody_may_be_held_out() -> None:
    users = [f"user-{i}" for i in range(2_000)]
    assert {arm_of(Experiment("none", 0.0, ()), user) for user in users} == {("treatment", None)}
    assert {arm_of(Experiment("all", 1.0, ()), user) for user in users} == {("holdout", None)}
    assert arm_of(None, "user-1") == (None, None)


def test_those_held_out_are_a_loss_after_all_other_checks() -> None:
    """S23: so both arms went through the same checks, and a held-out user takes no place in a cap."""
    plan = replace(HELLO, experiment=Experiment("all", 1.0, ()), caps=(cap(1),))
    shop = project(plan, Draft("other", caps=(cap(1),)))
    outcome = agreed(shop, log(shop, event("2022-04-21 10:00", "view"), event("2022-04-21 11:00", "view")))
    assert [(row.plan, row.stage) for row in outcome.decisions] == [
        ("hello", "holdout"),
        ("other", "delivered"),
        ("hello", "frequency_cap"),
        ("other", "frequency_cap"),
    ]


def test_the_content_is_that_of_the_users_variant() -> None:
    shop = project(replace(HELLO, experiment=replace(BOTH, holdout=0.0)))
    engine = Run(shop, [log(shop, *(event("2022-04-21 10:00", "view", user=f"user-{i}") for i in range(40)))])
    engine.to_the_end()
    agreed(shop, *engine.partitions)
    for row in engine.decisions:
        assert row.variant == arm_of(BOTH, row.user_id)[1] or arm_of(BOTH, row.user_id)[0] == "holdout"
        assert json.loads(row.content or "") == {"body": f"A None {row.variant}"}
    assert {row.variant for row in engine.decisions} == {"short", "long"}


# The list


def test_the_first_check_that_fails_is_the_reason() -> None:
    """The list's order: everything is wrong, and is put right one by one."""
    wrong = Draft(
        "hello",
        trigger=absence(HOUR),
        without=(On("order"),),
        ends_at=at("2022-04-21 10:30"),
        audience=CityIs("x"),
        reentry=ONCE,
        channel=1,
        quiet=quiet("11:00", "12:00", hold=False),
        skip=(HOUR, None, None),
        caps=(cap(0),),
        experiment=Experiment("all", 1.0, ()),
        needs_city=True,
    )
    in_city = [profile(None, city="x")]
    left = [*in_city, profile("2022-04-21 10:20", city=None)]
    reached = []

    def lost(told):
        others = [replace(HELLO, id="other"), wrong]
        _, stage = only_stages("2022-04-21 10:00", drafts=others, told=told, until="2022-04-21 11:00")
        reached.append(stage)

    lost(left)
    wrong = replace(wrong, ends_at=1 << 60)
    lost(left)
    wrong = replace(wrong, audience=None)
    lost([])
    lost([profile(None, ok=True)])
    told = [profile(None, ok=True, address="here")]
    lost(told)
    wrong = replace(wrong, quiet=None)
    wrong = replace(wrong, skip=(2 * HOUR, None, None))
    lost(told)
    wrong = replace(wrong, skip=None)
    lost(told)
    wrong = replace(wrong, caps=())
    lost(told)
    wrong = replace(wrong, experiment=None)
    lost(told)
    wrong = replace(wrong, needs_city=False)
    lost(told)
    assert reached == [
        "plan_ended",
        "not_in_audience",
        "no_consent",
        "no_address",
        "quiet_hours",
        "harassment_window",
        "frequency_cap",
        "holdout",
        "content_invalid",
        "delivered",
    ]
    assert [stage for stage in LOSSES if stage in reached] == reached[:-1]


def test_reentry_is_asked_after_the_audience_and_before_consent() -> None:
    plan = replace(HELLO, audience=CityIs("x"), reentry=ONCE, channel=1, trigger=absence(HOUR), without=(On("order"),))
    told = [
        profile(None, city="x", ok=True, address="here"),
        profile("2022-04-21 11:30", ok=False),
        profile("2022-04-21 14:30", city="y"),
    ]
    times = "2022-04-21 10:00", "2022-04-21 12:00", "2022-04-21 14:00"
    assert only_stages(*times, drafts=[plan], told=told, until="2022-04-22 00:00") == [
        "delivered",
        "reentry",
        "not_in_audience",
    ]


def test_a_trigger_lost_before_a_channel_was_considered_names_none() -> None:
    """S22."""
    shop = project(replace(HELLO, reentry=ONCE, caps=(cap(1),)), Draft("other", caps=(cap(1),)))
    outcome = agreed(shop, log(shop, event("2022-04-21 10:00", "view"), event("2022-04-21 11:00", "view")))
    assert [(row.stage, row.step, row.channel) for row in outcome.decisions] == [
        ("delivered", "send", "push"),
        ("frequency_cap", "send", "push"),
        ("reentry", None, None),
        ("frequency_cap", "send", "push"),
    ]


def test_a_task_is_of_the_day_of_the_trigger_in_the_plans_zone() -> None:
    """S18a: of the trigger, not of the send; the plan's zone, not the user's."""
    plan = replace(HELLO, zone=SHANGHAI, quiet=NIGHT)
    shop = project(plan)
    told = crm(shop, profile(None, zone="UTC"))
    outcome = agreed(shop, log(shop, event("2022-04-21 23:00", "view")), told, until=at("2022-04-22 12:00"))
    assert {row.day for row in outcome.decisions} == {SHANGHAI.day(at("2022-04-22 10:00"))}


def test_users_do_not_touch_each_other() -> None:
    plan = replace(HELLO, caps=(cap(1),), reentry=ALWAYS)
    shop = project(plan)
    views = event("2022-04-21 10:00", "view"), event("2022-04-21 10:00", "view", user=NEIGHBOUR)
    assert [row.stage for row in agreed(shop, log(shop, *views)).decisions] == ["delivered", "delivered"]


def test_what_is_sent_carries_its_cost_and_address() -> None:
    """S31."""
    shop = project(replace(HELLO, channel=1))
    told = crm(shop, profile(None, ok=True, address="here"))
    engine = Run(shop, [log(shop, event("2022-04-21 10:00", "view")), told]).to_the_end()
    (command,) = engine.dispatches
    assert (command.channel, command.address, command.decision.cost) == (1, "here", 0.05)
    assert command.decision in engine.decisions


def test_the_examples_speak_of_the_zone_that_the_project_reads() -> None:
    assert ATTRIBUTES[project(HELLO).zone_attribute or 0] == "zone"
    assert project(HELLO).plans[0].zone == UTC
