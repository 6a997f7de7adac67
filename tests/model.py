"""The engine's rules, told plainly: the reference that the engine is compared with.

A pure function over complete logs. It shares no code with the engine but its contracts, keeps no state that a scan
of the history gives, and is as slow as it likes. It reads like `docs/semantics.md`; where the two differ, one is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from msgspec import UNSET

from flowops.core.admission import arm_of, trigger_id
from flowops.core.effects import Decision, GoalEvent, Pending, dispatch_id
from flowops.core.plan import (
    AbsenceTrigger,
    Attain,
    Attributes,
    Cancel,
    Cap,
    EventTrigger,
    Goal,
    Plan,
    Project,
    Quiet,
    Source,
    Start,
    Steps,
)
from flowops.core.records import ENDED, NO_WATERMARK, POSITION_BITS, LateRecord, Micros, Row, Values
from flowops.core.time import DAY, MINUTE, Zone, period
from flowops.errors import ContentError


class Partition(NamedTuple):
    """What has been read of a partition so far; `ended` when it was all that there is."""

    source: Source
    name: str
    rows: Sequence[Row | None]  # None: a bad record, which takes a position
    ended: bool = True


class Outcome(NamedTuple):
    """What a run should have said and left. Lists are by user, and in the order of S7 within a user."""

    decisions: list[Decision]
    goals: list[GoalEvent]
    late: list[LateRecord]
    pending: list[Pending]
    outside_audience: int


class Happening(NamedTuple):
    """A row at its place in the order of S7."""

    at: Micros
    sequence: int
    row: Row
    late: bool
    profile: bool
    source: Source


def expected(project: Project, partitions: Sequence[Partition], until: Micros | None = None) -> Outcome:
    """What follows from these logs (S5): a function of them alone."""
    happenings = sorted(h for index, one in enumerate(partitions) for h in places(index, one))
    records_before, timers_up_to = reached(partitions, until)
    whole = Outcome([], [], [late for one in partitions for late in late_records(one)], [], 0)
    for user_id in sorted({h.row.user_id for h in happenings}):
        user = User(project, user_id)
        user.live([h for h in happenings if h.row.user_id == user_id], records_before, timers_up_to)
        whole.decisions.extend(opening.decision for opening in user.decided)
        whole.goals.extend(user.goals)
        whole.pending.extend(user.pending_rows())
        whole = whole._replace(outside_audience=whole.outside_audience + user.outside_audience)
    return whole


# Time


def own_watermark(partition: Partition, position: int) -> Micros:
    """S6: a partition's watermark when the row at `position` is read: the highest time before it, less the bound."""
    before = [row.ts for row in partition.rows[:position] if row is not None]
    return max(before) - partition.source.out_of_orderness if before else NO_WATERMARK


def places(index: int, partition: Partition) -> Iterator[Happening]:
    """S7, S9: by time, then partition, then position; a late row has the place of its partition's watermark."""
    for position, row in enumerate(partition.rows):
        if row is None:
            continue
        watermark = own_watermark(partition, position)
        yield Happening(
            at=max(row.ts, watermark),
            sequence=(index << POSITION_BITS) | position,
            row=row,
            late=row.ts < watermark,
            profile=partition.source.kind == "profiles",
            source=partition.source,
        )


def late_records(partition: Partition) -> Iterator[LateRecord]:
    """S9: each late row is landed, with the watermark that it missed."""
    for position, row in enumerate(partition.rows):
        if row is not None and row.ts < (watermark := own_watermark(partition, position)):
            source, name = partition.source.name, partition.name
            identity = event_id(source, name, position, row)
            yield LateRecord(source, name, position, row.event, identity, row.user_id, row.ts, watermark)


def event_id(source: str, partition: str, position: int, row: Row) -> str:
    """S1: made from source, partition and position where the row has none."""
    return row.event_id if row.event_id is not None else f"{source}/{partition}:{position}"


