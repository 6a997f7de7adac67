"""The engine's rules, told plainly: the reference that the engine is compared with.

A pure function over complete logs. It shares no code with the engine but its contracts, keeps no state that a scan
of the history gives, and is as slow as it likes. It reads like `docs/semantics.md`; where the two differ, one is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from msgspec import UNSET

from flowops.core.admission import arm_of, trigger_id
from flowops.core.effects import Decision, GoalEvent, Pending, Receipt, StageChange, dispatch_id
from flowops.core.plan import (
    ANY_EVENT,
    AbsenceTrigger,
    AllTrigger,
    Attain,
    Attributes,
    Cancel,
    Cap,
    Channel,
    Count,
    Counter,
    CountTrigger,
    DateTrigger,
    Goal,
    InactivityTrigger,
    Lookback,
    Plan,
    Project,
    Quiet,
    ScheduleTrigger,
    See,
    SequenceStep,
    SequenceTrigger,
    Source,
    Start,
    Steps,
    Take,
    UntilCarried,
    UntilLocal,
)
from flowops.core.records import (
    BEFORE_ALL,
    ENDED,
    NO_WATERMARK,
    POSITION_BITS,
    LateRecord,
    Micros,
    Row,
    Values,
    shard_of,
)
from flowops.core.time import DAY, MINUTE, Zone, isoformat, period
from flowops.errors import ContentError

EVIDENCE = 1000
"""S15: so many events of a member are kept, the last ones. S14: so many of a sequence, and the last one."""

UNDER_WAY = 1000
"""S14: so many sequences of one user and key run in parallel."""


EPOCH = date(1970, 1, 1)


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
    stages: list[StageChange]
    receipts: list[Receipt]


class Happening(NamedTuple):
    """A row at its place in the order of S7."""

    at: Micros
    sequence: int
    row: Row
    late: bool
    source: Source
    partition: str

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def identity(self) -> str:
        return event_id(self.source.name, self.partition, self.sequence % (1 << POSITION_BITS), self.row)


def expected(project: Project, partitions: Sequence[Partition], until: Micros | None = None) -> Outcome:
    """What follows from these logs (S5): a function of them alone."""
    happenings = sorted(h for index, one in enumerate(partitions) for h in places(index, one))
    records_before, timers_up_to = reached(partitions, until)
    receipts = [h for h in happenings if h.kind == "receipts"]
    landed = [receipt_row(h) for h in receipts if h.at < records_before]
    whole = Outcome([], [], [late for one in partitions for late in late_records(one)], [], 0, [], landed)
    for user_id in sorted({h.row.user_id for h in happenings if h.row.user_id}):
        user = User(project, user_id, origin(partitions, timers_up_to), began(partitions))
        own = [h for h in happenings if h.row.user_id == user_id or h in receipts]  # whose a receipt is, its id says
        user.live(own, records_before, timers_up_to)
        whole.decisions.extend(opening.decision for opening in user.decided)
        whole.goals.extend(user.goals)
        whole.pending.extend(user.pending_rows())
        whole.stages.extend(change for opening in user.decided for change in opening.changes)
        whole = whole._replace(outside_audience=whole.outside_audience + user.outside_audience)
    return whole


# Time


def own_watermark(partition: Partition, position: int) -> Micros:
    """S6: a partition's watermark when the row at `position` is read: the highest time before it, less the bound."""
    before = [row.ts for row in partition.rows[:position] if row is not None]
    return max(before) - partition.source.out_of_orderness if before else NO_WATERMARK


def origin(partitions: Sequence[Partition], timers_up_to: Micros) -> Micros:
    """S18: time begins with the first record of the first partition to have one; without any, where it ends."""
    timed = [[row.ts for row in one.rows if row is not None and row.ts > BEFORE_ALL] for one in partitions]
    return min([times[0] for times in timed if times], default=timers_up_to if timers_up_to > BEFORE_ALL else ENDED)


def began(partitions: Sequence[Partition]) -> dict[int, Micros]:
    """S12a: by source, its first record that has a time: the first of one of its partitions."""
    firsts: dict[int, Micros] = {}
    for one in partitions:
        times = [row.ts for row in one.rows if row is not None and row.ts > BEFORE_ALL]
        if times:
            firsts[one.source.index] = min(times[0], firsts.get(one.source.index, times[0]))
    return firsts


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
            source=partition.source,
            partition=partition.name,
        )


def late_records(partition: Partition) -> Iterator[LateRecord]:
    """S9: each late row is landed, with the watermark that it missed."""
    for position, row in enumerate(partition.rows):
        if row is not None and row.ts < (watermark := own_watermark(partition, position)):
            source, name = partition.source.name, partition.name
            identity = event_id(source, name, position, row)
            yield LateRecord(source, name, position, row.event, identity, row.user_id or "", row.ts, watermark)


def receipt_row(happening: Happening) -> Receipt:
    """S40: each receipt is landed as it came."""
    row: Any = happening.row
    return Receipt(row.p0, row.event, row.ts, row.user_id or None, happening.identity, row.p1)


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


class Took(NamedTuple):
    """An event that a step of a sequence took."""

    ts: Micros
    step: int  # its place among the steps as they are written
    parts: frozenset[int]


@dataclass(eq=False)
class Instance:
    """A trigger under way: it waits for what must not come, for its delay, or for the end of quiet."""

    plan: Plan
    key: str | None
    since: Micros
    evidence: tuple[str, ...]
    steps: Steps
    number: int  # in the order in which they came to wait
    kind: str  # wait, delay, held; open: it ends, or goes on, and fires by no time
    due: Micros
    triggered_at: Micros
    attempt: int = 0
    took: list[Took] = field(default_factory=list)  # of a sequence


