"""What plans would have done on history: counted while the log runs through the engine, under assumed delivery."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from flowops.core.admission import HELD, TREATMENT
from flowops.core.effects import ASSIGNED, LOSSES, Decision, Effects, GoalEvent, task_id
from flowops.core.plan import Goal as Aim
from flowops.core.plan import Plan, Project, Step
from flowops.core.receipts import DELIVERED
from flowops.core.records import Micros
from flowops.core.shard import Shard
from flowops.core.time import Zone
from flowops.lab.logs import drive, partitions_of, sources_of
from flowops.lab.machine import Machine
from flowops.lab.rates import Rate, difference, rate
from flowops.rules.load import Loaded


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of a plan. A user attains it once a task; `value` is the credited events'.

    `natural` is the rate of the users held out, who got nothing; `lift` how much higher that of the others is, from
    when both might have been held out, whatever became of the message (S23). None: no such users, or a receipt attains
    the goal, which no log tells.
    """

    goal: str
    receipt: str | None
    target: float | None
    attained: int
    value: float | None
    held_out_attained: int
    held_out_value: float | None
    rate: Rate | None
    natural: Rate | None
    lift: Rate | None


@dataclass(frozen=True, slots=True)
class Result:
    """Of one plan. Users count once a task, as in the reports; money is in the project's currency."""

    plan: str
    version: str
    triggered: int
    attempts: int  # of a journey there may be several a trigger, else one: lost, dispatched or held
    dispatched: int
    losses: dict[str, int]  # by reason, in the order of the decision list
    days: list[tuple[int, str, int]]  # (day on which it is sent, channel, dispatched)
    cost: float | None
    sent_to: int
    held_out: int
    goals: list[Goal]
    pending: dict[str, int]  # by kind; only what is `held` is among the attempts
    steps: list[tuple[str, str, int]]  # (step, channel, dispatched) of a plan with several steps, in their order
    holdout: bool  # whether the plan holds anybody out


@dataclass(frozen=True, slots=True)
class Backtest:
    """Of all plans that were asked for. `begins` and `ends`: the times between which the records are."""

    results: list[Result]
    currency: str | None
    records: int
    begins: Micros | None
    ends: Micros | None
    late: int
    bad: int
    not_read: list[str]


_Way: TypeAlias = tuple[str | None, str | None]
"""(step, channel) of an attempt."""

_Stands: TypeAlias = tuple[int, str]
"""(decisions before, stage) of an attempt."""


@dataclass(slots=True)
class _Tally:
    zones: dict[str, Zone]  # by plan
    attempts: dict[str, dict[_Way, dict[str, _Stands]]]  # by plan and way, of each trigger: as it stands
    days: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    sent: set[tuple[str, str, str]] = field(default_factory=set)
    held_out: set[tuple[str, str, str]] = field(default_factory=set)
    attained: set[tuple[str, str, str, str, bool]] = field(default_factory=set)
    assigned: set[tuple[str, str, str]] = field(default_factory=set)  # not held out, be the message sent or not
    compared: set[tuple[str, str, str, str]] = field(default_factory=set)  # those of them who did it
    values: dict[tuple[str, str, str, str, bool, str], float] = field(default_factory=dict)  # an event: once a task
    cost: dict[str, float] = field(default_factory=dict)
    late: int = 0
    bad: int = 0

    def add(self, all_effects: Iterable[Effects]) -> None:
        """Count what came out."""
        for effects in all_effects:
            for decision in effects.decisions:
                if not self._stands(decision):
                    continue
                plan, stage = decision.plan, decision.stage
                if stage == DELIVERED:
                    self.days[plan, self.zones[plan].day(decision.decided_at), decision.channel or ""] += 1
                    self.sent.add((plan, _task(decision), decision.user_id))
                    self.cost[plan] = self.cost.get(plan, 0.0) + (decision.cost or 0.0)
                elif stage == "holdout":
                    self.held_out.add((plan, _task(decision), decision.user_id))
                if decision.arm == TREATMENT and stage in ASSIGNED:
                    self.assigned.add((plan, _task(decision), decision.user_id))
            for goal in effects.goals:
                held_out = goal.dispatch_id is None
                self.attained.add((goal.plan, goal.goal, _task(goal), goal.user_id, held_out))
                if goal.credited and goal.value is not None:
                    key = goal.plan, goal.goal, _task(goal), goal.user_id, held_out, goal.event_id
                    self.values[key] = max(goal.value, self.values.get(key, goal.value))
            self.compared.update((goal.plan, goal.goal, _task(goal), goal.user_id) for goal in effects.compared)
            self.late += len(effects.late)
            self.bad += len(effects.dead)

    def _stands(self, decision: Decision) -> bool:
        """Whether the attempt now stands as this decision says, as the warehouse has it (`facts.decided`).

        What was held is decided anew. An event that comes again when nothing of it is remembered any more is, too
        (S4): of one attempt the first that sent something stands, else the first of the last decision.
        """
        ways, trigger, attempt = self.attempts[decision.plan], decision.trigger_id, decision.attempt
        own = ways.setdefault((decision.step, decision.channel), {})
        known = own.get(trigger)
        if known is not None and (known[1] == DELIVERED or (attempt <= known[0] and decision.stage != DELIVERED)):
            return False
        own[trigger] = attempt, decision.stage
        if attempt and decision.channel is None:  # what was held is lost before a channel was considered
            for (step, channel), those in ways.items():
                held = those.get(trigger) if channel is not None and decision.step in (None, step) else None
                if held is not None and held[0] < attempt and held[1] == HELD:
                    del those[trigger]
        return True


