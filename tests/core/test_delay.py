"""Delays (S12): so much later, at a local time, or when the event says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import ALL_DAYS, Draft, On, absence, at, crm, event, log, profile, project, span

from flowops.core.delay import acted_on_at
from flowops.core.plan import AnyTrigger, EventTrigger, UntilCarried, UntilLocal
from flowops.core.time import HOUR, MINUTE, Zone, isoformat

EIGHT_PM = UntilLocal(20 * 60, ALL_DAYS)
SATURDAY = UntilLocal(20 * 60, frozenset({5}))
BERLIN = Zone("Europe/Berlin")


class The:
    """A property of the first step: the time, or the day, that its `n` is."""

    def __call__(self, _values, steps, _user, _now, _variant):
        return steps[0][1]


def acted(delay, when, *, zone=None, trigger=None, n=1):
    """When one event is decided: `21 20:00`, or None."""
    shop = project(replace(Draft("later"), trigger=trigger or EventTrigger(delay)))
    parts = [log(shop, event(f"2022-04-{when}", "view", n=n))]
    if zone is not None:
        parts.append(crm(shop, profile(None, zone=zone)))
    outcome = agreed(shop, *parts, until=at("2022-05-30 00:00"))
    return [isoformat(one.decided_at)[8:16].replace("T", " ") for one in outcome.decisions]


def test_until_a_local_time_is_the_next_one_strictly_later() -> None:
    assert acted(EIGHT_PM, "21 10:00") == ["21 20:00"]
    assert acted(EIGHT_PM, "21 20:00") == ["22 20:00"]
    assert acted(EIGHT_PM, "21 20:01") == ["22 20:00"]


def test_it_is_the_users_time_if_the_zone_is_known() -> None:
    """S10."""
    assert acted(EIGHT_PM, "21 10:00", zone="Asia/Kathmandu") == ["21 14:15"]
    assert acted(EIGHT_PM, "21 10:00", zone="Mars/Olympus") == ["21 20:00"]


def test_days_are_those_of_the_local_time() -> None:
    """2022-04-21 is a Thursday."""
    assert acted(SATURDAY, "21 10:00") == ["23 20:00"]
    assert acted(SATURDAY, "23 19:59") == ["23 20:00"]
    assert acted(SATURDAY, "23 20:00") == ["30 20:00"]


def test_midnight_at_the_end_of_a_day_belongs_to_that_day() -> None:
    assert acted(UntilLocal(24 * 60, frozenset({5})), "21 10:00") == ["24 00:00"]


@pytest.mark.parametrize(
    ("minute", "after", "expected"),
    [
        (150, "2022-03-26 12:00", "2022-03-27T01:00:00Z"),  # 02:30 does not exist: the first instant after the gap
        (150, "2022-03-27 01:00", "2022-03-28T00:30:00Z"),  # which is not to come any more
        (150, "2022-10-29 12:00", "2022-10-30T00:30:00Z"),  # 02:30 comes twice: the first time
        (150, "2022-10-30 00:30", "2022-10-31T01:30:00Z"),  # and only then
    ],
)
def test_a_time_that_the_clocks_skip_or_repeat_comes_once(minute: int, after: str, expected: str) -> None:
    """S10."""
    due = acted_on_at(UntilLocal(minute, ALL_DAYS), at(after), (), (), BERLIN)
    assert due is not None
    assert isoformat(due) == expected


def carried(offset=0, *, whole_day=False):
    return UntilCarried(The(), whole_day, offset)


def test_until_a_time_that_the_event_carries() -> None:
    assert acted(carried(), "21 10:00", n=at("2022-04-25 09:30")) == ["25 09:30"]
    assert acted(carried(-24 * HOUR), "21 10:00", n=at("2022-04-25 09:30")) == ["24 09:30"]


@pytest.mark.parametrize("n", [None, at("2022-04-21 10:00"), at("2022-04-21 09:00")])
def test_a_time_that_is_unknown_or_not_to_come_triggers_nothing(n) -> None:
    """Nobody is told 'you fly tomorrow' an hour before."""
    assert acted(carried(), "21 10:00", n=n) == []
    assert acted(carried(-HOUR), "21 10:00", n=at("2022-04-21 10:30")) == []


def test_a_date_is_its_local_midnight() -> None:
    day = (at("2022-04-25") - at("1970-01-01")) // (24 * HOUR)
    assert acted(carried(9 * HOUR, whole_day=True), "21 10:00", n=day) == ["25 09:00"]
    assert acted(carried(whole_day=True), "21 10:00", n=day, zone="Asia/Kathmandu") == ["24 18:15"]


def test_a_date_may_be_as_far_as_dates_go() -> None:
    days = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31
    first, last = (acted_on_at(carried(whole_day=True), 0, ((None, day),), (), BERLIN) for day in days)
    assert first is None
    assert last == 253_402_210_800_000_000


def test_an_absence_waits_until_then_from_its_deadline_on() -> None:
    """S12, S13: `triggered_at` stays the deadline."""
    draft = Draft("later", trigger=absence(span("1h"), delay=EIGHT_PM), without=(On("order"),))
    shop = project(draft)
    outcome = agreed(shop, log(shop, event("2022-04-21 19:30", "view")), until=at("2022-04-23 00:00"))
    (one,) = outcome.decisions
    assert isoformat(one.triggered_at) == "2022-04-21T20:30:00Z"
    assert isoformat(one.decided_at) == "2022-04-22T20:00:00Z"
    order = event("2022-04-21 20:00", "order")
    late = log(shop, event("2022-04-21 19:30", "view"), event("2022-04-22 10:00", "pay"), order)
    assert agreed(shop, late, until=at("2022-04-23 00:00")).decisions == []


def test_a_delay_is_pending_meanwhile_and_a_repeat_starts_no_second() -> None:
    """S4, S6."""
    draft = Draft("later", trigger=AnyTrigger(EIGHT_PM), members=(On("view"), On("order")))
    shop = project(draft)
    view = event("2022-04-21 19:30", "view")
    (waiting,) = agreed(shop, log(shop, view, event("2022-04-21 19:40", "pay"), view)).pending
    assert (waiting.kind, waiting.due - waiting.since) == ("delay", 30 * MINUTE)
