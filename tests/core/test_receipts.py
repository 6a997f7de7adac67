"""Receipts: what came of a message, what follows, and what a user withdraws by one (S22, S24, S27, S40, S41)."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from driver import Run, agreed
from shop import (
    APP,
    CHANNELS,
    HOOK,
    LETTER,
    STRANGER,
    USER,
    Aim,
    Draft,
    On,
    at,
    back,
    cap,
    crm,
    event,
    log,
    profile,
    project,
    receipt,
    span,
)

from flowops.core.admission import trigger_id
from flowops.core.plan import Experiment
from flowops.core.records import shard_of, shard_of_dispatch
from flowops.core.shard import sending
from flowops.core.time import isoformat

DAY = "2022-04-21"
ORDERED = Aim(On("order"), span("1h"))
CLICKED = Aim(On("order"), span("1h"), receipt="clicked")


def seen(time, name="view"):
    return event(f"{DAY} {time}", name, id=f"{name} {time}")


def message(view, plan="hello", channel=APP):
    """The id of the message that the view at this time caused."""
    return f"{trigger_id(plan, USER, None, (f'view {view}',))}-send-{CHANNELS[channel].name}"


def said(time, says, view="10:00", user=None, channel=APP, plan="hello"):
    return receipt(f"{DAY} {time}", says, message(view, plan, channel), user)


def outcome(rows, receipts, *drafts, channel=APP, aims=(), told=(), until=None, disorder="0s", caps=()):
    drafts = drafts or (Draft("hello", channel=channel, aims=aims, caps=caps),)
    shop = project(*drafts, receipt_disorder=span(disorder))
    partitions = [log(shop, *rows), back(shop, *receipts)]
    if told:
        partitions.append(crm(shop, *told))
    return agreed(shop, *partitions, until=None if until is None else at(f"{DAY} {until}"))


def stages(found):
    return [(row.stage, isoformat(row.changed_at)[11:16]) for row in found.stages]


def decided(found):
    return [row.stage for row in found.decisions]


def test_a_message_waits_for_its_receipts() -> None:
    """S22: sent, it is pending; not yet delivered, and not lost."""
    found = outcome([seen("10:00")], [], until="10:59")
    assert decided(found) == ["sent"]
    assert stages(found) == []
    assert [(row.kind, row.due) for row in found.pending] == [("sent", at(f"{DAY} 11:00"))]


def test_what_nobody_confirms_in_time_is_undelivered() -> None:
    """S40, S10: exactly at the end of the wait it is too late; a receipt of that instant corrects it."""
    assert stages(outcome([seen("10:00")], [], until="11:00")) == [("undelivered", "11:00")]
    assert stages(outcome([seen("10:00")], [said("10:59", "delivered")], until="12:00")) == [("delivered", "10:59")]
    assert stages(outcome([seen("10:00")], [said("11:00", "delivered")], until="12:00")) == [
        ("undelivered", "11:00"),
        ("delivered", "11:00"),
    ]


@pytest.mark.parametrize("says", ["delivered", "displayed", "clicked"])
def test_a_receipt_implies_its_forerunners(says) -> None:
    assert stages(outcome([seen("10:00")], [said("10:10", says)], until="12:00")) == [("delivered", "10:10")]


@pytest.mark.parametrize("says", ["accepted", "recalled", "complained", "unsubscribed"])
def test_other_receipts_say_nothing_about_delivery(says) -> None:
    assert stages(outcome([seen("10:00")], [said("10:10", says)], until="12:00")) == [("undelivered", "11:00")]


@pytest.mark.parametrize("order", list(permutations(["failed", "delivered", "clicked", "failed"])))
def test_in_whatever_order_they_come_the_proof_stands(order) -> None:
    """S40: a report of failure does not undo the proof of arrival, before it or after it."""
    found = outcome([seen("10:00")], [said(f"10:{n}0", says) for n, says in enumerate(order, 1)], until="12:00")
    assert found.stages[-1].stage == "delivered"
    assert len(found.receipts) == 4


@pytest.mark.parametrize(("says", "loss"), [("failed", "send_failed"), ("expired", "expired")])
def test_what_failed_is_lost_once(says, loss) -> None:
    found = outcome([seen("10:00")], [said("10:10", says), said("10:20", says)], until="12:00")
    assert stages(found) == [(loss, "10:10")]
    assert found.pending == []


def test_a_failure_is_better_knowledge_than_silence() -> None:
    """S40: it corrects what was believed for want of a receipt."""
    found = outcome([seen("10:00")], [said("11:10", "failed")], until="12:00")
    assert stages(found) == [("undelivered", "11:00"), ("send_failed", "11:10")]


def test_a_receipt_of_nobodys_message_is_landed_and_has_no_effect() -> None:
    strange = [
        receipt(f"{DAY} 10:05", "failed", "no such message"),
        receipt(f"{DAY} 10:05", "failed", message("10:00", channel=LETTER)),  # not the channel that it went to
        receipt(f"{DAY} 10:05", "failed", message("09:00")),
    ]
    found = outcome([seen("10:00")], strange, until="10:30")
    assert stages(found) == []
    assert len(found.receipts) == 3


def test_a_message_is_forgotten_when_nothing_can_come_of_it() -> None:
    """S40: it expires after a day, and is remembered for as long again as the channel says (90 minutes here)."""
    after = at(f"{DAY} 10:00") + span("1d") + span("90m")
    for late, expected in ((-1, 1), (0, 0)):
        row = receipt(after + late, "clicked", message("10:00"))
        assert sum(one.stage == "delivered" for one in outcome([seen("10:00")], [row]).stages) == expected


def test_nothing_is_kept_of_what_is_forgotten() -> None:
    """The memory of a shard is that of the messages of which something may still be heard."""
    shop = project(Draft("hello", channel=APP), disorder=[0])
    weeks = [event(at(f"{DAY} 10:00") + week * span("7d"), "view", id=f"{week}") for week in range(10)]
    run = Run(shop, [log(shop, *weeks[:-1], event(weeks[-1].ts, "view", user=STRANGER))])
    run.to_the_end()
    home = run.shards[shard_of(USER)]
    assert len(home._sent_to) == 1
    home._sweep_at = -1
    home._sweep(weeks[-1].ts)
    assert home._sent_to == {}
    assert home.live_users() == 0


# Caps (S24)

ONCE_A_DAY = (cap(1, rolling=span("1d"), plans=[0]),)


@pytest.mark.parametrize("channel", [APP, HOOK])
def test_what_failed_is_given_back(channel) -> None:
    rows, told = [seen("10:00"), seen("10:30"), seen("11:30")], [profile(None, ok=True)]
    found = outcome(rows, [said("10:10", "failed", channel=channel)], channel=channel, caps=ONCE_A_DAY, told=told)
    assert [stage in ("sent", "delivered") for stage in decided(found)] == [True, True, False]


def test_what_is_undelivered_stays_counted() -> None:
    """S24: nobody knows that it did not arrive."""
    assert decided(outcome([seen("10:00"), seen("11:30")], [], caps=ONCE_A_DAY)) == ["sent", "frequency_cap"]


def test_what_failed_and_arrived_all_the_same_counts_again() -> None:
    receipts = [said("10:10", "failed"), said("10:20", "delivered")]
    assert decided(outcome([seen("10:00"), seen("10:30")], receipts, caps=ONCE_A_DAY)) == ["sent", "frequency_cap"]


def test_an_older_send_counts_where_a_newer_one_is_given_back(monkeypatch) -> None:
    """S24: so it must not have been forgotten, though it seemed to be one too many."""
    monkeypatch.setattr(sending, "_SENDS", 0)
    drafts = [Draft("hello", channel=APP), Draft("pay", on=On("pay"), channel=APP, caps=(cap(1),))]
    rows = [seen("10:00"), seen("10:10"), seen("10:30", "pay")]
    found = outcome(rows, [said("10:05", "delivered"), said("10:20", "failed", view="10:10")], *drafts)
    assert decided(found) == ["sent", "sent", "frequency_cap"]


# Goals (S41)


def test_the_window_opens_at_the_delivery_that_a_receipt_tells() -> None:
    rows = [seen("10:00"), seen("10:10", "order"), seen("10:30", "order"), seen("11:20", "order")]
    found = outcome(rows, [said("10:20", "delivered")], aims=[ORDERED])
    assert [row.event_id for row in found.goals] == ["order 10:30"]


def test_a_window_told_late_opens_only_if_it_has_not_closed() -> None:
    """S9: the receipts' own watermark is at 12:00 when the delivery of 10:20 is told."""
    rows = [seen("10:00"), seen("12:10", "order")]
    receipts = [said("12:00", "accepted"), said("10:20", "clicked")]
    found = outcome(rows, receipts, aims=[CLICKED, ORDERED])
    assert found.goals == []
    assert stages(found) == [("undelivered", "11:00"), ("delivered", "10:20")]


