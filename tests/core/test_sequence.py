"""Sequences (S14): their steps, times, bars and bounds, and what further first events do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver import agreed
from shop import AtLeast, Draft, On, SkuOf, at, changes, crm, event, log, profile, project, quiet, span

from flowops.core.matchers import sequence
from flowops.core.plan import SequenceStep, SequenceTrigger
from flowops.core.time import isoformat

DAY = "2022-04-21"
VIEW, ORDER, PAY = On("view"), On("order"), On("pay")


def step(*ons, least=1, most=1, within=None, every=False):
    """An event step, of any of `ons` or of `every` one."""
    return "all" if every else "any", ons, least, most, within and span(within)


def without(*ons, within=None):
    return "without", ons, 1, 1, within and span(within)


def seq(*steps, within="4h", repeat="ignore", strict=False, unfinished=False, delay=0, **more):
    """A plan of these steps; an `On` stands for a step of it."""
    steps = [step(each) if isinstance(each, On) else each for each in steps]
    taken = [on for kind, ons, *_ in steps if kind != "without" for on in ons]
    unwanted = [on for kind, ons, *_ in steps if kind == "without" for on in ons]
    numbers = {True: iter(range(len(taken), len(taken) + len(unwanted))), False: iter(range(len(taken)))}
    made = []
    for kind, ons, least, most, own in steps:
        parts = tuple(next(numbers[kind == "without"]) for _ in ons)
        made.append(SequenceStep(kind, parts, least, most, own))
    trigger = SequenceTrigger(tuple(made), span(within), repeat, strict, unfinished, delay)
    return Draft("steps", trigger=trigger, members=(*taken, *unwanted), **more)


def seen(time, name="view", sku="A", n=1, id=None):  # noqa: A002
    return event(f"{DAY} {time}", name, sku, n, id=id or f"{name} {time}")


def fired(draft, *rows, disorder="0s", others=(), until="2022-04-23 00:00"):
    """The triggers' times of the day and evidence; `v 10:00` for the view of ten."""
    shop = project(draft, disorder=[span(disorder)])
    outcome = agreed(shop, log(shop, *rows), *(make(shop) for make in others), until=at(until))
    return [(isoformat(each.triggered_at)[11:16], *map(shortly, each.evidence)) for each in outcome.decisions]


def shortly(event_id):
    """`v 10:00`; what is no event of ours as it is."""
    name, _, time = event_id.partition(" ")
    return f"{name[0]} {time}" if time else event_id


def v(time, **more):
    return seen(time, **more)


def o(time, **more):
    return seen(time, "order", **more)


def p(time, **more):
    return seen(time, "pay", **more)


# Steps


def test_a_repeat_of_what_is_held_starts_no_second_instance() -> None:
    """S4: the trigger of both events is known."""
    again = v("11:00", id="view 10:00"), o("11:10", id="order 10:10")
    draft = seq(VIEW, ORDER, quiet=quiet("10:00", "18:00"))
    assert fired(draft, v("10:00"), o("10:10"), *again) == [("10:10", "v 10:00", "o 10:10")] * 2  # held, and then sent


def test_steps_come_in_order_and_others_between_do_not_matter() -> None:
    plan = seq(VIEW, ORDER, PAY)
    rows = v("10:00"), p("10:05"), v("10:10"), o("10:20"), v("10:30"), o("10:40"), p("10:50")
    assert fired(plan, *rows) == [("10:50", "v 10:00", "o 10:20", "p 10:50")]
    assert fired(plan, o("10:00"), v("10:10"), p("10:20")) == []


def test_the_last_event_comes_within_the_time_of_the_first() -> None:
    """S10: exactly at the end is too late, and a new one begins there."""
    plan = seq(VIEW, ORDER, within="1h")
    assert fired(plan, v("10:00"), o("10:59")) == [("10:59", "v 10:00", "o 10:59")]
    assert fired(plan, v("10:00"), o("11:00")) == []
    assert fired(plan, v("10:00"), v("11:00"), o("11:30")) == [("11:30", "v 11:00", "o 11:30")]


def test_b_at_the_instant_of_a_counts_only_if_it_comes_later_in_the_order() -> None:
    """S7."""
    assert fired(seq(VIEW, ORDER), v("10:00"), o("10:00")) == [("10:00", "v 10:00", "o 10:00")]
    assert fired(seq(VIEW, ORDER), o("10:00"), v("10:00")) == []


