"""When what is due may fire: watermarks, ends, lags and backlogs (S6, S7, S8)."""

from __future__ import annotations

from driver import Run, agreed
from shop import NEIGHBOUR, STRANGER, Draft, On, absence, at, crm, event, log, profile, project, span

from flowops.core.records import ENDED, NO_WATERMARK, SHARDS, Chunk, LateRecord, Record

REMINDER = Draft("reminder", trigger=absence(span("1h")), without=(On("order"),))
DAY = "2022-04-21"


def seen(time, name="view", **more):
    return event(f"{DAY} {time}", name, id=f"{name} {time}", **more)


def test_nothing_is_flushed_because_an_input_ended() -> None:
    """S6: never 'you did not buy' for want of more input; what waits is reported."""
    shop = project(REMINDER)
    outcome = agreed(shop, log(shop, seen("10:00"), seen("10:59", "pay", user=NEIGHBOUR)))
    assert outcome.decisions == []
    assert [(row.kind, row.since, row.due) for row in outcome.pending] == [
        ("wait", at(f"{DAY} 10:00"), at(f"{DAY} 11:00"))
    ]


def test_at_the_end_of_all_input_what_is_due_at_the_highest_time_fires() -> None:
    """S6: the watermark is then the highest time read, whoever's and from whichever partition it was."""
    shop = project(REMINDER)
    parts = log(shop, seen("10:00"), name="0"), log(shop, seen("11:00", "pay", user=STRANGER), name="1")
    assert len(agreed(shop, *parts).decisions) == 1


def test_until_moves_time_on() -> None:
    """S6: what is due at T fires, what is due later does not."""
    shop = project(REMINDER)
    part = log(shop, seen("10:00"), seen("10:01", user=NEIGHBOUR))
    outcome = agreed(shop, part, until=at(f"{DAY} 11:00"))
    assert [row.triggered_at for row in outcome.decisions] == [at(f"{DAY} 11:00")]
    assert [row.user_id for row in outcome.pending] == [NEIGHBOUR]


def test_one_partition_that_lags_holds_all_back() -> None:
    """S6: the least over all partitions, or an order that is still to be read could not cancel."""
    shop = project(REMINDER)
    ahead = log(shop, seen("10:00"), seen("15:00", "pay"), name="0", ended=False)
    behind = log(shop, seen("10:20", "pay"), seen("10:30", "order"), seen("14:00", "pay"), name="1", ended=False)
    engine = Run(shop, [ahead, behind])
    engine.feed(0, 2)
    engine.feed(1, 1)
    engine.advance()
    assert engine.decisions == []
    engine.feed(1, 2)
    engine.advance()
    assert engine.decisions == []
    assert engine.to_the_end().pending == []


def test_nothing_fires_before_each_partition_has_told_its_watermark() -> None:
    """S6: a partition of which nothing has been read yet may hold what cancels."""
    shop = project(REMINDER)
    engine = Run(shop, [log(shop, seen("10:00"), seen("15:00", "pay")), log(shop, seen("10:30", "order"), name="1")])
    engine.feed(0, 2)
    engine.advance()
    assert engine.decisions == []
    engine.to_the_end()
    assert engine.decisions == []
    assert engine.pending == []


def test_a_partition_that_has_ended_holds_nobody_back() -> None:
    """S6, also one that was empty."""
    shop = project(REMINDER)
    empty = log(shop, name="1")
    outcome = agreed(shop, log(shop, seen("10:00"), seen("11:00", "pay"), ended=False), empty)
    assert len(outcome.decisions) == 1


def test_the_watermark_stays_behind_the_highest_time_by_the_bound() -> None:
    """S6: `out_of_orderness`; a timer fires when the watermark reaches it."""
    shop = project(REMINDER, disorder=[span("5s")])
    for last, count in ((at(f"{DAY} 11:00") + span("4s"), 0), (at(f"{DAY} 11:00") + span("5s"), 1)):
        outcome = agreed(shop, log(shop, seen("10:00"), event(last, "pay"), ended=False))
        assert len(outcome.decisions) == count


