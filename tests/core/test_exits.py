"""Exits: what ends a user's journey at once, and what is told of it (S29)."""

from __future__ import annotations

from dataclasses import replace

from driver import agreed
from shop import (
    VIP,
    CityIs,
    Draft,
    On,
    absence,
    at,
    changes,
    crm,
    date_of,
    event,
    inactive,
    log,
    member,
    members,
    profile,
    project,
    quiet,
    span,
)
from stages import NIGHT

from flowops.core.plan import AllTrigger, EventTrigger, SequenceStep, SequenceTrigger
from flowops.core.time import HOUR, isoformat

DAY = "2022-04-21"
WAITING = Draft("waiting", trigger=absence(HOUR), without=(On("order"),), exits=(On("pay"),))
DELAYED = Draft("delayed", trigger=EventTrigger(HOUR), exits=(On("pay"),))


def told(draft, *rows, until=f"{DAY} 23:00", told=(), joined=(), disorder="0s"):
    """What became of these: (time of the day, stage, whether a channel was considered), and what waits."""
    shop = project(draft, disorder=(span(disorder),))
    events = [
        event(f"{DAY} {time}", name, sku) for time, name, sku in (row if len(row) > 2 else (*row, "A") for row in rows)
    ]
    outcome = agreed(shop, log(shop, *events), crm(shop, *told), members(shop, *joined), until=at(until))
    decided = [(isoformat(row.decided_at)[11:16], row.stage, row.channel is not None) for row in outcome.decisions]
    return decided, [row.kind for row in outcome.pending]


def test_a_wait_that_has_not_fired_leaves_no_trace() -> None:
    """S29, S13."""
    assert told(WAITING, ("10:00", "view"), ("10:59", "pay")) == ([], [])


def test_an_exit_at_the_very_deadline_comes_too_late() -> None:
    """S10, S7: timers come before records."""
    assert told(WAITING, ("10:00", "view"), ("11:00", "pay")) == ([("11:00", "delivered", True)], [])


def test_what_has_fired_and_is_delayed_is_lost() -> None:
    """S29, S22: an attempt without a channel, at the instant of the exit."""
    assert told(DELAYED, ("10:00", "view"), ("10:30", "pay")) == ([("10:30", "exited", False)], [])


def test_what_is_held_is_lost() -> None:
    """S29: its attempt is on record, and ends there."""
    held = Draft("held", quiet=quiet("10:00", "12:00"), exits=(On("pay"),))
    assert told(held, ("10:00", "view"), ("11:59", "pay")) == (
        [("10:00", "held", True), ("11:59", "exited", False)],
        [],
    )
    assert told(held, ("10:00", "view"), ("12:00", "pay")) == (
        [("10:00", "held", True), ("12:00", "delivered", True)],
        [],
    )


def test_one_exit_ends_all_that_is_under_way_and_a_view_begins_anew() -> None:
    parallel = replace(DELAYED, quiet=NIGHT)
    rows = [("10:00", "view"), ("10:10", "view"), ("10:30", "pay"), ("10:40", "view")]
    assert told(parallel, *rows) == (
        [("10:30", "exited", False), ("10:30", "exited", False), ("11:40", "delivered", True)],
        [],
    )


def test_an_event_that_begins_and_ends_first_ends() -> None:
    """S17a: the old journey is over, and a new one under way."""
    both = replace(DELAYED, exits=(On("view"),))
    assert told(both, ("10:00", "view"), ("10:30", "view")) == (
        [("10:30", "exited", False), ("11:30", "delivered", True)],
        [],
    )


def test_the_key_binds_exits() -> None:
    """S17a: an event of another value ends nothing, nor does one without."""
    keyed = replace(DELAYED, key=(0,))
    rows = [("10:00", "view", "A"), ("10:01", "view", "B"), ("10:30", "pay", "B"), ("10:40", "pay", None)]
    assert told(keyed, *rows) == ([("10:30", "exited", False), ("11:00", "delivered", True)], [])


