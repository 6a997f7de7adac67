"""`event: A`: it happened (S12)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowops.core import plan as core
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Kind, Part, scope_of
from flowops.settings.fields import Identifier, Label, Text
from flowops.settings.shapes import says


class EventTrigger(Kind):
    """S12."""

    event: Annotated[Label, says("What happened; `any`: whichever.", "product_view")]
    where: Annotated[
        Text | None, says("Which of them: a condition, in SQL.", "price >= 50 and category in ('shoes', 'bags')")
    ] = None
    step: Annotated[
        Identifier | None,
        Field(alias="as"),
        says("A name for later filters and texts; left out: the event's.", "viewed"),
    ] = None

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """Its name, its filter, its key."""
        name = self.step or self.event
        checker.step_name(("trigger", "as" if self.step else "event"), name)
        checked.steps[name] = checker.properties(self.event)
        heard = checker.heard(("trigger",), self.event, self.where, scope_of(checker, {}))
        checker.keys(checked.key, self.event)
        checked.parts.append(Part(heard, ("trigger",), "start", steps=(name,)))

    def build(self, given: Given) -> core.Trigger:
        """With its delay."""
        return core.EventTrigger(given.delay)