def test_receipts_that_are_assumed_open_windows_at_once_and_a_failure_closes_them() -> None:
    rows = [seen("10:00"), seen("10:10", "order"), seen("10:30", "order")]
    told = [profile(None, ok=True)]
    found = outcome(rows, [said("10:20", "failed", channel=HOOK)], channel=HOOK, aims=[ORDERED], told=told)
    assert decided(found) == ["delivered"]
    assert stages(found) == [("send_failed", "10:20")]
    assert [row.event_id for row in found.goals] == ["order 10:10"]


def test_windows_open_once() -> None:
    """S41: a delivery after a failure counts as one, but what it leads to is not followed a second time."""
    rows = [seen("10:00"), seen("10:50", "order")]
    receipts = [said("10:20", "failed", channel=HOOK), said("10:40", "delivered", channel=HOOK)]
    found = outcome(rows, receipts, channel=HOOK, aims=[ORDERED], told=[profile(None, ok=True)])
    assert stages(found) == [("send_failed", "10:20"), ("delivered", "10:40")]
    assert found.goals == []


def test_arms_are_compared_from_the_decision_on_whatever_comes_back() -> None:
    """S23: also before the delivery, and where the message fails; a goal by a receipt compares nothing."""
    treated = Experiment("half", 0.5, (), pinned=((USER, "treatment"),))
    draft = Draft("hello", channel=APP, aims=(ORDERED, CLICKED), experiment=treated)
    rows = [seen("10:00"), seen("10:10", "order"), seen("10:50", "order"), seen("11:00", "order")]
    arrived = outcome(rows, [said("10:20", "clicked")], draft)
    assert [(row.goal, row.event_id) for row in arrived.goals] == [
        ("goal1", "back/0:0"),
        *[("goal0", f"order {at}") for at in ("10:50", "11:00")],
    ]
    assert [(row.goal, row.event_id) for row in arrived.compared] == [
        ("goal0", f"order {at}") for at in ("10:10", "10:50")
    ]
    failed = outcome(rows, [said("10:20", "failed")], draft)
    assert (failed.goals, failed.compared) == ([], arrived.compared)


