"""Waits for what must not come (S13): its edges, its repeats, its keys."""

from __future__ import annotations

import pytest
from driver import agreed
from shop import Aim, CityIs, Draft, On, SameSku, absence, at, crm, event, log, profile, project, quiet, span

from flowops.core import matchers
from flowops.core.effects import Decision
from flowops.core.time import Zone, isoformat

WITHOUT_ORDER = Draft("reminder", trigger=absence(span("1h")), without=(On("order"),))
DAY = "2022-04-21"


def fired(*rows, draft=WITHOUT_ORDER, disorder="0s", until="2022-04-22 00:00"):
    """The triggers' times of the day, as `11:00`, and the event that began each."""
    shop = project(draft, disorder=[span(disorder)])
    outcome = agreed(shop, log(shop, *rows), until=at(until))
    return [(isoformat(one.triggered_at)[11:16], one.evidence[0]) for one in outcome.decisions]


def seen(time, name="view", sku="A", id=None):  # noqa: A002
    return event(f"{DAY} {time}", name, sku, id=id or f"{name} {time}")


def test_a_without_b_fires_at_the_end_of_the_window() -> None:
    """S13: `triggered_at` = tA + W, also when nothing more is heard of the user."""
    assert fired(seen("10:00")) == [("11:00", "view 10:00")]


def test_b_inside_the_window_cancels() -> None:
    """S13."""
    assert fired(seen("10:00"), seen("10:59", "order")) == []


def test_b_exactly_at_the_deadline_does_not_cancel() -> None:
    """S10, S13: the window is half-open, and timers come before records of their instant."""
    assert fired(seen("10:00"), seen("11:00", "order")) == [("11:00", "view 10:00")]


def test_b_before_a_does_not_cancel() -> None:
    """S13."""
    assert fired(seen("09:59", "order"), seen("10:00")) == [("11:00", "view 10:00")]


def test_b_at_the_instant_of_a_cancels_only_if_it_comes_later_in_the_order() -> None:
    """S13, S7: records of one instant go by source, partition, position."""
    assert fired(seen("10:00"), seen("10:00", "order")) == []
    assert fired(seen("10:00", "order"), seen("10:00")) == [("11:00", "view 10:00")]


@pytest.mark.parametrize(("views", "orders", "count"), [("0", "1", 0), ("1", "0", 1)])
def test_at_one_instant_the_partition_listed_first_comes_first(views: str, orders: str, count: int) -> None:
    shop = project(WITHOUT_ORDER)
    view, order = seen("10:00"), seen("10:00", "order")
    parts = {views: log(shop, view, name=views), orders: log(shop, order, name=orders)}
    outcome = agreed(shop, parts["0"], parts["1"], until=at(f"{DAY} 12:00"))
    assert len(outcome.decisions) == count


def test_an_a_that_is_also_b_ends_the_old_wait_and_starts_a_new() -> None:
    """S17a: an event first ends what is under way, then may start."""
    draft = Draft("quiet-for-an-hour", trigger=absence(span("1h")), without=(On("view"),))
    assert fired(seen("10:00"), seen("10:30"), seen("11:00"), draft=draft) == [("12:00", "view 11:00")]


@pytest.mark.parametrize(
    ("repeat", "expected"),
    [
        ("ignore", [("11:00", "view 10:00")]),
        ("restart", [("11:50", "view 10:50")]),
        ("parallel", [("11:00", "view 10:00"), ("11:20", "view 10:20"), ("11:50", "view 10:50")]),
    ],
)
def test_a_further_a_while_one_is_pending(repeat, expected) -> None:
    """S13: A repeated is ignored, restarts the wait, or runs its own."""
    draft = Draft("reminder", trigger=absence(span("1h"), repeat), without=(On("order"),))
    assert fired(seen("10:00"), seen("10:20"), seen("10:50"), draft=draft) == expected


