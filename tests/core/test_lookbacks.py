"""What audiences ask of a user's past (S12a): the window's edges, what is unknown, what is late."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import (
    USER,
    CityIs,
    Daily,
    Did,
    Draft,
    On,
    at,
    crm,
    distinct,
    event,
    log,
    profile,
    project,
    scheduled,
    span,
    times,
    total,
)

from flowops.core.plan import Counter, EventTrigger
from flowops.core.time import isoformat

DAY = "2022-04-21"
HOUR = span("1h")


def seen(time, name="view", sku="A", n=1, id=None):  # noqa: A002
    return event(f"{DAY} {time}", name, sku, n, id=id or f"{name} {time}")


ORDER = On("order")


def asking(counter: Counter, *, wanted: bool = True, low=1, high=None, on=ORDER, **more) -> Draft:
    """At each view: did the user, or not."""
    counter = replace(counter, keeps=(low if high is None else high + 1) if counter.kind != "sum" else 0)
    return Draft("back", On("view"), did=((on, counter, low, high),), audience=Did((wanted,)), **more)


def fired(draft: Draft, *rows, since: str | None = "2022-01-01 00:00", until=f"{DAY} 23:00"):
    shop = project(draft)
    if since is not None:
        sources = [replace(one, since=at(since)) if one.kind == "events" else one for one in shop.sources]
        shop = replace(shop, sources=tuple(sources))
    found = agreed(shop, log(shop, *rows), until=at(until)).decisions
    return [isoformat(one.decided_at)[11:16] for one in found if one.stage == "delivered"]


ORDERED = asking(times(1, HOUR))
NOT_ORDERED = asking(times(1, HOUR), wanted=False)


def test_did_and_did_not_are_each_others_opposite_where_all_is_known() -> None:
    rows = seen("09:00"), seen("10:00", "order"), seen("10:30"), seen("11:30")
    assert fired(ORDERED, *rows) == ["10:30"]
    assert fired(NOT_ORDERED, *rows) == ["09:00", "11:30"]


def test_an_event_exactly_one_window_ago_is_outside_for_an_event_that_asks() -> None:
    """S10: `(t - W, t]`."""
    rows = seen("10:00", "order"), seen("10:59"), seen("11:00")
    assert fired(ORDERED, *rows) == ["10:59"]


def test_a_timer_looks_back_to_exactly_one_window_ago_and_not_at_its_own_instant() -> None:
    """S10: `[t - W, t)`: at 11:00, after a delay, the order of 10:00 still counts and that of 11:00 does not yet."""
    draft = asking(times(1, HOUR), trigger=EventTrigger(span("30m")))
    assert fired(draft, seen("10:00", "order"), seen("10:30"), seen("11:00", "pay")) == ["11:00"]
    assert fired(draft, seen("09:59", "order"), seen("10:30"), seen("11:00", "order")) == []


def test_the_event_that_asks_counts_itself() -> None:
    draft = asking(times(1, HOUR), on=On("view"), low=2)
    assert fired(draft, seen("10:00"), seen("10:30"), seen("11:30")) == ["10:30"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(2, None, ["10:25", "10:35"]), (2, 2, ["10:25"]), (1, 2, ["10:15", "10:25"]), (0, 1, ["10:05", "10:15"])],
)
def test_how_often(low: int, high: int | None, expected: list[str]) -> None:
    rows = [seen("10:05")]
    for minute in (10, 20, 30):
        rows += [seen(f"10:{minute}", "order"), seen(f"10:{minute + 5}")]
    assert fired(asking(times(1, HOUR), low=low, high=high), *rows) == expected


def test_values_and_sums() -> None:
    rows = seen("10:00", "order", "A", 2), seen("10:05"), seen("10:10", "order", "A", 2), seen("10:15")
    rows += seen("10:20", "order", "B", 1), seen("10:25")
    assert fired(asking(distinct(1, HOUR), low=2), *rows) == ["10:25"]
    assert fired(asking(total("4", HOUR), low=4), *rows) == ["10:15", "10:25"]


def test_before_the_history_held_nothing_is_known() -> None:
    """S12a: neither `did_not` nor an upper bound holds; so much is so much all the same."""
    rows = seen("10:00"), seen("10:10", "order"), seen("10:20"), seen("11:20")
    assert fired(NOT_ORDERED, *rows, since=None) == ["11:20"]  # known from the first record, at 10:00
    assert fired(ORDERED, *rows, since=None) == ["10:20"]
    assert fired(asking(times(1, HOUR), low=0, high=1), *rows, since=None) == ["11:20"]
    assert fired(NOT_ORDERED, *rows, since=f"{DAY} 10:30") == []
    at_the_edge = seen("10:00", "pay"), seen("10:59"), seen("11:00")
    assert fired(NOT_ORDERED, *at_the_edge, since=None) == ["11:00"]


def test_the_history_holds_from_where_all_sources_of_the_event_do() -> None:
    shop = project(NOT_ORDERED, disorder=(0, 0))
    logs = log(shop, seen("09:00", "pay"), seen("11:30"), seen("12:00")), log(shop, seen("11:00", "pay"), source=1)
    assert [isoformat(one.decided_at)[11:16] for one in agreed(shop, *logs).decisions] == ["12:00"]
    shop = project(NOT_ORDERED, disorder=(0, 0))  # and of one without a record it never did
    assert agreed(shop, log(shop, seen("09:00"), seen("12:00")), log(shop, source=1)).decisions == []


def test_without_a_window_it_is_since_the_history_held() -> None:
    ever = asking(times(1, None))
    rows = seen("09:00", "order"), seen("10:00"), seen("23:00")
    assert fired(ever, *rows) == ["10:00", "23:00"]
    assert fired(ever, *rows, since=f"{DAY} 09:30") == []
    assert fired(asking(times(1, None), wanted=False), *rows, since=f"{DAY} 09:30") == ["10:00", "23:00"]


def test_between_is_a_span_of_time() -> None:
    span_of_time = Counter("times", 1, None, 1, at(f"{DAY} 10:00"), at(f"{DAY} 11:00"))
    rows = seen("09:59", "order"), seen("10:00"), seen("10:10", "order"), seen("10:20"), seen("12:00")
    assert fired(asking(span_of_time), *rows) == ["10:20", "12:00"]
    assert fired(asking(span_of_time, wanted=False), *rows) == ["10:00"]
    assert fired(asking(span_of_time), seen("09:59", "order"), seen("11:00", "order"), seen("12:00")) == []
    assert fired(asking(span_of_time, wanted=False), *rows, since=f"{DAY} 10:01") == []


def test_a_late_event_counts_from_its_place_on_as_of_its_own_time() -> None:
    """S9."""
    rows = seen("10:40"), seen("10:10", "order"), seen("10:50"), seen("11:10")
    assert fired(ORDERED, *rows) == ["10:50"]


def test_a_repeated_event_counts_once() -> None:
    """S4."""
    rows = seen("10:00", "order"), seen("10:10"), seen("10:00", "order"), seen("10:20")
    assert fired(asking(times(1, HOUR), low=2), *rows) == []


def test_the_send_asks_again() -> None:
    """S22: one who ordered while the message waited is not in the audience any more."""
    draft = asking(times(1, HOUR), wanted=False, trigger=EventTrigger(span("30m")))
    shop = project(draft)
    rows = seen("08:00", "pay"), seen("10:00"), seen("10:20", "order")
    found = agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00")).decisions
    assert [one.stage for one in found] == ["not_in_audience"]


def test_a_schedule_asks_of_the_past_too() -> None:
    daily = scheduled(Daily(11 * 60))
    draft = Draft(
        "back",
        trigger=daily,
        did=((On("order"), times(1, span("1d")), 1, None),),
        audience=Did((False,), CityIs("x")),
    )
    shop = project(draft)
    rows = event("2022-04-20 12:00", "order"), event("2022-04-23 12:00", "pay")
    found = agreed(shop, log(shop, *rows), crm(shop, profile(None, USER, city="x"))).decisions
    assert [isoformat(one.decided_at)[:10] for one in found] == ["2022-04-22", "2022-04-23"]