def test_one_event_is_one_step_also_if_it_fits_both() -> None:
    """A that is also B."""
    plan = seq(VIEW, VIEW)
    assert fired(plan, v("10:00"), v("10:10"), v("10:20")) == [("10:10", "v 10:00", "v 10:10")]


def test_filters_refer_to_what_earlier_steps_took() -> None:
    plan = seq(VIEW, replace(ORDER, where=SkuOf(0)), replace(PAY, where=SkuOf(1)))
    rows = v("10:00", sku="A"), o("10:10", sku="B"), o("10:20", sku="A"), p("10:30", sku=None), p("10:40", sku="A")
    assert fired(plan, *rows) == [("10:40", "v 10:00", "o 10:20", "p 10:40")]


@pytest.mark.parametrize(("slot", "expected"), [(0, "o 10:30"), (2, "o 10:20")])
def test_a_step_taken_several_times_is_spoken_of_as_its_last_or_its_first_taking(slot: int, expected: str) -> None:
    """`viewed.sku`, or `viewed[1].sku`: the places of a shop's sequence are its events, then their first takings."""
    plan = seq(step(VIEW, least=2, most=2), replace(ORDER, where=SkuOf(slot)))
    rows = v("10:00", sku="A"), v("10:10", sku="B"), o("10:20", sku="A"), o("10:30", sku="B")
    assert [each[-1] for each in fired(plan, *rows)] == [expected]


def test_of_any_the_first_taking_of_the_step_is_that_of_whichever_came_first() -> None:
    """`liked[1].sku`, where `as: liked` names whichever it was; here kept for the event that it was."""
    plan = seq(PAY, step(VIEW, ORDER, least=2, most=2), replace(PAY, where=SkuOf(6)))
    begun = p("10:00"), o("10:10", sku="A"), v("10:20", sku="B")
    assert [each[-1] for each in fired(plan, *begun, p("10:30", sku="B"), p("10:40", sku="A"))] == ["p 10:40"]
    plan = seq(PAY, step(VIEW, ORDER, least=2, most=2), replace(PAY, where=SkuOf(5)))
    assert fired(plan, *begun, p("10:30", sku="B")) == []


def test_a_change_of_the_profile_may_be_a_step() -> None:
    """S19."""
    plan = seq(VIEW, changes(0, None, "x"), ORDER)
    told = [lambda shop: crm(shop, profile(f"{DAY} 10:10", city="x"))]
    assert [each[0] for each in fired(plan, v("10:00"), o("10:05"), o("10:20"), others=told)] == ["10:20"]


# Times


def test_times_is_done_at_the_nth() -> None:
    plan = seq(step(VIEW, least=3, most=3))
    rows = [v(f"10:{10 * i}0"[:5]) for i in range(6)]
    assert fired(plan, *rows) == [
        ("10:20", "v 10:00", "v 10:10", "v 10:20"),
        ("10:50", "v 10:30", "v 10:40", "v 10:50"),
    ]


def test_an_open_step_goes_on_taking_until_the_next_comes() -> None:
    plan = seq(step(VIEW, least=2, most=None), ORDER)
    assert fired(plan, v("10:00"), o("10:05"), v("10:10"), v("10:20"), o("10:30")) == [
        ("10:30", "v 10:00", "v 10:10", "v 10:20", "o 10:30")
    ]


def test_a_full_step_ignores_further_ones() -> None:
    plan = seq(step(VIEW, least=1, most=2), ORDER)
    assert fired(plan, v("10:00"), v("10:10"), v("10:20"), o("10:30")) == [("10:30", "v 10:00", "v 10:10", "o 10:30")]


def test_times_are_done_at_the_minimum_where_they_stand_last() -> None:
    plan = seq(VIEW, step(ORDER, least=2, most=5))
    rows = v("10:00"), o("10:10"), o("10:20"), o("10:30")
    assert fired(plan, *rows) == [("10:20", "v 10:00", "o 10:10", "o 10:20")]


def test_a_step_from_0_times_may_be_left_out_or_taken() -> None:
    plan = seq(VIEW, step(ORDER, least=0, most=3), PAY)
    assert fired(plan, v("10:00"), p("10:10")) == [("10:10", "v 10:00", "p 10:10")]
    assert fired(plan, v("10:00"), o("10:05"), p("10:10")) == [("10:10", "v 10:00", "o 10:05", "p 10:10")]


