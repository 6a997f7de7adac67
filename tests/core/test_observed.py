"""The observed shard does what the shard does, and its facts account for all of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import driver
import strategies

import chance as st
from chance import given
from flowops.core.admission import reached, standing
from flowops.core.effects import LEFT_OUT, LOSSES
from flowops.core.observed import Attained, Began, Changed, Decided, Ended, Fact, Fired, LeftOut, Moved, ObservedShard
from flowops.core.plan import DateTrigger, Project, ScheduleTrigger
from flowops.core.state import OPEN, WAIT, Instance
from flowops.core.time import DAY, HOUR, Zone
from flowops.core.timers import NEVER
from flowops.lab.checks import CHECKS


def check(world: strategies.World) -> None:
    project = world.project
    partitions = world.partitions(project)
    plain = driver.Run(project, partitions).to_the_end()
    watched = driver.Run(project, partitions)
    shards = {number: ObservedShard(number, project, len(partitions)) for number in watched.shards}
    watched.shards = dict(shards)
    watched.to_the_end()
    driver.same(driver.outcome(watched), driver.outcome(plain))
    facts = [fact for shard in shards.values() for fact in shard.seen]
    decided = [fact.decision for fact in facts if isinstance(fact, Decided) and fact.decision is not None]
    assert decided == [row for row in watched.decisions if row.stage != LEFT_OUT]
    left_out = [(fact.user_id, fact.at) for fact in facts if isinstance(fact, LeftOut)]
    assert left_out == [(row.user_id, row.decided_at) for row in watched.decisions if row.stage == LEFT_OUT]
    assert [fact.goal for fact in facts if isinstance(fact, Attained)] == watched.goals
    assert sum(isinstance(fact, Changed) for fact in facts) == len(watched.stages)
    for shard in shards.values():
        assert told_to_wait(project, shard.seen) == waiting(project, shard)


def told_to_wait(project: Project, facts: list[Fact]) -> Counter[Any]:
    """What has begun, and neither fired nor ended, as the facts tell it."""
    under_way: Counter[Any] = Counter()
    for fact in facts:
        if isinstance(fact, Began):
            under_way[name(fact.user_id, fact.instance)] += 1
        elif isinstance(fact, Moved):
            under_way[name(fact.user_id, fact.before)] -= 1
            under_way[name(fact.user_id, fact.instance)] += 1
        elif isinstance(fact, Ended) and fact.instance.kind in (WAIT, OPEN):
            under_way[name(fact.user_id, fact.instance)] -= 1
        elif isinstance(fact, Fired) and fact.before is not None:
            under_way[name(fact.user_id, fact.before)] -= 1
    return Counter({each: count for each, count in under_way.items() if count and not by_calendar(project, each[1])})


def waiting(project: Project, shard: ObservedShard) -> Counter[Any]:
    """What waits in the state."""
    return Counter(
        name(user_id, each)
        for user_id, user in shard._users.each()
        for each in user.instances
        if each.kind in (WAIT, OPEN) and each.due < NEVER and not by_calendar(project, each.plan)
    )


def by_calendar(project: Project, plan: int) -> bool:
    """What no event begins is told when it fires."""
    return isinstance(project.plans[plan].trigger, (DateTrigger, ScheduleTrigger))


def name(user_id: str, instance: Instance) -> tuple[Any, ...]:
    return user_id, instance.plan, instance.since, instance.key, tuple(instance.evidence), instance.due


@given(strategies.worlds())
def test_it_does_what_the_shard_does(world: strategies.World) -> None:
    check(world)


@given(strategies.sequence_worlds(open_ended=True))
def test_with_sequences_too(world: strategies.World) -> None:
    check(world)


@given(st.one_of(strategies.looking_worlds(), strategies.counting_worlds()))
def test_with_counts_and_lookbacks_too(world: strategies.World) -> None:
    check(world)


@given(strategies.answered_worlds(open_ended=True))
def test_with_receipts_too(world: strategies.World) -> None:
    check(world)


@given(strategies.journey_worlds(open_ended=True))
def test_with_journeys_too(world: strategies.World) -> None:
    check(world)


@given(strategies.calendar_worlds(open_ended=True))
def test_with_schedules_and_dates_too(world: strategies.World) -> None:
    check(world)


def test_the_checks_are_told_in_the_order_of_the_list() -> None:
    """The order in which losses are checked is that in which they are told."""
    assert list(CHECKS) == [loss for loss in LOSSES if loss in CHECKS]


@given(
    strategies.caps(2),
    st.lists(
        st.tuples(
            st.integers(0, 60 * DAY),
            st.integers(0, 1),
            st.just(0),
            st.just(("A", "1")),
            st.sampled_from(["", "", "a", "b"]),
        ),
        max_size=6,
        unique=True,
    ),
    st.sampled_from(["UTC", "America/New_York"]),
)
def test_what_stands_in_a_caps_window_is_what_the_cap_counts(cap: Any, sends: list[Any], zone: str) -> None:
    """S24."""
    now = max([at for at, *_ in sends], default=0) + HOUR
    values = "A", "1"
    found = standing(cap, sorted(sends), values, Zone(zone), now)
    assert reached(cap, sorted(sends), values, Zone(zone), now) == (len(found) >= cap.at_most)
