"""The deterministic machine: records in event-time order and a watermark in, effects out (S5 to S9).

One shard holds the users that hash onto it. It knows no clock and no other shard: its outcome is a function of the
records and of the watermark, however they were cut into batches. Read `advance` first; it is the whole engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heappop
from typing import Any, TypeAlias

import msgspec

from flowops.core import matchers
from flowops.core.admission import (
    HELD,
    HOLDOUT,
    Verdict,
    arm_of,
    decide,
    prune_sends,
    trigger_id,
)
from flowops.core.attribution import attain, attain_by_receipt, open_windows
from flowops.core.counters import answer, counter_of, name_of, prune
from flowops.core.delay import acted_on_at
from flowops.core.effects import Decision, Dispatch, Effects, Pending, Receipt, StageChange, dispatch_id
from flowops.core.matchers.keys import key_of
from flowops.core.plan import (
    Attain,
    Attributes,
    Cancel,
    Change,
    Count,
    CountTrigger,
    DateTrigger,
    Plan,
    Project,
    ScheduleTrigger,
    See,
    Start,
    Take,
)
from flowops.core.receipts import (
    DELIVERED,
    FAILURES,
    REACHED,
    SENT,
    UNDELIVERED,
    WITHDRAWALS,
    find,
    may_fail,
    remember,
    withdraw,
)
from flowops.core.records import (
    BEFORE_ALL,
    ENDED,
    NO_WATERMARK,
    RECEIPT,
    TRIGGER_ID,
    Batch,
    Micros,
    Record,
    shard_of,
)
from flowops.core.state import (
    CLOCK,
    DELAY,
    FORMAT,
    KINDS,
    OPEN,
    OPEN_USERS,
    WAIT,
    Frame,
    Instance,
    Progress,
    Sent,
    User,
    Users,
    encode_frame,
    merge,
)
from flowops.core.time import Zone, isoformat, zone_named
from flowops.core.timers import NEVER, Timers

_SWEEP = 2048
_SENDS = 8
_REMEMBERED = 10_000

Turn: TypeAlias = tuple[Plan, matchers.Matcher, tuple[Take, ...], tuple[Start, ...], tuple[int, ...], bool]
"""What one plan does with an event: what may be carried on by it, what may begin, with the key's places in the event;
whether any that may begin has a condition left to ask."""

Heard: TypeAlias = tuple[list[Attain], list[Count], list[See], dict[int, list[Cancel]], list[Turn], bool]
"""The listeners of an event, sorted out: goals, counts, what ends waits (by plan), the plans' turns; and whether any
may begin something."""

_to_json = msgspec.json.Encoder().encode


class Shard:
    """One shard of users.

    Args:
        number: which of `records.SHARDS`.
        project: what to run; never written into state.
        readers: how many readers send batches. Nothing fires before each has told its watermark (S6).
    """

    def __init__(self, number: int, project: Project, readers: int) -> None:
        self.number = number
        self.project = project
        self._readers = readers
        self._progress: Progress = {}
        self._held: list[Record] = []  # not reached by the watermark yet
        self._began: dict[int, Micros] = {}  # by source: its first record (S12a)
        self._origin: Micros | None = None  # the first of all, once each reader has told
        self._fired: Micros = NO_WATERMARK  # timers have fired up to here
        self._by_timer = False  # it is a timer whose turn it is, no record
        self._users = Users()
        self._timers = Timers()
        self._effects = _no_effects()
        self._outside = 0
        self._unknown: Attributes = (None,) * len(project.attributes)
        self._heard: dict[tuple[int, ...], Heard] = {}
        self._matchers = tuple([matchers.matcher(plan) for plan in project.plans])
        self._dates = _dates(project, self._matchers)
        self._schedules = [
            (plan.trigger.after, matcher)
            for plan, matcher in zip(project.plans, self._matchers, strict=True)
            if isinstance(plan.trigger, ScheduleTrigger) and isinstance(matcher, matchers.ScheduleMatcher)
        ]
        self._caps = tuple({cap for plan in project.plans for cap in plan.caps})
        self._sends_kept = _SENDS + sum(cap.at_most for cap in self._caps)
        self._sweep_at = _SWEEP
        self._sent_to: dict[str, str] = {}  # trigger id -> user, of the messages that are remembered
        self._channels = {
            dispatch_id("", plan.step.name, plan.step.channel.name): plan.step.channel.index for plan in project.plans
        }

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
        timers = self._timers
        handle = self._handle
        instant = NEVER
        seen: set[tuple[str, str, tuple[int, ...]]] = (
            set()
        )  # at this instant: an exact repeat stands beside its first (S4)
        for place, record in enumerate(ready):
            at = record[0]
            if at >= timers.head:
                self._fire(at)
            if at != instant:
                instant = at
                seen.clear()
            else:
                if not seen:
                    seen.add(_identity(ready[place - 1]))
                this = _identity(record)
                if this in seen and record[6][0] >= 0:  # what is told twice changes nothing
                    continue
                seen.add(this)
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

    # --- what the calendar begins

    def _schedule(self, after: Micros) -> None:
        """Set the clock for the next occurrence of any schedule, strictly later than `after`."""
        if self._origin is None:
            return
        coming = [occurrences(max(after, self._origin - 1)) for occurrences, _ in self._schedules]
        self._users.clock = min((at for at in coming if at is not None), default=NEVER)
        if self._users.clock < NEVER:
            self._timers.add(self._users.clock, CLOCK)

    def _occur(self, now: Micros) -> None:
        """What is scheduled for `now` begins, plan by plan, for all of the audience of that instant (S18)."""
        users = self._users
        due = [matcher for occurrences, matcher in self._schedules if occurrences(now - 1) == now]
        due = [matcher for matcher in due if matcher.opens <= now < matcher.closes]
        concerned: list[tuple[str, list[matchers.ScheduleMatcher]]] = []
        for user_id, user in users.each() if due else ():
            asking = [each for each in due if self._is_inside(each.plan, user, user.profile or self._unknown, now)]
            if asking:
                concerned.append((user_id, asking))
        for user_id, asking in concerned:
            found = users.find(user_id)
            if found is None:
                raise AssertionError("a user who was just there is gone")
            for each in asking:
                each.occur(found, now)
            self._arm(user_id, found, now)
        self._schedule(now)

    def _expect(self, user_id: str, user: User, waiting: Iterable[matchers.DateMatcher], now: Micros) -> None:
        """Let the user wait for the next time that a date of the profile comes (S19)."""
        if self._origin is None:
            return
        profile = user.profile or self._unknown
        for matcher in waiting:
            matcher.expect(user, profile, self._zone(matcher.plan, profile), max(now, self._origin - 1))
        self._rearm(user_id, user)

    def _handle(self, record: Record) -> None:
        """One record. An event: goals, then what it ends, then by plan what it starts (S17a)."""
        at, _, user_id, ts, event_id, values, hits = record
        if hits[0] < 0:  # no listeners: it is told, not heard
            if hits == RECEIPT:
                self._take_receipt(record)
            else:
                self._update_profile(record)
            return
        goals, counts, sees, cancels, turns, begins = self._heard.get(hits) or self._sort_out(hits)
        user = self._users.open.get(user_id) or self._users.find(user_id)
        if user is None:  # of whom nothing is known, nothing can end
            if not counts and (not begins or ts < at):
                return
            user = self._users.create(user_id)
        profile = user.profile or self._unknown
        if goals and user.windows:
            self._effects.goals.extend(attain(self.project.plans, goals, user, profile, user_id, record))
        if counts:
            reached = matchers.count(counts, self.project.counters, user, profile, record)
            turns = [
                turn for turn in turns if turn[0].index in reached or not isinstance(turn[0].trigger, CountTrigger)
            ]
        if sees and user.instances:
            matchers.see(sees, self.project.plans, user, profile, record)
        if cancels and user.instances:
            matchers.cancel(cancels, self.project.plans, user, profile, record)
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
            else:
                self._arm(user_id, user, begun.due)

    def _sort_out(self, hits: tuple[int, ...]) -> Heard:
        """What each of the listeners may do, in order; there are few different `hits`, so it is remembered."""
        goals: list[Attain] = []
        counts: list[Count] = []
        sees: list[See] = []
        cancels: dict[int, list[Cancel]] = {}
        takes: dict[int, list[Take]] = {}
        starts: dict[int, list[Start]] = {}
        for hit in hits:
            listener = self.project.listeners[hit]
            if isinstance(listener, Attain):
                goals.append(listener)
            elif isinstance(listener, Count):
                counts.append(listener)
            elif isinstance(listener, See):
                sees.append(listener)
            elif isinstance(listener, Cancel):
                cancels.setdefault(listener.plan, []).append(listener)
            elif isinstance(listener, Take):
                takes.setdefault(listener.plan, []).append(listener)
            else:
                starts.setdefault(listener.plan, []).append(listener)
        turns: list[Turn] = []
        for plan in sorted({*takes, *starts}):
            own = tuple(starts.get(plan, ()))
            places = own[0].key if own else ()
            conditional = any(each.where for each in own)
            matcher = self._matchers[plan]
            turns.append((self.project.plans[plan], matcher, tuple(takes.get(plan, ())), own, places, conditional))
        heard = goals, counts, sees, cancels, turns, bool(starts)
        if len(self._heard) < _REMEMBERED:
            self._heard[hits] = heard
        return heard

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

    # --- timers

    def _arm(self, user_id: str, user: User, due: Micros) -> None:
        if due < user.armed:
            user.armed = due
            self._timers.add(due, user_id)

    def _fire(self, until: Micros) -> None:
        """All that falls due up to `until`, in the order of time."""
        users = self._users
        timers = self._timers
        ready = timers.ready
        self._by_timer = True
        while True:
            if timers.boundary <= until:
                timers.open(until, users.armed)
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
            elif instances:
                user.instances = tuple([instance for instance in instances if instance.due > now])
                for instance in sorted((each for each in instances if each.due <= now), key=_turn):
                    self._fall_due(user_id, user, instance, now)
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

    def _concerns(self, plan: Plan, user: User, now: Micros) -> bool:
        """Whether what no event began may begin: inside the plan's dates, for a user of the audience (S20, S22)."""
        if not plan.starts_at <= now < plan.ends_at:
            return False
        if not self._is_inside(plan, user, user.profile or self._unknown, now):
            self._outside += 1
            return False
        return True

    def _is_inside(self, plan: Plan, user: User, profile: Attributes, now: Micros) -> bool:
        """Whether the user is in the plan's audience."""
        if plan.audience is None:
            return True
        if plan.lookbacks:
            profile = self._looked_back(plan, user, profile, now)
        return plan.audience((), (), profile, now, None)

    def _looked_back(self, plan: Plan, user: User, profile: Attributes, now: Micros) -> Attributes:
        """The profile, and behind it what the plan's audience asks of the past (S12a)."""
        counters, tallies, sources = self.project.counters, user.tallies or {}, self.project.sources
        answers: list[bool | None] = []
        for look in plan.lookbacks:
            held = [
                self._began.get(source) if sources[source].since is None else sources[source].since
                for source in look.sources
            ]
            since = max((each for each in held if each is not None), default=None) if None not in held else None
            tally = tallies.get(name_of(look.counter, None))
            counter = counter_of(counters, look.counter)
            answers.append(answer(look, counter, tally, now, since, by_timer=self._by_timer))
        return (*profile, *answers)

    def _act(self, plan: Plan, user_id: str, user: User, fired: Instance, now: Micros) -> None:
        """Act on a trigger that has fired: decide, unless there is a delay to be waited out before (S12)."""
        delay = plan.trigger.delay
        if delay:
            profile = user.profile or self._unknown
            due = acted_on_at(delay, fired.triggered_at, fired.steps, profile, self._zone(plan, profile))
            if due is None:
                return
            if due > now:
                fired.due = due
                user.instances = (*user.instances, fired)
                return
        self._decide(plan, user_id, user, fired, now)

    def _rearm(self, user_id: str, user: User) -> None:
        """Arm the user for what is due next: an instance, or the end of a goal window."""
        due = NEVER
        for instance in user.instances:
            due = min(due, instance.due)
        for window in user.windows:
            due = min(due, window.closes)
        for sent in user.sent:
            due = min(due, sent.due)
        if due < NEVER:
            self._arm(user_id, user, due)

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
        plans = self.project.plans
        for plan, _, at in user.entries:
            gap = plans[plan].reentry.gap
            if gap is None or now - at < gap:
                return False
        user.sends = prune_sends(self._caps, user.sends, now)
        return not user.sends

    # --- decisions

    def _decide(self, plan: Plan, user_id: str, user: User, instance: Instance, now: Micros) -> None:
        """Decide, and do what follows from it: count, deliver, open goal windows, or hold (S22 to S27)."""
        profile = user.profile or self._unknown
        events = instance.evidence or (isoformat(instance.triggered_at),)  # what no event began, its time tells apart
        trigger = trigger_id(plan.id, user_id, instance.key, events)
        if user.windows and any(window.trigger_id == trigger for window in user.windows):  # a repeated event (S4)
            return
        if user.sent and find(user, trigger, now) is not None:
            return
        if plan.lookbacks:
            profile = self._looked_back(plan, user, profile, now)
        arm, variant = arm_of(plan.experiment, user_id)
        zone = plan.zone if self.project.zone_attribute is None else self._zone(plan, profile)
        verdict = decide(plan, user, profile, zone, instance, now, arm, variant)
        decision = self._decision(plan, user_id, instance, trigger, arm, variant, verdict, now)
        self._effects.decisions.append(decision)
        if verdict.entered and not plan.reentry.always:
            others = [entry for entry in user.entries if entry[:2] != (plan.index, instance.key)]
            user.entries = (*others, (plan.index, instance.key, now))
        if verdict.stage == HELD:
            held = msgspec.structs.replace(
                instance, kind=KINDS.index("held"), due=verdict.until, attempt=instance.attempt + 1, progress=()
            )
            user.instances = (*user.instances, held)
            return
        if verdict.stage == DELIVERED:
            if plan.step.channel.confirms:
                self._remember(plan, user_id, user, instance, decision)
            self._deliver(plan, user, profile, zone, decision, now)
        if plan.goals and decision.stage in (DELIVERED, HOLDOUT):
            held_out = decision.stage == HOLDOUT
            open_windows(plan, user, trigger, decision.day, variant, instance.steps, now, now, held_out=held_out)

    def _deliver(
        self, plan: Plan, user: User, profile: Attributes, zone: Zone, decision: Decision, now: Micros
    ) -> None:
        channel = plan.step.channel
        address = None if channel.address is None else str(profile[channel.address])
        name = dispatch_id(decision.trigger_id, plan.step.name, channel.name)
        row = (name, channel.index, address, decision, plan.index, zone.name)
        self._effects.dispatches.append(tuple.__new__(Dispatch, row))
        if self._caps:
            user.sends = (*user.sends, (now, plan.index, channel.index))
            if len(user.sends) > self._sends_kept:
                unsure = self._unsure(user, now) if user.sent else frozenset()
                user.sends = prune_sends(self._caps, user.sends, now, unsure)

    def _decision(
        self,
        plan: Plan,
        user_id: str,
        instance: Instance,
        trigger: str,
        arm: str | None,
        variant: str | None,
        verdict: Verdict,
        now: Micros,
    ) -> Decision:
        channel = plan.step.channel if verdict.at_channel else None
        delivered = verdict.stage == DELIVERED
        stage = SENT if delivered and plan.step.channel.undelivered_after is not None else verdict.stage
        row = (
            trigger,
            instance.attempt,
            plan.id,
            plan.version,
            plan.zone.day(instance.triggered_at),
            user_id,
            instance.key,
            instance.triggered_at,
            instance.evidence,
            arm,
            variant,
            None if channel is None else plan.step.name,
            None if channel is None else channel.name,
            stage,
            verdict.detail,
            now,
            now + plan.step.expires if delivered else None,
            channel.cost if channel is not None and delivered else None,
            _to_json(verdict.content).decode() if delivered else None,
        )
        return tuple.__new__(Decision, row)  # the named way takes twice as long, for every decision

    def _zone(self, plan: Plan, profile: Attributes) -> Zone:
        """The user's zone if known, else the plan's (S10)."""
        number = self.project.zone_attribute
        name = None if number is None else profile[number]
        return (zone_named(name) if isinstance(name, str) else None) or plan.zone

    # --- what comes back of a message

    def _remember(self, plan: Plan, user_id: str, user: User, instance: Instance, decision: Decision) -> None:
        """Keep what a receipt of this message will need."""
        channel, now = plan.step.channel, decision.decided_at
        self._forget(user, now)
        stage, until, due = remember(channel, now, now + plan.step.expires)
        opened = stage == DELIVERED
        windows_to_come = not opened and any(goal.receipt is None for goal in plan.goals)
        sent = Sent(
            plan.index,
            decision.trigger_id,
            decision.day,
            decision.variant,
            instance.steps if windows_to_come else (),
            now,
            NEVER if due is None else due,
            until,
            stage,
            proven=False,
            opened=opened,
            changes=0,
        )
        if opened:
            self._await_goals(plan, sent, now)
        user.sent = (*user.sent, sent)
        self._sent_to[sent.trigger_id] = user_id

    def _take_receipt(self, record: Record) -> None:
        """What a receipt says of a message that is remembered, and of its user's consent (S27, S40)."""
        at, _, named, ts, event_id, (dispatch, receipt, detail), _ = record
        self._effects.receipts.append(Receipt(dispatch, receipt, ts, named or None, event_id, detail))
        user_id = self._sent_to.get(dispatch[:TRIGGER_ID])
        user = None if user_id is None else self._users.find(user_id)
        sent = None if user is None else find(user, dispatch, at)
        if sent is not None and dispatch != self._dispatch_of(sent):
            sent = None
        if receipt in WITHDRAWALS:
            is_here = named and shard_of(named) == self.number
            self._withdraw(named if is_here else None if sent is None else user_id, dispatch, ts)
        if user_id is None or user is None or sent is None:
            return
        moment = max(ts, sent.decided_at)  # clocks differ; no message arrives before it is sent
        if receipt in REACHED:
            self._prove(user, sent, moment, at, detail)
            self._effects.goals.extend(
                attain_by_receipt(self.project.plans, user, sent, REACHED[receipt], user_id, moment, event_id)
            )
            self._rearm(user_id, user)
        elif receipt in FAILURES and may_fail(sent):
            self._change(sent, FAILURES[receipt], moment, detail)
            user.windows = tuple([window for window in user.windows if window.trigger_id != sent.trigger_id])
            if self._caps and (send := self._send_of(sent)) in user.sends:
                place = user.sends.index(send)
                user.sends = user.sends[:place] + user.sends[place + 1 :]

    def _prove(self, user: User, sent: Sent, moment: Micros, now: Micros, detail: str | None) -> None:
        """The message arrived at `moment`, whatever was believed before."""
        if sent.proven:
            return
        if sent.stage in FAILURES.values() and self._caps:  # it counts after all
            user.sends = tuple(sorted((*user.sends, self._send_of(sent))))
        sent.proven = True
        if sent.stage != DELIVERED:
            self._change(sent, DELIVERED, moment, detail)
        if not sent.opened:
            sent.opened = True
            plan = self.project.plans[sent.plan]
            open_windows(plan, user, sent.trigger_id, sent.day, sent.variant, sent.steps, moment, now, held_out=False)
            self._await_goals(plan, sent, moment)

    def _wait_no_longer(self, user: User, now: Micros) -> None:
        """Nothing was heard of a message in time: it counts as undelivered, until something is."""
        for sent in user.sent:
            if sent.due <= now:
                self._change(sent, UNDELIVERED, sent.due, None)
        self._forget(user, now)

    def _change(self, sent: Sent, stage: str, moment: Micros, detail: str | None) -> None:
        sent.stage = stage
        sent.due = NEVER
        sent.changes += 1
        step = self.project.plans[sent.plan].step
        self._effects.stages.append(
            StageChange(sent.trigger_id, step.name, step.channel.name, sent.changes, stage, moment, detail)
        )

    def _withdraw(self, user_id: str | None, dispatch: str, ts: Micros) -> None:
        channel = self._channels.get(dispatch[TRIGGER_ID:])
        if user_id and channel is not None:
            withdraw(self._users.find(user_id) or self._users.create(user_id), channel, ts)

    def _await_goals(self, plan: Plan, sent: Sent, opened: Micros) -> None:
        """Remember the message as long as a receipt of it may attain a goal."""
        sent.until = max([sent.until, *(opened + goal.window for goal in plan.goals if goal.receipt)])

    def _forget(self, user: User, now: Micros) -> None:
        """Forget the messages of which nothing counts any more."""
        if any(sent.until <= now for sent in user.sent):
            for sent in user.sent:
                if sent.until <= now:
                    self._sent_to.pop(sent.trigger_id, None)
            user.sent = tuple([sent for sent in user.sent if sent.until > now])

    def _unsure(self, user: User, now: Micros) -> set[tuple[Micros, int, int]]:
        """The sends that may still be given back."""
        return {self._send_of(sent) for sent in user.sent if may_fail(sent) and now < sent.until}

    def _send_of(self, sent: Sent) -> tuple[Micros, int, int]:
        return sent.decided_at, sent.plan, self.project.plans[sent.plan].step.channel.index

    def _dispatch_of(self, sent: Sent) -> str:
        step = self.project.plans[sent.plan].step
        return dispatch_id(sent.trigger_id, step.name, step.channel.name)

    # --- state

    def snapshot(self) -> bytes:
        """What changed since the last snapshot, as one frame for the shard's log."""
        return self._frame(self._users.changes())

    def whole(self) -> bytes:
        """All of the state as one frame: what a log is rewritten to."""
        return self._frame(self._users.everything())

    def _frame(self, users: dict[str, bytes | None]) -> bytes:
        return encode_frame(
            Frame(FORMAT, self.number, self._progress, self._held, users, self._began, self._origin, self._fired)
        )

    @classmethod
    def restore(cls, number: int, project: Project, readers: int, frames: Iterable[bytes]) -> Shard:
        """The shard as it stood at the last of `frames`. Raises ValueError for frames that are none."""
        shard = cls(number, project, readers)
        shard._users, last = merge(frames)
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

    def _take_effects(self) -> Effects:
        effects = self._effects
        if self._outside:
            effects = effects._replace(outside_audience=self._outside)
            self._outside = 0
        self._effects = _no_effects()
        return effects


