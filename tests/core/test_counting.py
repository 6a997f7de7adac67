"""Counts, distinct counts and sums in sliding windows (S16): their edges, their re-arming, what is late."""

from __future__ import annotations

import pytest
from driver import agreed
from shop import USER, CityIs, Draft, On, at, crm, distinct, event, log, profile, project, span, times, total

from flowops.core import counters
from flowops.core.plan import Counter, EventTrigger
from flowops.core.state import Tally
from flowops.core.time import DAY as ONE_DAY
from flowops.core.time import isoformat

DAY = "2022-04-21"
ORDERS = On("order")


def fired(*rows, draft, told=()):
    """The triggers' times of the day, and their evidence."""
    shop = project(draft)
    outcome = agreed(shop, log(shop, *rows), crm(shop, *told))
    return [(isoformat(one.triggered_at)[11:16], *one.evidence) for one in outcome.decisions]


def order(time, sku="A", n=1, id=None):  # noqa: A002
    return event(f"{DAY} {time}", "order", sku, n, id=id or time)


def counting(counter: Counter, **more) -> Draft:
    return Draft("loyal", ORDERS, counter=counter, **more)


THREE_IN_AN_HOUR = counting(times(3, span("1h")))


def test_it_fires_on_the_event_that_reaches_it_with_all_of_them_as_evidence() -> None:
    rows = order("10:00"), order("10:20"), order("10:59")
    assert fired(*rows, draft=THREE_IN_AN_HOUR) == [("10:59", "10:00", "10:20", "10:59")]


def test_an_event_exactly_one_window_ago_no_longer_counts() -> None:
    """S10: a sliding window looks back over (t - W, t]."""
    assert fired(order("10:00"), order("10:20"), order("11:00"), draft=THREE_IN_AN_HOUR) == []


def test_it_does_not_fire_again_while_it_holds() -> None:
    rows = [order(time) for time in ("10:00", "10:10", "10:20", "10:30", "11:00", "11:15")]
    assert [one[0] for one in fired(*rows, draft=THREE_IN_AN_HOUR)] == ["10:20"]


def test_it_rearms_when_it_has_fallen_below() -> None:
    """At 11:00 three are inside all the time; at 11:10 there are two, and with that of 11:15 three again."""
    rows = [order(time) for time in ("10:00", "10:10", "10:20", "10:59", "11:05", "11:40", "12:00")]
    assert fired(*rows, draft=THREE_IN_AN_HOUR) == [
        ("10:20", "10:00", "10:10", "10:20"),
        ("11:40", "10:59", "11:05", "11:40"),
        ("12:00", "11:05", "11:40", "12:00"),
    ]


def test_at_the_instant_at_which_one_leaves_it_has_fallen_below_before_the_next_comes() -> None:
    """S7: time passes first, then the event happens."""
    draft = counting(times(1, span("1h")))
    assert [one[0] for one in fired(order("10:00"), order("10:30"), order("11:30"), draft=draft)] == ["10:00", "11:30"]


def test_always_fires_on_every_event_at_which_it_holds() -> None:
    rows = [order(time) for time in ("10:00", "10:10", "10:20", "10:30", "11:25")]
    assert fired(*rows, draft=counting(times(3, span("1h")), always=True)) == [
        ("10:20", "10:00", "10:10", "10:20"),
        ("10:30", "10:10", "10:20", "10:30"),
    ]


def test_ever_fires_once() -> None:
    rows = [order(time) for time in ("10:00", "14:00", "18:00", "22:00")]
    assert fired(*rows, draft=counting(times(2, None))) == [("14:00", "10:00", "14:00")]


def test_several_events_of_one_instant_count_one_after_the_other() -> None:
    rows = [order("10:00", id=f"o{n}") for n in range(4)]
    assert fired(*rows, draft=THREE_IN_AN_HOUR) == [("10:00", "o0", "o1", "o2")]


def test_a_repeated_event_counts_once() -> None:
    """S4."""
    assert fired(order("10:00"), order("10:00"), order("10:05"), order("10:00"), draft=THREE_IN_AN_HOUR) == []


def test_distinct_counts_values_and_tells_the_last_event_of_each() -> None:
    rows = order("10:00", "A"), order("10:10", "B"), order("10:20", "A"), order("10:30", None), order("10:40", "C")
    assert fired(*rows, draft=counting(distinct(3, span("1h")))) == [("10:40", "10:10", "10:20", "10:40")]


def test_a_value_seen_again_stays_in_the_window() -> None:
    rows = order("10:00", "A"), order("10:30", "A"), order("11:10", "B")
    assert fired(*rows, draft=counting(distinct(2, span("1h")))) == [("11:10", "10:30", "11:10")]


def test_a_sum_is_exact_in_decimal_digits() -> None:
    """0.1 + 0.2 reaches 0.3, and 0.7 more 1; in doubles 0.1 + 0.7 + 0.2 does not."""
    rows = order("10:00", n=0.1), order("10:10", n=0.7), order("10:20", n=0.2)
    assert [one[0] for one in fired(*rows, draft=counting(total("1", span("1h"))))] == ["10:20"]
    assert fired(*rows, draft=counting(total("1.0000001", span("1h")))) == []


