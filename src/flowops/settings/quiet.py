"""Quiet hours, as they are written: of a project, a plan, a channel (S26)."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from flowops.core import plan as core
from flowops.core.admission import quiet_until
from flowops.core.time import Zone
from flowops.core.timers import NEVER
from flowops.settings.fields import Clock, Weekday, parse_texts, refuse
from flowops.settings.model import Model, Word
from flowops.settings.shapes import OR_ONE, says

Days: TypeAlias = Annotated[
    list[Weekday],
    BeforeValidator(parse_texts),
    Field(min_length=1),
    OR_ONE,
]


class QuietWindow(Model):
    """Local times, from and to, and the days on which the window begins."""

    start: Annotated[Clock, Field(alias="from"), says("The local time at which it begins.", "22:00")]
    end: Annotated[
        Clock, Field(alias="to"), says("The local time at which it ends; before `from`: on the next day.", "08:00")
    ]
    days: Annotated[Days | None, says("The days on which the window begins; left out: all.", ["sat", "sun"])] = None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.start in (self.end, 1440):
            refuse("FO202", "a window from a time to the same time", "the whole day is `from: 00:00, to: 24:00`")
        return self


class Quiet(Model):
    """S26: a window of quiet, or with `outside` all but a window."""

    start: Annotated[Clock | None, Field(alias="from"), says("The local time at which it begins.", "22:00")] = None
    end: Annotated[
        Clock | None,
        Field(alias="to"),
        says("The local time at which it ends; before `from`: on the next day.", "08:00"),
    ] = None
    days: Annotated[Days | None, says("The days on which the window begins; left out: all.", ["sat", "sun"])] = None
    outside: Annotated[
        QuietWindow | None,
        says("Quiet is whenever it is not this window.", {"days": ["mon", "wed"], "from": "14:00", "to": "16:00"}),
    ] = None
    then: Annotated[
        Literal["hold", "drop"], Word, says("`hold` sends at the end, `drop` does not send; left out: hold.", "drop")
    ] = "hold"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = (self.start, self.end)
        if self.outside is not None:
            if given != (None, None) or self.days is not None:
                refuse("FO107", "`outside` and `from`, `to`, `days` exclude each other", "put them inside `outside`")
        elif None in given:
            refuse("FO102", "quiet hours need `from` and `to`", "{from: 22:00, to: 08:00, then: hold}")
        elif self.start in (self.end, 1440):
            refuse("FO202", "a window from a time to the same time", "the whole day is `from: 00:00, to: 24:00`")
        return self

    def built(self) -> core.Quiet:
        """As the decision sees it."""
        window = self.outside or self
        if window.start is None or window.end is None:
            raise AssertionError("quiet hours without times passed the schema")
        days = frozenset(window.days or range(7))
        return core.Quiet(window.start, window.end, days, self.outside is not None, self.then == "hold")


def never_end(*quiets: Quiet) -> bool:
    """Whether one or the other of them is quiet at every hour of every day."""
    return quiet_until([quiet.built() for quiet in quiets], Zone("UTC"), 0) == NEVER


NEVER_END = "it is quiet at every hour of every day, so no message ever goes out"