def test_a_step_that_may_be_left_out_at_the_end_is_not_waited_for() -> None:
    assert fired(seq(VIEW, step(ORDER, least=0, most=3)), v("10:00"), o("10:05")) == [("10:00", "v 10:00")]


def test_an_event_that_fits_several_goes_to_the_latest() -> None:
    plan = seq(step(VIEW, least=1, most=None), replace(VIEW, own=AtLeast(2)), ORDER)
    rows = v("10:00", n=2), v("10:10", n=1), v("10:20", n=2), v("10:30", n=2), o("10:40")
    assert fired(plan, *rows) == [("10:40", "v 10:00", "v 10:10", "v 10:20", "o 10:40")]


def test_an_open_step_keeps_a_thousand_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last always."""
    monkeypatch.setattr(sequence, "EVIDENCE", 3)
    monkeypatch.setattr("model.EVIDENCE", 3)
    plan = seq(step(VIEW, least=1, most=None), ORDER)
    assert fired(plan, *[v(f"10:0{i}") for i in range(6)], o("10:30")) == [("10:30", "v 10:00", "v 10:01", "o 10:30")]


# Any and all


def test_a_step_may_be_any_or_all_of_several() -> None:
    plan = seq(step(VIEW, ORDER), PAY)
    assert fired(plan, o("10:00"), p("10:10")) == [("10:10", "o 10:00", "p 10:10")]
    plan = seq(step(VIEW, ORDER, every=True), PAY)
    assert fired(plan, o("10:00"), p("10:05"), o("10:07"), v("10:10"), p("10:20")) == [
        ("10:20", "o 10:00", "v 10:10", "p 10:20")
    ]


def test_one_event_may_fill_several_of_all() -> None:
    plan = seq(PAY, step(VIEW, replace(VIEW, own=AtLeast(2)), every=True))
    assert fired(plan, p("10:00"), v("10:10", n=2)) == [("10:10", "p 10:00", "v 10:10")]
    assert fired(plan, p("10:00"), v("10:10"), v("10:20"), v("10:30", n=2)) == [
        ("10:30", "p 10:00", "v 10:10", "v 10:30")
    ]


# Without


def test_without_between_two_steps_ends_it() -> None:
    plan = seq(VIEW, without(PAY), ORDER)
    assert fired(plan, v("10:00"), p("10:10"), o("10:20")) == []
    assert fired(plan, p("09:00"), v("10:00"), o("10:20"), p("10:30")) == [("10:20", "v 10:00", "o 10:20")]
    assert fired(plan, v("10:00"), p("10:10"), v("10:15"), o("10:20")) == [("10:20", "v 10:15", "o 10:20")]


def test_without_holds_from_when_the_step_before_is_done() -> None:
    plan = seq(step(VIEW, least=2, most=None), without(PAY), ORDER)
    assert fired(plan, v("10:00"), p("10:05"), v("10:10"), o("10:20")) == [("10:20", "v 10:00", "v 10:10", "o 10:20")]
    assert fired(plan, v("10:00"), v("10:10"), p("10:15"), v("10:17"), o("10:20")) == []


def test_the_next_steps_event_passes_a_without_that_it_fits() -> None:
    """None *before* the next step comes."""
    plan = seq(VIEW, without(ORDER), replace(ORDER, own=AtLeast(2)))
    assert fired(plan, v("10:00"), o("10:10", n=2)) == [("10:10", "v 10:00", "o 10:10")]
    assert fired(plan, v("10:00"), o("10:10", n=1), o("10:20", n=2)) == []


def test_a_without_that_lasts_must_hold_before_the_next_step_counts() -> None:
    plan = seq(VIEW, without(PAY, within="1h"), ORDER)
    assert fired(plan, v("10:00"), o("10:30"), o("11:00")) == [("11:00", "v 10:00", "o 11:00")]
    assert fired(plan, v("10:00"), p("10:59"), o("11:10")) == []
    assert fired(plan, v("10:00"), p("11:00"), o("11:10")) == [("11:10", "v 10:00", "o 11:10")]


def test_without_at_the_end_fires_when_its_time_is_over_also_beyond_the_sequences() -> None:
    """S13: exactly at the deadline is too late to end it, and nothing more need be heard."""
    plan = seq(VIEW, ORDER, without(PAY, within="1h"), within="30m")
    assert fired(plan, v("10:00"), o("10:20")) == [("11:20", "v 10:00", "o 10:20")]
    assert fired(plan, v("10:00"), o("10:20"), p("11:19")) == []
    assert fired(plan, v("10:00"), o("10:20"), p("11:20")) == [("11:20", "v 10:00", "o 10:20")]
    assert fired(plan, v("10:00"), o("10:20"), p("10:20")) == []


def test_the_wait_at_the_end_counts_from_the_last_event_of_the_step_before() -> None:
    plan = seq(PAY, step(VIEW, least=1, most=None), without(ORDER, within="1h"))
    assert fired(plan, p("10:00"), v("10:10"), v("10:40"), o("11:50")) == [("11:40", "p 10:00", "v 10:10", "v 10:40")]


def test_waits_at_the_end_are_pending_and_steps_under_way_are_not() -> None:
    """S6: only what time alone makes fire."""
    shop = project(seq(VIEW, ORDER, without(PAY, within="1h")))
    assert agreed(shop, log(shop, v("10:00"))).pending == []
    (waiting,) = agreed(shop, log(shop, v("10:00"), o("10:10"))).pending
    assert (waiting.kind, isoformat(waiting.due)[11:16]) == ("wait", "11:10")


# Bounds


def test_a_steps_own_within_counts_from_the_step_before() -> None:
    plan = seq(VIEW, ORDER, step(PAY, within="30m"))
    assert fired(plan, v("10:00"), o("11:00"), p("11:29")) == [("11:29", "v 10:00", "o 11:00", "p 11:29")]
    assert fired(plan, v("10:00"), o("11:00"), p("11:30")) == []


def test_when_it_runs_out_the_sequence_ends_and_another_may_begin() -> None:
    plan = seq(VIEW, step(ORDER, within="30m"))
    assert fired(plan, v("10:00"), v("10:10"), o("10:35")) == []
    assert fired(plan, v("10:00"), v("10:30"), o("10:40")) == [("10:40", "v 10:30", "o 10:40")]


def test_when_the_within_of_a_step_that_may_be_left_out_runs_out_it_is_left_out() -> None:
    plan = seq(VIEW, step(ORDER, least=0, most=1, within="30m"), PAY)
    assert fired(plan, v("10:00"), o("10:30"), p("11:00")) == [("11:00", "v 10:00", "p 11:00")]
    assert fired(plan, v("10:00"), o("10:29"), p("11:00")) == [("11:00", "v 10:00", "o 10:29", "p 11:00")]


def test_a_steps_own_time_runs_from_the_last_event_taken_where_the_step_before_may_be_left_out() -> None:
    """S14: once it has run out the sequence is over, though the step before could still have come."""
    plan = seq(VIEW, step(ORDER, least=0, most=1), step(PAY, within="30m"))
    assert fired(plan, v("10:00"), o("10:29"), p("10:58")) == [("10:58", "v 10:00", "o 10:29", "p 10:58")]
    assert fired(plan, v("10:00"), o("10:30"), p("10:40")) == []


def test_all_of_a_steps_times_come_within_its_own_time() -> None:
    plan = seq(VIEW, step(ORDER, least=2, most=2, within="30m"))
    assert fired(plan, v("10:00"), o("10:10"), o("10:29")) == [("10:29", "v 10:00", "o 10:10", "o 10:29")]
    assert fired(plan, v("10:00"), o("10:10"), o("10:30")) == []
    again = v("10:30"), o("10:35"), o("10:40")
    assert fired(plan, v("10:00"), o("10:10"), *again) == [("10:40", "v 10:30", "o 10:35", "o 10:40")]


def test_a_steps_own_time_counts_from_the_step_before_it_whatever_came_earlier() -> None:
    plan = seq(VIEW, ORDER, step(PAY, least=2, most=2, within="30m"))
    begun = v("10:00"), o("11:00"), p("11:10")
    assert fired(plan, *begun, p("11:29")) == [("11:29", "v 10:00", "o 11:00", "p 11:10", "p 11:29")]
    assert fired(plan, *begun, p("11:30")) == []
    plan = seq(VIEW, ORDER, step(PAY, least=1, most=None, within="30m"), VIEW)
    rows = *begun, p("11:20"), p("11:30"), v("11:40")
    assert fired(plan, *rows) == [("11:40", "v 10:00", "o 11:00", "p 11:10", "p 11:20", "v 11:40")]


def test_strict_lets_no_other_event_of_the_user_come_between() -> None:
    """Whatever it is, and of whatever key; what comes before or after does not matter."""
    plan = seq(VIEW, ORDER, PAY, strict=True)
    assert fired(plan, p("09:59"), v("10:00"), o("10:10"), p("10:20"), v("10:30")) == [
        ("10:20", "v 10:00", "o 10:10", "p 10:20")
    ]
    assert fired(plan, v("10:00"), v("10:05"), o("10:10"), p("10:20")) == [("10:20", "v 10:05", "o 10:10", "p 10:20")]
    assert fired(plan, v("10:00"), p("10:05"), o("10:10"), p("10:20")) == []
    assert fired(replace(plan, key=(0,)), v("10:00"), o("10:05", sku="B"), o("10:10"), p("10:20")) == []


def test_strict_is_over_once_all_events_have_come() -> None:
    plan = seq(VIEW, ORDER, without(PAY, within="1h"), strict=True)
    assert fired(plan, v("10:00"), o("10:10"), v("10:20")) == [("11:10", "v 10:00", "o 10:10")]


def test_unfinished_fires_at_the_end_of_what_was_begun_and_not_completed() -> None:
    plan = seq(VIEW, ORDER, PAY, within="1h", unfinished=True)
    assert fired(plan, v("10:00"), o("10:10")) == [("11:00", "v 10:00", "o 10:10")]
    assert fired(plan, v("10:00"), o("10:10"), p("10:59")) == []
    assert fired(plan, v("10:00"), o("10:10"), p("11:00")) == [("11:00", "v 10:00", "o 10:10")]


def test_what_ended_is_not_unfinished() -> None:
    """By a `without`, or because a step's own time ran out."""
    plan = seq(VIEW, without(PAY), ORDER, within="1h", unfinished=True)
    assert fired(plan, v("10:00"), p("10:10")) == []
    plan = seq(VIEW, step(ORDER, within="30m"), within="1h", unfinished=True)
    assert fired(plan, v("10:00")) == []
    plan = seq(VIEW, step(ORDER, within="1h"), within="1h", unfinished=True)
    assert fired(plan, v("10:00")) == [("11:00", "v 10:00")]


