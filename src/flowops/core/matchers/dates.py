"""Dates of the profile: a birthday, an expiry, some days before or after, at a local time (S19)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import cast

from flowops.core.matchers.base import Matcher, one_of_each
from flowops.core.plan import Attributes, DateTrigger, Plan
from flowops.core.records import BEFORE_ALL, Micros
from flowops.core.state import DELAY, OPEN, Instance, User
from flowops.core.time import DAY, MINUTE, Zone
from flowops.core.timers import NEVER

_EPOCH = date(1970, 1, 1).toordinal()
_FIRST, _LAST = date(2, 1, 1).toordinal(), date(9998, 12, 31).toordinal()
"""A year off the ends of the calendar, so that no offset leads out of it."""


class DateMatcher(Matcher):
    """Waits for the next time that the date comes, as the profile has it now.

    The instance that does is `OPEN`; its `since` is the date that came last, so that none comes twice when the user's
    zone changes, its `triggered_at` the date that comes next. Both are midnights of the wall clock.
    """

    __slots__ = ("_trigger",)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._trigger = cast("DateTrigger", plan.trigger)

    def expect(self, user: User, profile: Attributes, zone: Zone, after: Micros) -> None:
        """Wait anew, for what comes strictly later than `after`."""
        plan, trigger = self.plan, self._trigger
        waiting = [each for each in user.instances if each.plan == plan.index and each.kind == OPEN]
        last = waiting[0].since if waiting else BEFORE_ALL
        told = profile[trigger.attribute]
        days = _days(told, trigger.yearly, _year(zone, after)) if isinstance(told, int) else iter(())
        time = trigger.offset + trigger.minute * MINUTE
        coming = ((zone.instant(day * DAY + time), day * DAY) for day in days if day * DAY > last)
        due, midnight = next(((at, day) for at, day in coming if at > after), (NEVER, BEFORE_ALL))
        if due >= self.closes:
            due = NEVER
        others = tuple([each for each in user.instances if each not in waiting])
        if due < NEVER or last > BEFORE_ALL:
            expecting = Instance(OPEN, plan.index, last, due, midnight, 0, None, (), plan.blank)
            others = (*others, expecting)
        user.instances = others

    def join(self, own: Sequence[Instance], joining: Sequence[Instance]) -> Sequence[Instance]:
        """A date that came to either has come; what is to come is looked for anew."""
        both = one_of_each(super().join(own, joining), latest=True)
        for each in both:
            if each.kind == OPEN:
                each.of = None
        return both

    def fall_due(self, user: User, instance: Instance) -> Instance:
        """The date has come."""
        now = instance.due
        came = Instance(OPEN, instance.plan, instance.triggered_at, NEVER, BEFORE_ALL, 0, None, (), instance.steps)
        user.instances = (*user.instances, came)
        return Instance(DELAY, instance.plan, now, now, now, 0, None, (), instance.steps)


def _year(zone: Zone, at: Micros) -> int:
    return date.fromordinal(min(max(_EPOCH + zone.day(at), _FIRST), _LAST)).year


def _days(told: int, yearly: bool, year: int) -> Iterator[int]:
    """The date; or it and its anniversaries, as far as they may matter in `year`; 29 February is the 28th at times."""
    ordinal = _EPOCH + told
    if not yearly:
        if _FIRST <= ordinal <= _LAST:
            yield told
        return
    if not 1 <= ordinal <= date.max.toordinal():
        return
    first = date.fromordinal(ordinal)
    for each in range(max(first.year, year - 2), min(year + 4, 9998)):
        leap = each % 4 == 0 and (each % 100 != 0 or each % 400 == 0)
        day = 28 if (first.month, first.day) == (2, 29) and not leap else first.day
        yield date(each, first.month, day).toordinal() - _EPOCH