def test_disorder_within_the_bound_does_not_matter() -> None:
    """S6, S7: the order comes before its view, and is still later in time."""
    shop = project(REMINDER, disorder=[span("10m")])
    outcome = agreed(shop, log(shop, seen("10:05", "order"), seen("10:00")), until=at(f"{DAY} 12:00"))
    assert outcome.decisions == []
    assert outcome.pending == []


def test_one_user_whose_clock_runs_ahead_makes_the_others_late() -> None:
    """S6, S9: what they did meanwhile starts nothing, but is landed, and what it cancels is cancelled."""
    shop = project(REMINDER)
    ahead = event(f"{DAY} 10:45", "view", id="ahead", user=NEIGHBOUR)  # at 10:10
    rows = [seen("10:00"), ahead, seen("10:11", "order"), seen("10:12", user=STRANGER)]
    outcome = agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00"))
    assert [(row.user_id, row.evidence) for row in outcome.decisions] == [(NEIGHBOUR, ("ahead",))]
    assert [(row.event_id, row.watermark - row.ts) for row in outcome.late] == [
        ("order 10:11", span("34m")),
        ("view 10:12", span("33m")),
    ]


def test_one_user_whose_clock_runs_ahead_within_the_bound_harms_nobody() -> None:
    """S6: that is what `out_of_orderness` is for; each is judged by the times of their own events."""
    shop = project(REMINDER, disorder=[span("35m")])
    ahead = event(f"{DAY} 10:45", "view", id="ahead", user=NEIGHBOUR)
    rows = [seen("10:00"), ahead, seen("10:11", "order"), seen("10:12", user=STRANGER)]
    outcome = agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00"))
    assert {row.user_id: row.evidence for row in outcome.decisions} == {
        NEIGHBOUR: ("ahead",),
        STRANGER: ("view 10:12",),
    }
    assert outcome.late == []


def test_one_user_whose_clock_is_behind_is_late_alone() -> None:
    """S9: a view of theirs starts nothing, an order cancels as of its own time; the others do not notice."""
    shop = project(REMINDER)
    viewed, ordered = (seen(f"09:{minute}", name, user=STRANGER) for minute, name in ((10, "view"), (11, "order")))
    rows = [seen("10:00"), viewed, seen("10:10", user=NEIGHBOUR), ordered, seen("10:20", "pay")]
    outcome = agreed(shop, log(shop, *rows), until=at(f"{DAY} 12:00"))
    assert {row.user_id: row.evidence for row in outcome.decisions} == {
        rows[0].user_id: ("view 10:00",),
        NEIGHBOUR: ("view 10:10",),
    }
    assert [row.event_id for row in outcome.late] == ["view 09:10", "order 09:11"]


def test_a_backlog_is_read_before_a_timer_that_it_could_cancel() -> None:
    """S8: after two hours down the order of 10:20 waits in the backlog, and the reminder of 11:00 does not go out."""
    shop = project(REMINDER)
    part = log(shop, seen("10:00"), seen("10:20", "order"), seen("12:30", "pay"), ended=False)
    engine = Run(shop, [part])
    engine.feed(0, 1)
    engine.snapshot()
    engine.crash()
    engine.feed(0, 1)
    engine.advance()
    engine.feed(0, 1)
    engine.advance()
    assert engine.decisions == []


def test_profiles_without_a_time_hold_from_before_the_first_record() -> None:
    """S1: whichever partition is read first."""
    shop = project(Draft("hello", channel=1))
    told = crm(shop, profile(None, ok=True, address="here"))
    engine = Run(shop, [log(shop, seen("10:00")), told])
    engine.feed(0, 1)
    engine.advance()
    assert engine.decisions == []
    engine.to_the_end()
    assert [row.stage for row in engine.decisions] == ["delivered"]
    assert [one.address for one in engine.dispatches] == ["here"]


