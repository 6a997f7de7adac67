"""The engine says what the model says, however its input is cut, mixed and interrupted (S5, S7)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import driver
import pairs
import pytest

import chance as st
from flowops.core.effects import LEFT_OUT, LOSSES, dispatch_id
from seeds import FUZZED, kept

PARTS = 25
"""So many tests share the pairs, so that they can run side by side."""


@pytest.fixture(autouse=True, scope="module")
def impatient() -> Iterator[None]:
    with pairs.impatient():
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_says_what_the_model_says(part: int) -> None:
    """All kinds of triggers and options, in disorder, repeated, answered; before and after all input has ended (S6)."""
    for seed in range(part, FUZZED, PARTS):
        pairs.check(seed)


def test_the_engine_says_what_the_model_says_where_it_once_did_not() -> None:
    for seed in kept("plans"):
        pairs.check(seed)


@st.given(pairs.PAIRS, st.data(), examples=400)
def test_no_way_of_cutting_and_mixing_the_input_changes_anything(pair: pairs.Pair, draw: st.DrawFn) -> None:
    """S7: the outcome depends on the logs alone, not on how partitions interleave or on the size of batches."""
    world, until = pair
    project = world.project
    partitions = world.partitions(project)
    engine = driver.Run(project, partitions)
    while left := engine.left():
        engine.feed(draw(st.sampled_from(left)), draw(st.integers(1, 6)))
        if draw(st.booleans()):
            engine.advance()
    driver.same(driver.outcome(engine.to_the_end(until)), driver.run(project, partitions, until))


@st.given(pairs.PAIRS, st.data(), examples=400)
def test_no_crash_changes_anything(pair: pairs.Pair, draw: st.DrawFn) -> None:
    """S7: what is restored goes on as if nothing had happened, from frames of what changed and from whole ones."""
    world, until = pair
    project = world.project
    partitions = world.partitions(project)
    engine = driver.Run(project, partitions)
    for _ in range(30):
        left = engine.left()
        if not left:
            break
        engine.feed(draw(st.sampled_from(left)), draw(st.integers(1, 4)))
        saved = draw(st.sampled_from(["changes", "whole", "nothing"]))
        if saved != "nothing":
            engine.snapshot(whole=saved == "whole")
        if draw(st.sampled_from([True, True, False])):
            engine.crash()
        elif draw(st.booleans()):
            engine.advance()
    driver.same(driver.outcome(engine.to_the_end(until)), driver.run(project, partitions, until))
    engine.snapshot()
    engine.crash()
    driver.same(driver.outcome(engine.to_the_end(until)), driver.run(project, partitions, until))


@st.given(pairs.PAIRS, examples=400)
def test_the_attempts_add_up(pair: pairs.Pair) -> None:
    """S22: each attempt is exactly one of lost, delivered, pending; each message has its dispatch, and no other."""
    world, until = pair
    project = world.project
    engine = driver.Run(project, world.partitions(project)).to_the_end(until)
    passed = [row for row in engine.decisions if row.stage == LEFT_OUT]  # of these no attempt was made
    decisions = [row for row in engine.decisions if row.stage != LEFT_OUT]
    assert {row.trigger_id for row in passed}.isdisjoint(row.trigger_id for row in decisions)
    begun = Counter(row.plan for row in engine.decisions if not row.attempt)
    begun.subtract(engine.further)
    assert +begun == Counter(plan for plan, _ in {(row.plan, row.trigger_id) for row in engine.decisions})
    attempts = defaultdict(list)
    ends = {row.trigger_id: row for row in decisions if row.step is None}  # lost before a channel was considered
    for row in decisions:
        if row is not ends.get(row.trigger_id):
            attempts[row.trigger_id, row.step, row.channel].append(row)
    standing = {}
    for trigger, row in ends.items():
        before = [each for each in decisions if each.trigger_id == trigger and each is not row]
        assert all(each.stage == "held" for each in before)
        assert row.attempt == len(before)
        attempts = {key: rows for key, rows in attempts.items() if key[0] != trigger}
        standing[trigger, None, None] = row.stage
    for key, rows in attempts.items():
        assert [row.attempt for row in rows] == list(range(len(rows)))
        assert all(row.stage == "held" for row in rows[:-1])
        standing[key] = rows[-1].stage
    sent = [row for row in decisions if row.stage in ("sent", "delivered")]
    changes = defaultdict(list)
    for change in engine.stages:
        changes[change.trigger_id, change.step, change.channel].append(change)
    for key, found in changes.items():
        assert standing[key] in ("sent", "delivered")
        assert [change.change for change in found] == list(range(1, len(found) + 1))
        standing[key] = found[-1].stage
    assert set(standing.values()) <= {*LOSSES, "delivered", "held", "sent"}
    waiting = Counter(row.kind for row in engine.pending)
    assert Counter(standing.values())["held"] == waiting["held"]
    assert Counter(standing.values())["sent"] == waiting["sent"]
    assert [one.decision for one in engine.dispatches] == sent
    assert len({one.dispatch_id for one in engine.dispatches}) == len(sent)
    for one in engine.dispatches:
        assert one.dispatch_id == dispatch_id(
            one.decision.trigger_id, one.decision.step or "", one.decision.channel or ""
        )
