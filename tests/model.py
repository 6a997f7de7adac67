"""The engine's rules, told plainly: the reference that the engine is compared with.

A pure function over complete logs. It shares no code with the engine but its contracts, keeps no state that a scan
of the history gives, and is as slow as it likes. It reads like `docs/semantics.md`; where the two differ, one is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from msgspec import UNSET
from msgspec.structs import replace

from flowops.core.admission import arm_of, trigger_id
from flowops.core.effects import Decision, GoalEvent, Link, Pending, Receipt, StageChange, dispatch_id
from flowops.core.plan import (
    ANY_EVENT,
    END,
    AbsenceTrigger,
    AllTrigger,
    Attain,
    Attributes,
    Branch,
    Cancel,
    Cap,
    Channel,
    Count,
    Counter,
    CountTrigger,
    DateTrigger,
    Exit,
    Goal,
    InactivityTrigger,
    Layering,
    Listener,
    Lookback,
    Pause,
    Plan,
    Project,
    Quiet,
    Resume,
    ScheduleTrigger,
    See,
    Sends,
    SequenceStep,
    SequenceTrigger,
    Source,
    Start,
    Step,
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
"""S13, S14, S17a: so much of one plan, user and key is under way."""


EPOCH = date(1970, 1, 1)
EPOCH_TIME = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock's

ENTRIES = ("quiet_hours", "harassment_window", "frequency_cap", "holdout", "content_invalid", "sent", "delivered")
"""S21: what a decision comes to that has passed as far as `no_address`."""

CONSIDERING = ("held", "fallback", "journey")
"""Kinds of what has come to a decision, and is the trigger's no more."""


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
    links: list[Link]
    compared: list[GoalEvent]


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
    landed = [receipt_row(h) for h in happenings if h.kind == "receipts" and h.at < records_before]
    people = People(project, origin(partitions, timers_up_to), began(partitions))
    people.live(happenings, records_before, timers_up_to)
    users = [people.users[user_id] for user_id in sorted(people.users)]
    return Outcome(
        [opening.decision for user in users for opening in user.decided],
        [goal for user in users for goal in user.goals],
        [late for one in partitions for late in late_records(one)],
        [row for user in users for row in user.pending_rows()],
        sum(user.outside_audience for user in users),
        [change for user in users for opening in user.decided for change in opening.changes],
        landed,
        people.landed,
        [goal for user in users for goal in user.compared],
    )


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


def clock(plan: Plan, at: Micros) -> str | None:
    """S18a: where a day has several tasks, each is told apart by the local time of its occurrence."""
    local = EPOCH_TIME + timedelta(microseconds=plan.zone.local(at))
    return f"{local:%H:%M}" if plan.several_a_day else None


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


# Everybody


@dataclass
class People:
    """All users, one beside the other: they do not touch each other, but for links, by which two become one."""

    project: Project
    origin: Micros
    began: dict[int, Micros]  # by source: its first record
    users: dict[str, User] = field(default_factory=dict)
    links: list[tuple[str, str, Micros]] = field(default_factory=list)  # identity, user, time: those that hold
    landed: list[Link] = field(default_factory=list)
    heard: list[tuple[Happening, str]] = field(default_factory=list)  # with whose they were

    def live(self, happenings: list[Happening], records_before: Micros, timers_up_to: Micros) -> None:
        """S7: by time; at one instant timers first, then records."""
        coming = [h for h in happenings if h.at < records_before]
        for user_id in {name for h in coming for name in names_of(h)}:
            self.users[user_id] = User(self, user_id)
        due = {user_id: user.due() for user_id, user in self.users.items()}
        while True:
            now = coming[0].at if coming else ENDED
            first = min(due, key=lambda user_id: (due[user_id], user_id), default="")
            if first and due[first] <= min(timers_up_to, now):
                self.users[first].act_when_due()
                due[first] = self.users[first].due()
            elif coming:
                concerned = self.handle(coming.pop(0))
                due = {user_id: due[user_id] for user_id in self.users if user_id not in concerned}
                due |= {user_id: self.users[user_id].due() for user_id in concerned}
            else:
                return

    def handle(self, happening: Happening) -> list[str]:
        """S2a: a record is the user's whom its id leads to at its place in the order; a receipt may be anybody's.

        Whom it concerns.
        """
        if happening.kind == "identities":
            self.link(happening)
        elif happening.kind == "receipts":
            for user in self.users.values():
                user.handle(happening)
        else:
            whose = self.user_of(happening.row.user_id)
            here = [(h, one) for h, one in self.heard if h.at == happening.at]
            repeated = any(is_repeat(h, happening, besides_user=one == whose) for h, one in here)  # S4
            self.heard.append((happening, whose))
            self.users[whose].handle(happening, repeated=repeated)
            return [whose]
        return list(self.users)

    def user_of(self, name: str) -> str:
        """S2a: whom an id leads to in the end: of its links the newest counts, of those of one time the last."""
        own = [(ts, place, user) for place, (identity, user, ts) in enumerate(self.links) if identity == name]
        return self.user_of(max(own)[2]) if own else name

    def link(self, happening: Happening) -> None:
        """S2a: from its place on the identity's records are the user's; what was a user of its own is so no more."""
        identity, user_id, ts = happening.row.event, happening.row.user_id, happening.row.ts
        own = [link for link in self.links if link[0] == identity]
        newest = max((link[2] for link in own), default=NO_WATERMARK)
        before = max(enumerate(own), key=lambda each: (each[1][2], each[0]))[1][1] if own else None
        if ts < newest:
            return
        if before != user_id and self.leads_past(user_id, identity):  # in a circle: refused
            return
        self.links.append((identity, user_id, ts))
        if before == user_id:
            return
        self.landed.append(Link(identity, user_id, ts if ts > BEFORE_ALL else None))
        user = self.users[self.user_of(user_id)]
        user.handled.append(happening)
        user.by_timer, user.now = False, happening.at
        if before is None:
            user.join(self.users.pop(identity), happening.at)

    def leads_past(self, name: str, identity: str) -> bool:
        while name != identity:
            own = [(ts, place, user) for place, (one, user, ts) in enumerate(self.links) if one == name]
            if not own:
                return False
            name = max(own)[2]
        return True


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
    kind: str  # wait, delay, held, journey, fallback; open: it ends, or goes on, and fires by no time
    due: Micros
    triggered_at: Micros
    attempt: int = 0
    took: list[Took] = field(default_factory=list)  # of a sequence
    node: int = 0  # of a journey: where it waits
    since_when: Micros = 0  # of a journey: when the step before fell due
    came_to: list[str] = field(default_factory=list)  # of a journey: its steps so far
    timed_out: bool = False  # of a journey: its last wait for an event
    message: int = 0  # of what is held, or falls back
    expires_at: Micros | None = None  # of what falls back
    of: str | None = None  # S32: who the user was when it began, if that has become another
    tried: bool = False  # of a journey: whether it made an attempt
    drawn_for: str | None = None  # S23: of a journey, whose arm it has

    @property
    def is_journey(self) -> bool:
        return self.kind == "journey"