def backtest(
    loaded: Loaded,
    ids: Sequence[str],
    inputs: Sequence[str],
    until: Micros | None,
    watch: Callable[[Iterable[Effects]], None] | None = None,
) -> Backtest:
    """Run the plans, together, on the files of the sources or on other logs. Sends nothing, keeps nothing.

    `watch` is told what comes of it, as it comes. Raises ConfigError for an input that fits no source, InputError for
    one that cannot be read.
    """
    project, _ = loaded.only(ids)
    project = assuming_delivery(project)
    chosen, not_read = sources_of(project.sources, inputs)
    sources, names = partitions_of(loaded.folder, chosen)
    machine = Machine(project, sources, names, Shard)
    if until is not None:
        machine.until(until)
    tally = _Tally(
        zones={plan.id: plan.zone for plan in project.plans},
        attempts={plan.id: {} for plan in project.plans},
    )

    def count(effects: Iterable[Effects]) -> None:
        tally.add(effects)
        if watch is not None:
            watch(effects)

    gc.collect()
    gc.freeze()
    try:
        drive(loaded.folder, machine, on_effects=count)
    finally:
        gc.unfreeze()
    pending = Counter((row.plan, row.kind) for row in machine.pending())
    read = [intake for intake in machine.intakes if intake.first is not None]
    return Backtest(
        results=[_result(plan, tally, _kinds(plan.id, pending)) for plan in project.plans],
        currency=project.currency,
        records=sum(intake.read for intake in machine.intakes),
        begins=min((intake.first for intake in read if intake.first is not None), default=None),
        ends=max((intake.highest for intake in read), default=None),
        late=tally.late,
        bad=tally.bad,
        not_read=not_read,
    )


def _kinds(plan: str, pending: Counter[tuple[str, str]]) -> dict[str, int]:
    return {kind: count for (of, kind), count in sorted(pending.items()) if of == plan}


def _task(fact: Decision | GoalEvent) -> str:
    return task_id(fact.plan, fact.day, fact.clock)


def assuming_delivery(project: Project) -> Project:
    """Every message arrives at once: what a provider would have said, no log tells."""

    def arrives(step: Step) -> Step:
        return replace(step, channel=replace(step.channel, undelivered_after=None, confirms=False))

    def assume(plan: Plan) -> Plan:
        journey = plan.journey
        if journey is not None:
            journey = replace(journey, messages=tuple(map(arrives, journey.messages)))
        return replace(plan, step=arrives(plan.step), journey=journey)

    return replace(project, plans=tuple(assume(plan) for plan in project.plans))


def _result(plan: Plan, tally: _Tally, pending: dict[str, int]) -> Result:
    ways = tally.attempts[plan.id]
    stages = {way: Counter(stage for _, stage in those.values()) for way, those in ways.items()}
    total = sum(stages.values(), Counter[str]())
    losses = {loss: total[loss] for loss in LOSSES if total[loss]}
    sent_to = sum(each[0] == plan.id for each in tally.sent)
    held_out = sum(each[0] == plan.id for each in tally.held_out)
    steps = [(step.name, step.channel.name) for step in plan.messages] if plan.journey is not None else []
    sent = {way: stages[way][DELIVERED] if way in stages else 0 for way in steps}
    costs = any(step.channel.cost is not None for step in plan.messages)
    return Result(
        plan=plan.id,
        version=plan.version,
        triggered=len(set[str]().union(*ways.values())),
        attempts=total[DELIVERED] + sum(losses.values()) + total[HELD],
        dispatched=total[DELIVERED],
        losses=losses,
        days=sorted((day, channel, count) for (of, day, channel), count in tally.days.items() if of == plan.id),
        cost=round(tally.cost.get(plan.id, 0.0), 4) if costs else None,
        sent_to=sent_to,
        held_out=held_out,
        goals=[_goal(plan.id, goal, tally, sent_to, held_out) for goal in plan.goals],
        pending=pending,
        steps=[(*way, sent[way]) for way in steps],
        holdout=plan.experiment is not None and plan.experiment.holdout > 0,
    )


def _goal(plan: str, goal: Aim, tally: _Tally, sent_to: int, held_out: int) -> Goal:
    attained = [each for each in tally.attained if each[:2] == (plan, goal.name)]
    anyway = sum(each[4] for each in attained)

    def worth(*, of_held_out: bool) -> float | None:
        values = [each for key, each in tally.values.items() if key[:2] == (plan, goal.name) and key[4] is of_held_out]
        return round(sum(sorted(values)), 4) if goal.value is not None else None

    own = natural = compared = None
    if goal.receipt is None:
        own, natural = rate(len(attained) - anyway, sent_to), rate(anyway, held_out)
        assigned = sum(each[0] == plan for each in tally.assigned)
        compared = rate(sum(each[:2] == (plan, goal.name) for each in tally.compared), assigned)
    return Goal(
        goal=goal.name,
        receipt=goal.receipt,
        target=goal.target,
        attained=len(attained) - anyway,
        value=worth(of_held_out=False),
        held_out_attained=anyway,
        held_out_value=worth(of_held_out=True),
        rate=own,
        natural=natural,
        lift=difference(compared, natural) if compared is not None and natural is not None else None,
    )
