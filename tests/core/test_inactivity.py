"""Nothing, or none of a kind, for a while (S17): when it fires, once, and what is late."""

from __future__ import annotations

from driver import agreed
from shop import CityIs, Draft, On, at, crm, event, inactive, log, profile, project, span

from flowops.core.time import isoformat

DAY = "2022-04-21"
QUIET = Draft("come-back", On(None), trigger=inactive(span("1h")))
NO_LOGIN = Draft("come-back", On("view"), trigger=inactive(span("1h")))


def fired(*rows, draft=QUIET, told=(), until=f"{DAY} 23:00"):
    """The triggers' times of the day, and the event since which nothing came."""
    shop = project(draft)
    outcome = agreed(shop, log(shop, *rows), crm(shop, *told), until=at(until))
    return [(isoformat(one.triggered_at)[11:16], *one.evidence) for one in outcome.decisions]


def seen(time, name="view", sku="A"):
    return event(f"{DAY} {time}", name, sku, id=f"{name} {time}")


def test_it_fires_when_nothing_came_for_so_long_since_the_last() -> None:
    assert fired(seen("10:00"), seen("10:30", "order")) == [("11:30", "order 10:30")]


def test_it_fires_once_until_the_user_is_seen_again() -> None:
    assert fired(seen("10:00"), seen("15:00", "pay")) == [("11:00", "view 10:00"), ("16:00", "pay 15:00")]


def test_an_event_exactly_at_the_end_comes_too_late() -> None:
    """S10, S7: and begins the next wait."""
    assert fired(seen("10:00"), seen("11:00")) == [("11:00", "view 10:00"), ("12:00", "view 11:00")]


def test_only_events_of_its_kind_count() -> None:
    assert fired(seen("10:00"), seen("10:30", "order"), draft=NO_LOGIN) == [("11:00", "view 10:00")]


def test_a_user_who_was_never_seen_is_not_missed() -> None:
    assert fired(seen("10:00", "order"), draft=NO_LOGIN) == []


def test_at_one_instant_the_last_in_order_is_the_evidence() -> None:
    assert fired(seen("10:00"), seen("10:00", "order")) == [("11:00", "order 10:00")]


def test_a_late_event_moves_the_wait_to_its_own_time() -> None:
    """S9."""
    assert fired(seen("10:00"), seen("10:50", "order"), seen("10:30"), draft=NO_LOGIN) == [("11:30", "view 10:30")]
    assert fired(seen("10:30"), seen("10:50", "order"), seen("10:20"), draft=NO_LOGIN) == [("11:30", "view 10:30")]


def test_a_late_event_begins_nothing() -> None:
    assert fired(seen("10:50", "order"), seen("10:30"), draft=NO_LOGIN) == []


def test_a_late_event_takes_back_what_is_not_sent_yet() -> None:
    """S9: at 11:10 it is known that the user was there at 10:30: the delay ends, and the wait goes on from there."""
    draft = Draft("come-back", On("view"), trigger=inactive(span("1h"), delay=span("30m")))
    assert fired(seen("10:00"), seen("11:10", "order"), seen("10:30"), draft=draft) == [("11:30", "view 10:30")]
    assert fired(seen("10:00"), seen("11:25", "order"), seen("10:10"), draft=draft) == []


def test_an_event_during_the_delay_changes_nothing() -> None:
    """As in S13: it comes after the wait."""
    draft = Draft("come-back", On("view"), trigger=inactive(span("1h"), delay=span("30m")))
    assert fired(seen("10:00"), seen("11:10"), draft=draft) == [("11:00", "view 10:00"), ("12:10", "view 11:10")]


def test_each_key_is_missed_on_its_own() -> None:
    draft = Draft("come-back", On("view"), trigger=inactive(span("1h")), key=(0,))
    rows = seen("10:00", sku="A"), seen("10:10", sku="B"), seen("10:20", sku=None), seen("10:30", sku="A")
    assert fired(*rows, draft=draft) == [("11:10", "view 10:10"), ("11:30", "view 10:30")]


def test_what_counts_is_whether_it_falls_due_inside_the_plans_dates() -> None:
    """S20: one last seen before the plan began is missed, too, if the time for that comes when it runs."""
    draft = Draft(
        "come-back",
        On(None),
        trigger=inactive(span("1h")),
        key=(0,),
        starts_at=at(f"{DAY} 11:00"),
        ends_at=at(f"{DAY} 12:00"),
    )
    rows = [seen(time, sku=time) for time in ("09:59", "10:00", "10:59", "11:00")]
    assert fired(*rows, draft=draft) == [("11:00", "view 10:00"), ("11:59", "view 10:59")]


def test_one_who_has_left_the_audience_is_seen_all_the_same() -> None:
    """S22, S17a: the event ends the wait, and begins none for a user outside."""
    draft = Draft("come-back", On("view"), trigger=inactive(span("1h")), audience=CityIs("x"))
    told = profile(None, city="x"), profile(f"{DAY} 10:10", city="y")
    assert fired(seen("10:00"), seen("10:30"), draft=draft, told=told) == []


def test_a_late_event_that_takes_back_what_has_fired_lets_its_own_wait_fall_due_in_time() -> None:
    """S9: it waits for less than the delay that it ends, and has fired before the user is seen again."""
    draft = Draft("come-back", On("view"), trigger=inactive(span("1h"), delay=span("2h")))
    rows = seen("10:00"), seen("11:00", "pay"), seen("10:30"), seen("12:00")
    assert fired(*rows, draft=draft) == [("11:30", "view 10:30"), ("13:00", "view 12:00")]
