"""What plans would have done on history: counted while the log runs through the engine, under assumed delivery."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flowops.core.effects import LOSSES, Effects
from flowops.core.plan import Plan, Project
from flowops.core.receipts import DELIVERED
from flowops.core.records import Micros
from flowops.core.shard import Shard
from flowops.lab.logs import drive, partitions_of, sources_of
from flowops.lab.machine import Machine
from flowops.rules.load import Loaded


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of a plan. A user attains it once a task; `value` is the credited events'."""

    goal: str
    target: float | None
    attained: int
    value: float | None
    held_out_attained: int


@dataclass(frozen=True, slots=True)
class Result:
    """Of one plan. Users count once a task, as in the reports; money is in the project's currency."""

    plan: str
    version: str
    triggered: int
    dispatched: int
    losses: dict[str, int]  # by reason, in the order of the decision list
    days: list[tuple[int, str, int]]  # (day of the task, channel, dispatched)
    cost: float | None
    sent_to: int
    held_out: int
    goals: list[Goal]
    pending: int


@dataclass(slots=True)
class Backtest:
    """Of all plans that were asked for."""

    results: list[Result]
    records: int
    late: int
    bad: int
    not_read: list[str]


@dataclass(slots=True)
class _Tally:
    triggered: Counter[str] = field(default_factory=Counter)
    stages: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    sent: set[tuple[str, int, str]] = field(default_factory=set)
    held_out: set[tuple[str, int, str]] = field(default_factory=set)
    attained: set[tuple[str, str, int, str, bool]] = field(default_factory=set)
    values: dict[tuple[str, str, int, str, str], float] = field(default_factory=dict)  # an event counts once a task
    late: int = 0
    bad: int = 0

    def add(self, all_effects: Iterable[Effects]) -> None:
        """Count what came out."""
        for effects in all_effects:
            for decision in effects.decisions:
                plan, stage = decision.plan, decision.stage
                if not decision.attempt:
                    self.triggered[plan] += 1
                self.stages[plan, stage] += 1
                if stage == DELIVERED:
                    self.days[plan, decision.day, decision.channel or ""] += 1
                    self.sent.add((plan, decision.day, decision.user_id))
                elif stage == "holdout":
                    self.held_out.add((plan, decision.day, decision.user_id))
            for goal in effects.goals:
                held_out = goal.dispatch_id is None
                self.attained.add((goal.plan, goal.goal, goal.day, goal.user_id, held_out))
                if goal.credited and goal.value is not None and not held_out:
                    key = goal.plan, goal.goal, goal.day, goal.user_id, goal.event_id
                    self.values[key] = max(goal.value, self.values.get(key, goal.value))
            self.late += len(effects.late)
            self.bad += len(effects.dead)


def backtest(loaded: Loaded, ids: Sequence[str], inputs: Sequence[str], until: Micros | None) -> Backtest:
    """Run the plans, together, on the files of the sources or on other logs. Sends nothing, keeps nothing.

    Raises ConfigError for an input that fits no source, InputError for one that cannot be read.
    """
    project, _ = loaded.only(ids)
    project = _assuming_delivery(project)
    chosen, not_read = sources_of(project.sources, inputs)
    sources, names = partitions_of(loaded.folder, chosen)
    machine = Machine(project, sources, names, Shard)
    if until is not None:
        machine.until(until)
    tally = _Tally()
    gc.collect()
    gc.freeze()
    try:
        drive(loaded.folder, machine, on_effects=tally.add)
    finally:
        gc.unfreeze()
    pending = Counter(row.plan for row in machine.pending())
    results = [_result(plan, tally, pending[plan.id]) for plan in project.plans]
    return Backtest(results, sum(intake.read for intake in machine.intakes), tally.late, tally.bad, not_read)


def _assuming_delivery(project: Project) -> Project:
    """Every message arrives at once: what a provider would have said, no log tells."""

    def assume(plan: Plan) -> Plan:
        channel = replace(plan.step.channel, undelivered_after=None, confirms=False)
        return replace(plan, step=replace(plan.step, channel=channel))

    return replace(project, plans=tuple(assume(plan) for plan in project.plans))


def _result(plan: Plan, tally: _Tally, pending: int) -> Result:
    dispatched = tally.stages[plan.id, DELIVERED]
    cost = plan.step.channel.cost
    goals = []
    for goal in plan.goals:
        attained = [each for each in tally.attained if each[:2] == (plan.id, goal.name)]
        values = [value for key, value in tally.values.items() if key[:2] == (plan.id, goal.name)]
        by_held_out = sum(each[4] for each in attained)
        value = round(sum(sorted(values)), 4) if goal.value is not None else None
        goals.append(Goal(goal.name, goal.target, len(attained) - by_held_out, value, by_held_out))
    return Result(
        plan=plan.id,
        version=plan.version,
        triggered=tally.triggered[plan.id],
        dispatched=dispatched,
        losses={loss: tally.stages[plan.id, loss] for loss in LOSSES if tally.stages[plan.id, loss]},
        days=sorted((day, channel, count) for (of, day, channel), count in tally.days.items() if of == plan.id),
        cost=None if cost is None else round(cost * dispatched, 4),
        sent_to=sum(each[0] == plan.id for each in tally.sent),
        held_out=sum(each[0] == plan.id for each in tally.held_out),
        goals=goals,
        pending=pending,
    )
