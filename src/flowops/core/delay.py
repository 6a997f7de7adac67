"""When a trigger that has fired is acted on (S12)."""

from __future__ import annotations

from flowops.core.plan import Attributes, Delay, Steps, UntilCarried, UntilLocal
from flowops.core.records import Micros
from flowops.core.time import DAY, MINUTE, Zone


def acted_on_at(delay: Delay, triggered_at: Micros, steps: Steps, profile: Attributes, zone: Zone) -> Micros | None:
    """The instant, by the user's `zone`; None where it was to be a time that the event carries, and that has passed."""
    if isinstance(delay, UntilLocal):
        return _next(delay, triggered_at, zone)
    if isinstance(delay, UntilCarried):
        return _carried(delay, triggered_at, steps, profile, zone)
    return triggered_at + delay


def _next(delay: UntilLocal, after: Micros, zone: Zone) -> Micros:
    """The next such time of day, strictly later; two local times may be one instant, where clocks are put forward."""
    today = zone.day(after)
    return min(
        at
        for day in range(today - 1, today + 9)
        if (day + 3) % 7 in delay.days  # 1970-01-01 was a Thursday
        and (at := zone.instant(day * DAY + delay.minute * MINUTE)) > after
    )


def _carried(delay: UntilCarried, after: Micros, steps: Steps, profile: Attributes, zone: Zone) -> Micros | None:
    told = delay.time((), steps, profile, after, None)
    if told is None:
        return None
    at: Micros = (zone.midnight(told) if delay.whole_day else told) + delay.offset
    return at if at > after else None