# Further first events


def test_by_default_one_is_under_way_and_the_next_begins_after_its_last_event() -> None:
    plan = seq(VIEW, VIEW, ORDER)
    rows = v("10:00"), v("10:10"), v("10:20"), o("10:30"), v("10:40"), v("10:50"), o("11:00")
    assert fired(plan, *rows) == [
        ("10:30", "v 10:00", "v 10:10", "o 10:30"),
        ("11:00", "v 10:40", "v 10:50", "o 11:00"),
    ]


def test_restart_throws_it_away_once_the_first_step_is_done() -> None:
    plan = seq(VIEW, ORDER, within="1h", repeat="restart")
    assert fired(plan, v("10:00"), v("10:50"), o("11:30")) == [("11:30", "v 10:50", "o 11:30")]
    plan = seq(step(VIEW, least=2, most=2), ORDER, repeat="restart")
    assert fired(plan, v("10:00"), v("10:10"), o("10:20")) == [("10:20", "v 10:00", "v 10:10", "o 10:20")]
    assert fired(plan, v("10:00"), v("10:10"), v("10:20"), o("10:30")) == []
    assert fired(plan, v("10:00"), v("10:10"), v("10:20"), v("10:30"), o("10:40")) == [
        ("10:40", "v 10:20", "v 10:30", "o 10:40")
    ]