def test_a_click_is_a_goal_once() -> None:
    """S41: within its window, also where it is the first that is heard of the message."""
    receipts = [said("10:20", "clicked"), said("10:30", "clicked")]
    found = outcome([seen("10:00")], receipts, aims=[CLICKED])
    assert [(row.goal, row.attained_at) for row in found.goals] == [("goal0", at(f"{DAY} 10:20"))]
    assert found.goals[0].event_id == "back/0:0"
    found = outcome([seen("10:00")], [said("10:20", "delivered"), said("11:20", "clicked")], aims=[CLICKED])
    assert found.goals == []


def test_no_message_arrives_before_it_is_sent() -> None:
    """S40: clocks differ; told late, the receipt of 09:50 is of a message of 10:00."""
    receipts = [said("10:05", "accepted"), said("09:50", "delivered")]
    assert stages(outcome([seen("10:00")], receipts)) == [("delivered", "10:00")]


# Consent (S27)


def test_an_unsubscribe_withdraws_consent_for_its_channel_at_once() -> None:
    rows = [seen("10:00"), seen("10:30"), seen("10:40", "pay")]
    drafts = [Draft("hello", channel=APP), Draft("pay", on=On("pay"), channel=HOOK)]
    found = outcome(rows, [said("10:10", "unsubscribed")], *drafts, told=[profile(None, ok=True)])
    assert decided(found) == ["sent", "no_consent", "delivered"]


