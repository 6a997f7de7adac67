"""Goals: windows, values, credit (S41, S42)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import USER, Aim, AtLeast, Draft, On, SameSku, absence, at, event, log, project, span

from flowops.core.plan import Experiment

DAY = "2022-04-21"


def seen(time, name="view", sku="A", n=1):
    return event(f"{DAY} {time}", name, sku, n, id=f"{name} {time}")


def goals(*rows, drafts, disorder="0s"):
    shop = project(*drafts, disorder=[span(disorder)])
    return agreed(shop, log(shop, *rows)).goals


ORDERED = Draft("hello", aims=(Aim(On("order"), span("1h")),))


def test_the_window_is_half_open_from_delivery() -> None:
    """S41, S10: at the instant of delivery it counts (if later in the order), at delivered + W it does not."""
    rows = (
        seen("09:59", "order"),
        seen("10:00"),
        seen("10:00", "order"),
        seen("10:59", "order"),
        seen("11:00", "order"),
    )
    assert [one.event_id for one in goals(*rows, drafts=[ORDERED])] == ["order 10:00", "order 10:59"]


def test_an_event_that_comes_before_the_delivery_in_the_order_does_not_count() -> None:
    assert goals(seen("10:00", "order"), seen("10:00"), drafts=[ORDERED]) == []


def test_the_window_opens_when_the_message_is_delivered_not_when_it_was_caused() -> None:
    """S41: after *delivery*, an hour after the view here."""
    draft = Draft("reminder", trigger=absence(span("1h")), without=(On("pay"),), aims=(Aim(On("order"), span("1h")),))
    rows = seen("10:00"), seen("10:30", "order"), seen("11:30", "order"), seen("12:00", "order")
    assert [one.event_id for one in goals(*rows, drafts=[draft])] == ["order 11:30"]


def test_values_add_up_over_all_events_in_the_window() -> None:
    """S41: one row an event; the value is the event's own."""
    rows = seen("10:00"), seen("10:10", "order", n=3), seen("10:20", "order", n=4)
    assert [one.value for one in goals(*rows, drafts=[ORDERED])] == [3.0, 4.0]


def test_a_repeated_event_adds_its_value_once() -> None:
    """S4."""
    rows = seen("10:00"), seen("10:10", "order"), seen("10:10", "order"), seen("10:20", "pay"), seen("10:10", "order")
    assert [one.event_id for one in goals(*rows, drafts=[ORDERED])] == ["order 10:10"]


def test_a_goal_may_ask_about_the_event_and_about_what_began_it() -> None:
    draft = Draft("hello", aims=(Aim(On("order", own=AtLeast(2), where=SameSku()), span("1h")),))
    rows = seen("10:00"), seen("10:10", "order"), seen("10:20", "order", "B", 2), seen("10:30", "order", "A", 2)
    assert [one.event_id for one in goals(*rows, drafts=[draft])] == ["order 10:30"]


def test_a_late_event_counts_while_its_window_is_open() -> None:
    """S9: as of its own time, until the window is closed."""
    rows = seen("10:00"), seen("10:50", "pay"), seen("10:30", "order"), seen("09:00", "order")
    assert [one.event_id for one in goals(*rows, drafts=[ORDERED])] == ["order 10:30"]
    rows = seen("10:00"), seen("11:00", "pay"), seen("10:30", "order")
    assert goals(*rows, drafts=[ORDERED]) == []


@pytest.mark.parametrize(
    ("credit", "credited"), [("every", [True, True]), ("first", [True, False]), ("last", [False, True])]
)
def test_every_plan_counts_the_user_and_credit_divides_the_order(credit, credited) -> None:
    """S42: over the deliveries of all plans whose windows are open."""
    drafts = [
        Draft("one", aims=(Aim(On("order"), span("1h"), credit),)),
        Draft("two", on=On("pay"), aims=(Aim(On("order"), span("1h"), credit),)),
    ]
    found = goals(seen("10:00"), seen("10:10", "pay"), seen("10:20", "order"), drafts=drafts)
    assert [(one.plan, one.credited) for one in found] == list(zip(["one", "two"], credited, strict=True))


