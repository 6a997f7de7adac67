"""Labels: who attains a goal is in a segment from then on (S43)."""

from __future__ import annotations

from dataclasses import replace

from driver import Run, agreed
from shop import (
    APP,
    STAFF,
    VIP,
    Aim,
    Daily,
    Draft,
    InSegment,
    On,
    at,
    back,
    changes,
    event,
    log,
    member,
    members,
    project,
    receipt,
    scheduled,
)

from flowops.core.plan import AnyTrigger, Experiment
from flowops.core.time import HOUR, isoformat

DAY = "2022-04-21"
HELLO = Draft("hello", aims=(Aim(On("order"), HOUR, label=VIP),))
COMES = Draft("comes", on=changes(VIP, None, True))
ASKS = Draft("asks", on=On("pay"), audience=InSegment())


def decided(*drafts, rows, joined=(), disorder=0, until=f"{DAY} 23:00"):
    shop = project(*drafts, disorder=(disorder,))
    events = [event(f"{DAY} {time}", name) for time, name in rows]
    outcome = agreed(shop, log(shop, *events), members(shop, *joined), until=at(until))
    return [(row.plan, isoformat(row.decided_at)[11:16]) for row in outcome.decisions], outcome.outside_audience


def test_who_attains_enters_the_segment_and_is_in_it_from_then_on() -> None:
    rows = [("10:00", "view"), ("10:10", "pay"), ("10:30", "order"), ("10:40", "pay")]
    assert decided(HELLO, COMES, ASKS, rows=rows) == ([("hello", "10:00"), ("comes", "10:30"), ("asks", "10:40")], 1)


def test_who_does_not_attain_enters_nothing() -> None:
    """S41: exactly at the end of the window it is over."""
    rows = [("10:00", "view"), ("11:00", "order"), ("11:10", "pay")]
    assert decided(HELLO, COMES, ASKS, rows=rows) == ([("hello", "10:00")], 1)


def test_the_event_that_attains_finds_its_user_in_the_segment() -> None:
    """S43, S7: goals come first, then what the label begins, then what the event itself does."""
    rows = [("10:00", "view"), ("10:30", "order")]
    asks = replace(ASKS, on=On("order"))
    assert decided(asks, HELLO, COMES, rows=rows)[0] == [("hello", "10:00"), ("comes", "10:30"), ("asks", "10:30")]


def test_who_attains_again_does_not_enter_again() -> None:
    """S2; who left by a source's word meanwhile does."""
    rows = [("10:00", "view"), ("10:30", "order"), ("10:40", "order")]
    assert decided(HELLO, COMES, rows=rows)[0] == [("hello", "10:00"), ("comes", "10:30")]
    left = [member(f"{DAY} 10:35", "vip", "leave")]
    assert decided(HELLO, COMES, rows=rows, joined=left)[0] == [
        ("hello", "10:00"),
        ("comes", "10:30"),
        ("comes", "10:40"),
    ]


def test_a_late_event_labels_as_of_its_time_and_starts_nothing() -> None:
    """S9: the window has not closed, so the goal is attained; the leave of later stands."""
    rows = [("10:00", "view"), ("10:30", "pay"), ("10:20", "order"), ("10:40", "pay")]
    assert decided(HELLO, COMES, ASKS, rows=rows) == ([("hello", "10:00"), ("asks", "10:40")], 1)
    left = [member(f"{DAY} 10:25", "vip", "leave")]
    assert decided(HELLO, COMES, ASKS, rows=rows, joined=left) == ([("hello", "10:00")], 2)


def test_who_is_held_out_is_labelled_alike() -> None:
    """S23: or the plans that ask would treat the two arms differently."""
    held_out = replace(HELLO, experiment=Experiment("all", 1.0, ()))
    assert decided(held_out, COMES, rows=[("10:00", "view"), ("10:30", "order")])[0][1:] == [("comes", "10:30")]


def test_a_receipt_labels_at_its_own_time() -> None:
    """S41: a click is a goal, too."""
    clicked = Draft("hello", channel=APP, aims=(Aim(On("order"), 5 * HOUR, receipt="clicked", label=STAFF),))
    shop = project(clicked, Draft("comes", on=changes(STAFF, None, True)))
    views = log(shop, event(f"{DAY} 10:00", "view"))
    (sent,) = Run(shop, [views]).to_the_end().dispatches
    outcome = agreed(shop, views, back(shop, receipt(f"{DAY} 10:20", "clicked", sent.dispatch_id)))
    assert [(row.plan, isoformat(row.decided_at)[11:16]) for row in outcome.decisions] == [
        ("hello", "10:00"),
        ("comes", "10:20"),
    ]


def test_an_event_and_its_label_trigger_once() -> None:
    """S4, S15: also where the one or the other may begin it; it would be one message with one id."""
    either = Draft("either", trigger=AnyTrigger(0), members=(On("order"), changes(VIP, None, True)))
    rows = [("10:00", "view"), ("10:30", "order")]
    assert decided(HELLO, either, rows=rows)[0] == [("hello", "10:00"), ("either", "10:30")]


def test_two_goals_of_one_event_label_together() -> None:
    two = replace(HELLO, aims=(Aim(On("order"), HOUR, label=VIP), Aim(On("order"), HOUR, label=STAFF)))
    entering = [Draft("staff", on=changes(STAFF, None, True)), two, COMES]
    rows = [("10:00", "view"), ("10:30", "order")]
    assert decided(*entering, rows=rows)[0] == [("hello", "10:00"), ("staff", "10:30"), ("comes", "10:30")]


def test_who_is_labelled_is_one_of_everyone() -> None:
    """S18: of whom a segment was told."""
    daily = Draft("daily", trigger=scheduled(Daily(12 * 60)))
    assert decided(HELLO, daily, rows=[("10:00", "view"), ("10:30", "order")])[0] == [
        ("hello", "10:00"),
        ("daily", "12:00"),
    ]
    assert decided(HELLO, daily, rows=[("10:00", "view"), ("11:30", "order")])[0] == [("hello", "10:00")]
