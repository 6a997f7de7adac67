"""Schedules (S18): which instants they mean, also where the clocks change (S10) and where months are short."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowops.core.time import DAY, HOUR, Zone, isoformat, to_micros
from flowops.rules.schedules import Schedule, occurrences

BERLIN = "Europe/Berlin"
KINDS = (
    {"daily": "02:30"},
    {"weekly": ["sun"], "at": "02:30"},
    {"monthly": ["27", "30", "last"], "at": "00:00"},
    {"cron": "30 2 * * *"},
    {"cron": "*/20 * * * *"},
    {"cron": "0 0,2,3 * * sun"},
)


def at(text: str) -> int:
    return to_micros(datetime.fromisoformat(text))


def times(schedule: dict[str, Any], after: str, until: str, zone: str = BERLIN) -> list[str]:
    """The occurrences after an instant, to another, in UTC."""
    following = occurrences(Schedule(**schedule), Zone(zone))
    found: list[str] = []
    now: int | None = at(after)
    while (now := following(now)) is not None and now <= at(until):
        found.append(isoformat(now)[:16].replace("T", " "))
    return found


def test_once_comes_once() -> None:
    schedule = {"once": "2022-05-01 10:00"}
    assert times(schedule, "2022-01-01T00:00Z", "2023-01-01T00:00Z") == ["2022-05-01 08:00"]
    assert times(schedule, "2022-05-01T08:00Z", "2023-01-01T00:00Z") == []  # strictly later
    assert times({"once": "2022-05-01 10:00+00:00"}, "2022-01-01T00:00Z", "2023-01-01T00:00Z") == ["2022-05-01 10:00"]


def test_a_local_time_keeps_its_time_when_the_clocks_change() -> None:
    assert times({"daily": "09:00"}, "2022-03-25T12:00Z", "2022-03-28T12:00Z") == [
        "2022-03-26 08:00",
        "2022-03-27 07:00",
        "2022-03-28 07:00",
    ]


@pytest.mark.parametrize("schedule", [{"daily": "02:30"}, {"cron": "30 2 * * *"}])
def test_a_time_that_is_skipped_is_the_first_instant_after_the_gap(schedule: dict[str, Any]) -> None:
    """S10: at 02:00 in Berlin it became 03:00."""
    assert times(schedule, "2022-03-26T12:00Z", "2022-03-28T12:00Z") == ["2022-03-27 01:00", "2022-03-28 00:30"]


@pytest.mark.parametrize("schedule", [{"daily": "02:30"}, {"cron": "30 2 * * *"}])
def test_a_time_that_comes_twice_happens_the_first_time(schedule: dict[str, Any]) -> None:
    """S10: at 03:00 in Berlin it became 02:00."""
    assert times(schedule, "2022-10-29T12:00Z", "2022-10-31T12:00Z") == ["2022-10-30 00:30", "2022-10-31 01:30"]


def test_cron_of_every_half_hour_skips_what_is_skipped_and_repeats_nothing() -> None:
    assert times({"cron": "*/30 * * * *"}, "2022-03-27T00:00Z", "2022-03-27T02:00Z") == [
        "2022-03-27 00:30",
        "2022-03-27 01:00",
        "2022-03-27 01:30",
        "2022-03-27 02:00",
    ]
    assert times({"cron": "*/30 * * * *"}, "2022-10-29T23:30Z", "2022-10-30T02:30Z") == [
        "2022-10-30 00:00",
        "2022-10-30 00:30",
        "2022-10-30 02:00",
        "2022-10-30 02:30",
    ]


def test_weekly() -> None:
    assert times({"weekly": ["mon", "thu"], "at": "09:00"}, "2022-04-18T07:00Z", "2022-04-30T00:00Z") == [
        "2022-04-21 07:00",
        "2022-04-25 07:00",
        "2022-04-28 07:00",
    ]


def test_a_month_without_the_day_is_skipped_and_last_is_the_last() -> None:
    """S10."""
    days = ["01", "02", "03", "04", "05"]
    found = times({"monthly": ["31"], "at": "12:00"}, "2022-01-01T00:00Z", "2022-05-31T23:00Z", "UTC")
    assert found == [f"2022-{month}-31 12:00" for month in days[::2]]
    found = times({"monthly": ["last"], "at": "12:00"}, "2022-01-01T00:00Z", "2022-05-01T00:00Z", "UTC")
    assert [time[5:10] for time in found] == ["01-31", "02-28", "03-31", "04-30"]
    found = times({"monthly": ["29", "last"], "at": "12:00"}, "2024-01-30T00:00Z", "2024-03-01T00:00Z", "UTC")
    assert [time[5:10] for time in found] == ["01-31", "02-29"]  # both at once are one
    assert times({"monthly": ["30"], "at": "00:00"}, "2022-01-30T12:00Z", "2022-03-30T12:00Z", "UTC") == [
        "2022-03-30 00:00"
    ]


def test_a_day_that_a_zone_skips() -> None:
    """Samoa had no 30 December 2011: its time is the first instant after it."""
    found = times({"daily": "09:00"}, "2011-12-29T20:00Z", "2011-12-31T20:00Z", "Pacific/Apia")
    assert found == ["2011-12-30 10:00", "2011-12-30 19:00", "2011-12-31 19:00"]


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("0 9 * * 1-5", "2022-04-25 09:00"),
        ("0 9 1 * *", "2022-05-01 09:00"),
        ("0 9 L * *", "2022-04-30 09:00"),
        ("0 9 29 2 *", "2024-02-29 09:00"),
        ("15,45 8-10 * APR SAT", "2022-04-23 08:15"),
        ("0 9 13 * 5", "2022-04-29 09:00"),  # either of the days, as cron has it
    ],
)
def test_cron(cron: str, first: str) -> None:
    assert times({"cron": cron}, "2022-04-22T12:00Z", "2030-01-01T00:00Z", "UTC")[:1] == [first]


@given(
    st.sampled_from(KINDS),
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]),
    st.integers(at("2011-12-20T00:00Z") // HOUR, at("2012-12-31T00:00Z") // HOUR),
)
def test_each_occurrence_follows_from_any_instant_before_it(kind: dict[str, Any], zone: str, hour: int) -> None:
    """Strictly later, and the first: asked from anywhere between two, the answer is the same."""
    following = occurrences(Schedule(**kind), Zone(zone))
    found = [hour * HOUR]
    for _ in range(5):
        found.append(following(found[-1]) or 0)
    for before, after in pairwise(found):
        assert before < after
        assert following((before + after) // 2) == after
        assert following(after - 1) == after
        assert after - before < 62 * DAY


@pytest.mark.parametrize(
    ("schedule", "several"),
    [
        ({"daily": "09:00"}, False),
        ({"weekly": ["mon", "thu"], "at": "09:00"}, False),
        ({"monthly": ["1", "last"], "at": "09:00"}, False),
        ({"once": "2022-05-01 10:00"}, False),
        ({"cron": "0 9 * * 1-5"}, False),
        ({"cron": "0 9,17 * * 1-5"}, True),
        ({"cron": "*/30 9 * * *"}, True),
        ({"cron": "0 */24 * * *"}, False),
    ],
)
def test_whether_a_day_has_several_is_known_from_the_schedule(schedule: dict[str, Any], several: bool) -> None:
    """S18a."""
    assert Schedule(**schedule).several_a_day is several


@given(st.sampled_from(KINDS), st.sampled_from([BERLIN, "Asia/Kathmandu", "America/New_York"]))
def test_a_day_that_is_said_to_have_one_occurrence_never_has_two(schedule: dict[str, Any], name: str) -> None:
    zone, read = Zone(name), Schedule(**schedule)
    following = occurrences(read, zone)
    found: list[int] = []
    now: int | None = at("2022-03-10T00:00Z")
    while (now := following(now)) is not None and now < at("2022-04-10T00:00Z"):
        found.append(now)
    named = [(zone.day(each), zone.clock(each) if read.several_a_day else None) for each in found]
    assert len(set(named)) == len(named) > 0