@dataclass(eq=False)
class Gathering:
    """S15: an `all` of which something has come."""

    since: Micros
    came: list[tuple[Micros, int, str, Values]] = field(default_factory=list)  # ts, member, event id, what is kept

    @property
    def front(self) -> Micros:
        return max(ts for ts, *_ in self.came)


@dataclass(eq=False)
class Opening:
    """A decision, with what goals are judged by; and what became of the message, if it is one."""

    decision: Decision
    plan: Plan
    steps: Steps
    stage: str
    opened: Micros | None = None  # from when on its goal windows are open
    first_opened: Micros | None = None  # which happens once, though a failure closes them
    arrived: bool = False  # a receipt proves it
    changes: list[StageChange] = field(default_factory=list)

    @property
    def channel(self) -> Channel:
        return self.plan.step.channel

    @property
    def is_message(self) -> bool:
        return self.decision.stage in ("sent", "delivered")

    @property
    def dispatch_id(self) -> str:
        return dispatch_id(self.decision.trigger_id, self.plan.step.name, self.channel.name)

    @property
    def undelivered_at(self) -> Micros:
        """S40: when it counts as undelivered, if nothing is heard of it; 0 where nothing is waited for."""
        if self.stage != "sent" or self.channel.undelivered_after is None:
            return 0
        return self.decision.decided_at + self.channel.undelivered_after

    def is_remembered(self, at: Micros) -> bool:
        """S40: for some days after its wait and the message have run out, and as long as a goal waits for it."""
        decided, expires = self.decision.decided_at, self.decision.expires_at
        assert expires is not None
        last = max(decided + (self.channel.undelivered_after or 0), expires) + self.channel.remembered
        windows = [goal.window for goal in self.plan.goals if goal.receipt]
        goals = [] if self.first_opened is None else [self.first_opened + window for window in windows]
        return self.channel.confirms and at < max([last, *goals])


class Counted(NamedTuple):
    """An event that counts (S16), and what of it does."""

    ts: Micros
    event_id: str
    value: Any  # None, the distinct value, or the amount, exactly


@dataclass
class Counting:
    """All that was counted for one counter and key, in the order of time; a late one before those of its instant."""

    counter: Counter
    events: list[Counted] = field(default_factory=list)
    looked: Micros = NO_WATERMARK  # up to when it is known whether it fell below
    armed: bool = True  # it has been below since it last fired

    def add(self, happening: Happening, value: Any) -> bool:
        """Count an event, unless it is known (S4), or lacks what counts."""
        ts, own_id = happening.row.ts, happening.row.event_id
        assert own_id is not None
        self.let_pass(happening.at)
        if (self.counter.kind != "times" and value is None) or any(one.event_id == own_id for one in self.events):
            return False
        if self.counter.kind == "sum":
            value = Decimal(str(value))
        place = len([one for one in self.events if one.ts < ts]) if happening.late else len(self.events)
        self.events.insert(place, Counted(ts, own_id, value))
        self.armed = self.armed or not self.holds(happening.at)
        return True

    def let_pass(self, now: Micros) -> None:
        """S16: between two events it falls below when one leaves the window, which it does as time reaches its end."""
        within = self.counter.within
        leaves = [one.ts + within for one in self.events if within is not None]
        for instant in sorted(instant for instant in leaves if self.looked < instant <= now):
            self.armed = self.armed or not self.holds(instant)
        self.looked = now

    def window(self, now: Micros) -> list[Counted]:
        """S10: those in `(now - W, now]`; of one distinct value the last."""
        within = self.counter.within
        inside = [one for one in self.events if within is None or one.ts > now - within]
        if self.counter.kind == "distinct":
            return [one for i, one in enumerate(inside) if one.value not in [later.value for later in inside[i + 1 :]]]
        return inside

    def answer(self, look: Lookback, now: Micros, since: Micros | None, *, by_timer: bool) -> bool | None:
        """S12a: whether it is so much; None where that is unknown, since the history does not reach back so far."""
        counter = self.counter
        begin = since if counter.begin is None else counter.begin
        if counter.within is not None:
            begin = now - counter.within if by_timer else now - counter.within + 1  # S10: `[t - W, t)`, `(t - W, t]`
        inside = [one for one in self.events if begin is None or begin <= one.ts]
        if counter.end is not None:
            inside = [one for one in inside if one.ts < counter.end]
        if counter.kind == "sum":
            have: Any = sum(one.value for one in inside)
        else:
            have = len({one.value for one in inside}) if counter.kind == "distinct" else len(inside)
        if look.high is not None and have > look.high:
            return False
        if since is None or begin is None or begin < since:  # unknown; but so much is so much
            return True if look.high is None and have >= look.low else None
        return bool(have >= look.low)

    def holds(self, now: Micros) -> bool:
        inside = self.window(now)
        if self.counter.kind == "sum":
            return sum(one.value for one in inside) >= self.counter.least
        return len(inside) >= self.counter.least

    def evidence(self, now: Micros) -> tuple[str, ...]:
        """As many of the latest as are wanted; of a sum all."""
        inside = [one.event_id for one in self.window(now)]
        return tuple(inside if self.counter.kind == "sum" else inside[-int(self.counter.least) :])


