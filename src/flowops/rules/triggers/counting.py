"""`event: A`, `times: 3`, `within: 7d`, also `distinct: sku`, or `sum: amount`, `reaches: 500` (S16)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from flowops.core import plan as core
from flowops.core.counters import LONGEST as MOST
from flowops.rules.document import Loc
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Heard, Part
from flowops.rules.triggers.event import EventTrigger
from flowops.settings.fields import LONGEST, MILLISECOND, Identifier, as_text, integer, parse_number, refuse, within
from flowops.settings.guess import one_of
from flowops.settings.model import Word
from flowops.settings.shapes import DURATION, INTEGER, NUMBER, Shaped, says

COUNTS = frozenset({"times", "distinct", "sum", "reaches"})
"""The keys that speak for it."""

_NUMBERS = ("number", "money")
_VALUES = ("string", "number", "money", "boolean", "time", "date", "zone")
_span = within(MILLISECOND, LONGEST)


def parse_amount(value: Any) -> Decimal:
    """`500` or `0.5`, above 0, exactly."""
    if not parse_number(value) > 0:
        refuse("FO202", f"`{value}` is out of range", "a sum is reached from below: above 0")
    return Decimal(as_text(value))


def _within(value: Any) -> int | None:
    return None if as_text(value, "a duration or `ever`") == "ever" else _span(value)


_WITHIN = {"anyOf": [{"const": "ever"}, DURATION]}


class CountTrigger(EventTrigger):
    """S16."""

    times: Annotated[
        int | None,
        BeforeValidator(integer(1, MOST)),
        Shaped(INTEGER),
        says("How often it must have happened, or, with `distinct`, with how many different values.", 3),
    ] = None
    distinct: Annotated[Identifier | None, says("The property of which different values are counted.", "sku")] = None
    sum: Annotated[
        Identifier | None, says("The property that is added up, until it `reaches` an amount.", "amount")
    ] = None
    reaches: Annotated[
        Decimal | None, BeforeValidator(parse_amount), Shaped(NUMBER), says("The sum at which it fires.", 500)
    ] = None
    within: Annotated[
        int | None,
        BeforeValidator(_within),
        Shaped(_WITHIN),
        says("The sliding window: so far back from each event; `ever`: since the history begins.", "7d", "ever"),
    ] = Field()
    repeat: Annotated[
        Literal["rearm", "always"],
        Word,
        says("`rearm`: again when it has fallen below meanwhile; `always`: on each event; left out: rearm.", "always"),
    ] = "rearm"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fit_sum(self, "a plan for each of them")
        if self.sum is None and self.times is None:
            refuse("FO102", "`times` is missing: so many different values are wanted", "times: 3")
        return self

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """As an event, which counts before it may start anything."""
        super().read(checker, checked)
        (start,) = checked.parts
        value = self.sum or self.distinct
        if value is not None:
            check_value(checker, ("trigger",), "sum" if self.sum else "distinct", self.event, value)
        heard = start.heard
        count = Part(heard, start.loc, "count", value=value, always=self.repeat == "always")
        checked.parts = [count, Part(Heard(heard.event, heard.own, ()), start.loc, "start", steps=start.steps)]

    @property
    def counter(self) -> core.Counter:
        """What is counted."""
        if self.reaches is not None:
            return core.Counter("sum", self.reaches, self.within, 0)
        times = self.times or 1
        return core.Counter("times" if self.distinct is None else "distinct", times, self.within, times)

    def build(self, given: Given) -> core.Trigger:
        """With its counter."""
        return core.CountTrigger(self.counter, given.delay)


class Counting(Protocol):
    """What counts, or adds up."""

    times: Any
    distinct: str | None
    sum: str | None
    reaches: Decimal | None


def fit_sum(counting: Counting, instead: str) -> None:
    """A sum is of a property and reaches an amount, and nothing else is counted; `instead` is what to try."""
    if (counting.sum is None) != (counting.reaches is None):
        lacks, hint = ("reaches", "reaches: 500") if counting.reaches is None else ("sum", "sum: amount")
        refuse("FO102", f"`{lacks}` is missing: a sum of a property reaches an amount", hint)
    if counting.sum is not None and (counting.times is not None or counting.distinct is not None):
        other = "times" if counting.times is not None else "distinct"
        refuse("FO107", f"`sum` and `{other}` exclude each other", instead)


def check_value(checker: Checker, loc: Loc, key: str, event: str, name: str) -> None:
    """What is added up must be a number, what is told apart one value."""
    known = checker.properties(event)
    wanted = _VALUES if key == "distinct" else _NUMBERS
    if name not in known:
        if checker.declares(event):
            what = f"`{key}: {name}`: the event `{event}` has no such property"
            checker.document.report("FO303", (*loc, key), what, hint=one_of(name, known))
    elif known[name] not in wanted:
        what = f"`{key}: {name}` is {known[name]}, not {'one value' if key == 'distinct' else 'a number'}"
        checker.document.report("FO405", (*loc, key), what, hint=f"`{key}` takes {', '.join(wanted)}")
