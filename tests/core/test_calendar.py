"""What the calendar begins: schedules (S18), and dates of the profile (S19)."""

from __future__ import annotations

from datetime import date

import pytest
from driver import Run, agreed, outcome, same
from shop import (
    NEIGHBOUR,
    STRANGER,
    USER,
    Aim,
    CityIs,
    Daily,
    Draft,
    On,
    at,
    cap,
    crm,
    date_of,
    event,
    log,
    member,
    members,
    profile,
    project,
    quiet,
    scheduled,
    span,
)

from flowops.core.effects import task_id
from flowops.core.time import DAY, HOUR, Zone, isoformat

BERLIN, SHANGHAI = Zone("Europe/Berlin"), Zone("Asia/Shanghai")
NINE = 9 * 60
KNOWN = profile(None, city="x")


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def decided(draft: Draft, *told, seen=("2022-04-20 00:00",), until: str, joined=()):
    """What was decided, by user: (user, when)."""
    shop = project(draft)
    parts = [log(shop, *(event(time, "pay", user="nobody") for time in seen))]
    parts += [part for part, rows in ((crm(shop, *told), told), (members(shop, *joined), joined)) if rows]
    found = agreed(shop, *parts, until=at(until)).decisions
    return [(one.user_id, isoformat(one.decided_at)[:16].replace("T", " ")) for one in found]


def times(draft: Draft, *told, **more):
    return [time for _, time in decided(draft, *told, **more)]


# Schedules

DAILY = Draft("news", trigger=scheduled(Daily(NINE)))


def test_each_occurrence_is_for_all_with_a_profile_or_a_segment() -> None:
    found = decided(
        DAILY,
        profile(None, USER, city="x"),
        profile("2022-04-20 12:00", NEIGHBOUR, ok=True),
        joined=[member("2022-04-20 12:00", "other", user=STRANGER)],
        until="2022-04-21 10:00",
    )
    assert found == [
        (USER, "2022-04-20 09:00"),
        (USER, "2022-04-21 09:00"),
        (STRANGER, "2022-04-21 09:00"),
        (NEIGHBOUR, "2022-04-21 09:00"),
    ]


def test_the_audience_is_as_it_stands_at_that_instant() -> None:
    draft = Draft("news", trigger=scheduled(Daily(NINE)), audience=CityIs("x"))
    told = [profile(f"2022-04-{day} {time}", city=city) for day, time, city in WENT]
    assert times(draft, *told, until="2022-04-24 10:00") == ["2022-04-21 09:00", "2022-04-23 09:00"]


WENT = [("20", "08:59", "y"), ("20", "09:00", "x"), ("21", "10:00", "y"), ("22", "10:00", "x"), ("23", "09:00", "y")]


def test_it_begins_with_the_first_record_and_ends_with_the_last() -> None:
    """S6, S18: a plan counts as published before the first record, and nothing before it is made up for."""
    shop = project(DAILY)
    seen = event("2022-04-20 09:00", "pay"), event("2022-04-22 08:59", "pay")
    found = agreed(shop, log(shop, *seen), crm(shop, KNOWN)).decisions
    assert [isoformat(one.decided_at)[:10] for one in found] == ["2022-04-20", "2022-04-21"]


def test_without_a_record_that_has_a_time_it_begins_where_time_is_moved_to() -> None:
    shop = project(DAILY)
    assert agreed(shop, crm(shop, KNOWN), until=at("2022-04-20 10:00")).decisions == []
    assert len(agreed(shop, crm(shop, KNOWN), until=at("2022-04-20 09:00")).decisions) == 1


def test_it_goes_by_the_plans_zone_whatever_the_users() -> None:
    draft = Draft("news", trigger=scheduled(Daily(NINE, BERLIN)), zone=BERLIN)
    told = profile(None, zone="Asia/Shanghai")
    assert times(draft, told, until="2022-04-20 12:00") == ["2022-04-20 07:00"]


def test_the_plans_dates_bind_it() -> None:
    """S20."""
    draft = Draft(
        "news", trigger=scheduled(Daily(NINE)), starts_at=at("2022-04-21 09:00"), ends_at=at("2022-04-23 09:00")
    )
    assert times(draft, KNOWN, until="2022-04-25 12:00") == ["2022-04-21 09:00", "2022-04-22 09:00"]


def test_occurrences_that_passed_while_the_engine_was_down_come_in_their_turn() -> None:
    """S8: each sees the audience of its own instant, and the caps between."""
    draft = Draft("news", trigger=scheduled(Daily(NINE)), audience=CityIs("x"), caps=(cap(1, rolling=2 * DAY),))
    shop = project(draft)
    seen = log(shop, *(event(f"2022-04-{day} 00:00", "pay") for day in (20, 21, 25)))
    told = crm(shop, KNOWN, profile("2022-04-22 00:00", city="y"), profile("2022-04-23 00:00", city="x"))
    run = Run(shop, [seen, told])
    run.feed(0, 2)
    run.feed(1, 1)
    run.snapshot()
    run.crash()  # and four days pass
    same(outcome(run.to_the_end()), agreed(shop, seen, told))
    stages = [(isoformat(one.decided_at)[8:10], one.stage) for one in run.decisions]
    assert stages == [("20", "delivered"), ("21", "frequency_cap"), ("23", "delivered"), ("24", "frequency_cap")]


