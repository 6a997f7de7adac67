"""The deterministic machine: records in event-time order and a watermark in, effects out (S5 to S9).

One shard holds the users that hash onto it. It knows no clock and no other shard: its outcome is a function of the
records and of the watermark, however they were cut into batches. Read `advance` first; it is the whole engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop
from typing import Any

from flowops.core import matchers
from flowops.core.admission import prune_sends
from flowops.core.attribution import attain
from flowops.core.counters import prune
from flowops.core.effects import Effects, GoalEvent, Pending
from flowops.core.links import Identities
from flowops.core.matchers.keys import key_of
from flowops.core.plan import (
    Attributes,
    Change,
    CountTrigger,
    Project,
    Start,
)
from flowops.core.receipts import SENT
from flowops.core.records import (
    BEFORE_ALL,
    ENDED,
    LINK,
    NO_WATERMARK,
    PROFILE,
    RECEIPT,
    Batch,
    Micros,
    Record,
)
from flowops.core.shard.acting import turn
from flowops.core.shard.hearing import Hearing, Meets, Turn
from flowops.core.shard.people import People
from flowops.core.state import (
    CLOCK,
    DELAY,
    FALLBACK,
    FORMAT,
    KINDS,
    OPEN,
    OPEN_USERS,
    WAIT,
    Frame,
    Instance,
    Links,
    Progress,
    User,
    encode_frame,
    merge,
)
from flowops.core.timers import NEVER

_SWEEP = 2048


class Shard(People):
    """One shard of users.

    Args:
        number: which of `records.SHARDS`.
        project: what to run; never written into state.
        readers: how many readers send batches. Nothing fires before each has told its watermark (S6).
        hearing: the project's, where its shards share one.
    """

    def __init__(self, number: int, project: Project, readers: int, hearing: Hearing | None = None) -> None:
        super().__init__(number, project, hearing or Hearing(project))
        self._readers = readers
        self._progress: Progress = {}
        self._held: list[Record] = []  # not reached by the watermark yet
        self._fired: Micros = NO_WATERMARK  # timers have fired up to here
        self._labels = {(plan.id, goal.name): goal.label for plan in project.plans for goal in plan.goals if goal.label}
        self._sweep_at = _SWEEP
        self._leading = project.shards == 1  # ids may lead to others (S2a)

    # --- records in, effects out

    def receive(self, batch: Batch) -> None:
        """Take a batch in. Its records wait until the watermark has reached them (S7)."""
        self._progress[batch.reader] = (batch.watermark, batch.highest)
        if self._origin is None:
            for source, first in batch.began.items():
                self._began[source] = min(first, self._began.get(source, first))
        self._held.extend(batch.records)
        self._effects.late.extend(batch.late)
        self._effects.dead.extend(batch.dead)

    @property
    def watermark(self) -> Micros:
        """The least over all readers; `NO_WATERMARK` until each has told its own, `ENDED` when all have ended."""
        if len(self._progress) < self._readers:
            return NO_WATERMARK
        return min(watermark for watermark, _ in self._progress.values())

    def advance(self) -> Effects:
        """Handle everything that the watermark has reached, and give what it caused since the last call.

        Records before the watermark and timers up to it, in one order: by time, timers before records of the same
        instant. When all input has ended, all records are handled, and timers up to the highest time that was read;
        what waits beyond stays pending (S6).
        """
        watermark = self.watermark
        if watermark == NO_WATERMARK:
            return self._take_effects()
        if self._origin is None and watermark > BEFORE_ALL:  # each has told a time, or ended
            self._begin()
        held = self._held
        held.sort()
        if watermark >= ENDED:
            ready, self._held = held, []
            until = max(highest for _, highest in self._progress.values())
        else:
            cut = bisect_left(held, watermark, key=_place)
            ready, self._held = held[:cut], held[cut:]
            until = watermark
        if self._leading:
            ready = self._led(ready)
        timers = self._timers
        handle = self._handle
        instant = NEVER
        seen: set[tuple[str, str, tuple[int, ...]]] = set()  # at this instant: a repeat stands beside its first (S4)
        for place, record in enumerate(ready):
            at = record[0]
            if at >= timers.head:
                self._fire(at)
            if at != instant:
                instant = at
                if seen:
                    seen.clear()
            else:
                if not seen:
                    seen.add(_identity(ready[place - 1]))
                this = _identity(record)
                if this in seen and record[6][0] >= 0:  # what is told twice changes nothing
                    continue
                seen.add(this)
                if record[6] == LINK:  # what was told of the one has been told of the other
                    seen = {(record[2] if of == record[5][0] else of, event_id, hits) for of, event_id, hits in seen}
            handle(record)
        if until >= timers.head:
            self._fire(until)
        self._fired = until
        if len(self._users.open) > OPEN_USERS:
            self._users.rest()
        if len(self._users) > self._sweep_at:
            self._sweep(until)
        return self._take_effects()

    def _begin(self) -> None:
        """Time begins with the first record of all that has one; without any, where it is moved to (`--until`)."""
        origin = min(self._began.values(), default=max(highest for _, highest in self._progress.values()))
        if origin > BEFORE_ALL:
            self._origin = origin
            self._schedule(origin - 1)

    def _handle(self, record: Record) -> None:
        """One record. An event: goals, then what it ends, then by plan what it carries on and starts (S17a)."""
        at, _, user_id, ts, event_id, values, hits = record
        if hits[0] < 0:  # no listeners: it is told, not heard
            self._take_told(record)
            return
        meets, turns, begins = self._hearing.known.get(hits) or self._hearing.sort_out(hits)
        user = self._users.open.get(user_id) or self._users.find(user_id)
        if user is None:  # of whom nothing is known, nothing can end
            if not (begins and ts >= at) and not (meets is not None and meets.is_counted):
                return
            user = self._users.create(user_id)
        profile = user.profile or self._unknown
        if meets is not None:
            profile, turns = self._meet(meets, turns, user_id, user, record)
        elif self._layerings:
            profile = self._layered(user, profile, at)
        for plan, matcher, takes, starts, places, conditional in turns:
            if takes and user.instances:
                fired, used = matcher.advance(takes, user, profile, record)
                for instance in fired:
                    self._act(plan, user_id, user, instance, at)
                self._rearm(user_id, user)
                if used:
                    continue
            if not starts or ts < at:  # late: never starts a trigger (S9)
                continue
            key = key_of(places, values) if places else None
            if places and key is None:
                continue
            if not matcher.opens <= ts < matcher.closes:
                continue
            met: Sequence[Start] = starts
            if conditional:
                met = [each for each in starts if each.where is None or each.where(values, (), profile, ts, None)]
                if not met:
                    continue
            if plan.audience is not None and not self._is_inside(plan, user, profile, ts):
                self._outside += 1
                continue
            begun = matcher.begin(met, user, ts, event_id, values, key)
            if begun is None:
                continue
            if begun.kind == DELAY:
                self._act(plan, user_id, user, begun, ts)
                self._rearm(user_id, user)
            elif begun.due < user.armed:
                self._arm(user_id, user, begun.due)

    def _take_told(self, record: Record) -> None:
        """A receipt, a link, or an update of the profile."""
        hits = record[6]
        if hits == RECEIPT:
            attained = self._take_receipt(record)
            if attained and self._labels:
                self._label(attained, record)
        elif hits == LINK:
            self._join(record)
        else:
            self._update_profile(record)

    def _meet(
        self, meets: Meets, turns: Sequence[Turn], user_id: str, user: User, record: Record
    ) -> tuple[Attributes, Sequence[Turn]]:
        """What the event does to what is there already; the user's attributes then, and the turns that are left."""
        at, _, _, ts, event_id, _, _ = record
        if meets.measures:  # the layers of an event are those with it
            matchers.count(meets.measures, self.project.counters, user, self._unknown, record)
        profile = self._profile(user, at)
        if meets.goals and user.windows:
            attained, compared = attain(self.project.plans, meets.goals, user, profile, user_id, record)
            if compared:
                self._effects.compared.extend(compared)
            if attained:
                self._attained(user, attained)
                if self._labels:
                    decided = len(self._effects.decisions)
                    self._label(attained, record)
                    profile = self._profile(user, at)
                    labelled = {row.plan for row in self._effects.decisions[decided:] if row.evidence == (event_id,)}
                    turns = [turn for turn in turns if not turn[3] or turn[0].id not in labelled]
        if meets.counts:
            reached = matchers.count(meets.counts, self.project.counters, user, profile, record)
            turns = [
                turn
                for turn in turns
                if not turn[3] or turn[0].index in reached or not isinstance(turn[0].trigger, CountTrigger)
            ]
        if meets.sees and user.instances:
            matchers.see(meets.sees, self.project.plans, user, profile, record)
            if ts < at:  # what had fired may wait anew, and for less than its delay
                self._rearm(user_id, user)
        if meets.cancels and user.instances:
            matchers.cancel(meets.cancels, self.project.plans, user, profile, record)
        if meets.exits and user.instances:
            self._exit(meets.exits, user_id, user, profile, record)
        return profile, turns

    def _update_profile(self, record: Record) -> None:
        """Set attributes; null deletes. A late update is as of its time: what was set or deleted since stays (S9).

        What changes by it is then heard as an event is (S19).
        """
        at, sequence, user_id, ts, event_id, changes, _ = record
        user = self._users.find(user_id) or self._users.create(user_id)
        profile = list(user.profile or self._unknown)
        times = list(user.profile_at) or [-NEVER] * len(profile)
        heard, dates = self.project.changes, self._dates
        waiting: dict[matchers.DateMatcher, None] = {}
        hits: list[int] = []
        for number, value in changes:
            if ts >= times[number]:
                if number in heard and profile[number] != value:
                    hits += _changed(heard[number], profile[number], value)
                if number in dates and profile[number] != value:
                    waiting.update(dict.fromkeys(dates[number]))
                profile[number] = value
                times[number] = ts
        user.profile = tuple(profile)
        user.profile_at = tuple(times)
        if waiting:
            self._expect(user_id, user, waiting, at)
        if hits and ts > BEFORE_ALL:  # what holds from before the first record changes nothing
            self._handle((at, sequence, user_id, ts, event_id, (), tuple(sorted(hits))))

    def _label(self, attained: Sequence[GoalEvent], record: Record) -> None:
        """Who attains a goal with a label is in its segment from then on: that is told as an update is (S43)."""
        at, sequence, _, _, event_id, _, _ = record
        told = dict(change for goal in attained for change in self._labels.get((goal.plan, goal.goal), ()))
        if told:
            user_id, ts = attained[0].user_id, attained[0].attained_at
            self._update_profile((at, sequence, user_id, ts, event_id, tuple(told.items()), PROFILE))

    # --- timers

    def _fire(self, until: Micros) -> None:
        """All that falls due up to `until`, in the order of time."""
        users = self._users
        timers = self._timers
        ready = timers.ready
        self._by_timer = True
        while True:
            if timers.boundary <= until:
                timers.open(until, users.due)
            if not ready or ready[0][0] > until:
                timers.look()
                self._by_timer = False
                return
            now, user_id = heappop(ready)
            user = users.find(user_id)
            if user is None or user.armed != now:
                if user_id == CLOCK and users.clock == now:
                    self._occur(now)
                continue
            user.armed = NEVER
            if user.windows:
                user.windows = tuple([window for window in user.windows if window.closes > now])
            if user.sent:
                self._wait_no_longer(user, now)
            instances = user.instances
            if len(instances) == 1 and instances[0].due <= now:
                user.instances = ()
                self._fall_due(user_id, user, instances[0], now)
            elif instances and self._has_journeys:
                for instance in _in_turn(user, now):
                    self._fall_due(user_id, user, instance, now)
            elif instances:
                user.instances = tuple([instance for instance in instances if instance.due > now])
                for instance in sorted((each for each in instances if each.due <= now), key=turn):
                    self._fall_due(user_id, user, instance, now)
            if user.instances or user.windows or user.sent:
                self._rearm(user_id, user)

    def _fall_due(self, user_id: str, user: User, instance: Instance, now: Micros) -> None:
        plan = self.project.plans[instance.plan]
        if instance.kind not in (WAIT, OPEN):
            self._decide(plan, user_id, user, instance, now)
            return
        matcher = self._matchers[instance.plan]
        fired = matcher.fall_due(user, instance)
        if isinstance(matcher, matchers.DateMatcher):
            self._expect(user_id, user, [matcher], now)
            if not self._concerns(plan, user, now):
                return
        if fired is not None:
            self._act(plan, user_id, user, fired, now)

    def _sweep(self, now: Micros) -> None:
        """Forget the users of whom nothing can matter any more.

        Done when their number has doubled since the last time, so it costs little per user and takes no timers. What is
        forgotten could not change an outcome, so it does not matter when.
        """
        over: list[str] = []
        for user_id, user in self._users.each():
            if self._is_over(user, now):
                over.append(user_id)
                self._forget(user, now)
        self._users.drop(over)
        self._sweep_at = max(_SWEEP, 2 * len(self._users))

    def _is_over(self, user: User, now: Micros) -> bool:
        if user.instances or user.windows or user.profile_at or user.withdrawn:
            return False
        prune(self.project.counters, user, now)
        if user.tallies:
            return False
        if any(sent.until > now for sent in user.sent):
            return False
        if any(self._binds(entry, now) for entry in user.entries):
            return False
        user.sends = prune_sends(self._caps, user.sends, now)
        return not user.sends

    # --- state

    def snapshot(self) -> bytes:
        """What changed since the last snapshot, as one frame for the shard's log."""
        return self._frame(self._users.changes(), self._identities.changes())

    def whole(self) -> bytes:
        """All of the state as one frame: what a log is rewritten to."""
        return self._frame(self._users.everything(), self._identities.everything())

    def _frame(self, users: dict[str, bytes | None], links: Links) -> bytes:
        told = self._progress, self._held, users, self._began, self._origin, self._fired, links
        return encode_frame(Frame(FORMAT, self.number, *told))

    @classmethod
    def restore(
        cls, number: int, project: Project, readers: int, frames: Iterable[bytes], hearing: Hearing | None = None
    ) -> Shard:
        """The shard as it stood at the last of `frames`. Raises ValueError for frames that are none."""
        shard = cls(number, project, readers, hearing)
        shard._users, links, last = merge(frames)
        shard._identities = Identities(links)
        if last is not None:
            shard._progress = last.progress
            shard._held = last.held
            shard._began = last.began
            shard._origin = last.origin
            shard._fired = last.fired
            shard._schedule(last.fired)
        for user_id, user in shard._users.each():
            if user.armed < NEVER:
                shard._timers.add(user.armed, user_id)
            for sent in user.sent:
                shard._sent_to[sent.trigger_id] = user_id
        return shard

    def pending(self) -> list[Pending]:
        """What waits, by user, then by when it is due."""
        plans = self.project.plans
        found: list[Pending] = []
        for user_id, user in self._users.each():
            found += [
                Pending(plans[plan].id, plans[plan].version, user_id, kind, since, due)
                for plan, kind, since, due in _waiting(user)
            ]
        return sorted(found, key=lambda row: (row.user_id, row.due, row.plan, row.since))

    def waiting(self, sample: int) -> Counter[str]:
        """How many wait, by kind; estimated from about `sample` users where there are many more."""
        step = max(1, len(self._users) // sample)
        kinds = Counter(kind for _, user in self._users.each(step) for _, kind, _, _ in _waiting(user))
        return Counter({kind: count * step for kind, count in kinds.items()})

    def live_users(self) -> int:
        """How many users something is remembered of."""
        return len(self._users)


def _identity(record: Record) -> tuple[str, str, tuple[int, ...]]:
    """(user, event id, listeners): a view and an order that happen to bear one id are two events."""
    return record[2], record[4], record[6]


def _changed(changes: Sequence[Change], old: Any, new: Any) -> list[int]:
    """The listeners of those that `old` and `new` make."""
    return [
        each.listener
        for each in changes
        if (each.old is None or each.old == old) and (each.new is None or each.new == new)
    ]


def _place(record: Record) -> Micros:
    return record[0]


def _waiting(user: User) -> list[tuple[int, str, Micros, Micros]]:
    """(plan, kind, since, due) of what waits."""
    under_way = [each for each in user.instances if each.kind != OPEN and not _is_no_wait(each)]
    waiting = [(each.plan, KINDS[each.kind], each.since, each.due) for each in under_way]
    waiting += [(sent.plan, SENT, sent.decided_at, sent.due) for sent in user.sent if sent.due < NEVER]
    return waiting


def _in_turn(user: User, now: Micros) -> Iterator[Instance]:
    """What is due, one after the other: of a journey, one may end another, and must find it."""
    while due := [each for each in user.instances if each.due <= now]:
        first = min(due, key=turn)
        user.instances = tuple([each for each in user.instances if each is not first])
        yield first


def _is_no_wait(instance: Instance) -> bool:
    """Whether it only waits for a failure that may be reported."""
    return instance.kind == FALLBACK and instance.due == instance.progress[2]