@pytest.mark.parametrize(("channel", "consenting"), [(HOOK, True), (LETTER, False)], ids=["opt-in", "opt-out"])
@pytest.mark.parametrize(("time", "restored"), [("10:10", False), ("10:11", True)])
def test_a_newer_update_of_the_profile_gives_consent_anew(channel, consenting, time, restored) -> None:
    told = [profile(None, ok=consenting), profile(f"{DAY} {time}", ok=consenting)]
    receipts = [said("10:10", "complained", channel=channel)]
    found = outcome([seen("10:00"), seen("10:30")], receipts, channel=channel, told=told)
    assert (decided(found)[1] != "no_consent") == restored


def test_who_unsubscribes_from_a_message_long_forgotten_is_heard_if_named() -> None:
    """S27: consent does not depend on what the engine remembers."""
    days_later = at(f"{DAY} 10:00") + span("9d")
    rows = [seen("10:00"), event(days_later + span("1h"), "view", id="again")]
    for user, expected in ((None, "sent"), (USER, "no_consent"), (STRANGER, "sent")):
        found = outcome(rows, [receipt(days_later, "unsubscribed", message("10:00"), user)])
        assert decided(found)[1] == expected, user


def test_an_unsubscribe_that_may_speak_of_two_channels_withdraws_from_both() -> None:
    """S27, S32: step `x-late` on `app`, and `x` on `late-app`."""
    hook, app = CHANNELS[HOOK], CHANNELS[APP]
    shop = project(Draft("app", channel=HOOK), Draft("late", on=On("pay"), channel=APP))
    names = {0: ("x-late", replace(hook, name="app")), 1: ("x", replace(app, name="late-app"))}
    plans = [
        replace(plan, step=replace(plan.step, name=names[plan.index][0], channel=names[plan.index][1]))
        for plan in shop.plans
    ]
    shop = replace(shop, plans=tuple(plans))
    told = receipt(f"{DAY} 10:10", "unsubscribed", message("10:00", "forgotten")[:24] + "-x-late-app", USER)
    rows = [seen("10:30"), seen("10:40", "pay")]
    found = agreed(shop, log(shop, *rows), crm(shop, profile(None, ok=True)), back(shop, told))
    assert decided(found) == ["no_consent", "no_consent"]


def test_a_dispatch_id_leads_to_the_shard_of_its_user() -> None:
    """S32: whatever else it says; an id of nobody's leads somewhere."""
    assert shard_of_dispatch(message("10:00")) == shard_of(USER)
    for strange in ("", "x", "ff" * 12, "-1", "\uff19\uff19"):
        assert 0 <= shard_of_dispatch(strange) < 64


def test_windows_that_receipts_open_in_another_order_than_the_messages_went_out_attain_all_the_same() -> None:
    """S41."""
    receipts = [said("10:20", "delivered", "10:10"), said("10:30", "delivered", "10:00")]
    rows = [seen("10:00"), seen("10:10"), seen("10:40", "order")]
    found = outcome(rows, receipts, aims=(ORDERED,))
    assert {one.dispatch_id for one in found.goals} == {message("10:00"), message("10:10")}
