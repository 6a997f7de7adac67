"""How values read in a message, whichever way its template goes; and what is wrong with a template or lacks a value."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from flowops.core.records import Micros
from flowops.core.time import to_datetime
from flowops.errors import ContentError
from flowops.rules.nodes import Type

_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Variable(NamedTuple):
    """A variable that a template reads: the segments of its path, and where in the text it begins."""

    path: tuple[Any, ...]
    at: int


class TemplateProblem(Exception):  # noqa: N818 - a finding about a text, no failure of the program
    """A text that is no template, or names what nothing defines; line and column count from 1 within the text."""

    def __init__(self, message: str, line: int, column: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column


class Number(float):
    """A number as people write it: 60 and 12.5, never 60.0 or 1e-05."""

    def __str__(self) -> str:
        return number_text(self)


def number_text(number: float) -> str:
    """The number without an exponent, and without decimals where there are none."""
    if number % 1 == 0:
        return str(int(number))
    return format(Decimal(repr(float(number))), "f")


def local(value: Micros, type_: Type, *, tz: ZoneInfo) -> date:
    """A time in the zone, or a day. Raises `ContentError`."""
    try:
        return to_datetime(value).astimezone(tz) if type_ == "time" else date.fromordinal(value + _EPOCH_DAY)
    except (OverflowError, ValueError):
        raise ContentError(f"the {type_} {value} is out of range") from None


def missing(name: str) -> NoReturn:
    """A variable has neither a value nor a default."""
    raise ContentError(f"`{name}` has no value and no default: write `{{{{ {name} | default: '...' }}}}`")


def problem(text: str, message: str, index: int, hint: str | None = None) -> TemplateProblem:
    """A problem at the character `index` of `text`."""
    before = text[:index]
    return TemplateProblem(message, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1, hint)
