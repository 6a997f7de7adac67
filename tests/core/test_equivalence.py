"""The engine says what the model says, however its input is cut, mixed and interrupted (S5, S7)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import driver
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from flowops.core import shard
from flowops.core.effects import LOSSES, Effects, dispatch_id
from flowops.core.matchers import combination, sequence
from flowops.core.records import Micros

ANY_WORLD = st.one_of(
    strategies.worlds(open_ended=True),
    strategies.answered_worlds(open_ended=True),
    strategies.many_answers(open_ended=True),
    strategies.counting_worlds(),
    strategies.sequence_worlds(open_ended=True),
    strategies.calendar_worlds(open_ended=True),
    strategies.looking_worlds(),
)


@pytest.fixture(autouse=True, scope="module")
def impatient() -> Iterator[None]:
    """Whatever the engine does only once it has much to keep (rest, sweep, prune) it does here all the time."""
    advance = shard.Shard.advance

    def sweep_too(self: shard.Shard) -> Effects:
        self._sweep_at = -1
        return advance(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard.Shard, "advance", sweep_too)
        patch.setattr(shard, "_SENDS", 0)
        patch.setattr(shard, "OPEN_USERS", 0)
        for limited in (combination, sequence, model):
            patch.setattr(limited, "EVIDENCE", 3)
        for limited in (sequence, model):
            patch.setattr(limited, "UNDER_WAY", 4)
        yield


def both(world: strategies.World, until: Micros | None = None) -> None:
    project = world.project
    driver.agreed(project, *world.partitions(project), until=until)


@given(strategies.worlds())
def test_the_engine_says_what_the_model_says(world: strategies.World) -> None:
    both(world)


@settings(max_examples=8 * settings().max_examples)
@given(strategies.sequence_worlds())
def test_sequences_are_as_the_model_has_them(world: strategies.World) -> None:
    """S14: all kinds of steps and options, in disorder."""
    both(world)


@given(strategies.sequence_worlds(open_ended=True))
def test_sequences_are_as_the_model_has_them_so_far(world: strategies.World) -> None:
    both(world)


@given(strategies.worlds(open_ended=True))
def test_the_engine_says_what_the_model_says_before_all_input_has_ended(world: strategies.World) -> None:
    """S6: what the watermark has not reached is not handled yet, and what waits beyond it is pending."""
    both(world)


@settings(max_examples=2 * settings().max_examples)
@given(strategies.many_answers())
def test_many_receipts_do_what_the_model_says(world: strategies.World) -> None:
    """S24, S40, S41: give and take back, open and close."""
    both(world)


@given(strategies.many_answers(open_ended=True))
def test_many_receipts_do_what_the_model_says_so_far(world: strategies.World) -> None:
    both(world)


@given(strategies.answered_worlds())
def test_receipts_do_what_the_model_says(world: strategies.World) -> None:
    """S27, S40, S41: in disorder, repeated, without forerunners, contradicting each other, of nobody's messages."""
    both(world)


@given(strategies.answered_worlds(open_ended=True))
def test_receipts_do_what_the_model_says_before_all_input_has_ended(world: strategies.World) -> None:
    both(world)


@given(strategies.changing_profiles())
def test_profiles_told_in_disorder_are_as_the_model_has_them(world: strategies.World) -> None:
    """S9."""
    both(world)


@given(strategies.many_sends())
def test_caps_gaps_and_goals_are_as_the_model_has_them(world: strategies.World) -> None:
    """S21, S24, S41."""
    both(world)


@given(strategies.counting_worlds())
def test_counts_and_sums_are_as_the_model_has_them(world: strategies.World) -> None:
    """S16, S4, S9: they fall and rise, and what is late or repeated changes them as it should."""
    both(world)


@given(strategies.calendar_worlds(open_ended=True), st.integers(0, 100))
def test_what_the_calendar_begins_is_as_the_model_has_it(world: strategies.World, further: int) -> None:
    """S18, S19: over the nights on which clocks change, while dates, zones and segments change."""
    both(world, world.base + further * strategies.UNIT)


