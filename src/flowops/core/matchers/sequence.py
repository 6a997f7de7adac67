"""Sequences: steps in order, within a time of the first (S14).

The plan's steps are read once into a table: event steps by number, and with each the `without` that hold once it is
done. An instance notes where it stands and when it came there; it never refers to the table by anything but numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from flowops.core.matchers.base import EVIDENCE, UNDER_WAY, Matcher, one_of_each
from flowops.core.matchers.keys import key_of
from flowops.core.plan import ANY_EVENT, Attributes, Plan, SequenceTrigger, Start, Take
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, HELD, OPEN, WAIT, Instance, User
from flowops.core.timers import NEVER

Mark: TypeAlias = tuple[int, int, Micros, Micros, Micros]
"""(step, times, first, done, last) of a step that was taken: how often, and when for the first time, for the one that
made it done (`NEVER` before that), and for the last."""

Progress: TypeAlias = tuple[tuple[Mark, ...], tuple[int, ...]]
"""`Instance.progress`: the steps taken, in order; how often each part was."""


@dataclass(slots=True)
class _Bar:
    """A `without`: it holds while the step is done and none beyond has come, so long after its last event."""

    parts: frozenset[int]
    within: Micros  # NEVER: as long as it holds at all


@dataclass(slots=True)
class _Step:
    """An event step, and what follows from standing in it once it is done."""

    parts: tuple[int, ...]
    every: bool
    least: int
    most: int
    within: Micros
    reach: list[int] = field(default_factory=list)  # the steps that may come next, the latest first
    wait: list[Micros] = field(
        default_factory=list
    )  # so long after its last event each of these counts at the earliest
    bars: list[_Bar] = field(default_factory=list)
    needed: int = -1  # the next step that may not be left out; -1: none, all events may have come
    quiet: Micros = 0  # where all may have come: so long nothing of the last `without` may come


class SequenceMatcher(Matcher):
    """Begins with an event of the first step; fires on the one that completes the last, or once the wait is over."""

    __slots__ = ("_bars", "_ends", "_repeat", "_step_of", "_steps", "_strict", "_unfinished", "_within")

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        trigger = cast("SequenceTrigger", plan.trigger)
        self._within = trigger.within
        self._repeat = trigger.repeat
        self._strict = trigger.strict
        self._unfinished = trigger.unfinished
        self._steps, self._ends = _table(trigger)
        self._bars = any(step.bars for step in self._steps)
        self._step_of = {part: number for number, step in enumerate(self._steps) for part in step.parts}

    def begin(
        self, starts: Sequence[Start], user: User, ts: Micros, event_id: str, values: Values, key: str | None
    ) -> Instance | None:
        """The instance that this event begins, unless one under way stands in its way (`repeat`)."""
        index = self.plan.index
        thrown: list[Instance] = []
        parallel = 0
        for other in user.instances:
            if other.plan != index or other.key != key:
                continue
            if event_id == other.evidence[0]:
                return None
            if other.kind == DELAY or other.kind >= HELD:
                continue
            if self._repeat == "parallel":
                parallel += 1
                continue
            if self._repeat == "ignore" or other.progress[0][0][3] == NEVER:
                return None
            thrown.append(other)
        if parallel >= UNDER_WAY:
            return None
        if thrown:
            user.instances = tuple([other for other in user.instances if other not in thrown])
        blank: Progress = ((), (0,) * len(self._step_of))
        instance = Instance(OPEN, index, ts, 0, 0, 0, key, (), self.plan.blank, blank)
        self._take(instance, 0, starts, ts, event_id, values)
        if instance.kind == DELAY:
            return None if self._unfinished else instance
        user.instances = (*user.instances, instance)
        return instance

    def advance(
        self, takes: Sequence[Take], user: User, profile: Attributes, record: Record
    ) -> tuple[Sequence[Instance], bool]:
        """Carry on, complete or end what is under way; a late event ends also what waits out its delay (S9)."""
        at, _, _, ts, event_id, values, _ = record
        index = self.plan.index
        key, heard = _key(takes, values)
        strict = self._strict and any(take.part == ANY_EVENT for take in takes)  # else a change of the profile
        fired: list[Instance] = []
        gone: list[Instance] = []
        used = False
        for instance in user.instances:
            if instance.plan != index or instance.kind >= HELD or event_id in instance.evidence:
                continue
            if instance.kind == DELAY and ts == at:
                continue
            own = heard and instance.key == key
            if not own and not strict:
                continue
            met = [
                take
                for take in takes
                if own
                and take.part != ANY_EVENT
                and (take.where is None or take.where(values, instance.steps, profile, ts, None))
            ]
            if not met and not strict:
                continue
            marks: tuple[Mark, ...] = instance.progress[0]
            current = marks[-1]
            taken = self._goes_to(instance, current, met, ts)
            if taken <= current[0] and (
                self._barred(marks, met, ts) or (taken < 0 and strict and self._broken(instance, marks, ts))
            ):
                gone.append(instance)
            elif taken >= 0:
                used = used or taken == 0 or self._repeat != "parallel"
                before = instance.kind, instance.due, instance.triggered_at
                self._take(instance, taken, met, ts, event_id, values)
                if instance.kind == DELAY:
                    gone.append(instance)
                    fired.append(instance)
                elif before[0] == DELAY:  # it has fired as unfinished, which it still is
                    instance.kind, instance.due, instance.triggered_at = before
        if gone:
            user.instances = tuple([other for other in user.instances if other not in gone])
        return () if self._unfinished else fired, used

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """As though both had been begun by the user: by `repeat`, the first goes on, the last, or both do."""
        both = super().join(own, joining)
        return both if self._repeat == "parallel" else one_of_each(both, latest=self._repeat == "restart")

    def fall_due(self, _user: User, instance: Instance) -> Instance | None:
        """Time is up: the last `without` has held, or (`unfinished`) the events did not come; else it just ends."""
        if instance.kind == OPEN:
            return None
        instance.kind = DELAY
        instance.triggered_at = instance.due
        return instance

    def _goes_to(self, instance: Instance, current: Mark, met: Sequence[Take], ts: Micros) -> int:
        """The step that takes the event: of those that may, the latest; -1: none."""
        number, times, _, done, last = current
        if not last <= ts < instance.since + self._within or (instance.kind == DELAY and not self._unfinished):
            return -1
        step = self._steps[number]
        fits = [self._step_of.get(take.part, -1) for take in met]
        if done != NEVER:
            for place, later in enumerate(step.reach):
                if later in fits and last + step.wait[place] <= ts < last + self._steps[later].within:
                    return later
            if times >= step.most or (number == 0 and self._repeat == "restart"):
                return -1
        if number not in fits:
            return -1
        if step.every and all(instance.progress[1][take.part] for take in met if take.part in step.parts):
            return -1
        marks = instance.progress[0]
        return number if len(marks) == 1 or ts < marks[-2][4] + step.within else -1

    def _take(
        self,
        instance: Instance,
        number: int,
        met: Sequence[Take] | Sequence[Start],
        ts: Micros,
        event_id: str,
        values: Values,
    ) -> None:
        """Put the event into the step, and see what is due next. What is complete has the kind `DELAY` afterwards."""
        step = self._steps[number]
        marks: tuple[Mark, ...] = instance.progress[0]
        counts = list(instance.progress[1])
        steps = list(instance.steps)
        if marks and marks[-1][0] == number:
            *before, (_, times, first, done, _) = marks
        else:
            before, times, first, done = list(marks), 0, ts, NEVER
        times += 1
        for each in met:
            if each.part in step.parts and not (step.every and counts[each.part]):
                counts[each.part] += 1
                for (slot, places), nth in zip(each.capture, each.nth, strict=True):
                    if nth in (0, counts[each.part], -times):
                        steps[slot] = tuple([values[place] for place in places])
        if done == NEVER and (all(counts[part] for part in step.parts) if step.every else times >= step.least):
            done = ts
        kept = instance.evidence[: EVIDENCE - 1]
        instance.evidence = (*kept, event_id)
        instance.steps = tuple(steps)
        instance.progress = ((*before, (number, times, first, done, ts)), tuple(counts))
        self._look_ahead(instance, step, done, ts)

    def _look_ahead(self, instance: Instance, step: _Step, done: Micros, ts: Micros) -> None:
        """When it is due next, and as what."""
        if done != NEVER and step.needed < 0:
            if self._ends:
                instance.kind, instance.due = WAIT, ts + step.quiet
            else:
                instance.kind, instance.triggered_at, instance.due = DELAY, ts, ts
            return
        end = instance.since + self._within
        marks = instance.progress[0]
        if done != NEVER:
            bound = ts + self._steps[step.needed].within
        else:
            bound = marks[-2][4] + step.within if len(marks) > 1 else NEVER
        instance.due = min(end, bound)
        instance.kind = WAIT if self._unfinished and instance.due == end else OPEN

    def _barred(self, marks: Sequence[Mark], met: Sequence[Take], ts: Micros) -> bool:
        """Whether a `without` ends it: one that held when the event happened, which may be long ago if it is late."""
        if not self._bars:
            return False
        parts = {take.part for take in met}
        for number, _, _, done, last, closed in _stays(marks):
            step = self._steps[number]
            until = last + step.quiet if self._ends and step.needed < 0 else NEVER
            if done <= ts < min(closed, until) and any(
                ts < last + bar.within and not bar.parts.isdisjoint(parts) for bar in step.bars
            ):
                return True
        return False

    def _broken(self, instance: Instance, marks: Sequence[Mark], ts: Micros) -> bool:
        """Whether it comes between the events of a sequence that is `strict`."""
        number, _, _, done, last = marks[-1]
        complete = done != NEVER and self._steps[number].needed < 0
        return instance.since <= ts and (ts < last or not complete)


def _key(takes: Sequence[Take], values: Values) -> tuple[str | None, bool]:
    """The event's key, and whether it can be one of the sequence's at all."""
    for take in takes:
        if take.part != ANY_EVENT:
            key = key_of(take.key, values) if take.key else None
            return key, not take.key or key is not None
    return None, False


def _stays(marks: Sequence[Mark]) -> Iterator[tuple[int, int, Micros, Micros, Micros, Micros]]:
    """Each mark with the time of the first event of the step after it."""
    for place, mark in enumerate(marks):
        yield *mark, marks[place + 1][2] if place + 1 < len(marks) else NEVER


def _table(trigger: SequenceTrigger) -> tuple[list[_Step], bool]:
    """The event steps, and whether the last step is a `without`."""
    steps: list[_Step] = []
    gaps: list[list[_Bar]] = [[]]  # the `without` after each event step; first: before any, of which there are none
    for each in trigger.steps:
        within = NEVER if each.within is None else each.within
        if each.kind == "without":
            gaps[-1].append(_Bar(frozenset(each.parts), within))
        else:
            most = NEVER if each.most is None else each.most
            steps.append(_Step(each.parts, each.kind == "all", each.least, most, within))
            gaps.append([])
    for number, step in enumerate(steps):
        waited = 0
        reach: list[tuple[int, Micros]] = []
        for later in range(number + 1, len(steps)):
            waited = max([waited, *(bar.within for bar in gaps[later] if bar.within != NEVER)])
            step.bars += gaps[later]
            reach.append((later, waited))
            if steps[later].least:
                step.needed = later
                break
        else:
            step.bars += gaps[len(steps)]
        step.reach = [later for later, _ in reversed(reach)]
        step.wait = [wait for _, wait in reversed(reach)]
        step.quiet = max((bar.within for bar in gaps[-1] if bar.within != NEVER), default=0)
    return steps, bool(gaps[-1])