def test_a_sum_falls_and_rises() -> None:
    """What was given back takes it below; what leaves the window does, too, also for a moment between two events."""
    draft = counting(total("10", span("1h")))
    refund = order("10:00", n=8), order("10:10", n=5), order("10:20", n=-4), order("10:30", n=1), order("10:40", n=2)
    assert [one[0] for one in fired(*refund, draft=draft)] == ["10:10", "10:30"]
    for_a_moment = order("10:00", n=5), order("10:10", n=-5), order("10:20", n=10), order("11:15", n=1)
    assert [one[0] for one in fired(*for_a_moment, draft=draft)] == ["10:20", "11:15"]


def test_an_event_without_the_property_adds_nothing_and_fires_nothing() -> None:
    draft = counting(total("3", span("1h")), always=True)
    assert [one[0] for one in fired(order("10:00", n=3), order("10:10", n=None), draft=draft)] == ["10:00"]


def test_a_late_event_counts_but_fires_nothing() -> None:
    """S9: the next one on time finds it counted."""
    rows = order("10:00"), order("10:50"), order("10:20"), order("10:55")
    assert fired(*rows, draft=THREE_IN_AN_HOUR) == [("10:55", "10:20", "10:50", "10:55")]


def test_a_late_event_that_has_left_the_window_does_not_count() -> None:
    assert fired(order("10:00"), order("11:00"), order("09:50"), order("10:30"), draft=THREE_IN_AN_HOUR) == []


def test_a_key_counts_each_value_on_its_own() -> None:
    """S17a."""
    rows = [order(f"10:0{n}", sku, id=f"{sku}{n}") for n, sku in enumerate(["A", "B", "A", None, "B", None])]
    draft = counting(times(2, span("1h")), key=(0,))
    assert fired(*rows, draft=draft) == [("10:02", "A0", "A2"), ("10:04", "B1", "B4")]


def test_one_who_is_outside_at_the_event_that_reaches_it_may_still_start_at_the_next() -> None:
    """S22: the audience is asked when it fires; what was counted before counts."""
    draft = counting(times(2, span("1h")), audience=CityIs("x"))
    rows = [order(time) for time in ("10:00", "10:10", "10:20", "10:40")]
    told = [profile(f"{DAY} 10:30", city="x")]
    assert fired(*rows, draft=draft, told=told) == [("10:40", "10:20", "10:40")]
    shop = project(draft)
    assert agreed(shop, log(shop, *rows)).outside_audience == 3


def test_what_came_before_the_plans_dates_counts_but_does_not_fire() -> None:
    """S20."""
    draft = counting(times(2, span("1h")), starts_at=at(f"{DAY} 10:15"), ends_at=at(f"{DAY} 10:30"))
    assert fired(order("10:00"), order("10:10"), order("10:15"), order("10:30"), draft=draft) == [
        ("10:15", "10:10", "10:15")
    ]


def test_it_may_be_acted_on_later() -> None:
    draft = counting(times(2, span("1h")), trigger=EventTrigger(span("30m")))
    shop = project(draft)
    (one,) = agreed(shop, log(shop, order("10:00"), order("10:10"), event(f"{DAY} 12:00", "pay"))).decisions
    assert isoformat(one.decided_at) == f"{DAY}T10:40:00Z"
    assert isoformat(one.triggered_at) == f"{DAY}T10:10:00Z"


# What is kept of it


def taken(counter: Counter, *events: tuple[int, object], every: int = 1) -> Tally:
    tally = Tally(0)
    for number, (ts, value) in enumerate(events):
        counters.take(counter, tally, ts * every, ts * every, f"e{number}", value)
    return tally


@pytest.mark.parametrize("counter", [times(3, 50), distinct(3, 50)])
def test_a_tally_keeps_no_more_than_it_takes_to_know(counter: Counter) -> None:
    tally = taken(counter, *((n, f"v{n}") for n in range(40)))
    assert tally.evidence == ("e37", "e38", "e39")


def test_a_sum_of_very_many_amounts_stays_exact_while_its_window_gets_coarser(monkeypatch) -> None:
    monkeypatch.setattr(counters, "LONGEST", 4)
    tally = taken(total("100", 1000), *((n, 0.1) for n in range(50)))
    assert (tally.total, len(tally.entries)) == ("5.0", 4)
    counters.pass_by(total("100", 1000), tally, 1048)
    assert (tally.total, len(tally.entries)) == ("0.1", 1)


def test_tallies_that_are_over_are_forgotten() -> None:
    shop = project(counting(times(3, ONE_DAY), key=(0,)))
    from driver import Run  # noqa: PLC0415

    rows = [event(at("2022-01-01") + n * ONE_DAY, "order", f"sku{n}") for n in range(100)]
    run = Run(shop, [log(shop, *rows)]).to_the_end()
    (user,) = [user for shard in run.shards.values() for name, user in shard._users.each() if name == USER]
    assert user.tallies is not None
    assert len(user.tallies) <= 17