@given(strategies.looking_worlds(), st.integers(0, 40))
def test_what_audiences_ask_of_the_past_is_as_the_model_has_it(world: strategies.World, further: int) -> None:
    """S12a."""
    both(world, world.base + further * strategies.UNIT)


@given(strategies.worlds(), st.integers(0, 40))
def test_time_may_be_moved_on_beyond_the_end(world: strategies.World, further: int) -> None:
    """S6: with `--until T` what is due at T fires."""
    both(world, world.base + further * strategies.UNIT)


@given(ANY_WORLD, st.data())
def test_no_way_of_cutting_and_mixing_the_input_changes_anything(world: strategies.World, data: st.DataObject) -> None:
    """S7: the outcome depends on the logs alone, not on how partitions interleave or on the size of batches."""
    project = world.project
    partitions = world.partitions(project)
    engine = driver.Run(project, partitions)
    while left := engine.left():
        engine.feed(data.draw(st.sampled_from(left)), data.draw(st.integers(1, 6)))
        if data.draw(st.booleans()):
            engine.advance()
    driver.same(driver.outcome(engine.to_the_end()), driver.run(project, partitions))


@given(ANY_WORLD, st.data())
def test_no_crash_changes_anything(world: strategies.World, data: st.DataObject) -> None:
    """S7: what is restored goes on as if nothing had happened, from frames of what changed and from whole ones."""
    project = world.project
    partitions = world.partitions(project)
    engine = driver.Run(project, partitions)
    for _ in range(30):
        left = engine.left()
        if not left:
            break
        engine.feed(data.draw(st.sampled_from(left)), data.draw(st.integers(1, 4)))
        saved = data.draw(st.sampled_from(["changes", "whole", "nothing"]))
        if saved != "nothing":
            engine.snapshot(whole=saved == "whole")
        if data.draw(st.sampled_from([True, True, False])):
            engine.crash()
        elif data.draw(st.booleans()):
            engine.advance()
    driver.same(driver.outcome(engine.to_the_end()), driver.run(project, partitions))
    engine.snapshot()
    engine.crash()
    driver.same(driver.outcome(engine.to_the_end()), driver.run(project, partitions))


@given(ANY_WORLD)
def test_the_attempts_add_up(world: strategies.World) -> None:
    """S22: each attempt is exactly one of lost, delivered, pending; each message has its dispatch, and no other."""
    project = world.project
    engine = driver.Run(project, world.partitions(project)).to_the_end()
    attempts = defaultdict(list)
    for row in engine.decisions:
        attempts[row.trigger_id].append(row)
    standing = {}
    for rows in attempts.values():
        assert [row.attempt for row in rows] == list(range(len(rows)))
        assert all(row.stage == "held" for row in rows[:-1])
        standing[rows[-1].trigger_id] = rows[-1].stage
    sent = [row for row in engine.decisions if row.stage in ("sent", "delivered")]
    changes = defaultdict(list)
    for change in engine.stages:
        changes[change.trigger_id].append(change)
    for trigger, found in changes.items():
        assert standing[trigger] in ("sent", "delivered")
        assert [change.change for change in found] == list(range(1, len(found) + 1))
        standing[trigger] = found[-1].stage
    assert set(standing.values()) <= {*LOSSES, "delivered", "held", "sent"}
    waiting = Counter(row.kind for row in engine.pending)
    assert Counter(standing.values())["held"] == waiting["held"]
    assert Counter(standing.values())["sent"] == waiting["sent"]
    assert [one.decision for one in engine.dispatches] == sent
    assert len({one.dispatch_id for one in engine.dispatches}) == len(sent)
    for one in engine.dispatches:
        assert one.dispatch_id == dispatch_id(one.decision.trigger_id, "send", one.decision.channel)