def reached(partitions: Sequence[Partition], until: Micros | None) -> tuple[Micros, Micros]:
    """S6: (records before this instant are handled, timers up to this one fire)."""
    if all(one.ended for one in partitions):
        read = [row.ts for one in partitions for row in one.rows if row is not None]
        return ENDED, max([*read, *([until] if until is not None else [])], default=NO_WATERMARK)
    watermark = min(own_watermark(one, len(one.rows)) for one in partitions if not one.ended)
    return watermark, watermark


# One user


@dataclass(eq=False)
class Instance:
    """A trigger under way: it waits for what must not come, for its delay, or for the end of quiet."""

    plan: Plan
    key: str | None
    since: Micros
    event_id: str
    steps: Steps
    number: int  # in the order of their starts
    kind: str  # wait, delay, held
    due: Micros
    triggered_at: Micros
    attempt: int = 0


class Opening(NamedTuple):
    """A decision, with what goals are judged by."""

    decision: Decision
    plan: Plan
    steps: Steps


@dataclass
class User:
    """One user's history. Users do not touch each other."""

    project: Project
    user_id: str
    handled: list[Happening] = field(default_factory=list)
    started: list[Instance] = field(default_factory=list)
    under_way: list[Instance] = field(default_factory=list)
    decided: list[Opening] = field(default_factory=list)
    goals: list[GoalEvent] = field(default_factory=list)
    outside_audience: int = 0

    def live(self, happenings: list[Happening], records_before: Micros, timers_up_to: Micros) -> None:
        """S7: by time; at one instant timers first, then records."""
        coming = [h for h in happenings if h.at < records_before]
        while True:
            timer = min(self.under_way, key=attrgetter("due", "plan.index", "since", "number"), default=None)
            if timer and timer.due <= timers_up_to and (not coming or timer.due <= coming[0].at):
                self.fire(timer)
            elif coming:
                self.handle(coming.pop(0))
            else:
                return

    def handle(self, happening: Happening) -> None:
        """One record: of all plans the goals first, then plan by plan its cancels, then its start (S7, S17a)."""
        source, row = happening.source, happening.row
        repeated = any(h.at == happening.at and h.row == row for h in self.handled)  # S4
        self.handled.append(happening)
        if happening.profile or repeated:
            return
        route = source.routes.get(row.event, source.any_route)
        heard = route(row) if route else None
        if heard is None:
            return
        hits, values = heard
        listeners = [self.project.listeners[hit] for hit in hits]
        self.attain(happening, values, [one for one in listeners if isinstance(one, Attain)])
        for plan in self.project.plans:
            for listener in listeners:
                if isinstance(listener, Cancel) and listener.plan == plan.index:
                    self.cancel(happening, values, listener)
            for listener in listeners:
                if isinstance(listener, Start) and listener.plan == plan.index:
                    self.start(happening, values, listener)

    def profile(self) -> Attributes:
        """S2, S9: of each attribute what the latest update says, by the updates' own time; null deletes."""
        return tuple(self.attribute(name) for name in self.project.attributes)

    def attribute(self, name: str) -> Any:
        updates = [
            (h.row.ts, h.at, h.sequence, getattr(h.row, column.attribute))
            for h in self.handled
            if h.profile
            for column in h.source.columns
            if column.name == name and getattr(h.row, column.attribute) is not UNSET
        ]
        return max(updates, key=lambda update: update[:3])[3] if updates else None

    def zone(self, plan: Plan) -> Zone:
        """S10: the user's own zone if it is known and is one, else the plan's."""
        if self.project.zone_attribute is None:
            return plan.zone
        try:
            return Zone(self.profile()[self.project.zone_attribute])
        except (KeyError, ValueError, TypeError):
            return plan.zone

    # Triggers

    def start(self, happening: Happening, values: Values, listener: Start) -> None:
        """S12, S13: the event that begins a trigger."""
        row, plan = happening.row, self.project.plans[listener.plan]
        trigger, profile = plan.trigger, self.profile()
        if happening.late:  # S9: never retroactively
            return
        if not plan.starts_at <= row.ts < plan.ends_at:  # S20
            return
        if listener.where and not listener.where(values, (), profile, row.ts, None):
            return
        if not has_key(values, listener.key):  # S17a
            return
        key = key_of(values, listener.key)
        if any(i.plan is plan and i.event_id == row.event_id for i in self.started):  # S4
            return
        if plan.audience and not plan.audience(values, (), profile, row.ts, None):  # S22
            self.outside_audience += 1
            return
        waiting = [i for i in self.under_way if i.plan is plan and i.key == key and i.kind == "wait"]
        if isinstance(trigger, AbsenceTrigger) and trigger.repeat == "ignore" and waiting:
            return
        if isinstance(trigger, AbsenceTrigger) and trigger.repeat == "restart":
            self.under_way = [i for i in self.under_way if i not in waiting]
        assert row.event_id is not None
        instance = Instance(
            plan=plan,
            key=key,
            since=row.ts,
            event_id=row.event_id,
            steps=(tuple(values[i] for i in listener.capture),),
            number=len(self.started),
            kind="wait" if isinstance(trigger, AbsenceTrigger) else "delay",
            due=row.ts + (trigger.within if isinstance(trigger, AbsenceTrigger) else trigger.delay),
            triggered_at=row.ts + (trigger.within if isinstance(trigger, AbsenceTrigger) else 0),
        )
        self.started.append(instance)
        self.under_way.append(instance)
        if isinstance(trigger, EventTrigger) and trigger.delay == 0:
            self.fire(instance)

    def cancel(self, happening: Happening, values: Values, listener: Cancel) -> None:
        """S13: a B with tA <= tB < tA + W ends every instance that it matches; if it is late, what is pending (S9)."""
        row, plan = happening.row, self.project.plans[listener.plan]
        assert isinstance(plan.trigger, AbsenceTrigger)
        if not has_key(values, listener.key):
            return
        for i in list(self.under_way):
            if (
                i.plan is plan
                and i.kind != "held"  # its attempt is on record, and must end there (S22)
                and i.key == key_of(values, listener.key)
                and i.event_id != row.event_id  # S4: A itself, repeated
                and i.since <= row.ts < i.since + plan.trigger.within
                and (listener.where is None or listener.where(values, i.steps, self.profile(), row.ts, None))
            ):
                self.under_way.remove(i)

    def fire(self, instance: Instance) -> None:
        """S12, S13: the wait is over; what follows is the delay, or the decision."""
        if instance.kind == "wait" and instance.plan.trigger.delay > 0:
            instance.kind, instance.due = "delay", instance.due + instance.plan.trigger.delay
            return
        self.under_way.remove(instance)
        self.decide(instance, instance.due)

    # The decision

    def decide(self, instance: Instance, now: Micros) -> None:
        """One attempt: the list of `docs/semantics.md`, and what follows from its verdict."""
        plan, step = instance.plan, instance.plan.step
        stage, content = self.verdict(instance, now)
        arm, variant = arm_of(plan.experiment, self.user_id)
        considered = stage not in ("plan_ended", "not_in_audience", "reentry")  # S22: a channel was
        delivered = stage == "delivered"
        evidence = (instance.event_id,)
        decision = Decision(
            trigger_id=trigger_id(plan.id, self.user_id, instance.key, evidence),
            attempt=instance.attempt,
            plan=plan.id,
            version=plan.version,
            day=plan.zone.day(instance.triggered_at),
            user_id=self.user_id,
            key=instance.key,
            triggered_at=instance.triggered_at,
            evidence=evidence,
            arm=arm,
            variant=variant,
            step=step.name if considered else None,
            channel=step.channel.name if considered else None,
            stage=stage,
            detail=None,
            decided_at=now,
            expires_at=now + step.expires if delivered else None,
            cost=step.channel.cost if delivered else None,
            content=json.dumps(content) if delivered else None,
        )
        self.decided.append(Opening(decision, plan, instance.steps))
        if stage == "held":
            assert plan.quiet is not None
            until = quiet_until(plan.quiet, self.zone(plan), now)
            assert until is not None
            instance.kind, instance.due, instance.attempt = "held", until, instance.attempt + 1
            self.under_way.append(instance)

    def verdict(self, instance: Instance, now: Micros) -> tuple[str, dict[str, str] | None]:
        """The first check that fails, in the order of the list; `held`; or `delivered` with what was rendered."""
        plan, channel, profile = instance.plan, instance.plan.step.channel, self.profile()
        arm, variant = arm_of(plan.experiment, self.user_id)
        if not plan.starts_at <= now < plan.ends_at:  # S20
            return "plan_ended", None
        if plan.audience and not plan.audience((), instance.steps, profile, now, None):  # S22
            return "not_in_audience", None
        if not self.may_enter(plan, instance.key, now):
            return "reentry", None
        if channel.opt_in is not None and profile[channel.opt_in] is not True:  # S27
            return "no_consent", None
        if channel.opt_out is not None and profile[channel.opt_out] is True:
            return "no_consent", None
        if channel.address is not None and profile[channel.address] in (None, ""):
            return "no_address", None
        if plan.quiet and quiet_until(plan.quiet, self.zone(plan), now) is not None:  # S26
            return ("held" if plan.quiet.hold else "quiet_hours"), None
        if not all(self.allows(cap, plan, now) for cap in plan.caps):
            return "frequency_cap", None
        if arm == "holdout":  # S23
            return "holdout", None
        try:
            content = plan.step.content[variant](instance.steps, profile, now, variant)
        except ContentError:  # S33
            return "content_invalid", None
        return "delivered", content

    def may_enter(self, plan: Plan, key: str | None, now: Micros) -> bool:
        """S21: an entry is a trigger that passed the decision as far as `no_address`; a gap that is full passes."""
        entries = [
            opening.decision.decided_at
            for opening in self.decided
            if opening.plan is plan
            and opening.decision.key == key
            and opening.decision.stage in ("quiet_hours", "frequency_cap", "holdout", "content_invalid", "delivered")
        ]
        if plan.reentry.always:
            return True
        if plan.reentry.gap is None:
            return not entries
        return all(now - entry >= plan.reentry.gap for entry in entries)

    def allows(self, cap: Cap, plan: Plan, now: Micros) -> bool:
        """S24: fewer than `at_most` of the sends that it counts are in its window."""
        if cap.channel is not None and cap.channel != plan.step.channel.index:
            return True
        sends = [
            opening.decision.decided_at
            for opening in self.decided
            if opening.decision.stage == "delivered"
            and (cap.plans is None or opening.plan.index in cap.plans)
            and (cap.channel is None or opening.plan.step.channel.index == cap.channel)
        ]
        if cap.rolling is not None:
            sends = [sent for sent in sends if now - sent < cap.rolling]
        if cap.calendar is not None:
            zone = self.zone(plan)
            sends = [sent for sent in sends if period(zone, sent, cap.calendar) == period(zone, now, cap.calendar)]
        return len(sends) < cap.at_most

    # Goals

    def attain(self, happening: Happening, values: Values, listeners: list[Attain]) -> None:
        """S41, S42: the event counts for every open window; credit divides it among the deliveries behind them."""
        row = happening.row
        matches: list[tuple[Opening, Goal]] = []
        for listener in listeners:
            plan = self.project.plans[listener.plan]
            goal = plan.goals[listener.goal]
            for opening in self.decided:
                if (
                    opening.plan is plan
                    and is_open(opening, goal, happening)
                    and not self.counted(opening, goal, row)
                    and (opening, goal) not in matches
                    and (
                        listener.where is None
                        or listener.where(values, opening.steps, self.profile(), row.ts, opening.decision.variant)
                    )
                ):
                    matches.append((opening, goal))
        deliveries = [rank(opening) for opening, _ in matches if opening.decision.stage == "delivered"]
        for opening, goal in matches:
            self.goals.append(self.goal_event(opening, goal, row, values, deliveries))

    def counted(self, opening: Opening, goal: Goal, row: Row) -> bool:
        """S4: a repeated event adds its value once."""
        return any(
            one.trigger_id == opening.decision.trigger_id and one.goal == goal.name and one.event_id == row.event_id
            for one in self.goals
        )

    def goal_event(self, opening: Opening, goal: Goal, row: Row, values: Values, deliveries: list[Rank]) -> GoalEvent:
        """S42: `first` and `last` credit one delivery; one who was held out is measured as if delivered (S23)."""
        decision = opening.decision
        delivered = decision.stage == "delivered"
        rivals = [*deliveries, rank(opening)]
        credited = goal.credit == "every" or rank(opening) == (min if goal.credit == "first" else max)(rivals)
        value = goal.value(values, opening.steps, self.profile(), row.ts, decision.variant) if goal.value else None
        step, channel = opening.plan.step.name, opening.plan.step.channel.name
        assert row.event_id is not None
        return GoalEvent(
            plan=decision.plan,
            version=decision.version,
            day=decision.day,
            user_id=self.user_id,
            goal=goal.name,
            trigger_id=decision.trigger_id,
            dispatch_id=dispatch_id(decision.trigger_id, step, channel) if delivered else None,
            arm=decision.arm,
            variant=decision.variant,
            event_id=row.event_id,
            attained_at=row.ts,
            value=value,
            credited=credited,
        )

    def pending_rows(self) -> list[Pending]:
        """S6: what still waits is reported, never flushed."""
        return [Pending(i.plan.id, i.plan.version, self.user_id, i.kind, i.since, i.due) for i in self.under_way]