def test_it_may_be_acted_on_later_and_be_held() -> None:
    delayed = Draft("news", trigger=scheduled(Daily(NINE), delay=span("30m")))
    assert times(delayed, KNOWN, until="2022-04-20 12:00") == ["2022-04-20 09:30"]
    held = Draft("news", trigger=scheduled(Daily(NINE)), quiet=quiet("08:00", "11:00"))
    shop = project(held)
    found = agreed(shop, log(shop, event("2022-04-20 00:00", "pay")), crm(shop, KNOWN), until=at("2022-04-20 12:00"))
    assert [(one.attempt, one.stage) for one in found.decisions] == [(0, "held"), (1, "delivered")]
    assert len({one.trigger_id for one in found.decisions}) == 1


def test_each_occurrence_has_an_id_of_its_own_and_no_evidence() -> None:
    """S32."""
    shop = project(DAILY)
    found = agreed(shop, log(shop, event("2022-04-20 00:00", "pay")), crm(shop, KNOWN), until=at("2022-04-22 12:00"))
    assert len({one.trigger_id for one in found.decisions}) == 3
    assert {one.evidence for one in found.decisions} == {()}


def test_a_schedule_costs_users_nothing_between_its_occurrences() -> None:
    shop = project(DAILY)
    run = Run(shop, [log(shop, event("2022-04-20 10:00", "pay"), ended=False), crm(shop, KNOWN)]).to_the_end()
    assert run.pending == []
    assert all(not user.instances for shard in run.shards.values() for _, user in shard._users.each())


# Dates of the profile


def born(text: str | None, time: str | None = None, **more):
    return profile(time, born=None if text is None else day(text), **more)


BIRTHDAY = Draft("birthday", trigger=date_of(yearly=True))


def test_a_birthday_comes_every_year_but_not_before_time_begins() -> None:
    assert times(BIRTHDAY, born("1990-05-05"), until="2024-01-01 00:00") == ["2022-05-05 09:00", "2023-05-05 09:00"]


def test_a_date_comes_once_and_one_that_has_passed_does_not() -> None:
    draft = Draft("expiry", trigger=date_of())
    assert times(draft, born("2022-05-05"), until="2024-01-01 00:00") == ["2022-05-05 09:00"]
    assert times(draft, born("2022-04-19"), until="2024-01-01 00:00") == []


def test_a_yearly_date_does_not_come_before_itself() -> None:
    assert times(BIRTHDAY, born("2023-05-05"), until="2024-06-01 00:00") == ["2023-05-05 09:00", "2024-05-05 09:00"]


def test_one_born_on_29_february_has_the_28th_in_common_years() -> None:
    found = times(BIRTHDAY, born("2000-02-29"), until="2025-01-01 00:00")
    assert found == ["2023-02-28 09:00", "2024-02-29 09:00"]


@pytest.mark.parametrize(
    ("offset", "expected"), [(-3, ["2022-12-30 08:00", "2023-12-30 08:00"]), (1, ["2023-01-03 08:00"])]
)
def test_an_offset_counts_days_of_the_calendar_also_over_the_turn_of_the_year(offset: int, expected: list[str]) -> None:
    draft = Draft("birthday", trigger=date_of(yearly=True, offset=offset), zone=BERLIN)
    assert times(draft, born("1990-01-02"), until="2024-01-01 00:00") == expected


def test_the_local_time_stays_when_the_clocks_change_between_offset_and_date() -> None:
    draft = Draft("birthday", trigger=date_of(offset=-1, time="02:30"), zone=BERLIN)
    assert times(draft, born("2022-03-28"), seen=["2022-03-01 00:00"], until="2022-04-01 00:00") == ["2022-03-27 01:00"]
    assert times(draft, born("2022-10-31"), seen=["2022-03-01 00:00"], until="2022-11-01 00:00") == ["2022-10-30 00:30"]


def test_it_goes_by_the_users_own_zone() -> None:
    """S10."""
    told = born("1990-05-05", zone="Asia/Shanghai")
    assert times(BIRTHDAY, told, until="2022-06-01 00:00") == ["2022-05-05 01:00"]
    assert times(BIRTHDAY, born("1990-05-05", zone="Mars/Olympus"), until="2022-06-01 00:00") == ["2022-05-05 09:00"]


def test_a_zone_that_changes_moves_what_is_still_to_come() -> None:
    told = born("1990-05-05", zone="Asia/Shanghai"), profile("2022-05-01 00:00", zone="America/New_York")
    assert times(BIRTHDAY, *told, until="2022-06-01 00:00") == ["2022-05-05 13:00"]


