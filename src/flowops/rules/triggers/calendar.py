"""`schedule: {daily: 09:00}` and its like (S18); `date_of: birthday`, with `yearly`, `offset`, `at` (S19)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from flowops.core import plan as core
from flowops.core.records import Micros
from flowops.core.time import DAY
from flowops.rules.schedules import Schedule, Time, occurrences
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Kind
from flowops.settings.fields import Boolean, Identifier, parse_offset, refuse
from flowops.settings.guess import one_of
from flowops.settings.shapes import OFFSET, Shaped, says


def _days(value: Any) -> Micros:
    micros = parse_offset(value)
    if micros % DAY:
        refuse("FO202", f"`{value}` is no number of whole days", "the time of the day is `at`: offset: -3d, at: 09:00")
    if abs(micros) > 366 * DAY:
        refuse("FO202", f"`{value}` is out of range", "up to 366 days before or after the date are allowed")
    return micros


class ScheduleTrigger(Kind):
    """S18."""

    schedule: Annotated[
        Schedule,
        says(
            "At these times, in the plan's zone, for all of the audience.",
            {"daily": "09:00"},
            {"weekly": ["mon", "thu"], "at": "09:00"},
            {"monthly": [1, "last"], "at": "09:00"},
            {"cron": "0 9 * * 1-5"},
            {"once": "2022-05-01 10:00"},
        ),
    ]

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """For all of whom a profile or a segment was told."""
        _no_key(self, checker)
        checked.everyone = True

    def build(self, given: Given) -> core.Trigger:
        """With its occurrences."""
        return core.ScheduleTrigger(occurrences(self.schedule, given.zone), given.delay, self.schedule.text)


class DateTrigger(Kind):
    """S19."""

    date_of: Annotated[Identifier, says("An attribute of the profile that is a date.", "birthday")]
    yearly: Annotated[Boolean, says("Again on its day of each later year; left out: false.", True)] = False
    offset: Annotated[
        Micros, BeforeValidator(_days), Shaped(OFFSET), says("So many days before or after it.", "-3d", "1d")
    ] = 0
    at: Annotated[Time, says("The time of day, in the user's own zone if it is known.", "09:00")]

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """The attribute must be declared, and be a date."""
        _no_key(self, checker)
        type_ = checker.user.get(self.date_of)
        if type_ is None:
            what = f"the profile has no attribute `{self.date_of}`"
            checker.document.report("FO303", ("trigger", "date_of"), what, hint=one_of(self.date_of, checker.user))
        elif type_ != "date":
            what = f"`{self.date_of}` is {type_}, `date_of` needs date"
            hint = f"declare `{self.date_of}: date`, if it is"
            checker.document.report("FO310", ("trigger", "date_of"), what, hint=hint)
        checked.attributes.append(self.date_of)

    def build(self, given: Given) -> core.Trigger:
        """With the attribute's number."""
        attribute = given.attributes.index(self.date_of)
        return core.DateTrigger(attribute, self.yearly, self.offset, self.at, given.delay)


def _no_key(kind: Kind, checker: Checker) -> None:
    if kind.key:
        what = "no event begins this trigger, so it has no `key`"
        checker.document.report("FO107", ("trigger", "key"), what, hint="leave it out")