def test_a_thousand_wait_in_parallel_and_a_further_one_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sequences (S14): each event of a user looks at all that waits."""
    monkeypatch.setattr(matchers.absence, "UNDER_WAY", 2)
    monkeypatch.setattr("model.UNDER_WAY", 2)
    draft = Draft("reminder", trigger=absence(span("1h"), "parallel"), without=(On("order"),))
    rows = seen("10:00"), seen("10:10"), seen("10:20"), seen("11:00"), seen("11:05")
    assert fired(*rows, draft=draft) == [
        ("11:00", "view 10:00"),
        ("11:10", "view 10:10"),
        ("12:00", "view 11:00"),
    ]


@pytest.mark.parametrize(
    ("viewed", "fires"),
    [
        ("2022-03-26 12:00+01:00", "2022-03-27T11:00:00Z"),  # in Berlin an hour was skipped that night: 13:00
        ("2022-10-29 12:00+02:00", "2022-10-30T10:00:00Z"),  # and here one came twice: 11:00
    ],
)
def test_a_window_is_elapsed_time_over_a_gap_and_an_overlap(viewed, fires) -> None:
    """S10: 1 d is 24 h, whatever the clocks on the wall do, in whatever zone the plan is."""
    draft = Draft("reminder", trigger=absence(span("1d")), without=(On("order"),), zone=Zone("Europe/Berlin"))
    shop = project(draft)
    for bought, came in ((at(viewed) + span("1d") - 1, []), (at(viewed) + span("1d"), [fires])):
        outcome = agreed(shop, log(shop, event(at(viewed), "view", id="v"), event(bought, "order", id="o")))
        assert [isoformat(one.decided_at) for one in outcome.decisions] == came


@pytest.mark.parametrize("repeat", ["ignore", "restart", "parallel"])
def test_a_at_the_deadline_of_the_one_before_begins_a_new_wait(repeat) -> None:
    """S7: the old one has fired by then."""
    draft = Draft("reminder", trigger=absence(span("1h"), repeat), without=(On("order"),))
    assert fired(seen("10:00"), seen("11:00"), draft=draft) == [("11:00", "view 10:00"), ("12:00", "view 11:00")]


def test_one_b_cancels_every_instance_that_it_matches() -> None:
    draft = Draft("reminder", trigger=absence(span("1h"), "parallel"), without=(On("order"),))
    rows = seen("10:00"), seen("10:20"), seen("10:40", "order"), seen("10:50")
    assert fired(*rows, draft=draft) == [("11:50", "view 10:50")]


def test_any_of_several_bs_cancels() -> None:
    draft = Draft("reminder", trigger=absence(span("1h")), without=(On("order"), On("pay")))
    assert fired(seen("10:00"), seen("10:30", "pay"), seen("12:00"), seen("12:30", "order"), draft=draft) == []


def test_a_b_that_refers_to_a_cancels_only_what_it_fits() -> None:
    """S13: `where: sku = view.sku`, with an instance per view."""
    draft = Draft("reminder", trigger=absence(span("1h"), "parallel"), without=(On("order", where=SameSku()),))
    rows = seen("10:00", sku="A"), seen("10:01", sku="B"), seen("10:30", "order", sku="A")
    assert fired(*rows, draft=draft) == [("11:01", "view 10:01")]


def test_a_key_makes_instances_per_value() -> None:
    """S17a: each product waits for its own order; an event without the key does not match."""
    draft = Draft("reminder", trigger=absence(span("1h")), without=(On("order"),), key=(0,))
    rows = (
        seen("10:00", sku="A"),
        seen("10:01", sku="B"),
        seen("10:02", sku=None),
        seen("10:03", sku="A"),
        seen("10:30", "order", sku="A"),
        seen("10:31", "order", sku=None),
    )
    assert fired(*rows, draft=draft) == [("11:01", "view 10:01")]


def test_a_repeated_a_starts_no_second_instance() -> None:
    """S4."""
    draft = Draft("reminder", trigger=absence(span("1h"), "parallel"), without=(On("order"),))
    assert fired(seen("10:00"), seen("10:00"), draft=draft) == [("11:00", "view 10:00")]


@pytest.mark.parametrize("more", [{"delay": span("3h")}, {"quiet": quiet("11:00", "18:00")}], ids=["delayed", "held"])
@pytest.mark.parametrize("repeat", ["ignore", "restart", "parallel"])
def test_a_repeat_of_what_is_delayed_or_held_starts_no_second_instance(repeat, more) -> None:
    """S4: the state that it touched lives."""
    trigger = absence(span("1h"), repeat, more.get("delay", 0))
    draft = Draft("reminder", trigger=trigger, without=(On("order"),), quiet=more.get("quiet"))
    found = fired(seen("10:00"), seen("12:00", id="view 10:00"), draft=draft)
    assert found == [("11:00", "view 10:00")] * (1 if "delay" in more else 2)  # held, and then sent


def test_a_repeated_event_is_decided_once() -> None:
    """S4, S22: a trigger without a wait has nothing pending to know it by, and is still told from its repeat."""
    rows = seen("10:00"), seen("10:00", id="another"), seen("10:00")
    assert fired(*rows, draft=Draft("hello")) == [("10:00", "view 10:00"), ("10:00", "another")]


def test_a_delay_is_counted_from_the_trigger() -> None:
    """S12: `triggered_at` stays; the decision comes later. An order in the delay comes after the window."""
    draft = Draft("reminder", trigger=absence(span("1h"), delay=span("30m")), without=(On("order"),))
    shop = project(draft)
    one = only(agreed(shop, log(shop, seen("10:00"), seen("11:15", "order")), until=at(f"{DAY} 12:00")).decisions)
    assert isoformat(one.triggered_at) == f"{DAY}T11:00:00Z"
    assert isoformat(one.decided_at) == f"{DAY}T11:30:00Z"
    assert one.stage == "delivered"


def only(decisions: list[Decision]) -> Decision:
    (one,) = decisions
    return one


# Late records (S9)


def test_a_late_b_cancels_what_is_pending() -> None:
    """S9."""
    rows = seen("10:00"), seen("10:50", "pay"), seen("10:30", "order")
    assert fired(*rows) == []


def test_a_late_b_from_before_a_does_not_cancel() -> None:
    """S9: it is handled as of its own time."""
    rows = seen("10:00"), seen("10:50", "pay"), seen("09:59", "order")
    assert fired(*rows) == [("11:00", "view 10:00")]


def test_a_late_b_of_the_instant_of_a_cancels() -> None:
    """S13, S9: its place in the order is after A's."""
    rows = seen("10:00"), seen("10:50", "pay"), seen("10:00", "order")
    assert fired(*rows) == []


