"""`did` and `did_not` of an audience: what a user did before, so often, or not (S12a)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from flowops.core import plan as core
from flowops.core.time import Zone
from flowops.rules.document import Loc
from flowops.rules.expressions import Scope
from flowops.rules.later import Place
from flowops.rules.triggers.base import Checker, Heard
from flowops.rules.triggers.counting import check_value, fit_sum, parse_amount
from flowops.rules.triggers.events import shorthand
from flowops.rules.triggers.sequence import Times, parse_times
from flowops.settings.fields import Identifier, Label, Text, Wait, When, refuse, show_duration
from flowops.settings.model import Model
from flowops.settings.shapes import MOMENT, NUMBER, OR_ONE, TEXT, Shaped, says

if TYPE_CHECKING:
    from flowops.rules.schema_plan import Audience

ANSWER = "did:"
"""Begins the name under which an audience's condition asks for the answer of a lookback; its number follows."""


_TIMES = {"type": ["integer", "string"], "pattern": r"^[0-9]+(\+|\.\.[0-9]+)?$"}

_BETWEEN = {"type": "array", "items": MOMENT, "minItems": 2, "maxItems": 2}


class Did(Model):
    """An event that was done, so often or so much, within some time."""

    place: ClassVar[Place] = "did"

    event: Annotated[Label, says("The event that was done.", "order")]
    where: Annotated[Text | None, says("Which of them: a condition, in SQL.", "amount > 50")] = None
    times: Annotated[
        Times | None,
        BeforeValidator(parse_times),
        Shaped(_TIMES),
        says("How often: so often, at least, or from and to; left out: at least once.", 2, "2+", "0..3"),
    ] = None
    distinct: Annotated[Identifier | None, says("The property whose different values are counted.", "sku")] = None
    sum: Annotated[Identifier | None, says("The property that is added up.", "amount")] = None
    reaches: Annotated[
        Decimal | None, BeforeValidator(parse_amount), Shaped(NUMBER), says("What the sum reaches at least.", 500)
    ] = None
    within: Annotated[Wait | None, says("So far back; left out: since the history begins.", "30d")] = None
    between: Annotated[
        list[When] | None,
        Shaped(_BETWEEN),
        says("From and to, a day included.", ["2022-01-01", "2022-02-01"]),
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fit_sum(self, "an entry for each of them")
        if self.between is not None and len(self.between) != 2:
            refuse("FO102", "`between` has two times, from and to", "between: [2022-01-01, 2022-02-01]")
        if self.within is not None and self.between is not None:
            refuse("FO107", "`within` and `between` exclude each other", "one of the two")
        if self.times is not None and (self.times.least, self.times.most) == (0, None):
            refuse("FO202", "`times: 0+` is always so", "at least 1, or up to some: `0..3`")
        return self

    def counter(self, zone: Zone) -> core.Counter:
        """What is kept of it."""
        begin, end = (self.between[0].begins(zone), self.between[1].ends(zone)) if self.between else (None, None)
        if self.reaches is not None:
            return core.Counter("sum", self.reaches, self.within, 0, begin, end)
        low, high = self.range
        kind = "times" if self.distinct is None else "distinct"
        return core.Counter(kind, max(low, 1), self.within, low if high is None else high + 1, begin, end)  # type: ignore[arg-type]

    @property
    def range(self) -> tuple[int, int | None]:
        """From how often, to how often."""
        return (1, None) if self.times is None else (self.times.least, self.times.most)

    @property
    def text(self) -> str:
        """For people: `order where amount > 50 2+ times within 30d`."""
        low, high = self.range
        count = f"{low}{'+' if high is None else '' if high == low else f'..{high}'}"
        parts = [self.event] if self.where is None else [self.event, "where", self.where]
        if self.reaches is not None:
            parts.append(f"with {self.sum} of {self.reaches}")
        elif self.distinct is not None:
            parts.append(f"with {count} different {self.distinct}")
        elif self.times is not None:
            parts.append(f"{count} time{'' if count == '1' else 's'}")
        if self.within is not None:
            parts.append(f"within {show_duration(self.within)}")
        if self.between is not None:
            parts.append(f"between {self.between[0].text} and {self.between[1].text}")
        return " ".join(parts)


Dids: TypeAlias = Annotated[
    list[Did], BeforeValidator(shorthand), Field(min_length=1), OR_ONE, Shaped(TEXT, beside=True)
]


@dataclass(frozen=True, slots=True)
class Look:
    """One `did` or `did_not`, read: what it listens to, and the property that it counts by."""

    did: Did
    loc: Loc
    heard: Heard
    zone: Zone

    @property
    def value(self) -> str | None:
        """The property that is counted or added up."""
        return self.did.sum or self.did.distinct

    @property
    def counter(self) -> core.Counter:
        """What is kept of it."""
        return self.did.counter(self.zone)


def looks_of(block: Audience, loc: Loc) -> Iterator[tuple[Loc, Did]]:
    """The lookbacks of an audience, in the order in which their answers are numbered."""
    for key, dids in (("did", block.did), ("did_not", block.did_not)):
        for number, did in enumerate(dids or []):
            yield (*loc, key, number), did
    for number, each in enumerate(block.any or []):
        yield from looks_of(each, (*loc, "any", number))


def read(checker: Checker, block: Audience, loc: Loc) -> list[Look]:
    """Check each at its place."""
    found: list[Look] = []
    for where, did in looks_of(block, loc):
        heard = checker.heard(where, did.event, did.where, Scope({}, user=checker.user, zone=checker.zone))
        look = Look(did, where, heard, checker.zone)
        if look.value is not None:
            check_value(checker, where, "sum" if did.sum else "distinct", did.event, look.value)
        if did.between and did.between[0].begins(checker.zone) >= did.between[1].ends(checker.zone):
            what = f"`between` ends ({did.between[1].text}) before it begins ({did.between[0].text})"
            checker.document.report("FO208", (*where, "between"), what, hint="exchange the two?")
        found.append(look)
    return found