@dataclass
class User:
    """One user's history. Users do not touch each other."""

    project: Project
    user_id: str
    origin: Micros
    began: dict[int, Micros]  # by source: its first record
    handled: list[Happening] = field(default_factory=list)
    started: list[Instance] = field(default_factory=list)
    under_way: list[Instance] = field(default_factory=list)
    gathering: dict[tuple[int, str | None], Gathering] = field(default_factory=dict)  # by plan and key
    decided: list[Opening] = field(default_factory=list)
    goals: list[GoalEvent] = field(default_factory=list)
    withdrawn: list[tuple[Channel, Micros]] = field(default_factory=list)
    countings: dict[tuple[int, str | None], Counting] = field(default_factory=dict)
    occurred: dict[int, Micros] = field(default_factory=dict)  # by scheduled plan: its last occurrence
    came: dict[int, int] = field(default_factory=dict)  # by plan with a date: the day of the last that came
    outside_audience: int = 0
    waited: int = 0

    def live(self, happenings: list[Happening], records_before: Micros, timers_up_to: Micros) -> None:
        """S7: by time; at one instant timers first, then records."""
        coming = [h for h in happenings if h.at < records_before]
        while True:
            now = coming[0].at if coming else ENDED
            scheduled = min(self.occurrences(), default=(ENDED, 0))
            if scheduled[0] <= min(timers_up_to, now, *(one.due for one in self.timers())):
                self.by_timer = True
                self.occur(*scheduled)
                continue
            timer = min(self.timers(), key=attrgetter("due", "plan.index", "since", "number"), default=None)
            silent = min(
                (one for one in self.decided if one.undelivered_at), key=attrgetter("undelivered_at"), default=None
            )
            if silent and silent.undelivered_at <= min(timers_up_to, now, timer.due if timer else ENDED):
                self.change(silent, "undelivered", silent.undelivered_at, None)
            elif timer and timer.due <= min(timers_up_to, now):
                self.by_timer = True
                self.fire(timer)
            elif coming:
                self.by_timer = False
                self.handle(coming.pop(0))
            else:
                return

    # The calendar

    def occurrences(self) -> Iterator[tuple[Micros, int]]:
        """S18: when each schedule occurs next."""
        for plan in self.project.plans:
            if isinstance(plan.trigger, ScheduleTrigger) and self.origin < ENDED:
                at = plan.trigger.after(self.occurred.get(plan.index, self.origin - 1))
                if at is not None:
                    yield at, plan.index

    def occur(self, at: Micros, index: int) -> None:
        """S18: the audience is asked at that instant, before anything that is due then."""
        plan = self.project.plans[index]
        self.occurred[index] = at
        if plan.starts_at <= at < plan.ends_at and (self.is_inside(plan, at)):
            begun = self.instance(plan, None, at, (), plan.blank)
            begun.kind = "wait"
            self.under_way.append(begun)

    def timers(self) -> Iterator[Instance]:
        """What is due at some time: what is under way, and the dates of the profile."""
        yield from self.under_way
        if self.origin == ENDED:
            return
        now = max([self.origin - 1, *(h.at for h in self.handled)])
        for plan in self.project.plans:
            if isinstance(plan.trigger, DateTrigger):
                for day, at in self.dates(plan, plan.trigger):
                    if at > now and day > self.came.get(plan.index, NO_WATERMARK):
                        since = self.came.get(plan.index, NO_WATERMARK)
                        yield Instance(plan, None, since, (str(day),), plan.blank, 0, "date", at, at)
                        break

    def dates(self, plan: Plan, trigger: DateTrigger) -> Iterator[tuple[int, Micros]]:
        """S19: the days on which it comes, and when, by the profile and the user's zone as they are."""
        told = self.profile()[trigger.attribute]
        if told is None:
            return
        first = EPOCH + timedelta(days=told)
        for year in range(max(2, first.year), min(9999, 2030 if trigger.yearly else first.year + 1)):
            try:
                day = first.replace(year=year)
            except ValueError:  # 29 February
                day = first.replace(year=year, day=28)
            number = (day - EPOCH).days
            yield number, self.zone(plan).instant(number * DAY + trigger.offset + trigger.minute * MINUTE)

    def come(self, date: Instance) -> None:
        """S19: it begins at that instant, for a user of the audience; each day but once, whatever the zone becomes."""
        plan = date.plan
        self.came[plan.index] = int(date.evidence[0])
        if not plan.starts_at <= date.due < plan.ends_at:
            return
        if not self.is_inside(plan, date.due):
            self.outside_audience += 1
            return
        self.act(self.instance(plan, None, date.due, (), plan.blank), date.due)

    def handle(self, happening: Happening) -> None:
        """One record: of all plans the goals first, then plan by plan its cancels, then its start (S7, S17a)."""
        repeated = any(h.at == happening.at and h.row == happening.row for h in self.handled)  # S4
        before = self.profile()
        self.handled.append(happening)
        if happening.kind == "receipts":
            self.hear(happening)
        if happening.kind == "events" and repeated:
            return
        hits, values = self.changed(before, happening) if happening.kind != "events" else self.routed(happening)
        listeners = [self.project.listeners[hit] for hit in sorted(hits)]
        self.attain(happening, values, [one for one in listeners if isinstance(one, Attain)])
        reached = [one.plan for one in listeners if isinstance(one, Count) and self.count(happening, values, one)]
        for plan in self.project.plans:
            for listener in listeners:
                if isinstance(listener, Cancel) and listener.plan == plan.index:
                    self.cancel(happening, values, listener)
                if isinstance(listener, See) and listener.plan == plan.index:
                    self.see(happening, values, listener)
            starts = [one for one in listeners if isinstance(one, Start) and one.plan == plan.index]
            takes = [one for one in listeners if isinstance(one, Take) and one.plan == plan.index]
            if isinstance(plan.trigger, SequenceTrigger):
                if takes and not self.follow(happening, values, plan, plan.trigger, takes) and starts:
                    self.open(happening, values, plan, plan.trigger, starts)
            elif starts and isinstance(plan.trigger, AllTrigger):
                self.gather(happening, values, plan, plan.trigger, starts)
            elif starts and (plan.index in reached or not isinstance(plan.trigger, CountTrigger)):
                self.start(happening, values, plan, starts)

    def routed(self, happening: Happening) -> tuple[Sequence[int], Values]:
        """Who listens to an event."""
        source, row = happening.source, happening.row
        route = source.routes.get(row.event, source.any_route)
        return (route(row) if route else None) or ((), ())

    def changed(self, before: Attributes, happening: Happening) -> tuple[Sequence[int], Values]:
        """S19: who listens to what a record changed of the profile; one that holds from before all changes nothing."""
        return [
            change.listener
            for number, (old, new) in enumerate(zip(before, self.profile(), strict=True))
            for change in self.project.changes.get(number, ())
            if old != new and change.old in (None, old) and change.new in (None, new)
            if happening.row.ts > BEFORE_ALL
        ], ()

    def profile(self) -> Attributes:
        """S2, S9: of each attribute what the latest update says, by the updates' own time; null deletes."""
        return tuple(
            self.is_in(name.removeprefix("segment:")) if name.startswith("segment:") else self.attribute(name)[1]
            for name in self.project.attributes
        )

    def attribute(self, name: str) -> tuple[Micros, Any]:
        """When it was last told, and what."""
        updates = [
            (h.row.ts, h.at, h.sequence, getattr(h.row, column.attribute))
            for h in self.handled
            if h.kind == "profiles"
            for column in h.source.columns
            if column.name == name and getattr(h.row, column.attribute) is not UNSET
        ]
        last = max(updates, key=lambda update: update[:3], default=(NO_WATERMARK, 0, 0, None))
        return last[0], last[3]

    def is_in(self, segment: str) -> bool | None:
        """S2, S9: whether the user was last told to enter it or to leave it; None: it was never told."""
        if segment == "":  # S18: everyone of whom a profile or a segment was told
            return any(h.kind in ("profiles", "segments") for h in self.handled) or None
        told = [
            (h.row.ts, h.at, h.sequence, h.row.p0 != "leave")  # type: ignore[attr-defined]
            for h in self.handled
            if h.kind == "segments" and h.row.event == segment
        ]
        return max(told)[3] if told else None

    def zone(self, plan: Plan) -> Zone:
        """S10: the user's own zone if it is known and is one, else the plan's."""
        if self.project.zone_attribute is None:
            return plan.zone
        try:
            return Zone(self.profile()[self.project.zone_attribute])
        except (KeyError, ValueError, TypeError):
            return plan.zone

    # Triggers

    def is_inside(self, plan: Plan, now: Micros) -> bool:
        """S22: whether the user is in the plan's audience."""
        return plan.audience is None or plan.audience((), (), self.looked_back(plan, now), now, None)

    def looked_back(self, plan: Plan, now: Micros) -> Attributes:
        """S12a: the profile, and what the audience asks of the past; the history holds from where all sources do."""
        answers = []
        for look in plan.lookbacks:
            own = [self.project.sources[number].since or self.began.get(number) for number in look.sources]
            since = max(each for each in own if each is not None) if None not in own else None
            counter = self.project.counters[look.counter]
            assert counter is not None
            counting = self.countings.get((look.counter, None)) or Counting(counter)
            answers.append(counting.answer(look, now, since, by_timer=self.by_timer))
        return (*self.profile(), *answers)

    def count(self, happening: Happening, values: Values, listener: Count) -> bool:
        """S16: an event counts, a late one as of its own time; whether it reaches what is wanted, and may fire."""
        if not has_key(values, listener.key):
            return False
        if listener.where and not listener.where(values, (), self.profile(), happening.row.ts, None):
            return False
        counter = self.project.counters[listener.counter]
        assert counter is not None
        counting = self.countings.setdefault((listener.counter, key_of(values, listener.key)), Counting(counter))
        counted = counting.add(happening, None if listener.value is None else values[listener.value])
        return counted and (listener.always or counting.armed) and counting.holds(happening.at)

    def may_start(self, happening: Happening, plan: Plan) -> bool:
        """S9, S20, S22: on time, inside the plan's dates, by a user of the audience."""
        ts = happening.row.ts
        lead = plan.trigger.within if isinstance(plan.trigger, InactivityTrigger) else 0  # S17: its end falls into them
        if happening.late or not plan.starts_at <= ts + lead < plan.ends_at:
            return False
        if not self.is_inside(plan, ts):
            self.outside_audience += 1
            return False
        return True

    def met(self, happening: Happening, values: Values, starts: list[Start]) -> list[Start]:
        """Those whose conditions hold; none where the key is missing (S17a)."""
        if not has_key(values, starts[0].key):
            return []
        ts, profile = happening.row.ts, self.profile()
        return [one for one in starts if one.where is None or one.where(values, (), profile, ts, None)]

    def start(self, happening: Happening, values: Values, plan: Plan, starts: list[Start]) -> None:
        """S12, S13, S15: the event that begins a trigger."""
        row, trigger = happening.row, plan.trigger
        met = self.met(happening, values, starts)
        if not met or any(i.plan is plan and i.evidence[-1] == happening.identity for i in self.started):  # S4
            return
        if not self.may_start(happening, plan):
            return
        key = key_of(values, starts[0].key)
        waiting = [i for i in self.under_way if i.plan is plan and i.key == key and i.kind == "wait"]
        if isinstance(trigger, AbsenceTrigger) and trigger.repeat == "ignore" and waiting:
            return
        if isinstance(trigger, AbsenceTrigger) and trigger.repeat == "restart":
            self.under_way = [i for i in self.under_way if i not in waiting]
        steps = plan.blank
        for one in met:
            steps = kept(steps, one, values)
        evidence: tuple[str, ...] = (happening.identity,)
        if isinstance(trigger, CountTrigger):
            counting = self.countings[plan.index, key]
            counting.armed = False
            evidence = counting.evidence(row.ts)
        instance = self.instance(plan, key, row.ts, evidence, steps)
        if isinstance(trigger, AbsenceTrigger | InactivityTrigger):
            instance.kind, instance.due = "wait", row.ts + trigger.within
            self.wait(instance)
        else:
            self.act(instance, happening.at)

    def instance(self, plan: Plan, key: str | None, since: Micros, evidence: tuple[str, ...], steps: Steps) -> Instance:
        """A new one, which has fired at `since` unless someone says otherwise."""
        made = Instance(plan, key, since, evidence, steps, 0, "delay", since, since)
        self.started.append(made)
        return made

    def wait(self, instance: Instance) -> None:
        """It waits from now on; of several for one instant those that came to wait first go first."""
        self.waited += 1
        instance.number = self.waited
        self.under_way.append(instance)

    def gather(
        self, happening: Happening, values: Values, plan: Plan, trigger: AllTrigger, starts: list[Start]
    ) -> None:
        """S15: each member, in any order, inside a window that looks back from the latest; then it begins anew."""
        row = happening.row
        met = self.met(happening, values, starts)
        place = plan.index, key_of(values, starts[0].key)
        gathering = self.gathering.get(place)
        if gathering and gathering.front + trigger.within <= happening.at:
            gathering = None
        if not met or (gathering and row.ts < gathering.since):
            return
        if gathering is None:
            if not self.may_start(happening, plan):
                return
            gathering = self.gathering[place] = Gathering(row.ts)
        for one in met:
            member = [came for came in gathering.came if came[1] == one.part]
            if all(came[2] != row.event_id for came in member):  # S4
                (values_kept,) = kept(((),), one, values, only=True)
                gathering.came.append((row.ts, one.part, happening.identity, values_kept))
                if len(member) == EVIDENCE:
                    gathering.came.remove(member[0])
        front = gathering.front
        inside = [came for came in gathering.came if front - trigger.within < came[0] <= front]
        members = [[came for came in inside if came[1] == number] for number in range(trigger.members)]
        if all(members):
            del self.gathering[place]
            oldest = [min(member, key=lambda came: came[0]) for member in members]
            evidence = tuple(dict.fromkeys(came[2] for came in sorted(oldest, key=lambda came: came[0])))
            instance = self.instance(plan, place[1], gathering.since, evidence, tuple(came[3] for came in oldest))
            instance.triggered_at = front
            self.act(instance, happening.at)

    # Sequences

    def follow(
        self, happening: Happening, values: Values, plan: Plan, trigger: SequenceTrigger, takes: list[Take]
    ) -> bool:
        """S14, S17a: an event carries on or ends what is under way; whether it was used so that it begins nothing."""
        ts, used = happening.row.ts, False
        own = [one for one in takes if one.part != ANY_EVENT]
        for run in [one for one in self.under_way if one.plan is plan and one.kind != "held"]:
            if happening.identity in run.evidence or (run.kind == "delay" and not happening.late):
                continue
            met = [
                one
                for one in own
                if has_key(values, one.key)
                and key_of(values, one.key) == run.key
                and (one.where is None or one.where(values, run.steps, self.profile(), ts, None))
            ]
            parts = frozenset(one.part for one in met)
            here, step = run.took[-1].step, self.step_for(run, trigger, parts, ts)
            if step is not None and (step > here or not is_barred(run, trigger, parts, ts)):
                self.take(happening, values, run, trigger, step, met)
                used = used or step == 0 or trigger.repeat != "parallel"
            elif is_barred(run, trigger, parts, ts) or (len(own) < len(takes) and is_broken(run, trigger, ts)):
                self.under_way.remove(run)
        return used

    def step_for(self, run: Instance, trigger: SequenceTrigger, parts: frozenset[int], ts: Micros) -> int | None:
        """S14: of the steps that may take the event, the latest."""
        last = run.took[-1]
        if ts < last.ts or ts >= run.since + trigger.within or (run.kind == "delay" and not trigger.unfinished):
            return None
        here = last.step
        possible = [step for step in following(trigger, here) if is_done(run, trigger, here)]
        possible = [
            step
            for step in possible
            if is_in_time(trigger.steps[step], last.ts, ts)
            and all(
                ts >= last.ts + between.within
                for between in trigger.steps[here:step]
                if between.kind == "without" and between.within is not None
            )
        ]
        before = [took.ts for took in run.took if took.step < here]
        restarts = trigger.repeat == "restart" and here == 0 and is_done(run, trigger, 0)
        if not restarts and (not before or is_in_time(trigger.steps[here], before[-1], ts)):
            possible.append(here)
        fits = [step for step in possible if parts & still_wanted(run, trigger, step)]
        return max(fits, default=None)

    def take(
        self,
        happening: Happening,
        values: Values,
        run: Instance,
        trigger: SequenceTrigger,
        step: int,
        met: Sequence[Take | Start],
    ) -> None:
        """The step takes the event; then it is complete, or waits for what may not come, or for the next step."""
        taken = [one for one in met if one.part in still_wanted(run, trigger, step)]
        run.took.append(Took(happening.row.ts, step, frozenset(one.part for one in taken)))
        run.evidence = (*run.evidence[: EVIDENCE - 1], happening.identity)
        for one in taken:
            times = len([took for took in run.took if one.part in took.parts])
            own = len([took for took in run.took if took.step == step])
            for (place, kept_of), nth in zip(one.capture, one.nth, strict=True):
                if nth in (0, times, -own):
                    new = tuple(values[i] for i in kept_of)
                    run.steps = (*run.steps[:place], new, *run.steps[place + 1 :])
        if run.kind != "delay":
            self.look_ahead(run, trigger, happening.at)
        elif all_came(run, trigger):  # it fired as unfinished, and is not after all
            self.under_way.remove(run)

    def look_ahead(self, run: Instance, trigger: SequenceTrigger, now: Micros) -> None:
        last = run.took[-1]
        end = run.since + trigger.within
        if all_came(run, trigger) and trigger.steps[-1].kind == "without":
            run.kind, run.due = "wait", last.ts + last_wait(trigger)
        elif all_came(run, trigger):
            self.under_way.remove(run)
            run.kind, run.triggered_at = "delay", last.ts
            if not trigger.unfinished:
                self.act(run, now)
        else:
            if is_done(run, trigger, last.step):
                next_one = trigger.steps[following(trigger, last.step)[-1]]
                limit = ENDED if next_one.within is None else last.ts + next_one.within
            else:
                own, before = trigger.steps[last.step].within, [one.ts for one in run.took if one.step < last.step]
                limit = ENDED if own is None or not before else before[-1] + own
            run.due = min(end, limit)
            run.kind = "wait" if trigger.unfinished and run.due == end else "open"

    def open(
        self, happening: Happening, values: Values, plan: Plan, trigger: SequenceTrigger, starts: list[Start]
    ) -> None:
        """S14: an event that nothing under way has used may begin one."""
        met = self.met(happening, values, starts)
        if not met or not self.may_start(happening, plan):
            return
        key = key_of(values, starts[0].key)
        others = [one for one in self.under_way if one.plan is plan and one.key == key and one.kind != "held"]
        if any(happening.identity == one.evidence[0] for one in others):  # S4
            return
        running = [one for one in others if one.kind != "delay"]
        if (trigger.repeat == "ignore" and running) or len(running) >= UNDER_WAY:
            return
        if trigger.repeat == "restart":
            if any(not is_done(one, trigger, 0) for one in running):
                return
            self.under_way = [one for one in self.under_way if one not in running]
        run = self.instance(plan, key, happening.row.ts, (), plan.blank)
        run.kind = "open"
        self.wait(run)
        self.take(happening, values, run, trigger, 0, met)

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
                and row.event_id not in i.evidence  # S4: A itself, repeated
                and i.since <= row.ts < i.since + plan.trigger.within
                and (listener.where is None or listener.where(values, i.steps, self.profile(), row.ts, None))
            ):
                self.under_way.remove(i)

    def see(self, happening: Happening, values: Values, listener: See) -> None:
        """S17: the wait since the event before is over; a late event moves it, if time has not passed its end (S9)."""
        row, plan = happening.row, self.project.plans[listener.plan]
        assert isinstance(plan.trigger, InactivityTrigger)
        if not has_key(values, listener.key):
            return
        if listener.where and not listener.where(values, (), self.profile(), row.ts, None):
            return
        within, key = plan.trigger.within, key_of(values, listener.key)
        for i in [one for one in self.under_way if one.plan is plan and one.key == key and one.kind != "held"]:
            if not happening.late and i.kind == "wait":
                self.under_way.remove(i)
            if happening.late and i.since < row.ts < i.since + within:
                self.under_way.remove(i)
                due = row.ts + within
                if due > happening.at and plan.starts_at <= due < plan.ends_at:
                    assert row.event_id is not None
                    steps = kept(plan.blank, listener, values)
                    moved = Instance(plan, key, row.ts, (row.event_id,), steps, i.number, "wait", due, due)
                    self.under_way.append(moved)

    def fire(self, instance: Instance) -> None:
        """S13, S14: the wait is over, and the trigger fires, or a sequence ends; or it is decided after all."""
        if instance.kind == "date":
            self.come(instance)
            return
        self.under_way.remove(instance)
        if instance.kind == "open":
            return
        if instance.kind == "wait":
            instance.kind, instance.triggered_at = "delay", instance.due
            self.act(instance, instance.due)
        else:
            self.decide(instance, instance.due)

    def act(self, instance: Instance, now: Micros) -> None:
        """S12: what has fired is decided at once, or after its delay; or never, if that ended before."""
        due = self.acts_at(instance)
        if due is not None and due > now:
            instance.due = due
            self.wait(instance)
        elif due is not None:
            self.decide(instance, now)

    def acts_at(self, instance: Instance) -> Micros | None:
        """S12: so much later; at the next such local time; or when the event says, if that is still to come."""
        fired, delay, zone = instance.triggered_at, instance.plan.trigger.delay, self.zone(instance.plan)
        if isinstance(delay, UntilLocal):
            days = [day for day in range(zone.day(fired) - 2, zone.day(fired) + 16) if (day + 3) % 7 in delay.days]
            return min(at for day in days if (at := zone.instant(day * DAY + delay.minute * MINUTE)) > fired)
        if isinstance(delay, UntilCarried):
            told = delay.time((), instance.steps, self.profile(), fired, None)
            at = None if told is None else (zone.instant(told * DAY) if delay.whole_day else told) + delay.offset
            return at if at is not None and at > fired else None
        return fired + delay

    # The decision

    def decide(self, instance: Instance, now: Micros) -> None:
        """One attempt: the list of `docs/semantics.md`, and what follows from its verdict."""
        plan, step = instance.plan, instance.plan.step
        stage, content = self.verdict(instance, now)
        passed = stage
        if stage == "delivered" and step.channel.undelivered_after is not None:  # S40: its receipts are awaited
            stage = "sent"
        arm, variant = arm_of(plan.experiment, self.user_id)
        considered = stage not in ("plan_ended", "not_in_audience", "reentry")  # S22: a channel was
        delivered = passed == "delivered"
        evidence = instance.evidence
        decision = Decision(
            trigger_id=trigger_id(plan.id, self.user_id, instance.key, evidence or (isoformat(instance.triggered_at),)),
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
        opening = Opening(decision, plan, instance.steps, stage)
        self.decided.append(opening)
        if stage in ("delivered", "holdout"):  # S23, S41
            opening.opened = opening.first_opened = now
        if stage == "held":
            assert plan.quiet is not None
            until = quiet_until(plan.quiet, self.zone(plan), now)
            assert until is not None
            instance.kind, instance.due, instance.attempt = "held", until, instance.attempt + 1
            self.wait(instance)

    def verdict(self, instance: Instance, now: Micros) -> tuple[str, dict[str, str] | None]:
        """The first check that fails, in the order of the list; `held`; or `delivered` with what was rendered."""
        plan, channel, profile = instance.plan, instance.plan.step.channel, self.profile()
        arm, variant = arm_of(plan.experiment, self.user_id)
        if not plan.starts_at <= now < plan.ends_at:  # S20
            return "plan_ended", None
        if not self.is_inside(plan, now):  # S22
            return "not_in_audience", None
        if not self.may_enter(plan, instance.key, now):
            return "reentry", None
        if channel.opt_in is not None and profile[channel.opt_in] is not True:  # S27
            return "no_consent", None
        if channel.opt_out is not None and profile[channel.opt_out] is True:
            return "no_consent", None
        if self.has_withdrawn(channel):
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
            and opening.decision.stage
            in ("quiet_hours", "frequency_cap", "holdout", "content_invalid", "sent", "delivered")
        ]
        if plan.reentry.always:
            return True
        if plan.reentry.gap is None:
            return not entries
        return all(now - entry >= plan.reentry.gap for entry in entries)

    def allows(self, cap: Cap, plan: Plan, now: Micros) -> bool:
        """S24: fewer than `at_most` of the sends that it counts are in its window; what failed is given back."""
        if cap.channel is not None and cap.channel != plan.step.channel.index:
            return True
        sends = [
            opening.decision.decided_at
            for opening in self.decided
            if opening.is_message
            and opening.stage not in ("send_failed", "expired")
            and (cap.plans is None or opening.plan.index in cap.plans)
            and (cap.channel is None or opening.plan.step.channel.index == cap.channel)
        ]
        if cap.rolling is not None:
            sends = [sent for sent in sends if now - sent < cap.rolling]
        if cap.calendar is not None:
            zone = self.zone(plan)
            sends = [sent for sent in sends if period(zone, sent, cap.calendar) == period(zone, now, cap.calendar)]
        return len(sends) < cap.at_most

    # Receipts

    def hear(self, happening: Happening) -> None:
        """S40, S27: what a receipt says of the message that its id names, and of the user's consent."""
        row: Any = happening.row
        named, says = row.p0, row.event
        opening = next(
            (o for o in self.decided if o.is_message and o.dispatch_id == named and o.is_remembered(happening.at)),
            None,
        )
        if says in ("unsubscribed", "complained"):
            speaks_of = row.user_id if row.user_id and f"{shard_of(row.user_id):02x}" == named[:2] else None
            if speaks_of == self.user_id or (speaks_of is None and opening is not None):
                self.withdrawn += [
                    (plan.step.channel, row.ts)
                    for plan in self.project.plans
                    if named[24:] == f"-{plan.step.name}-{plan.step.channel.name}"
                ]
        if opening is None:  # of no message that is known: landed, and without effect
            return
        when = max(row.ts, opening.decision.decided_at)
        if says in ("delivered", "displayed", "clicked"):
            if not opening.arrived and opening.stage != "delivered":
                self.change(opening, "delivered", when, row.p1)
            opening.arrived = True
            if opening.first_opened is None:
                opening.opened = opening.first_opened = when
            self.attain_by_receipt(happening, opening, when, says)
        elif says in ("failed", "expired") and not opening.arrived and opening.stage not in ("send_failed", "expired"):
            self.change(opening, "send_failed" if says == "failed" else "expired", when, row.p1)
            opening.opened = None

    def change(self, opening: Opening, stage: str, at: Micros, detail: str | None) -> None:
        """S22: an attempt's stage is the last that was told of it."""
        opening.stage = stage
        trigger, step, channel = opening.decision.trigger_id, opening.plan.step.name, opening.channel.name
        opening.changes.append(StageChange(trigger, step, channel, len(opening.changes) + 1, stage, at, detail))

    def has_withdrawn(self, channel: Channel) -> bool:
        """S27: by a receipt, unless a later update of the profile gives consent anew."""
        times = [ts for of, ts in self.withdrawn if of is channel]
        if not times:
            return False
        for number, consenting in ((channel.opt_in, True), (channel.opt_out, False)):
            if number is not None:
                told_at, value = self.attribute(self.project.attributes[number])
                return not (told_at > max(times) and value is consenting)
        return True

    def attain_by_receipt(self, happening: Happening, opening: Opening, when: Micros, says: str) -> None:
        """S41: a receipt of the message attains its goals, also those of the receipts that it implies; each once."""
        implied = ("delivered", "displayed", "clicked")
        implied = implied[: implied.index(says) + 1]
        for goal in opening.plan.goals:
            if (
                goal.receipt in implied
                and opening.opened is not None
                and opening.opened <= when
                and happening.at < opening.opened + goal.window
                and not any(
                    one.trigger_id == opening.decision.trigger_id and one.goal == goal.name for one in self.goals
                )
            ):
                decision = opening.decision
                self.goals.append(
                    GoalEvent(
                        plan=decision.plan,
                        version=decision.version,
                        day=decision.day,
                        user_id=self.user_id,
                        goal=goal.name,
                        trigger_id=decision.trigger_id,
                        dispatch_id=opening.dispatch_id,
                        arm=decision.arm,
                        variant=decision.variant,
                        event_id=happening.identity,
                        attained_at=when,
                        value=None,
                        credited=True,
                    )
                )

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
        deliveries = [rank(opening) for opening, _ in matches if opening.is_message]
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
        delivered = opening.is_message
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
        """S6: what still waits is reported, never flushed; also what was sent and of which nothing is heard yet."""
        waiting = [i for i in self.under_way if i.kind != "open"]
        return [Pending(i.plan.id, i.plan.version, self.user_id, i.kind, i.since, i.due) for i in waiting] + [
            Pending(one.plan.id, one.plan.version, self.user_id, "sent", one.decision.decided_at, at)
            for one in self.decided
            if (at := one.undelivered_at)
        ]


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


