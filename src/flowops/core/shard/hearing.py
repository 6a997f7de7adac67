"""The listeners of events, sorted out: what an event does, as one table for all shards of a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from flowops.core import matchers
from flowops.core.plan import Attain, Cancel, Count, Exit, Plan, Project, Resume, See, Start, Take

_REMEMBERED = 10_000

Turn: TypeAlias = tuple[Plan, matchers.Matcher, tuple[Take, ...], tuple[Start, ...], tuple[int, ...], bool]
"""What one plan does with an event: what may be carried on by it, what may begin, with the key's places in the event;
whether any that may begin has a condition left to ask. A plan's journeys have a turn of their own, before."""


class Meets(NamedTuple):
    """What an event meets: counts of layers, goals, other counts, waits that it ends or restarts, and journeys."""

    measures: list[Count]
    goals: list[Attain]
    counts: list[Count]
    sees: list[See]
    cancels: dict[int, list[Cancel]]  # by plan
    exits: list[Exit]

    @property
    def is_counted(self) -> bool:
        """Whether the event is remembered by itself."""
        return bool(self.measures or self.counts)


class Heard(NamedTuple):
    """What an event does: what it meets, if anything; the plans' turns; whether any of them may begin something."""

    meets: Meets | None
    turns: Sequence[Turn]
    begins: bool


class Hearing:
    """The listeners of a project at work. It keeps nothing of any user."""

    def __init__(self, project: Project) -> None:
        self.matchers = tuple([matchers.matcher(plan) for plan in project.plans])
        """By plan."""
        self.known: dict[tuple[int, ...], Heard] = {}
        """What was sorted out before, by `hits`."""
        self._project = project
        self._measured = {look.counter for each in project.layerings for _, looks in each.layers for look in looks}

    def sort_out(self, hits: tuple[int, ...]) -> Heard:
        """What these listeners do, in order; there are few different `hits`, so it is remembered."""
        meets = Meets([], [], [], [], {}, [])
        resumes: dict[int, list[Resume]] = {}
        takes: dict[int, list[Take]] = {}
        starts: dict[int, list[Start]] = {}
        for hit in hits:
            listener = self._project.listeners[hit]
            if isinstance(listener, Attain):
                meets.goals.append(listener)
            elif isinstance(listener, Count):
                (meets.measures if listener.counter in self._measured else meets.counts).append(listener)
            elif isinstance(listener, See):
                meets.sees.append(listener)
            elif isinstance(listener, Cancel):
                meets.cancels.setdefault(listener.plan, []).append(listener)
            elif isinstance(listener, Exit):
                meets.exits.append(listener)
            elif isinstance(listener, Resume):
                resumes.setdefault(listener.plan, []).append(listener)
            elif isinstance(listener, Take):
                takes.setdefault(listener.plan, []).append(listener)
            else:
                starts.setdefault(listener.plan, []).append(listener)
        turns: list[Turn] = []
        for number in sorted({*resumes, *takes, *starts}):
            plan = self._project.plans[number]
            if number in resumes:
                turns.append((plan, matchers.JourneyMatcher(plan), tuple(resumes[number]), (), (), False))
                if number not in takes and number not in starts:
                    continue
            own = tuple(starts.get(number, ()))
            places = own[0].key if own else ()
            conditional = any(each.where for each in own)
            turns.append((plan, self.matchers[number], tuple(takes.get(number, ())), own, places, conditional))
        heard = Heard(meets if any(meets) else None, turns, bool(starts))
        if len(self.known) < _REMEMBERED:
            self.known[hits] = heard
        return heard