def _identity(record: Record) -> tuple[str, str, tuple[int, ...]]:
    """(user, event id, listeners): a view and an order that happen to bear one id are two events."""
    return record[2], record[4], record[6]


def _dates(project: Project, all_matchers: Sequence[matchers.Matcher]) -> dict[int, list[matchers.DateMatcher]]:
    """By attribute: what waits for a date, and must look at it anew when the attribute changes, or the user's zone."""
    dates: dict[int, list[matchers.DateMatcher]] = {}
    for plan, matcher in zip(project.plans, all_matchers, strict=True):
        if isinstance(plan.trigger, DateTrigger) and isinstance(matcher, matchers.DateMatcher):
            for attribute in {plan.trigger.attribute, project.zone_attribute}:
                if attribute is not None:
                    dates.setdefault(attribute, []).append(matcher)
    return dates


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
    under_way = [each for each in user.instances if each.kind != OPEN]
    waiting = [(each.plan, KINDS[each.kind], each.since, each.due) for each in under_way]
    waiting += [(sent.plan, SENT, sent.decided_at, sent.due) for sent in user.sent if sent.due < NEVER]
    return waiting


def _turn(instance: Instance) -> tuple[int, Micros]:
    return instance.plan, instance.since


def _no_effects() -> Effects:
    return Effects([], [], [], [], [], [], 0, [], [])
