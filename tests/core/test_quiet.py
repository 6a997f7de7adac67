"""Quiet hours (S26), also over changes of the clock (S10)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import (
    CityIs,
    at,
    cap,
    event,
    log,
    profile,
    project,
    quiet,
    span,
)
from stages import BERLIN, HELLO, NIGHT, SHANGHAI, only_stages, stages

from flowops.core.time import HOUR


def test_quiet_is_half_open() -> None:
    times = [f"2022-04-21 {time}" for time in ("07:59", "08:00", "21:59", "22:00")]
    dropping = replace(NIGHT, hold=False)
    assert only_stages(*times, drafts=[replace(HELLO, quiet=dropping)]) == [
        "quiet_hours",
        "delivered",
        "delivered",
        "quiet_hours",
    ]


def test_what_is_held_is_decided_at_the_end_of_quiet() -> None:
    """S26: and expires from there."""
    shop = project(replace(HELLO, quiet=NIGHT, expires=HOUR))
    outcome = agreed(shop, log(shop, event("2022-04-21 23:00", "view")), until=at("2022-04-22 08:00"))
    held, sent = outcome.decisions
    assert (held.stage, held.attempt, held.channel, held.expires_at) == ("held", 0, "push", None)
    assert (sent.stage, sent.attempt, sent.trigger_id) == ("delivered", 1, held.trigger_id)
    assert sent.decided_at == at("2022-04-22 08:00")
    assert sent.expires_at == at("2022-04-22 09:00")
    assert sent.triggered_at == at("2022-04-21 23:00")


def test_what_is_still_held_is_pending() -> None:
    """S6, S22."""
    shop = project(replace(HELLO, quiet=NIGHT))
    outcome = agreed(shop, log(shop, event("2022-04-21 23:00", "view")), until=at("2022-04-22 07:59"))
    assert [row.stage for row in outcome.decisions] == ["held"]
    assert [(row.kind, row.due) for row in outcome.pending] == [("held", at("2022-04-22 08:00"))]


def test_the_whole_list_is_decided_again_after_quiet() -> None:
    """S26: the audience, consent and caps are those of the morning; nothing was reserved meanwhile."""
    plan = replace(HELLO, quiet=NIGHT, audience=CityIs("x"))
    told = profile(None, city="x"), profile("2022-04-22 07:00", city="y")
    assert only_stages("2022-04-21 23:00", drafts=[plan], told=told, until="2022-04-22 08:00") == [
        "held",
        "not_in_audience",
    ]
    capped = replace(HELLO, quiet=NIGHT, caps=(cap(1, rolling=span("24h")),))
    assert only_stages("2022-04-21 23:00", "2022-04-22 01:00", drafts=[capped], until="2022-04-22 08:00") == [
        "held",
        "held",
        "delivered",
        "frequency_cap",
    ]


def test_what_is_held_beyond_the_plans_end_is_lost() -> None:
    """S20."""
    plan = replace(HELLO, quiet=NIGHT, ends_at=at("2022-04-22 00:00"))
    assert only_stages("2022-04-21 23:00", drafts=[plan], until="2022-04-22 08:00") == ["held", "plan_ended"]


def test_a_window_belongs_to_the_day_on_which_it_begins() -> None:
    """S26: quiet from Friday 22:00 to Saturday 08:00; the small hours of Friday are not quiet."""
    friday = quiet("22:00", "08:00", days=[4], hold=False)
    times = [f"2022-04-{day} {time}" for day, time in ((22, "07:00"), (22, "23:00"), (23, "07:00"), (23, "23:00"))]
    assert only_stages(*times, drafts=[replace(HELLO, quiet=friday)]) == [
        "delivered",
        "quiet_hours",
        "quiet_hours",
        "delivered",
    ]


def test_outside_a_window_on_some_days_is_quiet() -> None:
    """S26: held from Friday evening to Monday 14:00."""
    plan = replace(HELLO, quiet=quiet("14:00", "16:00", days=[0, 2, 4], outside=True))
    assert stages("2022-04-22 15:59", "2022-04-22 16:00", drafts=[plan], until="2022-04-26 00:00") == [
        ("hello", "2022-04-22 15:59", "delivered"),
        ("hello", "2022-04-22 16:00", "held"),
        ("hello", "2022-04-25 14:00", "delivered"),
    ]


def test_quiet_is_of_the_users_own_zone_if_it_is_one() -> None:
    """S10: else of the plan's."""
    plan = replace(HELLO, quiet=replace(NIGHT, hold=False), zone=SHANGHAI)
    for zone, stage in (("Europe/Berlin", "delivered"), ("Mars/Olympus", "quiet_hours"), (None, "quiet_hours")):
        assert only_stages("2022-04-21 15:00", drafts=[plan], told=[profile(None, zone=zone)]) == [stage]


def test_the_zone_is_asked_again_when_it_changes_while_held() -> None:
    """S26: decided again wholly, and quiet again: the chain goes on."""
    plan = replace(HELLO, quiet=NIGHT, zone=SHANGHAI)
    told = [profile("2022-04-21 20:00", zone="Europe/Berlin")]
    assert stages("2022-04-21 15:00", drafts=[plan], told=told, until="2022-04-23 00:00") == [
        ("hello", "2022-04-21 15:00", "held"),
        ("hello", "2022-04-22 00:00", "held"),
        ("hello", "2022-04-22 06:00", "delivered"),
    ]