def test_of_deliveries_at_one_instant_the_later_in_the_order_is_last() -> None:
    """S42, S7: exactly one is credited, and it is the one decided last."""
    drafts = [Draft(name, aims=(Aim(On("order"), span("1h"), "last"),)) for name in ("one", "two", "three")]
    found = goals(seen("10:00"), seen("10:20", "order"), drafts=drafts)
    assert [(one.plan, one.credited) for one in found] == [("one", False), ("two", False), ("three", True)]


def test_the_held_out_have_windows_and_take_no_credit_away() -> None:
    """S23: both arms are followed from the instant at which the arm is drawn."""
    drafts = [
        Draft("one", aims=(Aim(On("order"), span("1h"), "last"),)),
        Draft("two", experiment=Experiment("all", 1.0, ()), aims=(Aim(On("order"), span("1h"), "last"),)),
    ]
    found = goals(seen("10:00"), seen("10:20", "order"), drafts=drafts)
    assert [(one.plan, one.arm, one.dispatch_id is None) for one in found] == [
        ("one", None, False),
        ("two", "holdout", True),
    ]
    assert found[0].credited


TREATED = Experiment("half", 0.5, (), pinned=((USER, "treatment"),))


@pytest.mark.parametrize("needs_city", [False, True])
def test_who_was_not_held_out_is_compared_whatever_became_of_the_message(needs_city) -> None:
    """S23, intention to treat: from when the arm is drawn; where the message cannot be rendered, nobody gets it."""
    draft = Draft("hello", experiment=TREATED, needs_city=needs_city, aims=(Aim(On("order"), span("1h")),))
    shop = project(draft)
    rows = seen("09:59", "order"), seen("10:00"), seen("10:20", "order"), seen("10:20", "order"), seen("11:00", "order")
    found = agreed(shop, log(shop, *rows))
    assert [row.stage for row in found.decisions] == ["content_invalid" if needs_city else "delivered"]
    assert [(row.arm, row.dispatch_id, row.event_id) for row in found.compared] == [("treatment", None, "order 10:20")]
    assert [row.event_id for row in found.goals] == ([] if needs_city else ["order 10:20"])


@pytest.mark.parametrize(
    "draft",
    [
        Draft("hello", experiment=Experiment("copy", 0.0, (("a", 1.0),))),  # of whom none is held out
        Draft("hello", experiment=TREATED, ends_at=at(f"{DAY} 10:00")),
        Draft("hello"),
    ],
)
def test_where_no_arm_was_drawn_nothing_is_compared(draft) -> None:
    shop = project(replace(draft, aims=(Aim(On("order"), span("1h")),)))
    assert agreed(shop, log(shop, seen("10:00"), seen("10:20", "order"))).compared == []


def test_what_is_compared_takes_no_credit_away() -> None:
    """S42: only deliveries compete, and what is compared counts as a delivery at its time would."""
    drafts = [
        Draft("one", aims=(Aim(On("order"), span("1h"), "last"),)),
        Draft("two", experiment=TREATED, needs_city=True, aims=(Aim(On("order"), span("1h"), "last"),)),
    ]
    shop = project(*drafts)
    found = agreed(shop, log(shop, seen("10:00"), seen("10:20", "order")))
    assert [(row.plan, row.credited) for row in found.goals] == [("one", True)]
    assert [(row.plan, row.credited) for row in found.compared] == [("two", True)]


def test_what_was_not_delivered_has_no_window() -> None:
    """S41: after *delivery*."""
    draft = Draft("hello", needs_city=True, aims=(Aim(On("order"), span("1h")),))
    assert goals(seen("10:00"), seen("10:20", "order"), drafts=[draft]) == []


def test_goals_are_followed_on_after_the_plan_has_ended() -> None:
    """S20."""
    draft = Draft("hello", ends_at=at(f"{DAY} 10:01"), aims=(Aim(On("order"), span("1h")),))
    assert len(goals(seen("10:00"), seen("10:20", "order"), drafts=[draft])) == 1