def test_restart_waits_until_all_of_the_first_step_have_come() -> None:
    plan = seq(step(VIEW, ORDER, every=True), PAY, repeat="restart")
    assert fired(plan, v("10:00"), v("10:10"), o("10:20"), p("10:30")) == [("10:30", "v 10:00", "o 10:20", "p 10:30")]
    assert fired(plan, v("10:00"), o("10:20"), v("10:25"), o("10:27"), p("10:30")) == [
        ("10:30", "v 10:25", "o 10:27", "p 10:30")
    ]


def test_a_step_that_may_be_left_out_counts_as_done_for_the_without_after_it() -> None:
    plan = seq(VIEW, step(ORDER, least=0, most=1), without(PAY), VIEW)
    assert fired(plan, v("10:00"), p("10:10"), v("10:20"), v("10:30")) == [("10:30", "v 10:20", "v 10:30")]
    assert fired(plan, v("10:00"), o("10:05"), p("10:10"), v("10:20")) == []


def test_a_without_ends_it_also_by_an_event_that_the_step_before_could_take() -> None:
    plan = seq(step(VIEW, least=1, most=None), without(replace(VIEW, own=AtLeast(2))), ORDER, repeat="parallel")
    assert fired(plan, v("10:00"), v("10:10", n=2), o("10:20")) == [("10:20", "v 10:10", "o 10:20")]