@pytest.mark.parametrize("yearly", [False, True])
def test_no_date_comes_twice_when_its_user_travels_west(yearly: bool) -> None:
    draft = Draft("birthday", trigger=date_of(yearly=yearly))
    told = born("2022-05-05", zone="Asia/Shanghai"), profile("2022-05-05 03:00", zone="America/New_York")
    assert times(draft, *told, until="2022-06-01 00:00") == ["2022-05-05 01:00"]


def test_a_date_that_changes_is_waited_for_anew() -> None:
    draft = Draft("expiry", trigger=date_of())
    told = born("2022-05-05"), born("2022-05-08", "2022-05-01 00:00"), born("2022-06-08", "2022-05-10 00:00")
    assert times(draft, *told, until="2022-07-01 00:00") == ["2022-05-08 09:00", "2022-06-08 09:00"]
    told = born("2022-05-05"), born(None, "2022-05-01 00:00")
    assert times(draft, *told, until="2022-07-01 00:00") == []


def test_a_date_told_at_its_very_instant_comes_too_late() -> None:
    """S7: timers before records, so what is to come is strictly later."""
    draft = Draft("expiry", trigger=date_of())
    assert times(draft, born("2022-05-05", "2022-05-05 09:00"), until="2022-06-01 00:00") == []
    assert times(draft, born("2022-05-05", "2022-05-05 08:59"), until="2022-06-01 00:00") == ["2022-05-05 09:00"]


def test_the_audience_is_asked_when_it_comes() -> None:
    """S22: one who is outside starts nothing, and is counted."""
    draft = Draft("birthday", trigger=date_of(yearly=True), audience=CityIs("x"))
    told = born("1990-05-05", city="y"), profile("2022-05-06 00:00", city="x")
    assert times(draft, *told, until="2024-01-01 00:00") == ["2023-05-05 09:00"]
    shop = project(draft)
    found = agreed(shop, log(shop, event("2022-04-20 00:00", "pay")), crm(shop, *told), until=at("2024-01-01 00:00"))
    assert found.outside_audience == 1


def test_outside_the_plans_dates_it_comes_and_goes() -> None:
    """S20."""
    draft = Draft(
        "birthday", trigger=date_of(yearly=True), starts_at=at("2023-01-01 00:00"), ends_at=at("2024-05-05 09:00")
    )
    assert times(draft, born("1990-05-05"), until="2026-01-01 00:00") == ["2023-05-05 09:00"]


def test_it_may_be_acted_on_later() -> None:
    draft = Draft("birthday", trigger=date_of(yearly=True, delay=2 * HOUR))
    assert times(draft, born("1990-05-05"), until="2022-06-01 00:00") == ["2022-05-05 11:00"]


def test_dates_at_the_ends_of_the_calendar_are_waited_for_in_vain() -> None:
    expiry = Draft("expiry", trigger=date_of(offset=1))
    for told in (-719_162, 2_932_896):  # 1 January of the year 1, 31 December of 9999
        assert times(expiry, profile(None, born=told), until="2023-12-31 12:00") == []
    assert times(BIRTHDAY, profile(None, born=-719_162), until="2023-12-31 12:00") == ["2023-01-01 09:00"]
    assert times(BIRTHDAY, profile(None, born=2_932_896), until="2023-12-31 12:00") == []


def test_waiting_for_a_date_is_nothing_pending() -> None:
    """S6: no trigger is under way."""
    shop = project(BIRTHDAY)
    assert agreed(shop, log(shop, event("2022-04-20 00:00", "pay")), crm(shop, born("1990-05-05"))).pending == []


# Tasks


class HalfDays:
    """At 09:00 and at 17:00."""

    def __call__(self, after: int) -> int | None:
        return min(at for each in (Daily(NINE), Daily(17 * 60)) if (at := each(after)) is not None)


def test_a_day_with_several_occurrences_has_a_task_for_each() -> None:
    """S18a: also of the goals that a delivery of theirs attains."""
    draft = Draft("news", trigger=scheduled(HalfDays()), several_a_day=True, aims=(Aim(On("order"), span("1h")),))
    shop = project(draft)
    told = crm(shop, KNOWN)
    seen = log(shop, event("2022-04-20 08:00", "view"), event("2022-04-20 17:30", "order"))
    found = agreed(shop, seen, told, until=at("2022-04-21 10:00"))
    tasks = [task_id(one.plan, one.day, one.clock) for one in found.decisions]
    assert tasks == ["news@2022-04-20T09:00", "news@2022-04-20T17:00", "news@2022-04-21T09:00"]
    assert [task_id(one.plan, one.day, one.clock) for one in found.goals] == ["news@2022-04-20T17:00"]


def test_the_time_of_a_task_is_the_plans_also_after_a_delay_and_a_gap() -> None:
    draft = Draft("news", trigger=scheduled(Daily(2 * 60 + 30, BERLIN), span("1h")), zone=BERLIN, several_a_day=True)
    shop = project(draft)
    seen = log(shop, event("2022-03-26 00:00", "view"))
    found = agreed(shop, seen, crm(shop, KNOWN), until=at("2022-03-27 12:00")).decisions
    assert [one.clock for one in found] == ["02:30", "03:00"]