def test_a_filter_may_ask_the_profile_and_an_exit_may_be_a_change() -> None:
    """S19."""
    asked = replace(DELAYED, exits=(On("pay", None, CityIs("x")), changes(VIP, None, True)))
    rows = [("10:00", "view"), ("10:30", "pay")]
    assert told(asked, *rows) == ([("11:00", "delivered", True)], [])
    assert told(asked, *rows, told=[profile(None, city="x")]) == ([("10:30", "exited", False)], [])
    assert told(asked, *rows, joined=[member(f"{DAY} 10:40")]) == ([("10:40", "exited", False)], [])


def test_an_exit_from_before_ends_nothing() -> None:
    """S29, S9: also one that is told late; one of its time ends what still waits, as of its place in the order."""
    assert told(DELAYED, ("09:00", "pay"), ("10:00", "view")) == ([("11:00", "delivered", True)], [])
    assert told(DELAYED, ("10:00", "view"), ("09:59", "pay")) == ([("11:00", "delivered", True)], [])
    late = [("10:00", "view"), ("10:40", "order"), ("10:20", "pay")]
    assert told(DELAYED, *late) == ([("10:40", "exited", False)], [])


def test_the_list_is_asked_in_its_order() -> None:
    """S22: who has left the audience too, or whose plan has ended, is lost for that."""
    inside = replace(DELAYED, audience=CityIs("x"))
    moved = [profile(None, city="x"), profile(f"{DAY} 10:20", city="y")]
    rows = [("10:00", "view"), ("10:30", "pay")]
    assert told(inside, *rows, told=moved) == ([("10:30", "not_in_audience", False)], [])
    assert told(inside, *rows, told=moved[:1]) == ([("10:30", "exited", False)], [])
    ended = replace(DELAYED, ends_at=at(f"{DAY} 10:15"))
    assert told(ended, *rows) == ([("10:30", "plan_ended", False)], [])


def test_what_was_exited_is_no_entry() -> None:
    """S21."""
    once = replace(DELAYED, reentry=replace(DELAYED.reentry, always=False))
    rows = [("10:00", "view"), ("10:30", "pay"), ("11:00", "view"), ("13:00", "view")]
    assert told(once, *rows) == (
        [("10:30", "exited", False), ("12:00", "delivered", True), ("14:00", "reentry", False)],
        [],
    )


def test_sequences_combinations_and_inactivity_end_too() -> None:
    """S14, S15, S17: what is under way is over, and what follows begins anew."""
    steps = SequenceStep("any", (0,)), SequenceStep("any", (1,))
    ordered = SequenceTrigger(steps, 5 * HOUR, "ignore", False, False, 0)
    for trigger, again in ((ordered, "11:20"), (AllTrigger(2, 5 * HOUR, 0), "11:10")):
        draft = Draft("two", trigger=trigger, members=(On("view"), On("order")), exits=(On("pay"),))
        rows = [("10:00", "view"), ("10:30", "pay"), ("11:00", "order")]
        assert told(draft, *rows)[0] == []
        assert told(draft, *rows, ("11:10", "view"), ("11:20", "order"))[0] == [(again, "delivered", True)]
    silent = Draft("silent", trigger=inactive(HOUR), exits=(On("pay"),))
    assert told(silent, ("10:00", "view"), ("10:30", "pay")) == ([], [])


def test_no_exit_forgets_a_birthday() -> None:
    """S19: what is to come by the calendar is no journey yet; what it began is one."""
    birthday = Draft("birthday", trigger=date_of(time="12:00", delay=2 * HOUR), exits=(On("pay"),))
    today = [profile(None, born=at(DAY) // (24 * HOUR))]
    assert told(birthday, ("10:00", "pay"), told=today) == ([("14:00", "delivered", True)], [])
    assert told(birthday, ("10:00", "pay"), ("13:00", "pay"), told=today) == ([("13:00", "exited", False)], [])