@dataclass(eq=False)
class Gathering:
    """S15: an `all` of which something has come."""

    since: Micros
    came: list[tuple[Micros, int, str, Values]] = field(default_factory=list)  # ts, member, event id, what is kept
    of: str | None = None  # as of an instance

    @property
    def front(self) -> Micros:
        return max(ts for ts, *_ in self.came)


@dataclass(eq=False)
class Opening:
    """A decision, with what goals are judged by; and what became of the message, if it is one."""

    decision: Decision
    plan: Plan
    message: int
    steps: Steps
    stage: str
    opened: Micros | None = None  # from when on its goal windows are open
    first_opened: Micros | None = None  # which happens once, though a failure closes them
    compares: bool = False  # its arm was drawn, and is compared from then on
    arrived: bool = False  # a receipt proves it
    changes: list[StageChange] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)

    @property
    def step(self) -> Step:
        return self.plan.messages[self.message]

    @property
    def channel(self) -> Channel:
        return self.step.channel

    @property
    def step_sent(self) -> tuple[str, str]:
        """S24: what counts once however many channels it uses."""
        return self.decision.trigger_id, self.step.name

    @property
    def is_message(self) -> bool:
        return self.decision.stage in ("sent", "delivered")

    @property
    def dispatch_id(self) -> str:
        return dispatch_id(self.decision.trigger_id, self.step.name, self.channel.name)

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

    def join(self, other: Counting, now: Micros) -> None:
        """S2a: in the order of time, each event once; it may fire where both could, or it has fallen below by now."""
        self.let_pass(now)
        other.let_pass(now)
        known = [one.event_id for one in self.events]
        self.events += [one for one in other.events if one.event_id not in known]
        self.events.sort(key=lambda one: one.ts)
        self.armed = (self.armed and other.armed) or not self.holds(now)

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
        if look.within is not None:
            begin = now - look.within if by_timer else now - look.within + 1  # S10: `[t - W, t)`, `(t - W, t]`
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
    """One user's history."""

    people: People
    user_id: str
    handled: list[Happening] = field(default_factory=list)
    started: list[Instance] = field(default_factory=list)
    under_way: list[Instance] = field(default_factory=list)
    gathering: dict[tuple[int, str | None], Gathering] = field(default_factory=dict)  # by plan and key
    decided: list[Opening] = field(default_factory=list)
    goals: list[GoalEvent] = field(default_factory=list)
    compared: list[GoalEvent] = field(default_factory=list)
    withdrawn: list[tuple[Channel, Micros]] = field(default_factory=list)
    labelled: list[tuple[Micros, Happening, str]] = field(default_factory=list)  # ts, by what, segment
    countings: dict[tuple[int, str | None], Counting] = field(default_factory=dict)
    occurred: dict[int, Micros] = field(default_factory=dict)  # by scheduled plan: its last occurrence
    came: dict[int, int] = field(default_factory=dict)  # by plan with a date: the day of the last that came
    outside_audience: int = 0
    waited: int = 0
    now: Micros = NO_WATERMARK  # of whatever has its turn: a record, at its place in the order, or a timer
    by_timer: bool = False

    @property
    def project(self) -> Project:
        return self.people.project

    @property
    def origin(self) -> Micros:
        return self.people.origin

    def due(self) -> Micros:
        """When something is due next."""
        scheduled = min(self.occurrences(), default=(ENDED, 0))[0]
        silent = [one.undelivered_at for one in self.decided if one.undelivered_at]
        return min([scheduled, *silent, *(one.due for one in self.timers())])

    def act_when_due(self) -> None:
        """S7: schedules first, then what was sent and not heard of, then the rest."""
        scheduled = min(self.occurrences(), default=(ENDED, 0))
        silent = [one for one in self.decided if one.undelivered_at == self.due()]
        self.by_timer, self.now = True, self.due()
        if scheduled[0] == self.now:
            self.occur(*scheduled)
        elif silent:
            self.change(silent[0], "undelivered", silent[0].undelivered_at, None)
        else:
            self.fire(min(self.timers(), key=attrgetter("due", "plan.index", "since", "is_journey", "number")))

    def join(self, other: User, now: Micros) -> None:
        """S2a: two users are one. As far as what is remembered allows, all was told of this one."""
        own = self.handled
        self.handled = other.handled + own  # of two updates of one time this one's counts
        self.started = other.started + self.started
        self.decided = other.decided + self.decided
        self.goals = other.goals + self.goals
        self.compared = other.compared + self.compared
        self.withdrawn += other.withdrawn
        self.labelled = other.labelled + self.labelled
        self.outside_audience += other.outside_audience
        for index, day in other.came.items():
            self.came[index] = max(day, self.came.get(index, day))
        for counted, theirs in other.countings.items():
            self.countings.setdefault(counted, Counting(theirs.counter)).join(theirs, now)
        for place, gathered in other.gathering.items():
            self.join_gathering(place, gathered, other.user_id, now)
        for i in sorted(other.under_way, key=attrgetter("number")):
            i.of = i.of or other.user_id
            self.join_instance(i)

    def join_instance(self, theirs: Instance) -> None:
        """S2a, by `repeat`: of what is under way the first, the last, or all; of what waits out its delay each once."""
        trigger, like = (
            theirs.plan.trigger,
            [i for i in self.under_way if i.plan is theirs.plan and i.key == theirs.key],
        )
        if theirs.kind == "delay":
            for i in like:
                if i.kind == "delay" and (i.evidence, i.triggered_at) == (theirs.evidence, theirs.triggered_at):
                    return
        repeat = "restart" if isinstance(trigger, InactivityTrigger) else getattr(trigger, "repeat", "parallel")
        running = [i for i in like if i.kind in ("wait", "open")]
        if theirs.kind in ("wait", "open") and repeat != "parallel" and running:
            (mine,) = running
            if not (theirs.since > mine.since if repeat == "restart" else theirs.since < mine.since):
                return
            self.under_way.remove(mine)
        self.wait(theirs)

    def join_gathering(self, place: tuple[int, str | None], theirs: Gathering, of: str, now: Micros) -> None:
        """S2a, S15: what came to either has come."""
        trigger = self.project.plans[place[0]].trigger
        assert isinstance(trigger, AllTrigger)
        mine = self.gathering.get(place)
        if theirs.front + trigger.within <= now:
            return
        if mine is None or mine.front + trigger.within <= now:
            theirs.of = theirs.of or of
            self.gathering[place] = theirs
            return
        known = [came[1:3] for came in mine.came]
        came = sorted(mine.came + [one for one in theirs.came if one[1:3] not in known], key=lambda one: one[0])
        mine.since = min(mine.since, theirs.since)
        mine.came = [
            one for i, one in enumerate(came) if len([later for later in came[i:] if later[1] == one[1]]) <= EVIDENCE
        ]

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

    def handle(self, happening: Happening, *, repeated: bool = False) -> None:
        """One record: of all plans the goals first, then plan by plan its cancels, then its start (S7, S17a)."""
        self.by_timer, self.now = False, happening.at
        before, attained = self.profile(), len(self.goals)
        self.handled.append(happening)
        if happening.kind == "receipts":
            self.hear(happening)
            self.label(happening, self.goals[attained:])
        if happening.kind == "events" and repeated:
            return
        hits, values = self.changed(before, happening) if happening.kind != "events" else self.routed(happening)
        listeners = [self.project.listeners[hit] for hit in sorted(hits)]
        self.attain(happening, values, [one for one in listeners if isinstance(one, Attain)])
        self.label(happening, self.goals[attained:])
        self.respond(happening, listeners, values)

    def respond(self, happening: Happening, listeners: list[Listener], values: Values) -> None:
        """S17a: of all plans what it ends first, then plan by plan what it carries on and what it starts."""
        reached = [one.plan for one in listeners if isinstance(one, Count) and self.count(happening, values, one)]
        for plan in self.project.plans:
            for listener in listeners:
                if isinstance(listener, Cancel) and listener.plan == plan.index:
                    self.cancel(happening, values, listener)
                if isinstance(listener, See) and listener.plan == plan.index:
                    self.see(happening, values, listener)
            self.exit(happening, values, [one for one in listeners if isinstance(one, Exit) and one.plan == plan.index])
        for plan in self.project.plans:
            starts = [one for one in listeners if isinstance(one, Start) and one.plan == plan.index]
            takes = [one for one in listeners if type(one) is Take and one.plan == plan.index]
            self.resume(happening, values, [one for one in listeners if type(one) is Resume and one.plan == plan.index])
            if isinstance(plan.trigger, SequenceTrigger):
                if takes and not self.follow(happening, values, plan, plan.trigger, takes) and starts:
                    self.open(happening, values, plan, plan.trigger, starts)
            elif starts and isinstance(plan.trigger, AllTrigger):
                self.gather(happening, values, plan, plan.trigger, starts)
            elif starts and (plan.index in reached or not isinstance(plan.trigger, CountTrigger)):
                self.start(happening, values, plan, starts)

    def label(self, happening: Happening, attained: list[GoalEvent]) -> None:
        """S43: who attains is in the label's segment from then on, before the event does anything else."""
        labels = {
            self.project.attributes[number].removeprefix("segment:")
            for one in attained
            for plan in self.project.plans
            for goal in plan.goals
            if (plan.id, goal.name) == (one.plan, one.goal)
            for number, _ in goal.label
        }
        if not labels:
            return
        at, ts = happening.at, attained[0].attained_at
        before = self.profile()
        self.labelled += [(ts, happening, name) for name in labels]
        row = replace(happening.row, event_id=happening.identity, ts=ts)  # type: ignore[type-var]
        entering = happening._replace(row=row, late=ts < at)
        hits, _ = self.changed(before, entering)
        self.respond(entering, [self.project.listeners[hit] for hit in sorted(hits)], ())

    def exit(self, happening: Happening, values: Values, exits: list[Exit]) -> None:
        """S29: ends what is under way, at once; of what has fired that is the loss, of what has not nothing is told."""
        row = happening.row
        for gathered in [place for place in self.gathering if any(one.plan == place[0] for one in exits)]:
            gathering, plan = self.gathering[gathered], self.project.plans[gathered[0]]
            assert isinstance(plan.trigger, AllTrigger)
            if (
                gathering.since <= row.ts
                and gathering.front + plan.trigger.within > happening.at
                and any(self.leaves(happening, values, one, gathered[1], plan.blank) for one in exits)
            ):
                del self.gathering[gathered]
        for i in sorted(self.under_way, key=attrgetter("plan.index", "since", "is_journey", "number")):
            if (
                i.since <= row.ts
                and happening.identity not in i.evidence  # S4
                and any(
                    one.plan == i.plan.index and self.leaves(happening, values, one, i.key, i.steps) for one in exits
                )
            ):
                self.under_way.remove(i)
                if i.kind not in ("wait", "open"):
                    self.decide(i, happening.at, exited=True)

    def leaves(self, happening: Happening, values: Values, exit_: Exit, key: str | None, steps: Steps) -> bool:
        """S17a: the key binds exits, too."""
        if not has_key(values, exit_.key) or (exit_.key and key_of(values, exit_.key) != key):
            return False
        return exit_.where is None or exit_.where(values, steps, self.profile(), happening.row.ts, None)

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
        layers = {each.attribute: self.layer(each) for each in self.project.layerings}
        return tuple(
            layers[number]
            if number in layers
            else self.is_in(name.removeprefix("segment:"))
            if name.startswith("segment:")
            else self.attribute(name)[1]
            for number, name in enumerate(self.project.attributes)
        )

    def layer(self, layering: Layering) -> str | None:
        """S12b: of the layers, in order, the first of which all is so; unknown, where one before it may be so."""
        for name, asked in layering.layers:
            answers = [self.did(look) for look in asked]
            if False not in answers:
                return None if None in answers else name
        return None

    def did(self, look: Lookback) -> bool | None:
        """S12a: whether the user did so much, the record at hand included, by what has been handled so far."""
        counter = self.project.counters[look.counter]
        assert counter is not None
        listeners = {
            number: one
            for number, one in enumerate(self.project.listeners)
            if isinstance(one, Count) and one.counter == look.counter
        }
        counted: dict[str, tuple[Micros, Any]] = {}
        for happening in self.handled:
            hits, values = self.routed(happening) if happening.kind == "events" else ((), ())
            for number in set(hits) & set(listeners):
                place = listeners[number].value
                value = None if place is None else values[place]
                if happening.identity not in counted and (value is not None or counter.kind == "times"):
                    counted[happening.identity] = happening.row.ts, value
        since = self.history(look)
        begin = since
        if look.within is not None:
            begin = self.now - look.within if self.by_timer else self.now - look.within + 1  # S10
        inside = [value for ts, value in counted.values() if begin is None or ts >= begin]
        have = sum(Decimal(str(value)) for value in inside) if counter.kind == "sum" else len(inside)
        if look.high is not None and have > look.high:
            return False
        if since is None or begin is None or begin < since:
            return True if look.high is None and have >= look.low else None
        return bool(have >= look.low)

    def history(self, look: Lookback) -> Micros | None:
        """S12a: from when on that of an event holds: from where all sources that may give it do."""
        own = [self.project.sources[number].since or self.people.began.get(number) for number in look.sources]
        return max(each for each in own if each is not None) if None not in own else None

    def attribute(self, name: str) -> tuple[Micros, Any]:
        """When it was last told, and what."""
        updates = [
            (h.row.ts, place, getattr(h.row, column.attribute))
            for place, h in enumerate(self.handled)
            if h.kind == "profiles"
            for column in h.source.columns
            if column.name == name and getattr(h.row, column.attribute) is not UNSET
        ]
        last = max(updates, key=lambda update: update[:2], default=(NO_WATERMARK, 0, None))
        return last[0], last[2]

    def is_in(self, segment: str) -> bool | None:
        """S2, S9: whether the user was last told to enter it or to leave it; None: it was never told."""
        if segment == "":  # S18: everyone of whom a profile or a segment was told
            return any(h.kind in ("profiles", "segments") for h in self.handled) or bool(self.labelled) or None
        told = [
            (h.row.ts, place, h.row.p0 != "leave")  # type: ignore[attr-defined]
            for place, h in enumerate(self.handled)
            if h.kind == "segments" and h.row.event == segment
        ]
        told += [(ts, self.handled.index(by) + 0.5, True) for ts, by, label in self.labelled if label == segment]
        return max(told)[2] if told else None

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
            counter = self.project.counters[look.counter]
            assert counter is not None
            counting = self.countings.get((look.counter, None)) or Counting(counter)
            answers.append(counting.answer(look, now, self.history(look), by_timer=self.by_timer))
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
        if isinstance(trigger, AbsenceTrigger) and trigger.repeat == "parallel" and len(waiting) >= UNDER_WAY:
            return
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
            instance.of = gathering.of
            instance.triggered_at = front
            self.act(instance, happening.at)

    # Sequences

    def follow(
        self, happening: Happening, values: Values, plan: Plan, trigger: SequenceTrigger, takes: list[Take]
    ) -> bool:
        """S14, S17a: an event carries on or ends what is under way; whether it was used so that it begins nothing."""
        ts, used = happening.row.ts, False
        own = [one for one in takes if one.part != ANY_EVENT]
        for run in [one for one in self.under_way if one.plan is plan and one.kind not in CONSIDERING]:
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
        others = [one for one in self.under_way if one.plan is plan and one.key == key]
        if any(happening.identity == one.evidence[0] for one in others):  # S4
            return
        others = [one for one in others if one.kind not in CONSIDERING]
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
                and i.kind not in CONSIDERING  # its attempt is on record, and must end there (S22)
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
        for i in [one for one in self.under_way if one.plan is plan and one.key == key and one.kind not in CONSIDERING]:
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
        trigger = self.trigger_of(instance)
        own = [i for i in self.under_way if i.plan is instance.plan and i.kind not in ("wait", "open")]
        if any(i.kind in ("delay", "held") and self.trigger_of(i) == trigger for i in own):  # S4
            return
        if len({self.trigger_of(i) for i in own if i.key == instance.key}) >= UNDER_WAY:
            return
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

    def decide(self, instance: Instance, now: Micros, *, exited: bool = False) -> None:
        """What has come to its turn: a trigger, or something of a journey; or what an exit has ended (S29)."""
        if instance.plan.journey is not None and not exited:
            turns = {"journey": self.go_on, "held": self.release, "fallback": self.fall_back}
            turns.get(instance.kind, self.set_out)(instance, now)
        elif instance.plan.journey is not None and instance.kind != "held":
            if not instance.came_to and instance.kind != "fallback":
                self.lose(instance, now, exited=True)
            elif instance.is_journey:
                self.end(instance, now)
        elif self.attempt(instance, instance.message, now, exited=exited) == "held":
            self.hold(instance, 0, now)

    def hold(self, instance: Instance, message: int, now: Micros) -> None:
        """S26: to the end of quiet."""
        plan = instance.plan
        until = self.held_until(plan, plan.messages[message].channel, now)
        assert until is not None
        held = changed(instance, kind="held", due=until, attempt=instance.attempt + 1, message=message)
        self.wait(held)

    def trigger_of(self, instance: Instance) -> str:
        evidence = instance.evidence or (isoformat(instance.triggered_at),)
        return trigger_id(instance.plan.id, instance.of or self.user_id, instance.key, evidence)

    def arm_of(self, instance: Instance) -> tuple[str | None, str | None]:
        """S23, S2a: the user's; of a journey, whose it was when it set out."""
        return arm_of(instance.plan.experiment, instance.drawn_for or self.user_id)

    def attempt(
        self,
        instance: Instance,
        message: int,
        now: Micros,
        expires_at: Micros | None = None,
        *,
        exited: bool = False,
        elsewhere: bool = False,
    ) -> str:
        """One attempt: the list of `docs/semantics.md`, and what follows from its verdict."""
        plan, step = instance.plan, instance.plan.messages[message]
        stage, content = self.verdict(instance, step, now, exited=exited, elsewhere=elsewhere)
        passed = stage
        if stage == "delivered" and step.channel.undelivered_after is not None:  # S40: its receipts are awaited
            stage = "sent"
        considered = stage not in ("plan_ended", "not_in_audience", "exited", "reentry")  # S22: a channel was
        if plan.journey is not None and instance.kind in ("held", "fallback"):
            considered = True
        decision = self.row(instance, step, stage, now, content if passed == "delivered" else None, expires_at)
        if considered:
            decision = decision._replace(channel=step.channel.name)
        if considered or plan.journey is not None:
            decision = decision._replace(step=step.name)
        opening = Opening(decision, plan, message, instance.steps, stage)
        again = stage == "holdout" and any(
            one.opened and one.decision.trigger_id == decision.trigger_id for one in self.decided
        )
        self.decided.append(opening)
        if stage in ("delivered", "holdout") and not again:  # S23, S41
            opening.opened = opening.first_opened = now
        if stage in ("delivered", "sent", "content_invalid") and plan.compares:  # S23
            own = [one for one in self.decided if one.decision.trigger_id == decision.trigger_id]
            opening.compares = not any(one.compares for one in own)
        return passed

    def row(
        self,
        instance: Instance,
        step: Step,
        stage: str,
        now: Micros,
        content: dict[str, str] | None = None,
        expires_at: Micros | None = None,
    ) -> Decision:
        """What is landed of a decision; of no step and no channel, as long as none is named."""
        plan, delivered = instance.plan, content is not None
        arm, variant = self.arm_of(instance)
        return Decision(
            trigger_id=self.trigger_of(instance),
            attempt=instance.attempt,
            plan=plan.id,
            version=plan.version,
            day=plan.zone.day(instance.triggered_at),
            clock=clock(plan, instance.triggered_at),
            user_id=self.user_id,
            key=instance.key,
            triggered_at=instance.triggered_at,
            evidence=instance.evidence,
            arm=arm,
            variant=variant,
            layer=None if self.project.figures is None else self.profile()[self.project.figures],
            step=None,
            channel=None,
            stage=stage,
            detail=None,
            decided_at=now,
            expires_at=(expires_at or now + step.expires) if delivered else None,
            cost=step.channel.cost if delivered else None,
            content=json.dumps(content) if delivered else None,
        )

    def verdict(
        self, instance: Instance, step: Step, now: Micros, *, exited: bool, elsewhere: bool
    ) -> tuple[str, dict[str, str] | None]:
        """The first check that fails, in the order of the list; `held`; or `delivered` with what was rendered."""
        plan, channel, profile = instance.plan, step.channel, self.profile()
        arm, variant = self.arm_of(instance)
        if not plan.starts_at <= now < plan.ends_at:  # S20
            return "plan_ended", None
        if not self.is_inside(plan, now):  # S22
            return "not_in_audience", None
        if exited:  # S29
            return "exited", None
        if not self.may_enter(plan, instance, now):
            return "reentry", None
        if elsewhere:  # S30
            return "not_in_audience", None
        if channel.opt_in is not None and profile[channel.opt_in] is not True:  # S27
            return "no_consent", None
        if channel.opt_out is not None and profile[channel.opt_out] is True:
            return "no_consent", None
        if self.has_withdrawn(channel):
            return "no_consent", None
        if channel.address is not None and profile[channel.address] in (None, ""):
            return "no_address", None
        if not plan.transactional:  # S24
            dropping = [quiet for quiet in (plan.quiet, channel.quiet) if quiet and not quiet.hold]
            if any(quiet_until([quiet], self.zone(plan), now) is not None for quiet in dropping):  # S26
                return "quiet_hours", None
            until = self.held_until(plan, channel, now)
            if until is not None:
                return ("quiet_hours" if until == ENDED else "held"), None
            if plan.skip_if_reached and self.was_reached(plan, plan.skip_if_reached, now):
                return "harassment_window", None
            if not all(self.allows(cap, instance, step, now) for cap in plan.caps):
                return "frequency_cap", None
        if arm == "holdout":  # S23
            return "holdout", None
        try:
            content = step.content[variant](instance.steps, profile, now, variant)
        except ContentError:  # S33
            return "content_invalid", None
        return "delivered", content

    # Journeys

    def set_out(self, instance: Instance, now: Micros) -> None:
        """S30: a trigger begins its journey, at the first node of the plan's table."""
        self.walk(changed(instance, kind="journey", node=0, came_to=[], drawn_for=self.user_id), now, now)

    def go_on(self, journey: Instance, now: Micros) -> None:
        """S30: a wait is over by itself, or what was held is decided; the step falls due now."""
        assert journey.plan.journey is not None
        node = journey.plan.journey.nodes[journey.node]
        if isinstance(node, Pause):
            journey = changed(journey, node=node.next, timed_out=node.until_event or journey.timed_out)
        self.walk(journey, now, now)

    def resume(self, happening: Happening, values: Values, resumes: list[Resume]) -> None:
        """S30, S9: the event for which a journey waits, in time by its own time; the step falls due in its place."""
        for journey in [one for one in self.under_way if one.is_journey]:
            assert journey.plan.journey is not None
            node, ts = journey.plan.journey.nodes[journey.node], happening.row.ts
            met = any(
                one.plan == journey.plan.index
                and one.part == journey.node
                and has_key(values, one.key)
                and (not one.key or key_of(values, one.key) == journey.key)
                and (one.where is None or one.where(values, journey.steps, self.profile(), ts, None))
                for one in resumes
            )
            if met and isinstance(node, Pause):
                assert isinstance(node.delay, int)
                if journey.since_when <= ts < journey.since_when + node.delay:
                    self.under_way.remove(journey)
                    self.walk(changed(journey, node=node.next, timed_out=False), happening.at, happening.at)

    def walk(self, journey: Instance, due: Micros, now: Micros) -> None:
        """S30: one node after the other, until one must wait. `due`: when the step before fell due."""
        plan = journey.plan
        assert plan.journey is not None
        while journey.node != END:
            trigger = self.trigger_of(journey)
            if not plan.starts_at <= now < plan.ends_at:  # S29: at once
                if not journey.came_to:
                    self.lose(journey, now)
                else:
                    self.end(journey, now)
                return
            if self.touches(journey) >= (plan.journey.touches or ENDED):  # S29: at once
                return
            node = plan.journey.nodes[journey.node]
            holds = [one.due for one in self.under_way if one.kind == "held" and self.trigger_of(one) == trigger]
            if isinstance(node, Pause):
                until = self.pause_ends(plan, node, due)
                self.wait(changed(journey, since_when=due, due=min(until, plan.ends_at), attempt=0))
                return
            if holds:  # no step before the one before has been decided
                self.wait(changed(journey, due=min(max(holds), plan.ends_at), attempt=0))
                return
            if isinstance(node, Branch):
                values, steps = self.facts(journey)
                _, variant = self.arm_of(journey)
                met = node.when(values, steps, self.profile(), now, variant)
                journey = changed(journey, node=node.then if met else node.otherwise)
                continue
            journey = changed(journey, came_to=[*journey.came_to, node.name])
            decided = len(self.decided)
            if self.send(journey, node, list(node.messages), now):
                return
            journey = changed(journey, node=node.next, tried=journey.tried or len(self.decided) > decided)
        self.end(journey, now)

    def touches(self, journey: Instance) -> int:
        """S29: the steps of a journey that have sent something, whatever became of it."""
        trigger = self.trigger_of(journey)
        return len({o.decision.step for o in self.decided if o.is_message and o.decision.trigger_id == trigger})

    def pause_ends(self, plan: Plan, node: Pause, due: Micros) -> Micros:
        """S30: so long after the step before fell due; or the next such local time after that."""
        if isinstance(node.delay, int):
            return due + node.delay
        zone = self.zone(plan)
        days = [day for day in range(zone.day(due) - 2, zone.day(due) + 16) if (day + 3) % 7 in node.delay.days]
        return min(at for day in days if (at := zone.instant(day * DAY + node.delay.minute * MINUTE)) > due)

    def facts(self, journey: Instance) -> tuple[Values, Steps]:
        """S30: what is known now of each step's messages, of those of the step before, and of the journey."""
        assert journey.plan.journey is not None
        own = [one for one in self.decided if one.is_message and one.decision.trigger_id == self.trigger_of(journey)]

        def known(name: str | None) -> Values:
            of = [one for one in own if one.step.name == name]
            heard = {says for one in of for says in one.heard}
            displayed = bool(heard & {"displayed", "clicked"})
            return bool(of), any(one.stage == "delivered" for one in of), displayed, "clicked" in heard

        before = journey.came_to[-1] if journey.came_to else None
        attained = any(one.trigger_id == self.trigger_of(journey) for one in self.goals)
        steps = tuple(known(node.name) for node in journey.plan.journey.nodes if isinstance(node, Sends))
        return (*known(before), attained, journey.timed_out), (*journey.steps, *steps)

    def send(
        self, instance: Instance, node: Sends, messages: list[int], now: Micros, expires_at: Micros | None = None
    ) -> bool:
        """S30: on each of these channels, or on the first that may be sent; whether that ends the journey."""
        plan = instance.plan
        _, variant = self.arm_of(instance)
        for place, message in enumerate(messages):
            step = plan.messages[message]
            elsewhere = bool(step.where) and not step.where((), instance.steps, self.profile(), now, variant)
            if elsewhere and not instance.attempt:  # S22: what was held is an attempt
                continue
            stage = self.attempt(instance, message, now, expires_at, elsewhere=elsewhere)
            if stage in ("plan_ended", "reentry", "holdout"):
                return True
            if stage == "held":
                self.hold(instance, message, now)
            instance = changed(instance, attempt=0)
            if stage == "not_in_audience" and not self.is_inside(plan, now):
                break
            if not node.each and stage in ("held", "delivered"):
                if stage == "delivered" and step.channel.confirms and place + 1 < len(messages):
                    self.await_receipt(instance, node, message, now, expires_at or now + step.expires)
                break
        return False

    def await_receipt(self, instance: Instance, node: Sends, message: int, now: Micros, expires_at: Micros) -> None:
        """S30: the next channel's turn comes if this one fails, or if nothing is heard in time."""
        silent = instance.plan.messages[message].channel.undelivered_after
        after = expires_at - now
        if silent is not None:
            after = min(after, silent if node.fallback_after is None else node.fallback_after)
        self.wait(changed(instance, kind="fallback", due=now + after, message=message, expires_at=expires_at))

    def release(self, held: Instance, now: Micros) -> None:
        """S26: what was held is decided again; of a step on the first channel that may be sent the next ones, too."""
        assert held.plan.journey is not None
        node = held.plan.journey.step_of[held.message]
        rest = list(node.messages[node.messages.index(held.message) :])
        self.end_if(held, self.send(held, node, rest[:1] if node.each else rest, now))

    def fall_back(self, waiting: Instance, now: Micros) -> None:
        """S30: the next channel, as long as the step has not expired."""
        assert waiting.plan.journey is not None
        assert waiting.expires_at is not None
        if now < waiting.expires_at:
            node = waiting.plan.journey.step_of[waiting.message]
            rest = list(node.messages[node.messages.index(waiting.message) + 1 :])
            self.end_if(waiting, self.send(waiting, node, rest, now, waiting.expires_at))

    def end_if(self, instance: Instance, over: bool) -> None:
        """What ends a journey ends it wherever it is."""
        if over:
            trigger = self.trigger_of(instance)
            own = [one for one in self.under_way if one.is_journey and self.trigger_of(one) == trigger]
            self.under_way = [one for one in self.under_way if one not in own]

    def lose(self, journey: Instance, now: Micros, *, exited: bool = False) -> None:
        """S20, S29: a trigger of which nothing was decided before the plan ended, or the journey."""
        self.attempt(journey, 0, now, exited=exited)
        last = self.decided[-1]
        last.decision = last.decision._replace(step=None)

    def end(self, journey: Instance, now: Micros) -> None:
        """S30: of a journey that is over without an attempt its trigger is told."""
        if not journey.tried:
            row = self.row(journey, journey.plan.step, "left_out", now)
            self.decided.append(Opening(row, journey.plan, 0, journey.steps, row.stage))

    def learn(self, opening: Opening, now: Micros, *, arrived: bool) -> None:
        """S30: with a receipt the fallback is needed no more, or at once."""
        for one in list(self.under_way):
            if (
                one.kind == "fallback"
                and one.message == opening.message
                and self.trigger_of(one) == opening.decision.trigger_id
            ):
                self.under_way.remove(one)
                if not arrived:
                    self.decide(one, now)

    def may_enter(self, plan: Plan, instance: Instance, now: Micros) -> bool:
        """S21: an entry is a trigger that passed the decision as far as `no_address`; a gap that is full passes.

        A journey enters once.
        """
        of_triggers: dict[str, Micros] = {}
        for opening in self.decided:
            row = opening.decision
            if opening.plan is plan and row.key == instance.key and row.stage in ENTRIES:
                of_triggers.setdefault(row.trigger_id, row.decided_at)
        entries = list(of_triggers.values())
        if plan.reentry.always or (plan.journey is not None and self.trigger_of(instance) in of_triggers):
            return True
        if plan.reentry.gap is None:
            return not entries
        return all(now - entry >= plan.reentry.gap for entry in entries)

    def held_until(self, plan: Plan, channel: Channel, now: Micros) -> Micros | None:
        """S26: to the end of the quiet that holds, of the plan and of its channel; `ENDED`: it has none."""
        holding = [quiet for quiet in (plan.quiet, channel.quiet) if quiet and quiet.hold]
        return quiet_until(holding, self.zone(plan), now)

    def counted_sends(self, cap: Cap) -> list[Opening]:
        """S24: what was sent within the scope; what failed is given back, and what users wait for does not count."""
        return [
            opening
            for opening in self.decided
            if opening.is_message
            and opening.stage not in ("send_failed", "expired")
            and not opening.plan.transactional
            and (cap.plans is None or opening.plan.index in cap.plans)
            and (cap.channel is None or opening.channel.index == cap.channel)
        ]

    def was_reached(self, plan: Plan, window: Cap, now: Micros) -> bool:
        """S25: by another plan, within the window; exactly at its end no more."""
        assert window.rolling is not None
        return any(
            one.plan is not plan and now - one.decision.decided_at < window.rolling
            for one in self.counted_sends(window)
        )

    def allows(self, cap: Cap, instance: Instance, step: Step, now: Micros) -> bool:
        """S24: fewer than `at_most` of the sends that it counts are in its window, of its key's value if it has one.

        The messages of a step count once, and its own do not stand in its way; each counts towards its channel's cap.
        """
        plan = instance.plan
        if cap.channel is not None and cap.channel != step.channel.index:
            return True
        counted = self.counted_sends(cap)
        if cap.key is not None:
            own = cap_value(plan, instance.steps, cap.key)
            counted = [one for one in counted if cap_value(one.plan, one.steps, cap.key) == own]
        sends = [(one.decision.decided_at, one) for one in counted]
        if cap.rolling is not None:
            sends = [sent for sent in sends if now - sent[0] < cap.rolling]
        if cap.calendar is not None:
            zone = self.zone(plan)
            sends = [sent for sent in sends if period(zone, sent[0], cap.calendar) == period(zone, now, cap.calendar)]
        if cap.channel is not None:
            return len(sends) < cap.at_most
        one_step = (self.trigger_of(instance), step.name) if plan.journey is not None else None
        return len({opening.step_sent for _, opening in sends} - {one_step}) < cap.at_most

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
            heard = row.user_id and (self.project.shards == 1 or f"{shard_of(row.user_id):02x}" == named[:2])
            speaks_of = self.people.user_of(row.user_id) if heard else None
            if speaks_of == self.user_id or (speaks_of is None and opening is not None):
                self.withdrawn += [
                    (step.channel, row.ts)
                    for plan in self.project.plans
                    for step in plan.messages
                    if named[24:] == f"-{step.name}-{step.channel.name}"
                ]
        if opening is None:  # of no message that is known: landed, and without effect
            return
        when = max(row.ts, opening.decision.decided_at)
        if says in ("delivered", "displayed", "clicked"):
            if not opening.arrived and opening.stage != "delivered":
                self.change(opening, "delivered", when, row.p1)
            opening.arrived = True
            opening.heard.add(says)
            if opening.first_opened is None:
                opening.opened = opening.first_opened = when
            self.attain_by_receipt(happening, opening, when, says)
            self.learn(opening, happening.at, arrived=True)
        elif says in ("failed", "expired") and not opening.arrived and opening.stage not in ("send_failed", "expired"):
            self.change(opening, "send_failed" if says == "failed" else "expired", when, row.p1)
            opening.opened = None
            self.learn(opening, happening.at, arrived=False)

    def change(self, opening: Opening, stage: str, at: Micros, detail: str | None) -> None:
        """S22: an attempt's stage is the last that was told of it."""
        opening.stage = stage
        trigger, step, channel = opening.decision.trigger_id, opening.step.name, opening.channel.name
        opening.changes.append(StageChange(trigger, step, channel, len(opening.changes) + 1, stage, at, detail))

    def has_withdrawn(self, channel: Channel) -> bool:
        """S27: by a receipt, unless a later update of the profile gives consent anew."""
        times = [ts for of, ts in self.withdrawn if of.index == channel.index]
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
                and not any(one.dispatch_id == opening.dispatch_id and one.goal == goal.name for one in self.goals)
            ):
                decision = opening.decision
                self.goals.append(
                    GoalEvent(
                        plan=decision.plan,
                        version=decision.version,
                        day=decision.day,
                        clock=decision.clock,
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
        self.compare(happening, values, listeners, deliveries)

    def compare(self, happening: Happening, values: Values, listeners: list[Attain], deliveries: list[Rank]) -> None:
        """S23: of those not held out, too, the event counts from when the arm was drawn, whatever became of it all."""
        row = happening.row
        found: list[GoalEvent] = []
        for listener in listeners:
            goal = self.project.plans[listener.plan].goals[listener.goal]
            for opening in self.decided:
                if not opening.compares or opening.plan.index != listener.plan:
                    continue
                drawn = changed(opening, stage="drawn", opened=opening.decision.decided_at)
                drawn.decision = drawn.decision._replace(stage="drawn")
                if is_open(drawn, goal, happening) and (
                    listener.where is None
                    or listener.where(values, opening.steps, self.profile(), row.ts, opening.decision.variant)
                ):
                    event = self.goal_event(drawn, goal, row, values, deliveries)
                    known = [(one.trigger_id, one.goal, one.event_id) for one in self.compared + found]
                    if (event.trigger_id, event.goal, event.event_id) not in known:
                        found.append(event)
        self.compared += found

    def counted(self, opening: Opening, goal: Goal, row: Row) -> bool:
        """S4: a repeated event adds its value once."""
        named = opening.dispatch_id if opening.is_message else None
        return any(
            one.trigger_id == opening.decision.trigger_id
            and one.dispatch_id == named
            and one.goal == goal.name
            and one.event_id == row.event_id
            for one in self.goals
        )

    def goal_event(self, opening: Opening, goal: Goal, row: Row, values: Values, deliveries: list[Rank]) -> GoalEvent:
        """S42: `first` and `last` credit one delivery; one who was held out is measured as if delivered (S23)."""
        decision = opening.decision
        delivered = opening.is_message
        rivals = [*deliveries, rank(opening)]
        credited = goal.credit == "every" or rank(opening) == (min if goal.credit == "first" else max)(rivals)
        value = goal.value(values, opening.steps, self.profile(), row.ts, decision.variant) if goal.value else None
        assert row.event_id is not None
        return GoalEvent(
            plan=decision.plan,
            version=decision.version,
            day=decision.day,
            clock=decision.clock,
            user_id=self.user_id,
            goal=goal.name,
            trigger_id=decision.trigger_id,
            dispatch_id=opening.dispatch_id if delivered else None,
            arm=decision.arm,
            variant=decision.variant,
            event_id=row.event_id,
            attained_at=row.ts,
            value=value,
            credited=credited,
        )

    def pending_rows(self) -> list[Pending]:
        """S6: what still waits is reported, never flushed; also what was sent and of which nothing is heard yet."""
        silent = [i for i in self.under_way if i.kind == "fallback" and i.due == i.expires_at]
        waiting = [i for i in self.under_way if i.kind != "open" and i not in silent]
        return [Pending(i.plan.id, i.plan.version, self.user_id, i.kind, i.since, i.due) for i in waiting] + [
            Pending(one.plan.id, one.plan.version, self.user_id, "sent", one.decision.decided_at, at)
            for one in self.decided
            if (at := one.undelivered_at)
        ]


# Rules about no user in particular


def names_of(happening: Happening) -> list[str]:
    """The ids that it names; a receipt may name none."""
    identity = [happening.row.event] if happening.kind == "identities" else []
    return [happening.row.user_id, *identity] if happening.row.user_id else []


def is_repeat(one: Happening, other: Happening, *, besides_user: bool) -> bool:
    """S4: whether it is told again, at the same place in time; be it by another id of its user."""
    row: Any = replace(one.row, user_id=other.row.user_id) if besides_user else one.row
    return bool(row == other.row)


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


Rank: TypeAlias = tuple[Micros, int, str, int]


def rank(opening: Opening) -> Rank:
    """S7: which delivery comes first: by time, then plan; the id is for what is still equal."""
    assert opening.opened is not None
    return opening.opened, opening.plan.index, opening.decision.trigger_id, opening.message


def is_open(opening: Opening, goal: Goal, happening: Happening) -> bool:
    """S41, S10: the window is [delivered, delivered + W); a late event also needs that it has not closed (S9)."""
    opened = opening.opened
    return opened is not None and opened <= happening.row.ts and happening.at < opened + goal.window


def cap_value(plan: Plan, steps: Steps, key: int) -> Any:
    """S24: the property of the first of the trigger's events that has it; None is a value, too."""
    values = [steps[step][place] for step, place in plan.cap_values[key]]
    return next((value for value in values if value is not None), None)


def quiet_until(quiets: Sequence[Quiet], zone: Zone, now: Micros) -> Micros | None:
    """S26: the first instant within three weeks on which none is quiet; None if that is `now`, `ENDED` without one."""
    windows = [
        (
            quiet,
            zone.instant(day * DAY + quiet.start * MINUTE),
            zone.instant((day + (quiet.end <= quiet.start)) * DAY + quiet.end * MINUTE),
        )
        for quiet in quiets
        for day in range(zone.day(now) - 2, zone.day(now) + 25)
        if (day + 3) % 7 in quiet.days  # 1970-01-01 was a Thursday
    ]

    def is_quiet(at: Micros) -> bool:
        return any(
            any(start <= at < end for of, start, end in windows if of is quiet) != quiet.outside for quiet in quiets
        )

    if not is_quiet(now):
        return None
    edges = [edge for _, *ends in windows for edge in ends if now < edge <= now + 21 * DAY]
    return min([edge for edge in edges if not is_quiet(edge)], default=ENDED)
