"""`enters: vip`, `leaves: vip`, `attribute: tier` with `from` and `to`: a change of the profile (S19)."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from flowops.core import plan as core
from flowops.core.plan import SEGMENT
from flowops.rules.document import Loc
from flowops.rules.expressions import Scope, Type
from flowops.rules.triggers.base import Change, CheckedTrigger, Checker, Given, Heard, Kind, Part, scope_of
from flowops.settings.fields import Identifier, Label, Text, as_text, parse_boolean, parse_number, refuse
from flowops.settings.guess import one_of
from flowops.settings.model import Model
from flowops.settings.shapes import TEXT, Shaped, says

CHANGES = ("enters", "leaves", "attribute")
"""The keys that speak for it, in this order."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()

Value = Annotated[str, BeforeValidator(as_text), Shaped(TEXT)]


class Changes(Model):
    """The keys of a change, wherever one may stand."""

    enters: Annotated[Label | None, says("The segment that the user enters.", "vip")] = None
    leaves: Annotated[Label | None, says("The segment that the user leaves.", "vip")] = None
    attribute: Annotated[Identifier | None, says("The attribute that changes.", "tier")] = None
    old: Annotated[Value | None, Field(alias="from"), says("Its value before; left out: any.", "silver")] = None
    new: Annotated[Value | None, Field(alias="to"), says("Its value after; left out: any other.", "gold")] = None

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        given = self._given()
        if len(given) > 1:
            refuse("FO107", f"`{given[0]}` and `{given[1]}` exclude each other", "a plan for each of them")
        values = [key for key, value in (("from", self.old), ("to", self.new)) if value is not None]
        if values and self.attribute is None:
            refuse("FO107", f"`{values[0]}` is for an attribute", "attribute: tier, from: silver, to: gold")
        if len(values) > 1 and self.old == self.new:
            refuse("FO107", "`from` and `to` are the same: that is no change", "leave one of them out")
        return self

    def _given(self) -> list[str]:
        return [key for key in CHANGES if getattr(self, key) is not None]

    @property
    def what(self) -> str:
        """The key that says what changes; empty where none does."""
        return next(iter(self._given()), "")

    @property
    def text(self) -> str:
        """In words."""
        if self.attribute is None:
            return f"enters {self.enters}" if self.enters is not None else f"leaves {self.leaves}"
        values = [f"{word} {value}" for word, value in (("from", self.old), ("to", self.new)) if value is not None]
        return " ".join([f"{self.attribute} changes", *values])

    def change(self, checker: Checker, loc: Loc) -> Change:
        """What changes, and how; the attribute must be declared, and its values be of its type."""
        if self.attribute is None:
            old, new = (None, True) if self.enters is not None else (True, None)
            return Change(SEGMENT + str(self.enters or self.leaves), old, new, self.text)
        type_ = checker.user.get(self.attribute)
        if type_ is None:
            hint = one_of(self.attribute, checker.user)
            what = f"the profile has no attribute `{self.attribute}`"
            checker.document.report("FO303", (*loc, "attribute"), what, hint=hint)
            return Change(self.attribute, text=self.text)
        if self.attribute in checker.derived:
            what = f"`{self.attribute}` changes as time passes, which no record tells"
            hint = "what time brings about is `inactive_for: 30d`; what a user is in, the audience asks"
            checker.document.report("FO314", (*loc, "attribute"), what, hint=hint)
        old, new = (
            None if text is None else _value(checker, (*loc, key), text, type_)
            for key, text in (("from", self.old), ("to", self.new))
        )
        return Change(self.attribute, old, new, self.text)


class ChangeTrigger(Changes, Kind):
    """S19."""

    where: Annotated[
        Text | None, says("A condition over the profile as it is then, in SQL.", "user.city = 'Beijing'")
    ] = None

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """The change, and a filter over the profile as it is then."""
        loc: Loc = ("trigger",)
        if self.key:
            what = "a change of the profile has no properties, so it has no `key`"
            checker.document.report("FO107", (*loc, "key"), what, hint="leave it out")
        checked.parts.append(Part(hear_change(checker, loc, self, self.where, scope_of(checker, {})), loc, "start"))

    def build(self, given: Given) -> core.Trigger:
        """Whichever happens, of one."""
        return core.AnyTrigger(given.delay)


def hear_change(checker: Checker, loc: Loc, changes: Changes, where: str | None, scope: Scope) -> Heard:
    """A change as something that a plan hears: only the shard can tell it."""
    change = changes.change(checker, loc)
    condition = None if where is None else checker.expression((*loc, "where"), where, scope, condition=True)
    return Heard("", (), condition.conjuncts() if condition else (), change)


def _value(checker: Checker, loc: Loc, text: str, type_: Type) -> Any:
    """A value as records have it; a finding where it is none of the attribute's type."""
    try:
        if type_ in ("number", "money"):
            return parse_number(text)
        if type_ == "boolean":
            return parse_boolean(text)
        if type_ == "date":
            return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        checker.document.report("FO403", loc, f"`{text}` is no {type_}", hint=f"the attribute is a {type_}")
        return None
    if type_ in ("string", "zone"):
        return text
    what = f"an attribute of type {type_} is compared with no value"
    checker.document.report("FO403", loc, what, hint="leave it out: any change counts")
    return None
