"""Layers (S12b): recency passes by itself, an event counts itself, what the history does not tell is unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import (
    Aim,
    Ask,
    Daily,
    Draft,
    LayerIs,
    Layers,
    On,
    absence,
    at,
    crm,
    event,
    log,
    profile,
    project,
    scheduled,
    span,
    times,
)

from flowops.core.plan import EventTrigger

DAY = "2022-04-21"
HOUR = span("1h")
ORDER = On("order")
CYCLE = Layers(
    ORDER,
    (
        ("new", (Ask(recency=HOUR), Ask(often=(1, 1)))),
        ("active", (Ask(recency=HOUR),)),
        ("asleep", (Ask(recency=3 * HOUR),)),
        ("lost", (Ask(often=(1, None)),)),
        ("never", ()),
    ),
)
WORTH = Layers(ORDER, (("high", (Ask(much="5"),)), ("low", (Ask(much="2"),)), ("none", ())), within=2 * HOUR)


def seen(time, name="view", sku="A", n=1, id=None):  # noqa: A002
    return event(f"{DAY} {time}", name, sku, n, id=id or f"{name} {time}")


LOOK = Draft("look")


def layers_of(*rows, layers=CYCLE, since: str | None = "2022-01-01 00:00", draft=LOOK, until=f"{DAY} 23:00"):
    """In which layer the user was at each decision that was sent."""
    shop = project(draft, layerings=(layers,), since=None if since is None else at(since))
    found = agreed(shop, log(shop, *rows), crm(shop, profile(None, city="x")), until=at(until)).decisions
    return [one.layer for one in found if one.stage == "delivered"]


def test_a_user_grows_older_by_the_mere_passage_of_time() -> None:
    views = [seen(time) for time in ("10:01", "10:59", "11:00", "12:59", "13:00")]
    found = layers_of(seen("09:00"), seen("10:00", "order"), *views)
    assert found == [
        "never",
        "new",
        "new",
        "asleep",
        "asleep",
        "lost",
    ]


def test_recency_ends_where_a_window_does() -> None:
    """S10: `(t - W, t]` for an event that asks, `[t - W, t)` for a timer."""
    late = Draft("look", trigger=EventTrigger(span("30m")))
    assert layers_of(seen("10:00", "order"), seen("11:00")) == ["asleep"]
    assert layers_of(seen("10:00", "order"), seen("10:30"), draft=late) == ["new"]


def test_the_event_that_asks_is_counted_before_its_layers_are_asked() -> None:
    draft = Draft("look", on=ORDER)
    assert layers_of(seen("10:00", "order"), seen("10:30", "order"), seen("20:00", "order"), draft=draft) == [
        "new",
        "active",
        "active",
    ]


def test_money_adds_up_within_its_window_and_leaves_it() -> None:
    rows = seen("10:00", "order", n=2), seen("10:10"), seen("10:30", "order", n=3), seen("10:40"), seen("12:10")
    assert layers_of(*rows, seen("12:40"), layers=WORTH) == ["low", "high", "low", "none"]


def test_what_was_before_the_history_is_unknown_and_so_is_a_layer_that_hangs_on_it() -> None:
    """S12a: at 10:00 nobody knows of orders of the hour before; so much is so much."""
    rows = seen("10:00"), seen("10:30", "order"), seen("10:40"), seen("11:30")
    asked = Layers(ORDER, (("active", (Ask(recency=HOUR),)), ("other", ())))
    assert layers_of(*rows, layers=asked, since=None) == [None, "active", "other"]
    often = Layers(ORDER, (("once", (Ask(often=(1, 1)),)), ("more", (Ask(often=(2, None)),)), ("other", ())), 2 * HOUR)
    assert layers_of(*rows, layers=often, since=None) == [None, None, None]
    assert layers_of(*rows, layers=often) == ["other", "once", "once"]


def test_one_condition_that_is_not_so_settles_a_layer_of_which_another_is_unknown() -> None:
    asked = Layers(ORDER, (("loyal", (Ask(recency=HOUR), Ask(often=(9, None)))), ("other", ())), 9 * HOUR)
    rows = seen("10:00"), seen("11:00"), seen("11:30", "order"), seen("11:40")
    assert layers_of(*rows, layers=asked, since=None) == [None, "other", None]


def test_a_late_event_counts_from_its_place_on_as_of_its_own_time() -> None:
    rows = seen("12:00"), seen("10:30", "order"), seen("12:10")
    assert layers_of(*rows) == ["never", "asleep"]


@pytest.mark.parametrize(("layer", "expected"), [("new", 1), ("active", 0), ("lost", 0)])
def test_filters_of_steps_ask_for_layers(layer: str, expected: int) -> None:
    """Of the event that begins, of one that cancels, and of a goal."""
    rows = seen("10:00", "order"), seen("10:10"), seen("10:20", "pay")
    begins = Draft("look", on=On("view", where=LayerIs(layer)))
    assert len(layers_of(*rows, draft=begins)) == expected
    cancelled = Draft("look", trigger=absence(HOUR), without=(On("pay", where=LayerIs(layer)),))
    assert len(layers_of(*rows, draft=cancelled)) == 1 - expected
    shop = project(
        Draft("look", aims=(Aim(On("pay", where=LayerIs(layer)), HOUR),)), layerings=(CYCLE,), since=at("2022-01-01")
    )
    assert len(agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00")).goals) == expected


def test_a_goal_knows_the_layer_with_the_event_that_attains_it() -> None:
    draft = Draft("look", aims=(Aim(On("order", where=LayerIs("active")), HOUR),))
    shop = project(draft, layerings=(CYCLE,), since=at("2022-01-01"))
    rows = seen("10:00"), seen("10:10", "order"), seen("10:20", "order")
    goals = agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00")).goals
    assert [goal.event_id for goal in goals] == ["order 10:20"]


def test_an_audience_is_asked_with_the_layer_of_the_send() -> None:
    """S22: asleep when it began, lost when it was decided; and at a schedule's own instant."""
    later = Draft("look", trigger=EventTrigger(3 * HOUR), audience=LayerIs("asleep"))
    rows = seen("10:00", "order"), seen("11:30")
    shop = project(later, layerings=(CYCLE,), since=at("2022-01-01"))
    (found,) = agreed(shop, log(shop, *rows), until=at(f"{DAY} 23:00")).decisions
    assert (found.stage, found.layer) == ("not_in_audience", "lost")
    daily = Draft("look", trigger=scheduled(Daily(12 * 60)), audience=LayerIs("asleep"))
    assert layers_of(seen("10:00", "order"), draft=daily) == ["asleep"]
    assert layers_of(seen("08:59", "order"), draft=daily) == []


def test_counting_triggers_keep_their_own_counts() -> None:
    draft = Draft("look", on=ORDER, counter=times(2, 4 * HOUR))
    rows = seen("10:00", "order"), seen("10:30", "order"), seen("11:00", "order")
    assert layers_of(*rows, draft=draft) == ["active"]


def test_without_figures_no_layer_is_landed() -> None:
    shop = replace(project(Draft("look"), layerings=(CYCLE,)), figures=None)
    assert [one.layer for one in agreed(shop, log(shop, seen("10:00"))).decisions] == [None]
