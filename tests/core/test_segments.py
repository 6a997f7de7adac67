"""Segments: who is in one, as told in any order, and audiences that ask (S2, S9, S22)."""

from __future__ import annotations

from driver import agreed
from shop import Draft, InSegment, at, event, log, member, members, project, span

from flowops.core.plan import EventTrigger

DAY = "2022-04-21"
VIPS = Draft("vips", audience=InSegment(not_staff=True))


def stages(*told, times=("10:00",), draft=VIPS, disorder="0s"):
    shop = project(draft, profile_disorder=span(disorder))
    views = [event(f"{DAY} {time}", "view", id=time) for time in times]
    found = agreed(shop, log(shop, *views), members(shop, *told), until=at(f"{DAY} 23:00"))
    return [row.stage for row in found.decisions], found.outside_audience


def test_who_is_in_the_segment_takes_part() -> None:
    assert stages(member(None)) == (["delivered"], 0)
    assert stages(member(f"{DAY} 09:59", action="enter")) == (["delivered"], 0)
    assert stages(member(None, "other")) == ([], 1)
    assert stages(member(None, user="u48")) == ([], 1)


def test_who_is_in_a_segment_that_is_excluded_does_not() -> None:
    assert stages(member(None), member(None, "staff")) == ([], 1)
    assert stages(member(None), member(None, "staff"), member(f"{DAY} 09:00", "staff", "leave")) == (["delivered"], 0)


def test_entering_twice_changes_nothing_and_leaving_once_is_enough() -> None:
    told = [member(f"{DAY} 08:00"), member(f"{DAY} 09:00"), member(f"{DAY} 09:30", action="leave")]
    assert stages(*told) == ([], 1)
    assert stages(*told[:2]) == (["delivered"], 0)


def test_the_audience_is_asked_again_at_the_send() -> None:
    """S22: who left meanwhile is lost."""
    draft = Draft("vips", audience=InSegment(), trigger=EventTrigger(span("1h")))
    assert stages(member(None), member(f"{DAY} 10:30", action="leave"), draft=draft) == (["not_in_audience"], 0)


def test_what_is_told_late_counts_as_of_its_own_time() -> None:
    """S9: the leave of 09:00, told after the enter of 09:30, has been overtaken by it."""
    told = [member(f"{DAY} 09:30"), member(f"{DAY} 09:00", action="leave")]
    assert stages(*told) == (["delivered"], 0)
    told = [member(f"{DAY} 09:30", "other"), member(f"{DAY} 09:00")]
    assert stages(*told) == (["delivered"], 0)