def test_restart_comes_before_what_the_first_step_could_still_take() -> None:
    plan = seq(step(VIEW, least=1, most=None), ORDER, within="1h", repeat="restart")
    assert fired(plan, v("10:00"), v("10:50"), o("11:30")) == [("11:30", "v 10:50", "o 11:30")]


def test_restart_leaves_an_event_to_the_step_that_can_take_it() -> None:
    """S17a: it first carries on what is under way."""
    plan = seq(VIEW, VIEW, ORDER, repeat="restart")
    assert fired(plan, v("10:00"), v("10:10"), o("10:20")) == [("10:20", "v 10:00", "v 10:10", "o 10:20")]


def test_parallel_opens_one_for_every_first_event_beside_carrying_others_on() -> None:
    plan = seq(VIEW, VIEW, ORDER, repeat="parallel")
    assert fired(plan, v("10:00"), v("10:10"), v("10:20"), o("10:30")) == [
        ("10:30", "v 10:00", "v 10:10", "o 10:30"),
        ("10:30", "v 10:10", "v 10:20", "o 10:30"),
    ]


def test_parallel_opens_none_for_an_event_that_another_takes_in_its_first_step() -> None:
    plan = seq(step(VIEW, least=2, most=2), ORDER, repeat="parallel")
    rows = v("10:00"), v("10:10"), v("10:20"), v("10:30"), o("10:40")
    assert fired(plan, *rows) == [
        ("10:40", "v 10:00", "v 10:10", "o 10:40"),
        ("10:40", "v 10:20", "v 10:30", "o 10:40"),
    ]


def test_a_thousand_run_in_parallel_and_a_further_one_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "UNDER_WAY", 2)
    monkeypatch.setattr("model.UNDER_WAY", 2)
    plan = seq(VIEW, ORDER, repeat="parallel")
    assert fired(plan, v("10:00"), v("10:10"), v("10:20"), o("10:30"), v("10:40"), o("10:50")) == [
        ("10:30", "v 10:00", "o 10:30"),
        ("10:30", "v 10:10", "o 10:30"),
        ("10:50", "v 10:40", "o 10:50"),
    ]


def test_an_a_that_a_without_forbids_ends_the_old_and_begins_a_new() -> None:
    """S17a."""
    plan = seq(VIEW, without(VIEW), ORDER)
    assert fired(plan, v("10:00"), v("10:10"), o("10:20")) == [("10:20", "v 10:10", "o 10:20")]


def test_each_key_is_a_sequence_of_its_own() -> None:
    """S17a: of every event concerned, those of `without` too; an event without it does not match."""
    plan = seq(VIEW, without(PAY), ORDER, key=(0,))
    rows = v("10:00", sku="A"), v("10:01", sku="B"), p("10:10", sku="A"), p("10:11", sku=None), o("10:20", sku="B")
    assert fired(plan, *rows, o("10:30", sku="A")) == [("10:20", "v 10:01", "o 10:20")]


# Late and repeated


def test_a_late_event_carries_on_as_of_its_own_time() -> None:
    """S9: decided at its place in the order; but it begins nothing."""
    plan = seq(VIEW, ORDER, PAY)
    assert fired(plan, v("10:00"), seen("10:40", "other"), o("10:10"), p("10:50")) == [
        ("10:50", "v 10:00", "o 10:10", "p 10:50")
    ]
    shop = project(seq(VIEW, ORDER))
    outcome = agreed(shop, log(shop, v("10:00"), v("10:40"), o("10:10")), until=at("2022-04-22 00:00"))
    (one,) = outcome.decisions
    assert (isoformat(one.triggered_at)[11:16], isoformat(one.decided_at)[11:16]) == ("10:10", "10:40")
    assert fired(seq(VIEW, ORDER), seen("10:40", "pay"), v("10:00"), o("10:50")) == []