# Rules about no user in particular


def has_key(values: Values, key: Sequence[int]) -> bool:
    """S17a: an event without its key does not match."""
    return all(values[i] is not None for i in key)


def key_of(values: Values, key: Sequence[int]) -> str | None:
    """S17a: instances, and re-entry, are per value of the key."""
    parts = [str(values[i]) for i in key]
    if len(parts) > 1:
        return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return parts[0] if parts else None


Rank: TypeAlias = tuple[Micros, int, str]


def rank(opening: Opening) -> Rank:
    """S7: which delivery comes first: by time, then plan; the id is for what is still equal."""
    return opening.decision.decided_at, opening.plan.index, opening.decision.trigger_id


def is_open(opening: Opening, goal: Goal, happening: Happening) -> bool:
    """S41, S10: the window is [delivered, delivered + W); a late event also needs that it has not closed (S9)."""
    if opening.decision.stage not in ("delivered", "holdout"):  # S23: both arms' windows open
        return False
    opened = opening.decision.decided_at
    return opened <= happening.row.ts and happening.at < opened + goal.window


def quiet_until(quiet: Quiet, zone: Zone, now: Micros) -> Micros | None:
    """S26: the first instant from `now` on that is not quiet; None if that is `now`."""
    windows = [
        (zone.instant(day * DAY + quiet.start * MINUTE), zone.instant((day + runs_over) * DAY + quiet.end * MINUTE))
        for runs_over in [1 if quiet.end <= quiet.start else 0]
        for day in range(zone.day(now) - 2, zone.day(now) + 16)
        if (day + 3) % 7 in quiet.days  # 1970-01-01 was a Thursday
    ]

    def is_quiet(at: Micros) -> bool:
        return any(start <= at < end for start, end in windows) != quiet.outside

    if not is_quiet(now):
        return None
    return min(edge for window in windows for edge in window if edge > now and not is_quiet(edge))