@pytest.mark.parametrize(
    ("window", "when", "until"),
    [
        (quiet("22:00", "02:30"), "2022-03-26 23:00", "2022-03-27 01:00"),  # 02:30 is skipped: 03:00 summer time
        (quiet("22:00", "02:30"), "2022-10-29 23:00", "2022-10-30 00:30"),  # 02:30 comes twice: the first
        (quiet("02:15", "05:00"), "2022-03-27 01:00", "2022-03-27 03:00"),  # begins in the gap: right after it
        (quiet("02:30", "04:00"), "2022-10-30 01:10", "2022-10-30 03:00"),  # 02:10 the second time: begun at the first
    ],
)
def test_quiet_over_a_change_of_the_clock(window, when, until) -> None:
    """S10: a local time that is skipped is the first instant after the gap; one that comes twice is the first."""
    plan = replace(HELLO, quiet=window, zone=BERLIN)
    assert stages(when, drafts=[plan], until="2022-11-01 00:00") == [
        ("hello", when, "held"),
        ("hello", until, "delivered"),
    ]


def test_a_window_that_the_clock_skips_is_none() -> None:
    """S10, S26: quiet outside 02:00 to 03:00 lasts over the night that has no such hour."""
    plan = replace(HELLO, quiet=quiet("02:00", "03:00", outside=True), zone=BERLIN)
    assert stages("2022-03-26 12:00", drafts=[plan], until="2022-04-01 00:00") == [
        ("hello", "2022-03-26 12:00", "held"),
        ("hello", "2022-03-28 00:00", "delivered"),
    ]


def test_an_outside_window_that_comes_twice_is_open_once() -> None:
    """S10: the second 02:10 of the night is quiet, since the window of 02:00 to 02:30 is over."""
    plan = replace(HELLO, quiet=quiet("02:00", "02:30", outside=True), zone=BERLIN)
    assert stages("2022-10-30 00:10", "2022-10-30 01:10", drafts=[plan], until="2022-11-01 00:00") == [
        ("hello", "2022-10-30 00:10", "delivered"),
        ("hello", "2022-10-30 01:10", "held"),
        ("hello", "2022-10-31 01:00", "delivered"),
    ]


def test_the_second_half_past_two_is_not_quiet_if_quiet_ended_at_the_first() -> None:
    """S10: the end of a window runs once."""
    plan = replace(HELLO, quiet=quiet("22:00", "02:30", hold=False), zone=BERLIN)
    assert only_stages("2022-10-30 00:29", "2022-10-30 00:30", "2022-10-30 01:10", drafts=[plan]) == [
        "quiet_hours",
        "delivered",
        "delivered",
    ]


# Of a channel


def test_both_the_plans_hours_and_the_channels_must_allow() -> None:
    """S26: held from the one into the other, and decided once, when both are over."""
    plan = replace(HELLO, quiet=NIGHT, channel_quiet=quiet("07:00", "09:00"))
    assert stages("2022-04-21 23:00", "2022-04-22 08:59", drafts=[plan], until="2022-04-23 00:00") == [
        ("hello", "2022-04-21 23:00", "held"),
        ("hello", "2022-04-22 08:59", "held"),
        ("hello", "2022-04-22 09:00", "delivered"),
        ("hello", "2022-04-22 09:00", "delivered"),
    ]


def test_a_plan_without_quiet_hours_has_its_channels() -> None:
    """S26: `quiet: none` is about the plan's."""
    plan = replace(HELLO, channel_quiet=replace(NIGHT, hold=False))
    assert only_stages("2022-04-21 21:59", "2022-04-21 22:00", drafts=[plan]) == ["delivered", "quiet_hours"]


def test_quiet_that_drops_drops_what_another_would_hold() -> None:
    """S26: asked when it is decided, and again when what was held is."""
    plan = replace(HELLO, quiet=NIGHT, channel_quiet=quiet("07:00", "09:00", hold=False))
    times = "2022-04-21 23:00", "2022-04-22 07:30"
    assert stages(*times, drafts=[plan], until="2022-04-23 00:00") == [
        ("hello", "2022-04-21 23:00", "held"),
        ("hello", "2022-04-22 07:30", "quiet_hours"),
        ("hello", "2022-04-22 08:00", "quiet_hours"),
    ]


def test_hours_that_never_meet_lose_the_message() -> None:
    """S26: lint refuses them; but nothing is held for ever."""
    plan = replace(
        HELLO,
        quiet=quiet("14:00", "16:00", days=[0], outside=True),
        channel_quiet=quiet("14:00", "16:00", days=[1], outside=True),
    )
    assert only_stages("2022-04-18 14:30", drafts=[plan], until="2022-06-01 00:00") == ["quiet_hours"]


def test_a_window_of_the_channel_belongs_to_the_day_on_which_it_begins() -> None:
    """S26: from Saturday 22:00 to Sunday 08:00, where the clocks skip an hour of the night."""
    plan = replace(HELLO, channel_quiet=quiet("22:00", "08:00", days=[5]), zone=BERLIN)
    assert stages(
        "2022-03-26 20:59", "2022-03-26 21:00", "2022-03-27 21:00", drafts=[plan], until="2022-03-28 06:00"
    ) == [
        ("hello", "2022-03-26 20:59", "delivered"),
        ("hello", "2022-03-26 21:00", "held"),
        ("hello", "2022-03-27 06:00", "delivered"),
        ("hello", "2022-03-27 21:00", "delivered"),
    ]
