"""Several events: whichever happens, or each of them in any order (S15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

from flowops.core.matchers.base import EVIDENCE, Matcher, keep
from flowops.core.matchers.keys import key_of
from flowops.core.plan import AllTrigger, Attributes, Plan, Start, Take
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, OPEN, Instance, User

Came: TypeAlias = tuple[Micros, str, Values]
"""(ts, event id, what is kept of it): an event of a member. `Instance.progress` has, for each member, those in the
window, in the order in which they came."""


class AnyMatcher(Matcher):
    """Fires at once, with what is kept of the event under the name of each member that it fits."""

    __slots__ = ()

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """One instance however many members the event fits; None when it already waits out its delay (S4)."""
        index = self.plan.index
        evidence = (event_id,)
        for other in user.instances:
            if other.plan == index and other.evidence == evidence and other.key == key:
                return None
        steps = self.plan.blank
        for start in starts:
            steps = keep(steps, start.capture, values)
        return Instance(DELAY, index, ts, ts, ts, 0, key, evidence, steps)


class AllMatcher(Matcher):
    """Keeps the events of the window by member, and fires with the oldest of each on the event that completes them."""

    __slots__ = ("_members", "_within")

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        trigger = cast("AllTrigger", plan.trigger)
        self._members = trigger.members
        self._within = trigger.within

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance:
        """The first event, of which nothing was under way."""
        instance = Instance(OPEN, self.plan.index, ts, ts + self._within, 0, 0, key, (), (), ((),) * self._members)
        _fill(instance, starts, ts, event_id, values)
        if not self._fires(instance, ts):
            user.instances = (*user.instances, instance)
        return instance

    def advance(
        self, takes: Sequence[Take], user: User, profile: Attributes, record: Record
    ) -> tuple[Sequence[Instance], bool]:
        """A further event fills its members; a late one too, unless it is older than the one that began."""
        _, _, _, ts, event_id, values, _ = record
        places = takes[0].key
        key = key_of(places, values) if places else None
        index = self.plan.index
        for instance in user.instances:
            if instance.plan == index and instance.kind == OPEN and instance.key == key:
                break
        else:
            return (), False
        fits = [each for each in takes if each.where is None or each.where(values, (), profile, ts, None)]
        if not fits or ts < instance.since:
            return (), False
        front = max(ts, instance.due - self._within)
        _fill(instance, fits, ts, event_id, values)
        if not self._fires(instance, front):
            instance.due = front + self._within
            return (), True
        user.instances = tuple([other for other in user.instances if other is not instance])
        return (instance,), True

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """What has come to either has come; the event that comes next may find it complete."""
        gathering = {each.key: each for each in own if each.kind == OPEN}
        kept = list(own)
        for each in super().join(own, joining)[len(own) :]:
            known = gathering.get(each.key)
            if each.kind != OPEN or known is None:
                kept.append(each)
                continue
            known.since = min(known.since, each.since)
            known.due = max(known.due, each.due)
            known.progress = tuple(
                [
                    tuple(_each_once(sorted([*mine, *theirs], key=_time)))[-EVIDENCE:]
                    for mine, theirs in zip(known.progress, each.progress, strict=True)
                ]
            )
        return kept

    def fall_due(self, _user: User, _instance: Instance) -> None:
        """The last event has left the window: nothing is under way any more."""

    def _fires(self, instance: Instance, front: Micros) -> bool:
        """Forget what has left the window `(front - W, front]`; fire if each member has something in it."""
        left = front - self._within
        filled = tuple([tuple([came for came in member if came[0] > left]) for member in instance.progress])
        instance.progress = filled
        if not all(filled):
            return False
        oldest = [min(member, key=_time) for member in filled]
        instance.kind = DELAY
        instance.triggered_at = front
        instance.evidence = tuple(dict.fromkeys([came[1] for came in sorted(oldest, key=_time)]))
        instance.steps = tuple([tuple(came[2]) for came in oldest])
        instance.progress = ()
        return True


def _fill(
    instance: Instance, fits: Sequence[Start] | Sequence[Take], ts: Micros, event_id: str, values: Values
) -> None:
    """Put the event with each member that it fits; a repeated one counts once (S4)."""
    filled: list[tuple[Came, ...]] = list(instance.progress)
    for each in fits:
        member = filled[each.part]
        if all(came[1] != event_id for came in member):
            ((_, places),) = each.capture
            kept = tuple([values[place] for place in places])
            filled[each.part] = (*member[1 - EVIDENCE :], (ts, event_id, kept))
    instance.progress = tuple(filled)


def _each_once(came: Sequence[Came]) -> list[Came]:
    return list({event_id: (ts, event_id, values) for ts, event_id, values in reversed(came)}.values())[::-1]


def _time(came: Came) -> Micros:
    return came[0]