def test_a_late_b_that_comes_after_the_decision_changes_nothing() -> None:
    """S9."""
    rows = seen("10:00"), seen("11:00", "pay"), seen("10:30", "order")
    assert fired(*rows) == [("11:00", "view 10:00")]


def test_a_late_b_cancels_what_waits_out_its_delay() -> None:
    """S9: nobody is told 'you did not order' who is known to have ordered in time."""
    draft = Draft("reminder", trigger=absence(span("1h"), delay=span("30m")), without=(On("order"),))
    rows = seen("10:00"), seen("11:15", "pay"), seen("10:30", "order")
    assert fired(*rows, draft=draft) == []


def test_a_late_a_starts_nothing() -> None:
    """S9: never retroactively; not even under `restart`."""
    for repeat in ("ignore", "restart", "parallel"):
        draft = Draft("reminder", trigger=absence(span("1h"), repeat), without=(On("order"),))
        rows = seen("10:00"), seen("10:50", "pay"), seen("10:40")
        assert fired(*rows, draft=draft) == [("11:00", "view 10:00")]


def test_an_event_at_the_watermark_is_not_late() -> None:
    """S9: late is older than the watermark."""
    shop = project(WITHOUT_ORDER, disorder=[span("10m")])
    outcome = agreed(shop, log(shop, seen("10:10", "pay"), seen("10:00"), seen("09:59", "order")))
    assert [(row.event, row.position) for row in outcome.late] == [("order", 2)]
    assert isoformat(outcome.late[0].watermark) == f"{DAY}T10:00:00Z"


# Who may start (S20, S22)


def test_an_event_outside_the_dates_starts_nothing() -> None:
    """S20: the first instant is inside, the last is not."""
    draft = Draft(
        "reminder",
        trigger=absence(span("1h"), "parallel"),
        without=(On("order"),),
        starts_at=at(f"{DAY} 10:00"),
        ends_at=at(f"{DAY} 12:00"),
    )
    shop = project(draft)
    rows = [seen(time) for time in ("09:59", "10:00", "10:59", "11:00", "11:59", "12:00")]
    outcome = agreed(shop, log(shop, *rows), until=at("2022-04-22 00:00"))
    assert [(one.evidence[0], one.stage) for one in outcome.decisions] == [
        ("view 10:00", "delivered"),
        ("view 10:59", "delivered"),
        ("view 11:00", "plan_ended"),
        ("view 11:59", "plan_ended"),
    ]


def test_a_user_outside_the_audience_starts_nothing_and_is_counted() -> None:
    """S22: counted, no row; one without the key is no such event (S17a)."""
    draft = Draft("reminder", trigger=absence(span("1h")), without=(On("order"),), key=(0,), audience=CityIs("x"))
    shop = project(draft)
    rows = seen("10:00"), seen("10:10", sku=None), seen("10:30"), seen("10:40"), seen("10:50", sku="B")
    outcome = agreed(
        shop,
        log(shop, *rows),
        crm(shop, profile(f"{DAY} 10:20", city="x"), profile(f"{DAY} 10:35", city="y")),
        until=at("2022-04-22 00:00"),
    )
    assert [(one.evidence[0], one.stage) for one in outcome.decisions] == [("view 10:30", "not_in_audience")]
    assert outcome.outside_audience == 3


def test_a_goal_is_judged_before_what_the_event_starts() -> None:
    """S17a: an event does not attain the goal of the message that it causes."""
    draft = Draft("hello", aims=(Aim(On("view"), span("1h")),))
    shop = project(draft)
    outcome = agreed(shop, log(shop, seen("10:00"), seen("10:30")))
    assert [one.event_id for one in outcome.goals] == ["view 10:30"]