def kept(steps: Steps, listener: Start | Take | See, values: Values, *, only: bool = False) -> Steps:
    """The steps with what is kept of an event under its names; `only`: nothing but that."""
    new = {step: tuple(values[i] for i in places) for step, places in listener.capture}
    return tuple(new.values()) if only else tuple(new.get(number, step) for number, step in enumerate(steps))


def following(trigger: SequenceTrigger, here: int) -> list[int]:
    """S14: the steps that may come after one that is done: as far as to the next that may not be left out."""
    found: list[int] = []
    for step, each in enumerate(trigger.steps):
        if step > here and each.kind != "without":
            found.append(step)
            if each.least > 0:
                break
    return found


def times_of(run: Instance, step: int) -> int:
    return len([took for took in run.took if took.step == step])


def filled(run: Instance, step: int) -> frozenset[int]:
    return frozenset().union(*(took.parts for took in run.took if took.step == step))


def is_done(run: Instance, trigger: SequenceTrigger, step: int) -> bool:
    each = trigger.steps[step]
    if each.kind == "all":
        return filled(run, step) == frozenset(each.parts)
    return times_of(run, step) >= each.least


def still_wanted(run: Instance, trigger: SequenceTrigger, step: int) -> frozenset[int]:
    """S14: a step that is full takes no more; of `all` each member once."""
    each = trigger.steps[step]
    if each.kind == "all":
        return frozenset(each.parts) - filled(run, step)
    full = each.most is not None and times_of(run, step) >= each.most
    return frozenset() if full else frozenset(each.parts)


