"""The counting trigger: as often, as many different, or as much within a sliding window (S16)."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.counters import counter_of, holds, name_of, take, tidy
from flowops.core.matchers.base import Matcher
from flowops.core.matchers.keys import key_of
from flowops.core.plan import Attributes, Count, Counter, Start
from flowops.core.records import Micros, Record, Values
from flowops.core.state import DELAY, Instance, Tally, User

_KEYS = 16
"""So many keys of a user are added between two looks at which are over."""


def count(
    listeners: Sequence[Count], counters: Sequence[Counter | None], user: User, profile: Attributes, record: Record
) -> set[int]:
    """Count an event, late ones as of their own time; the plans whose triggers it starts, if they are in force.

    A late event starts nothing (S9), but the next one on time finds it counted.
    """
    at, _, _, ts, event_id, values, _ = record
    reached: set[int] = set()
    tallies = user.tallies
    if tallies is None:
        tallies = user.tallies = {}
    for each in listeners:
        key = key_of(each.key, values) if each.key else None
        if each.key and key is None:
            continue
        if each.where is not None and not each.where(values, (), profile, ts, None):
            continue
        counter, name = counter_of(counters, each.counter), name_of(each.counter, key)
        tally = tallies.get(name)
        if tally is None:
            if len(tallies) % _KEYS == 0:
                tidy(counters, tallies, at)
            tally = tallies[name] = Tally(each.counter)
        value = None if each.value is None else values[each.value]
        counted = take(counter, tally, at, ts, event_id, value)
        if not tally.entries:
            del tallies[name]
        elif counted and each.plan is not None and (tally.armed or each.always) and holds(counter, tally):
            reached.add(each.plan)
    return reached


class CountMatcher(Matcher):
    """Fires on the event that reaches it, which `count` has found out."""

    __slots__ = ()

    def begin(
        self,
        starts: Sequence[Start],
        user: User,
        ts: Micros,
        event_id: str,  # noqa: ARG002 - it is the last of the evidence
        values: Values,
        key: str | None,
    ) -> Instance | None:
        """The instance of this event, with all that count as its evidence."""
        tally = (user.tallies or {})[name_of(self.plan.index, key)]
        tally.armed = False
        ((_, places),) = starts[0].capture
        captured = tuple([values[place] for place in places])
        return Instance(DELAY, self.plan.index, ts, ts, ts, 0, key, tally.evidence, (captured,))
