"""A segment entered or left, an attribute changed (S19): what is a change, and what is none."""

from __future__ import annotations

from driver import agreed
from shop import CITY, OK, VIP, CityIs, Draft, On, at, changes, crm, event, log, member, members, profile, project, span

from flowops.core.plan import EventTrigger
from flowops.core.time import isoformat

DAY = "2022-04-21"


def fired(*ons: On, told=(), joined=(), draft=None, disorder="0s"):
    """(plan, time of the day) of what fired; a plan for each change."""
    drafts = [draft] if draft else [Draft(f"p{number}", on) for number, on in enumerate(ons)]
    shop = project(*drafts, profile_disorder=span(disorder))
    parts = [part for part, rows in ((crm(shop, *told), told), (members(shop, *joined), joined)) if rows]
    outcome = agreed(shop, log(shop, event(f"{DAY} 00:00", "pay")), *parts, until=at(f"{DAY} 23:00"))
    return [(one.plan, isoformat(one.decided_at)[11:16]) for one in outcome.decisions]


def moved(time, city):
    return profile(f"{DAY} {time}", city=city)


ENTERS, LEAVES = changes(VIP, new=True), changes(VIP, old=True)


def test_a_segment_is_entered_and_left() -> None:
    joined = [member(f"{DAY} {time}", "vip", action) for time, action in (("10:00", "enter"), ("12:00", "leave"))]
    assert fired(ENTERS, LEAVES, joined=joined) == [("p0", "10:00"), ("p1", "12:00")]


def test_one_who_is_in_enters_no_more_and_one_who_is_out_does_not_leave() -> None:
    """S2: a repeated enter changes nothing."""
    times = ("09:00", "leave"), ("10:00", "enter"), ("11:00", "enter"), ("12:00", "leave"), ("13:00", "leave")
    joined = [member(f"{DAY} {time}", "vip", action) for time, action in times]
    assert fired(ENTERS, LEAVES, joined=joined) == [("p0", "10:00"), ("p1", "12:00")]


def test_one_who_leaves_and_comes_back_at_the_same_instant_does_both() -> None:
    """S7: one record after the other."""
    times = ("10:00", "enter"), ("11:00", "leave"), ("11:00", "enter")
    joined = [member(f"{DAY} {time}", "vip", action) for time, action in times]
    assert fired(ENTERS, LEAVES, joined=joined) == [("p0", "10:00"), ("p1", "11:00"), ("p0", "11:00")]


def test_who_was_in_from_before_the_first_record_does_not_enter() -> None:
    assert fired(ENTERS, LEAVES, joined=[member(None), member(f"{DAY} 10:00")]) == []
    assert fired(ENTERS, LEAVES, joined=[member(None), member(f"{DAY} 10:00", "vip", "leave")]) == [("p1", "10:00")]


def test_another_segment_is_another_matter() -> None:
    assert fired(ENTERS, joined=[member(f"{DAY} 10:00", "staff"), member(f"{DAY} 10:30", "other")]) == []


def test_an_attribute_changes_from_and_to() -> None:
    told = [moved("10:00", "x"), moved("11:00", "y"), moved("12:00", "z"), moved("13:00", "y")]
    ons = changes(CITY, "x", "y"), changes(CITY, None, "y"), changes(CITY, "y"), changes(CITY)
    assert fired(*ons, told=told) == [
        ("p3", "10:00"),
        ("p0", "11:00"),
        ("p1", "11:00"),
        ("p3", "11:00"),
        ("p2", "12:00"),
        ("p3", "12:00"),
        ("p1", "13:00"),
        ("p3", "13:00"),
    ]


def test_the_same_value_again_is_no_change() -> None:
    assert fired(changes(CITY), told=[moved("10:00", "x"), moved("11:00", "x")]) == [("p0", "10:00")]


def test_deleting_a_value_changes_it_from_something_to_nothing() -> None:
    told = [moved("10:00", "x"), moved("11:00", None), moved("12:00", None)]
    assert fired(changes(CITY, "x"), changes(CITY), told=told) == [("p1", "10:00"), ("p0", "11:00"), ("p1", "11:00")]


def test_what_holds_from_before_the_first_record_is_no_change() -> None:
    told = [profile(None, city="x"), moved("10:00", "x"), moved("11:00", "y")]
    assert fired(changes(CITY), told=told) == [("p0", "11:00")]


def test_a_late_update_changes_the_profile_and_starts_nothing() -> None:
    """S9: and what it has told already is no change when it is told again."""
    told = [moved("10:00", "x"), profile(f"{DAY} 12:00", ok=True), moved("11:00", "y"), moved("13:00", "y")]
    assert fired(changes(CITY), told=told) == [("p0", "10:00")]


def test_a_late_update_that_a_later_one_has_overtaken_changes_nothing() -> None:
    told = [moved("10:00", "x"), moved("12:00", "y"), moved("11:00", "z"), moved("13:00", "x")]
    assert [time for _, time in fired(changes(CITY), told=told)] == ["10:00", "12:00", "13:00"]


def test_a_filter_sees_the_profile_as_it_has_become() -> None:
    told = [profile(f"{DAY} 10:00", city="x", ok=True), profile(f"{DAY} 11:00", ok=False)]
    assert fired(changes(OK, where=CityIs("x")), changes(OK, where=CityIs("y")), told=told) == [
        ("p0", "10:00"),
        ("p0", "11:00"),
    ]


def test_it_may_be_acted_on_later() -> None:
    draft = Draft("p", changes(CITY, None, "x"), trigger=EventTrigger(span("30m")))
    assert fired(draft=draft, told=[moved("10:00", "x"), moved("10:10", "y")]) == [("p", "10:30")]