def is_in_time(step: SequenceStep, before: Micros, ts: Micros) -> bool:
    """S14: a step's own `within` counts from the last event of the step before."""
    return step.within is None or ts < before + step.within


def is_last(trigger: SequenceTrigger, here: int) -> bool:
    """Whether nothing more is needed after this step."""
    return all(trigger.steps[step].least == 0 for step in following(trigger, here))


def all_came(run: Instance, trigger: SequenceTrigger) -> bool:
    here = run.took[-1].step
    return is_done(run, trigger, here) and is_last(trigger, here)


def last_wait(trigger: SequenceTrigger) -> Micros:
    """S14: how long nothing of the `without` at the end may come."""
    events = [step for step, each in enumerate(trigger.steps) if each.kind != "without"]
    return max([each.within for each in trigger.steps[events[-1] :] if each.kind == "without" and each.within] or [0])


def is_barred(run: Instance, trigger: SequenceTrigger, parts: frozenset[int], ts: Micros) -> bool:
    """S14, S9: a `without` holds from when a step is done until one beyond it comes; of a late event: held then."""
    for here in sorted({took.step for took in run.took}):
        came = [took.ts for took in run.took if took.step == here]
        left = [took.ts for took in run.took if took.step > here] or [ENDED]
        steps = enumerate(trigger.steps)
        done = next(
            (took.ts for n, took in enumerate(run.took) if took.step == here and done_by(run, trigger, here, n)), ENDED
        )
        beyond = following(trigger, here)
        bars = [each for step, each in steps if each.kind == "without" and step > here]
        if not is_last(trigger, here):
            bars = [each for each in trigger.steps[here : beyond[-1]] if each.kind == "without"]
        elif trigger.steps[-1].kind == "without":
            left.append(came[-1] + last_wait(trigger))
        for bar in bars:
            if parts & frozenset(bar.parts) and done <= ts < min(left) and is_in_time(bar, came[-1], ts):
                return True
    return False


def done_by(run: Instance, trigger: SequenceTrigger, step: int, number: int) -> bool:
    """Whether the step was done once so many events had been taken."""
    so_far = Instance(run.plan, None, 0, (), (), 0, "", 0, 0, took=run.took[: number + 1])
    return is_done(so_far, trigger, step)


def is_broken(run: Instance, trigger: SequenceTrigger, ts: Micros) -> bool:
    """S14: `strict`: between the events of the sequence no other comes."""
    return run.since <= ts and (ts < run.took[-1].ts or not all_came(run, trigger))


def event_id_of(row: Row) -> str:
    assert row.event_id is not None
    return row.event_id


Rank: TypeAlias = tuple[Micros, int, str]


def rank(opening: Opening) -> Rank:
    """S7: which delivery comes first: by time, then plan; the id is for what is still equal."""
    assert opening.opened is not None
    return opening.opened, opening.plan.index, opening.decision.trigger_id


def is_open(opening: Opening, goal: Goal, happening: Happening) -> bool:
    """S41, S10: the window is [delivered, delivered + W); a late event also needs that it has not closed (S9)."""
    opened = opening.opened
    return opened is not None and opened <= happening.row.ts and happening.at < opened + goal.window


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
