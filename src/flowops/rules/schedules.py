"""Schedules (S18): as they are written, and the instants at which they occur.

A local time that the clocks skip is the first instant after the gap, one that comes twice happens the first time (S10);
so cron's local times, too, are turned into instants here, and two that fall on one instant are one occurrence.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, model_validator

from flowops.core.plan import Occurrences
from flowops.core.records import Micros
from flowops.core.time import DAY, MINUTE, Zone, local_micros
from flowops.rules.later import Place
from flowops.settings.fields import WEEKDAYS, Weekday, When, as_text, integer, parse_clock, parse_texts, refuse
from flowops.settings.model import Model
from flowops.settings.shapes import INTEGER, OR_ONE, Shaped, says

KINDS = ("once", "daily", "weekly", "monthly", "cron")

_TIME = {"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"}
_MONTH_DAY = {"anyOf": [{"const": "last"}, INTEGER]}

_FURTHEST = 62
"""Days after which each day of a week, and each of the first 31 of a month, has come."""


def parse_time(value: Any) -> int:
    """`09:00` -> minutes of the day."""
    minutes = parse_clock(value)
    if minutes == DAY // MINUTE:
        refuse("FO206", "`24:00` is the next day", "write `00:00`")
    return minutes


def _month_day(value: Any) -> int:
    """`1` to `31`, or `last`, which is 0."""
    return 0 if as_text(value, "a day of the month") == "last" else integer(1, 31)(value)


def _cron(value: Any) -> str:
    text = " ".join(as_text(value, "a cron expression").split())
    hint = 'minute, hour, day of the month, month, day of the week: "0 9 * * 1-5"'
    if len(text.split()) != 5:
        refuse("FO213", f"`{text}` has not five fields", hint)
    try:
        next(CronSim(text, datetime(2000, 1, 1)))  # noqa: DTZ001 - local
    except CronSimError as error:
        refuse("FO213", f"`{text}` is no cron expression: {str(error)[:1].lower()}{str(error)[1:]}", hint)
    except StopIteration:
        refuse("FO213", f"`{text}` never comes", hint)
    return text


Time: TypeAlias = Annotated[int, BeforeValidator(parse_time), Shaped(_TIME)]
Weekdays: TypeAlias = Annotated[list[Weekday], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE]
MonthDay: TypeAlias = Annotated[int, BeforeValidator(_month_day), Shaped(_MONTH_DAY)]
MonthDays: TypeAlias = Annotated[list[MonthDay], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE]


class Schedule(Model):
    """S18: one of `once`, `daily`, `weekly`, `monthly`, `cron`."""

    place: ClassVar[Place] = "schedule"

    once: Annotated[When | None, says("Once, at a local time of the plan's zone.", "2022-05-01 10:00")] = None
    daily: Annotated[Time | None, says("Every day at a local time.", "09:00")] = None
    weekly: Annotated[Weekdays | None, says("On these days of the week, `at` a time.", ["mon", "thu"])] = None
    monthly: Annotated[
        MonthDays | None, says("On these days of the month, `at` a time; `last` is its last.", [1, "last"])
    ] = None
    cron: Annotated[
        str | None,
        BeforeValidator(_cron),
        Shaped({"type": "string"}),
        says("Minute, hour, day of the month, month, day of the week.", "0 9 * * 1-5"),
    ] = None
    at: Annotated[Time | None, says("The local time of day of `weekly` and `monthly`.", "09:00")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            what = f"`{given[0]}` and `{given[1]}` exclude each other" if given else "a schedule says when"
            refuse("FO107", what, "one of once, daily, weekly, monthly, cron: {weekly: [mon, thu], at: 09:00}")
        if given[0] in ("weekly", "monthly") and self.at is None:
            refuse("FO102", f"`{given[0]}` needs a time of the day", f"{{{given[0]}: ..., at: 09:00}}")
        if given[0] not in ("weekly", "monthly") and self.at is not None:
            refuse("FO107", f"`at` is for `weekly` and `monthly`: `{given[0]}` has its time", "leave `at` out")
        if self.once is not None and self.once.whole_day:
            refuse("FO102", f"`once: {self.once.text}` needs a time of the day", f"once: {self.once.text} 10:00")
        return self

    @property
    def several_a_day(self) -> bool:
        """Whether each day on which it occurs has several occurrences, so that a task is told apart by its time."""
        if self.cron is None:
            return False
        fields = CronSim(self.cron, datetime(2000, 1, 1))  # noqa: DTZ001 - local
        return len(fields.minutes) * len(fields.hours) > 1

    @property
    def text(self) -> str:
        """For people: `weekly mon, thu 09:00`."""
        days = ", ".join(WEEKDAYS[day] for day in self.weekly or []) or ", ".join(
            str(day or "last") for day in self.monthly or []
        )
        time = self.daily if self.daily is not None else self.at
        clock = "" if time is None else f"{time // 60:02}:{time % 60:02}"
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        what = self.cron or (self.once and self.once.text)
        return " ".join(part for part in (kind, days, clock, what) if part)


def occurrences(schedule: Schedule, zone: Zone) -> Occurrences:
    """The function that tells the first occurrence strictly later than an instant, None where none is left."""
    if schedule.once is not None:
        once = schedule.once.begins(zone)
        return lambda after: once if once > after else None
    if schedule.cron is not None:
        return _by_cron(schedule.cron, zone)
    minutes = schedule.daily if schedule.daily is not None else schedule.at
    if minutes is None:
        raise AssertionError("a schedule without a time passed the schema")
    return _by_day(_days(schedule), minutes * MINUTE, zone)


def _days(schedule: Schedule) -> Callable[[int], bool]:
    """Whether a day, in days since 1970-01-01, is one of the schedule's."""
    if schedule.weekly is not None:
        weekdays = frozenset(schedule.weekly)
        return lambda day: (day + 3) % 7 in weekdays  # 1970-01-01 was a Thursday
    if schedule.monthly is not None:
        days = frozenset(schedule.monthly)
        return lambda day: _is_of_month(days, day)
    return lambda _day: True


def _is_of_month(days: frozenset[int], day: int) -> bool:
    date = datetime.fromtimestamp(day * DAY // 1_000_000, UTC)
    return date.day in days or (0 in days and date.day == monthrange(date.year, date.month)[1])


def _by_day(is_day: Callable[[int], bool], time: Micros, zone: Zone) -> Occurrences:
    def after(instant: Micros) -> Micros | None:
        today = zone.day(instant)
        for day in range(today - 1, today + _FURTHEST):  # yesterday's: where the clocks skip a day, it is at its end
            if is_day(day) and (at := zone.instant(day * DAY + time)) > instant:
                return at
        return None

    return after


def _by_cron(text: str, zone: Zone) -> Occurrences:
    def after(instant: Micros) -> Micros | None:
        minute = zone.local(instant) // MINUTE * MINUTE
        local = datetime.fromtimestamp(minute // 1_000_000, UTC).replace(tzinfo=None)
        for moment in CronSim(text, local):
            at = zone.instant(local_micros(moment))
            if at > instant:
                return at
        return None

    return after