def test_a_late_event_older_than_the_last_taken_does_not_carry_on() -> None:
    """B before A does not count, however it comes."""
    assert fired(seq(VIEW, ORDER), v("10:20"), p("10:40"), o("10:10")) == []


def test_a_late_without_ends_what_it_would_have_ended_also_if_later_steps_have_come() -> None:
    """S9: as long as it waits, be it in its delay."""
    plan = seq(VIEW, without(PAY), ORDER, VIEW)
    assert fired(plan, v("10:00"), o("10:20"), o("10:40"), p("10:10"), v("10:50")) == []
    assert fired(plan, v("10:00"), o("10:20"), o("10:40"), p("10:30"), v("10:50")) == [
        ("10:50", "v 10:00", "o 10:20", "v 10:50")
    ]
    plan = seq(VIEW, without(PAY), ORDER, delay=span("1h"))
    assert fired(plan, v("10:00"), o("10:20"), v("10:40"), p("10:10")) == []
    assert fired(plan, v("10:00"), o("10:20"), v("10:40"), p("10:20")) == [("10:20", "v 10:00", "o 10:20")]
    assert fired(plan, v("10:00"), o("10:20"), v("11:20"), p("10:10")) == [("10:20", "v 10:00", "o 10:20")]


def test_a_late_event_at_the_deadline_is_too_late_for_a_without_at_the_end() -> None:
    """S13."""
    plan = seq(VIEW, without(PAY, within="1h"), delay=span("2h"))
    assert fired(plan, v("10:00"), v("12:00"), p("11:00")) == [("11:00", "v 10:00"), ("13:00", "v 12:00")]
    assert fired(plan, v("10:00"), v("12:00"), p("10:59")) == [("13:00", "v 12:00")]


def test_a_late_completion_cancels_an_unfinished_that_waits_out_its_delay() -> None:
    """S9: nobody is told that they did not finish who did."""
    plan = seq(VIEW, ORDER, PAY, within="1h", unfinished=True, delay=span("2h"))
    rows = v("10:00"), v("11:30"), o("10:20"), p("10:30")
    assert fired(plan, *rows, until="2022-04-21 13:10") == []
    assert fired(plan, *rows[:3], until="2022-04-21 13:10") == [("11:00", "v 10:00", "o 10:20")]


def test_a_late_other_event_breaks_a_strict_sequence() -> None:
    plan = seq(VIEW, ORDER, strict=True, delay=span("1h"))
    assert fired(plan, v("10:00"), o("10:20"), v("10:40"), p("10:10")) == []


def test_a_repeated_event_is_taken_once() -> None:
    """S4: its repeat, which is late, is no second taking."""
    plan = seq(step(VIEW, least=2, most=2), ORDER)
    assert fired(plan, v("10:00"), p("10:30"), v("10:00"), o("10:40")) == []
    assert fired(plan, v("10:00"), v("10:00"), o("10:40")) == []
    plan = seq(VIEW, ORDER, repeat="parallel")
    assert fired(plan, v("10:00", id="v 1"), v("10:10", id="v 1"), o("10:40")) == [("10:40", "v 1", "o 10:40")]


def test_one_users_skewed_clock_does_not_matter_to_another() -> None:
    """The watermark has gone on; the steps of who is behind are late, and still in order."""
    shop = project(seq(VIEW, ORDER))
    ahead = seen("12:00", "pay")
    ahead.user_id = "u48"
    mine = log(shop, v("10:00"), ahead, o("10:10"))
    (one,) = agreed(shop, mine, until=at("2022-04-22 00:00")).decisions
    assert one.evidence == ("view 10:00", "order 10:10")


def test_dates_and_audience_are_asked_at_the_first_event() -> None:
    """S20, S22: what completes after the plan's end is lost there."""
    plan = seq(VIEW, ORDER, ends_at=at(f"{DAY} 10:30"))
    shop = project(plan)
    (one,) = agreed(shop, log(shop, v("10:00"), o("10:40")), until=at("2022-04-22 00:00")).decisions
    assert one.stage == "plan_ended"
    assert fired(plan, v("10:30"), o("10:40")) == []
