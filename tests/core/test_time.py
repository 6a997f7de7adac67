"""Local time against the standard library's zones (S10)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowops.core.time import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Zone,
    isoformat,
    local_micros,
    period,
    to_datetime,
    to_micros,
)

NAMES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # changed at 00:01 until 2011
    "Asia/Shanghai",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Pacific/Apia",  # skipped a day in 2011
    "America/Sao_Paulo",  # changed at midnight
    "Africa/Casablanca",
    "Asia/Gaza",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = to_micros(datetime(1975, 1, 1, tzinfo=UTC))
LAST = to_micros(datetime(2037, 1, 1, tzinfo=UTC))

names = st.sampled_from(NAMES)


def transitions(name: str) -> list[int]:
    """Every change of the offset between `FIRST` and `LAST`, to the second."""
    found, tz, step = [], ZoneInfo(name), 7 * DAY

    def shift(ts):
        return to_datetime(ts).astimezone(tz).utcoffset()

    for start in range(FIRST, LAST, step):
        low, high = start, start + step
        if shift(low) != shift(high):
            while high - low > SECOND:
                middle = (low + high) // 2 // SECOND * SECOND
                low, high = (middle, high) if shift(middle) == shift(low) else (low, middle)
            found.append(high)
    return found


TRANSITIONS = {name: transitions(name) for name in NAMES}


@st.composite
def moments(draw) -> tuple[str, int]:
    """A zone and an instant, mostly within two hours of a change of its clock."""
    name = draw(names)
    if TRANSITIONS[name] and draw(st.sampled_from([True, True, False])):
        near = draw(st.sampled_from(TRANSITIONS[name]))
        return name, near + draw(st.sampled_from([-1, 0, 1, SECOND]) | st.integers(-2 * HOUR, 2 * HOUR))
    return name, draw(st.integers(FIRST, LAST))


@given(moments())
@example(("America/St_Johns", to_micros(datetime(2010, 3, 14, 3, 31, tzinfo=UTC)) - 1))
@example(("America/St_Johns", to_micros(datetime(2010, 3, 14, 3, 30, tzinfo=UTC))))
def test_offset_local_and_day_are_those_of_the_zone(moment: tuple[str, int]) -> None:
    name, ts = moment
    zone, there = Zone(name), to_datetime(ts).astimezone(ZoneInfo(name))
    assert timedelta(microseconds=zone.offset(ts)) == there.utcoffset()
    assert zone.local(ts) == local_micros(there.replace(tzinfo=None))
    assert date(1970, 1, 1) + timedelta(days=zone.day(ts)) == there.date()


@given(moments())
def test_what_the_clock_reads_is_found_again(moment: tuple[str, int]) -> None:
    """S10: a local time that comes twice is the first time."""
    name, ts = moment
    zone = Zone(name)
    again = zone.instant(zone.local(ts))
    assert again <= ts
    assert zone.local(again) == zone.local(ts)
    there = to_datetime(ts).astimezone(ZoneInfo(name))
    assert (again == ts) == (there.fold == 0)


@given(moments(), st.integers(-3 * HOUR, 3 * HOUR))
def test_a_local_time_that_is_skipped_is_the_first_instant_after_the_gap(moment: tuple[str, int], off: int) -> None:
    """S10: whatever the clock never reads."""
    name, ts = moment
    zone = Zone(name)
    wall = zone.local(ts) + off
    found = zone.instant(wall)
    if zone.local(found) != wall:
        assert zone.local(found - 1) < wall < zone.local(found)
        assert found in TRANSITIONS[name]


@given(moments())
def test_midnight_begins_the_day(moment: tuple[str, int]) -> None:
    """S10, also where the clock skips midnight, or a whole day."""
    name, ts = moment
    zone = Zone(name)
    begins = zone.midnight(zone.day(ts))
    assert begins <= ts
    assert zone.day(begins) == zone.day(ts)
    assert zone.day(begins - 1) < zone.day(ts) or zone.local(begins - 1) > zone.local(begins)


@given(moments())
def test_calendar_periods_are_those_of_the_calendar(moment: tuple[str, int]) -> None:
    """S10: weeks begin on Monday."""
    name, ts = moment
    zone, there = Zone(name), to_datetime(ts).astimezone(ZoneInfo(name)).date()
    monday = there - timedelta(days=there.weekday())
    assert period(zone, ts, "day") == there.toordinal() - date(1970, 1, 1).toordinal()
    assert period(zone, ts, "week") == (monday - date(1969, 12, 29)).days // 7
    assert period(zone, ts, "month") == there.year * 12 + there.month


@given(st.integers(FIRST, LAST))
def test_instants_are_exact_both_ways(ts: int) -> None:
    assert to_micros(to_datetime(ts)) == ts
    assert to_micros(datetime.fromisoformat(isoformat(ts))) == ts
    assert to_micros(to_datetime(ts).astimezone(ZoneInfo("Asia/Kathmandu"))) == ts


@pytest.mark.parametrize(
    ("name", "wall", "instant"),
    [
        ("Europe/Berlin", "2022-03-27 02:30", "2022-03-27T01:00:00Z"),  # skipped
        ("Europe/Berlin", "2022-10-30 02:30", "2022-10-30T00:30:00Z"),  # twice
        ("America/Sao_Paulo", "2018-11-04 00:00", "2018-11-04T03:00:00Z"),  # midnight is skipped
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30T10:00:00Z"),  # a day is skipped
        ("Australia/Lord_Howe", "2022-10-02 02:15", "2022-10-01T15:30:00Z"),
        ("America/St_Johns", "2010-03-14 00:30", "2010-03-14T03:31:00Z"),
        ("Asia/Shanghai", "2022-04-21 10:00", "2022-04-21T02:00:00Z"),
    ],
)
def test_known_instants(name: str, wall: str, instant: str) -> None:
    """S10."""
    assert isoformat(Zone(name).instant(local_micros(datetime.fromisoformat(wall)))) == instant


def test_a_fraction_is_written_only_where_there_is_one() -> None:
    assert isoformat(0) == "1970-01-01T00:00:00Z"
    assert isoformat(MINUTE + 1) == "1970-01-01T00:01:00.000001Z"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "", "Europe"])
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        Zone(name)


def test_zones_are_equal_by_name() -> None:
    assert Zone("UTC") == Zone("UTC")
    assert Zone("UTC") != Zone("Europe/Berlin")
    assert len({Zone("UTC"), Zone("UTC")}) == 1
    assert repr(Zone("UTC")) == "Zone('UTC')"


@pytest.mark.parametrize("ts", [-(1 << 62), -(1 << 61), 1 << 60, 1 << 61])
def test_the_marks_beyond_all_time_have_an_offset(ts: int) -> None:
    """Records that hold from before the first, and ends that never come, are asked like any instant."""
    assert abs(Zone("Asia/Shanghai").offset(ts)) <= 14 * HOUR