def test_a_late_profile_update_is_as_of_its_time() -> None:
    """S9: it does not undo what a later update of the same attribute said, and holds for what no other has said."""
    shop = project(Draft("hello", channel=2))
    updates = (
        profile(f"{DAY} 10:00", address="old", ok=False),
        profile(f"{DAY} 10:20", address="new"),
        profile(f"{DAY} 10:10", address="late", ok=True, city="x"),
    )
    engine = Run(shop, [log(shop, seen("10:30")), crm(shop, *updates)]).to_the_end()
    assert [(row.stage, row.channel) for row in engine.decisions] == [("no_consent", "mail")]
    agreed(shop, *engine.partitions)


def test_a_late_update_does_not_bring_back_what_a_later_one_deleted() -> None:
    """S9, S2: null deletes, and what is deleted at 10:20 is not there at 10:30, whatever was true at 10:10."""
    shop = project(Draft("hello", channel=2))
    updates = profile(f"{DAY} 10:20", address=None), profile(f"{DAY} 10:10", address="late")
    assert [row.stage for row in agreed(shop, log(shop, seen("10:30")), crm(shop, *updates)).decisions] == [
        "no_address"
    ]


def test_a_profile_update_at_the_instant_of_an_event_goes_by_the_order_of_sources() -> None:
    """S7: `crm` is listed after the events, so the event is handled first."""
    shop = project(Draft("hello", channel=2))
    told = crm(shop, profile(f"{DAY} 10:00", address="here"))
    assert [row.stage for row in agreed(shop, log(shop, seen("10:00")), told).decisions] == ["no_address"]


def test_ids_are_those_of_a_source() -> None:
    """S4: a view and an order that happen to bear one id at one instant are two events, and so is a profile update."""
    shop = project(Draft("seen", channel=2), Draft("ordered", on=On("order"), channel=2), disorder=[0, 0])
    outcome = agreed(
        shop,
        log(shop, event(f"{DAY} 10:00", "view", id="1")),
        log(shop, event(f"{DAY} 10:00", "order", id="1"), event(f"{DAY} 10:01", "view", id="2"), source=1),
        crm(shop, profile(f"{DAY} 10:00", id="1", address="here")),
    )
    assert [(row.plan, row.stage) for row in outcome.decisions] == [
        ("seen", "no_address"),
        ("ordered", "no_address"),
        ("seen", "delivered"),
    ]


def test_an_idle_partition_that_is_read_to_its_end_moves_on_with_the_clock() -> None:
    """S6: it never moves back, and what comes behind it is late."""
    shop = project(REMINDER)
    intake = Run(shop, [log(shop, ended=False)]).intakes[0]
    intake.advance_to(at(f"{DAY} 10:00"))
    intake.advance_to(at(f"{DAY} 09:00"))
    assert intake.watermark == at(f"{DAY} 10:00")
    late: list[list[LateRecord]] = [[] for _ in range(SHARDS)]
    into: list[list[Record]] = [[] for _ in range(SHARDS)]
    intake.take(Chunk(0, [seen("09:59"), seen("10:00")], []), into, late)
    assert [row.ts for rows in late for row in rows] == [at(f"{DAY} 09:59")]
    assert sorted(row[0] for rows in into for row in rows) == [at(f"{DAY} 10:00")] * 2
    assert intake.watermark == at(f"{DAY} 10:00")


def test_a_bad_record_takes_a_position_and_no_time() -> None:
    """S3: positions stay those of the input."""
    shop = project(REMINDER)
    part = log(shop, seen("10:30", "pay"), None, seen("10:00"))
    assert [row.position for row in agreed(shop, part).late] == [2]


def test_an_intake_without_rows_tells_no_watermark_until_it_ends() -> None:
    shop = project(REMINDER)
    engine = Run(shop, [log(shop)])
    assert engine.intakes[0].watermark == NO_WATERMARK
    engine.to_the_end()
    assert engine.intakes[0].watermark == ENDED
