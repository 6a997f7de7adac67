"""What a text may mean: durations, times, shares, names. Each value is understood or refused, never clamped (S11)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from flowops.core.time import DAY, HOUR, MINUTE, SECOND, Zone, isoformat
from flowops.rules.findings import CODES
from flowops.settings.fields import (
    LONGEST,
    MILLISECOND,
    integer,
    parse_boolean,
    parse_clock,
    parse_duration,
    parse_identifier,
    parse_moment,
    parse_name,
    parse_number,
    parse_share,
    parse_weekday,
    parse_zone,
    show_duration,
    within,
)

PARSERS = (
    integer(1, 10), parse_boolean, parse_clock, parse_duration, parse_identifier, parse_moment, parse_name,
    parse_number, parse_share, parse_weekday, parse_zone, within(MINUTE, HOUR),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0s", 0),
        ("250ms", 250 * MILLISECOND),
        ("1h30m", HOUR + 30 * MINUTE),
        ("2w1d", 15 * DAY),
        ("90m", 90 * MINUTE),
        ("1s5ms", SECOND + 5 * MILLISECOND),
    ],
)
def test_a_duration_is_elapsed_time_with_units(text: str, micros: int) -> None:
    """S10: one day is 24 hours."""
    assert parse_duration(text) == micros


@pytest.mark.parametrize("text", ["5", "1.5h", "h", "1 h", "-1h", "1h1h", "1m1h", "1M", "", "1h ", "\u0661h", "99999d"])
def test_a_duration_without_unit_or_out_of_range_is_refused(text: str) -> None:
    """S11."""
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@given(st.integers(0, LONGEST // MILLISECOND))
def test_a_duration_shown_reads_the_same(millis: int) -> None:
    assert parse_duration(show_duration(millis * MILLISECOND)) == millis * MILLISECOND


@given(
    st.text(max_size=12)
    | st.none()
    | st.lists(st.text(), max_size=1)
    | st.dictionaries(st.text(), st.text(), max_size=1)
)
def test_whatever_stands_there_is_understood_or_becomes_a_finding(value: object) -> None:
    for parse in PARSERS:
        try:
            parse(value)
        except PydanticCustomError as error:
            assert error.type in CODES  # noqa: PT017
            assert error.context and error.context["what"]  # noqa: PT017, PT018


@given(
    st.datetimes(datetime(1971, 1, 2), datetime(9997, 12, 30)),  # noqa: DTZ001 - local
    st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"]),
)
def test_a_date_is_the_whole_local_day_and_a_time_itself(moment: datetime, name: str) -> None:
    """S20: `to` includes the day, and excludes the time."""
    zone = Zone(name)
    day = parse_moment(f"{moment:%Y-%m-%d}") if moment.year > 999 else None
    assert day is not None
    tomorrow = parse_moment((moment + timedelta(days=1)).strftime("%Y-%m-%d"))
    assert day.begins(zone) < day.ends(zone) == tomorrow.begins(zone)
    exact = parse_moment(moment.isoformat(" ", "seconds"))
    assert exact.begins(zone) == exact.ends(zone)
    assert day.begins(zone) <= exact.begins(zone) <= day.ends(zone)


def test_a_day_of_a_change_of_clocks_has_its_own_length() -> None:
    """S10: New York lost an hour on 2022-03-13."""
    day = parse_moment("2022-03-13")
    zone = Zone("America/New_York")
    assert day.ends(zone) - day.begins(zone) == 23 * HOUR


def test_a_time_with_an_offset_needs_no_zone() -> None:
    at = parse_moment("2022-04-20T10:00:00.5+02:00").begins(Zone("Asia/Shanghai"))
    assert isoformat(at) == "2022-04-20T08:00:00.500000Z"


@pytest.mark.parametrize(("text", "share"), [("10%", "0.1"), ("0%", "0"), ("33.3%", "0.333"), ("100%", "1")])
def test_a_share_is_exact(text: str, share: str) -> None:
    assert str(parse_share(text).normalize()) == share


def test_a_boolean_is_not_guessed() -> None:
    assert (parse_boolean("true"), parse_boolean("false")) == (True, False)
    for text in ("yes", "no", "1", "True"):
        with pytest.raises(PydanticCustomError):
            parse_boolean(text)
