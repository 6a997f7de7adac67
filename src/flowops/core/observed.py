"""A shard that tells what it does and why, step by step: for tests of rules and for `explain`.

It is the production shard: each override calls the method that it overrides, and compares what was with what is.
Nothing of this is in the way of a run, which uses `Shard` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from flowops.core.admission import Verdict
from flowops.core.effects import Decision, GoalEvent
from flowops.core.journey import Position, facts
from flowops.core.matchers import DateMatcher
from flowops.core.matchers.keys import key_of
from flowops.core.plan import Attributes, Branch, DateTrigger, Plan, Start, Step, Steps
from flowops.core.records import TRIGGER_ID, Micros, Record, Values
from flowops.core.shard import Shard
from flowops.core.state import JOURNEY, OPEN, WAIT, Entered, Instance, Send, Sent, User
from flowops.core.time import Zone
from flowops.core.timers import NEVER

Reason = Literal["late", "key", "dates", "profile", "audience", "instance"]
"""Why an event that a plan listens to began nothing: it came late; it has no key; it is outside of the plan's dates;
the condition on the profile, or the audience, does not hold; what is under way, or was counted, does not let it."""


class Came(NamedTuple):
    """A record met its user. What it caused follows."""

    user_id: str
    at: Micros
    record: Record


class Began(NamedTuple):
    """A trigger is under way from now on."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance  # a copy, as all here


class Joined(NamedTuple):
    """An id leads to the user from now on; what is known of it as a user of its own, if anything is, joins."""

    user_id: str
    at: Micros
    identity: str
    is_known: bool


class Moved(NamedTuple):
    """What is under way took an event in, or waits for another time."""

    user_id: str
    at: Micros
    plan: int
    before: Instance
    instance: Instance


class Ended(NamedTuple):
    """What was under way is so no more, and has not fired; ended by the record, or (`ran_out`) by time."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance
    ran_out: bool


class Unmoved(NamedTuple):
    """An event that the plan listens to began nothing. `unmet`: for `profile`, the listeners whose condition fails."""

    user_id: str
    at: Micros
    plan: int
    reason: Reason
    key: str | None
    profile: Attributes
    unmet: tuple[int, ...]


class Fired(NamedTuple):
    """A trigger fired. `acts_at`: at once, later, or never (the time that the event carries has passed).

    `before`: as it was under way; None for one that never was.
    """

    user_id: str
    at: Micros
    plan: int
    instance: Instance
    before: Instance | None
    acts_at: Micros | None


class Outside(NamedTuple):
    """What no event began does not begin: outside of the plan's dates or its audience."""

    user_id: str
    at: Micros
    plan: int
    reason: Reason
    profile: Attributes


class Decided(NamedTuple):
    """The decision list was gone through; with all that its checks saw. No decision: this trigger had been decided."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance
    decision: Decision | None
    message: int  # which of the plan's
    profile: Attributes
    zone: Zone
    sends: tuple[Send, ...]
    entries: tuple[Entered, ...]
    withdrawn: tuple[tuple[int, Micros], ...]


class LeftOut(NamedTuple):
    """A journey is over and made no attempt."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance


class Paused(NamedTuple):
    """A journey waits at a node: for a time or an event, or, at a step, until the one before is decided."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance
    node: int
    due: Micros


class Resumed(NamedTuple):
    """An event ended the wait of a journey."""

    user_id: str
    at: Micros
    plan: int
    instance: Instance


class Asked(NamedTuple):
    """A journey came to a condition: a branch's, or that of a channel (its message); with all that it saw."""

    user_id: str
    at: Micros
    plan: int
    of: Branch | Step
    met: bool
    values: Values
    steps: Steps
    profile: Attributes


class Changed(NamedTuple):
    """What is believed of a message changed (S40)."""

    user_id: str
    at: Micros
    plan: int
    message: int
    stage: str
    detail: str | None


class Attained(NamedTuple):
    """A goal was attained."""

    user_id: str
    at: Micros
    plan: int
    goal: GoalEvent


