"""Several events: whichever happens, or all of them in any order (S15)."""

from __future__ import annotations

import pytest
from driver import agreed
from shop import AtLeast, CityIs, Draft, On, at, crm, event, log, profile, project, quiet, span

from flowops.core.matchers import combination
from flowops.core.plan import AllTrigger, AnyTrigger
from flowops.core.time import isoformat

DAY = "2022-04-21"
EITHER = Draft("either", trigger=AnyTrigger(0), members=(On("view"), On("order", AtLeast(2))))


def both(within="1h", *members, delay=0, **more):
    members = members or (On("view"), On("order"))
    return Draft("both", trigger=AllTrigger(len(members), span(within), delay), members=members, **more)


def seen(time, name="view", sku="A", n=1, id=None):  # noqa: A002
    return event(f"{DAY} {time}", name, sku, n, id=id or f"{name} {time}")


def fired(draft, *rows, disorder="0s", others=()):
    """The triggers' times of the day and evidence."""
    shop = project(draft, disorder=[span(disorder)])
    parts = [log(shop, *rows), *(make(shop) for make in others)]
    outcome = agreed(shop, *parts, until=at("2022-04-23 00:00"))
    return [(isoformat(one.triggered_at)[11:16], *one.evidence) for one in outcome.decisions]


def test_any_fires_on_whichever_happens() -> None:
    rows = seen("10:00"), seen("10:10", "order", n=1), seen("10:20", "order", n=2), seen("10:30", "pay")
    assert fired(EITHER, *rows) == [("10:00", "view 10:00"), ("10:20", "order 10:20")]


def test_an_event_that_fits_several_members_of_any_triggers_once() -> None:
    draft = Draft("either", trigger=AnyTrigger(0), members=(On("view"), On(None), On("view", AtLeast(2))))
    assert fired(draft, seen("10:00", n=3)) == [("10:00", "view 10:00")]


def test_all_fires_on_the_event_that_completes_it_in_any_order_and_begins_anew() -> None:
    rows = seen("10:00", "order"), seen("10:30"), seen("10:40"), seen("10:50", "order")
    assert fired(both(), *rows) == [("10:30", "order 10:00", "view 10:30"), ("10:50", "view 10:40", "order 10:50")]


def test_all_looks_back_over_a_window_that_is_open_at_its_old_end() -> None:
    """S10: `(t - W, t]`: what is exactly W old is outside."""
    assert fired(both(), seen("10:00"), seen("10:59", "order")) == [("10:59", "view 10:00", "order 10:59")]
    assert fired(both(), seen("10:00"), seen("11:00", "order")) == []


@pytest.mark.parametrize("more", [{"delay": span("3h")}, {"quiet": quiet("10:00", "18:00")}], ids=["delayed", "held"])
def test_a_repeat_of_what_is_delayed_or_held_is_no_second_trigger(more) -> None:
    """S4: the trigger of both events is known."""
    again = seen("11:00", id="view 10:00"), seen("11:10", "order", id="order 10:10")
    found = fired(both(**more), seen("10:00"), seen("10:10", "order"), *again)
    assert found == [("10:10", "view 10:00", "order 10:10")] * (1 if "delay" in more else 2)  # held, and then sent


def test_the_window_slides() -> None:
    """The first view is too old when the order comes, the second is not: the oldest that is inside is the evidence."""
    rows = seen("10:00"), seen("10:30"), seen("10:45"), seen("11:10", "order")
    assert fired(both(), *rows) == [("11:10", "view 10:30", "order 11:10")]


def test_one_event_may_fill_several_members() -> None:
    draft = both("1h", On("view"), On("view", AtLeast(2)))
    assert fired(draft, seen("10:00", n=1), seen("10:10", n=2)) == [("10:10", "view 10:00", "view 10:10")]
    assert fired(draft, seen("10:00", n=2)) == [("10:00", "view 10:00")]


def test_all_is_gathered_by_key() -> None:
    """S17a: an event without the key fills nothing."""
    draft = both(key=(0,))
    rows = seen("10:00", sku="A"), seen("10:10", "order", "B"), seen("10:20", "order", None)
    assert fired(draft, *rows) == []
    assert fired(draft, *rows, seen("10:30", sku="B")) == [("10:30", "order 10:10", "view 10:30")]


def test_the_audience_is_asked_at_the_first_event_only() -> None:
    """S22: who is outside then starts nothing, so the order is the first."""
    joins = [lambda shop: crm(shop, profile(f"{DAY} 10:05", city="x"))]
    draft = both(audience=CityIs("x"))
    rows = seen("10:00"), seen("10:10", "order"), seen("10:20")
    assert fired(draft, *rows, others=joins) == [("10:20", "order 10:10", "view 10:20")]


def test_a_late_event_fills_what_is_under_way_but_begins_nothing() -> None:
    """S9: as of its own time; the trigger's time is that of the latest event."""
    order, view = seen("10:00", "order"), seen("09:50")
    assert fired(both(), seen("09:30", "view"), order, seen("10:40", "pay"), view) == [
        ("10:00", "view 09:30", "order 10:00")
    ]
    late = seen("10:10")
    assert fired(both(), order, seen("10:40", "pay"), late) == [("10:10", "order 10:00", "view 10:10")]
    assert fired(both(), order, seen("10:40", "pay"), view) == []
    assert fired(both(), seen("10:40", "pay"), late, seen("10:45", "order")) == []


def test_what_made_it_fire_fills_nothing_again_when_it_is_repeated() -> None:
    """S4: the repeat is older than the first event of what is under way."""
    rows = seen("10:00"), seen("10:10", "order"), seen("10:20"), seen("10:10", "order")
    assert fired(both(), *rows) == [("10:10", "view 10:00", "order 10:10")]


def test_a_repeat_fills_a_member_once() -> None:
    """S4, seen in the evidence: the first is let go, and its repeat does not stand in for it."""
    rows = seen("10:00"), seen("10:20", "pay"), seen("10:00"), seen("10:59", "order")
    assert fired(both(), *rows) == [("10:59", "view 10:00", "order 10:59")]


def test_all_may_be_acted_on_later_with_what_was_kept_of_each() -> None:
    """S12."""
    shop = project(both(delay=span("30m")))
    rows = seen("10:00", sku="A"), seen("10:10", "order", sku="B")
    outcome = agreed(shop, log(shop, *rows), until=at("2022-04-23 00:00"))
    (one,) = outcome.decisions
    assert (isoformat(one.triggered_at)[11:16], isoformat(one.decided_at)[11:16]) == ("10:10", "10:40")
    assert one.content is not None
    assert "A B" in one.content


def test_of_a_member_the_last_thousand_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The match does not change, its evidence does."""
    monkeypatch.setattr(combination, "EVIDENCE", 2)
    monkeypatch.setattr("model.EVIDENCE", 2)
    rows = [seen(f"10:{minute:02}") for minute in range(5)]
    assert fired(both(), *rows, seen("10:30", "order")) == [("10:30", "view 10:03", "order 10:30")]


def test_what_is_gathered_is_not_pending() -> None:
    """S6: time alone brings it to nothing."""
    shop = project(both())
    assert agreed(shop, log(shop, seen("10:00"))).pending == []