Fact: TypeAlias = (
    Came
    | Joined
    | Began
    | Moved
    | Ended
    | Unmoved
    | Fired
    | Outside
    | Decided
    | LeftOut
    | Paused
    | Resumed
    | Asked
    | Changed
    | Attained
)


class ObservedShard(Shard):
    """Keeps what happens in `seen`, in its order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Fact] = []
        self._acted: list[Instance] = []
        self._under_way: dict[int, tuple[Instance, Instance]] = {}
        self._index = {plan.id: plan.index for plan in self.project.plans}

    def _handle(self, record: Record) -> None:
        hits = record[6]
        if hits[0] < 0 and record[2]:
            self.seen.append(Came(record[2], record[0], record))
        if hits[0] < 0:
            super()._handle(record)
            return
        at, _, user_id, _, _, _, _ = record
        self.seen.append(Came(user_id, at, record))
        told = len(self.seen)
        user = self._users.find(user_id)
        self._under_way = _copies(user)
        goals = len(self._effects.goals)
        super()._handle(record)
        withheld = self._withheld(record, self._users.find(user_id))  # asked with the event itself, as it was
        self._compare(user_id, at, self._under_way, ran_out=False)
        moved = {fact.plan for fact in self.seen[told:] if isinstance(fact, (Began, Moved, Fired))}
        self.seen += [fact for fact in withheld if fact.plan not in moved]
        self._note_goals(at, goals)

    def _label(self, attained: Sequence[GoalEvent], record: Record) -> None:
        super()._label(attained, record)
        self._under_way = _copies(self._users.find(attained[0].user_id))  # what the label began is told

    def _take_receipt(self, record: Record) -> list[GoalEvent]:
        at, _, named, _, _, (dispatch, *_), _ = record
        user_id = self._sent_to.get(dispatch[:TRIGGER_ID])
        if not named and user_id:
            self.seen.append(Came(user_id, at, record))
        goals = len(self._effects.goals)
        attained = super()._take_receipt(record)
        self._note_goals(at, goals)
        return attained

    def _join(self, record: Record) -> None:
        at, _, user_id, _, _, (identity, *_), _ = record
        other = self._users.find(identity)
        before = _copies(self._users.find(user_id)) | _copies(other)
        self.seen.append(Joined(user_id, at, identity, other is not None))
        super()._join(record)
        dated = {plan.index for plan in self.project.plans if isinstance(plan.trigger, DateTrigger)}  # `_expect` tells
        self._compare(user_id, at, {n: each for n, each in before.items() if each[1].plan not in dated}, ran_out=False)

    def _note_goals(self, at: Micros, since: int) -> None:
        goals = self._effects.goals[since:]
        self.seen += [Attained(goal.user_id, at, self._index[goal.plan], goal) for goal in goals]

    def _fall_due(self, user_id: str, user: User, instance: Instance, now: Micros) -> None:
        waiting = instance.kind in (WAIT, OPEN)
        before = _copies(user)
        before[id(instance)] = (instance, _copy(instance))
        self._under_way = before
        told = len(self.seen)
        super()._fall_due(user_id, user, instance, now)
        if waiting and not any(isinstance(fact, (Fired, Outside)) for fact in self.seen[told:]):
            self._compare(user_id, now, before, ran_out=True)
        self._acted.clear()

    def _expect(self, user_id: str, user: User, waiting: Iterable[DateMatcher], now: Micros) -> None:
        before = _copies(user)
        super()._expect(user_id, user, waiting, now)
        self._compare(user_id, now, before, ran_out=False)

    def _occur(self, now: Micros) -> None:
        for occurrences, matcher in self._schedules:
            if occurrences(now - 1) != now:
                continue
            plan, inside = matcher.plan, matcher.opens <= now < matcher.closes
            for user_id, user in self._users.each():
                if not inside or not self._is_inside(plan, user, self._profile(user, now), now):
                    known = self._all_known(plan, user, now)
                    self.seen.append(Outside(user_id, now, plan.index, "audience" if inside else "dates", known))
        super()._occur(now)

    def _concerns(self, plan: Plan, user: User, now: Micros) -> bool:
        concerned = super()._concerns(plan, user, now)
        if not concerned:
            inside = plan.starts_at <= now < plan.ends_at
            user_id = next((name for name, each in self._users.open.items() if each is user), "")
            known = self._all_known(plan, user, now)
            self.seen.append(Outside(user_id, now, plan.index, "audience" if inside else "dates", known))
        return concerned

    def _act(self, plan: Plan, user_id: str, user: User, fired: Instance, now: Micros) -> None:
        self._acted.append(fired)
        if fired.kind == JOURNEY:
            self.seen.append(Resumed(user_id, now, plan.index, _copy(fired)))
            super()._act(plan, user_id, user, fired, now)
            return
        copy, place, count = _copy(fired), len(self.seen), len(self._effects.decisions)
        super()._act(plan, user_id, user, fired, now)
        parked = any(each is fired for each in user.instances)
        decided = len(self.seen) > place
        acts_at = fired.due if parked else now if decided or len(self._effects.decisions) > count else None
        _, before = self._under_way.get(id(fired), (None, None))
        self.seen.insert(place, Fired(user_id, now, plan.index, copy, before, acts_at))

    def _decide(
        self, plan: Plan, user_id: str, user: User, instance: Instance, now: Micros, exited: str | None = None
    ) -> None:
        told = len(self.seen)
        super()._decide(plan, user_id, user, instance, now, exited)
        if exited is not None and len(self.seen) > told:
            self._acted.append(instance)  # that it is over, the decision tells
        if plan.journey is None and len(self.seen) == told:
            self.seen.append(self._decided(plan, 0, user_id, user, instance, now))

    def _attempt(
        self,
        plan: Plan,
        message: int,
        user_id: str,
        user: User,
        instance: Instance,
        trigger: str,
        now: Micros,
        *,
        entered: bool = False,
        drawn: bool = False,
        expires_at: Micros | None = None,
        exited: str | None = None,
        elsewhere: bool = False,
    ) -> Verdict:
        fact = self._decided(plan, message, user_id, user, instance, now)
        verdict = super()._attempt(
            plan, message, user_id, user, instance, trigger, now,
            entered=entered, drawn=drawn, expires_at=expires_at, exited=exited, elsewhere=elsewhere,
        )  # fmt: skip
        self.seen.append(fact._replace(decision=self._effects.decisions[-1]))
        return verdict

    def _lose(
        self, plan: Plan, user_id: str, user: User, instance: Instance, trigger: str, now: Micros, exited: str | None
    ) -> None:
        super()._lose(plan, user_id, user, instance, trigger, now, exited)
        fact = self.seen[-1]
        if isinstance(fact, Decided):
            self.seen[-1] = fact._replace(decision=self._effects.decisions[-1])

    def _end(self, plan: Plan, user_id: str, user: User, instance: Instance, position: Position, now: Micros) -> None:
        decided = len(self._effects.decisions)
        super()._end(plan, user_id, user, instance, position, now)
        if len(self._effects.decisions) > decided:
            self.seen.append(LeftOut(user_id, now, plan.index, _copy(instance)))

    def _decided(self, plan: Plan, message: int, user_id: str, user: User, instance: Instance, now: Micros) -> Decided:
        """What the decision list sees, before it has decided."""
        known = self._all_known(plan, user, now)
        saw = (known, self._zone(plan, known), user.sends, user.entries, user.withdrawn)
        return Decided(user_id, now, plan.index, _copy(instance), None, message, *saw)

    def _go_on(self, plan: Plan, user_id: str, user: User, instance: Instance, position: Position, now: Micros) -> None:
        before = user.instances
        super()._go_on(plan, user_id, user, instance, position, now)
        waits = user.instances[-1] if user.instances else None
        if waits is not None and waits.kind == JOURNEY and not any(each is waits for each in before):
            self.seen.append(Paused(user_id, now, plan.index, _copy(waits), position.node, waits.due))

    def _asks(
        self,
        plan: Plan,
        branch: Branch,
        user_id: str,
        instance: Instance,
        position: Position,
        profile: Attributes,
        now: Micros,
    ) -> bool:
        met = super()._asks(plan, branch, user_id, instance, position, profile, now)
        steps = instance.steps
        values, known = ((), steps) if plan.journey is None else facts(plan.journey, position, steps)
        self.seen.append(Asked(user_id, now, plan.index, branch, met, values, known, profile))
        return met

    def _is_for(
        self, plan: Plan, step: Step, user_id: str, instance: Instance, profile: Attributes, now: Micros
    ) -> bool:
        met = super()._is_for(plan, step, user_id, instance, profile, now)
        if step.where is not None:
            self.seen.append(Asked(user_id, now, plan.index, step, met, (), instance.steps, profile))
        return met

    def _change(self, sent: Sent, stage: str, moment: Micros, detail: str | None) -> None:
        user_id = self._sent_to.get(sent.trigger_id, "")
        self.seen.append(Changed(user_id, moment, sent.plan, sent.message, stage, detail))
        super()._change(sent, stage, moment, detail)

    def _all_known(self, plan: Plan, user: User | None, now: Micros) -> Attributes:
        """The profile, and behind it what the plan's audience asks of the past."""
        profile = self._profile(user or User(), now)
        return self._looked_back(plan, user or User(), profile, now) if plan.lookbacks else profile

    def _withheld(self, record: Record, user: User | None) -> list[Unmoved]:
        """Of each plan that the event may begin something of: why it would not, told where it then does not."""
        at, _, user_id, ts, _, values, hits = record
        profile = self._profile(user or User(), at)
        starts: dict[int, list[tuple[int, Start]]] = {}
        for hit in hits:
            listener = self.project.listeners[hit]
            if isinstance(listener, Start):
                starts.setdefault(listener.plan, []).append((hit, listener))
        found = []
        for number, those in starts.items():
            plan, matcher = self.project.plans[number], self._matchers[number]
            places = those[0][1].key
            key = key_of(places, values) if places else None
            unmet = tuple(
                hit for hit, each in those if each.where is not None and not each.where(values, (), profile, ts, None)
            )
            reason: Reason = "instance"
            if ts < at:
                reason = "late"
            elif places and key is None:
                reason = "key"
            elif not matcher.opens <= ts < matcher.closes:
                reason = "dates"
            elif len(unmet) == len(those):
                reason = "profile"
            elif not self._is_inside(plan, user or User(), profile, ts):
                reason = "audience"
            found.append(Unmoved(user_id, at, number, reason, key, self._all_known(plan, user, ts), unmet))
        return found

    def _compare(
        self, user_id: str, at: Micros, before: dict[int, tuple[Instance, Instance]], *, ran_out: bool
    ) -> None:
        """Tell what has become of what is under way."""
        user = self._users.find(user_id)
        now = () if user is None else user.instances
        acted = {id(each) for each in self._acted}
        here = {id(each) for each in now}
        for number, (_, old) in before.items():
            if number not in here and number not in acted and old.due < NEVER:
                self.seen.append(Ended(user_id, at, old.plan, old, ran_out))
        for each in now:
            if id(each) in acted or each.kind not in (WAIT, OPEN):
                continue
            known = before.get(id(each))
            if known is None:
                if each.due < NEVER:
                    self.seen.append(Began(user_id, at, each.plan, _copy(each)))
            elif (known[1].evidence, known[1].due, known[1].progress) != (each.evidence, each.due, each.progress):
                self.seen.append(Moved(user_id, at, each.plan, known[1], _copy(each)))
        self._acted.clear()


def _copy(instance: Instance) -> Instance:
    return Instance(*(getattr(instance, name) for name in Instance.__struct_fields__))


def _copies(user: User | None) -> dict[int, tuple[Instance, Instance]]:
    """By identity: what is under way, kept alive so that no other takes its identity, and a copy."""
    return {} if user is None else {id(each): (each, _copy(each)) for each in user.instances}
