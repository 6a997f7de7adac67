"""`event: A`: it happened (S12)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowops.core import plan as core
from flowops.rules.triggers.base import CheckedTrigger, Checker, Kind, Part, scope_of
from flowops.settings.fields import Identifier, Label, Text


class EventTrigger(Kind):
    """S12."""

    event: Label
    where: Text | None = None
    step: Annotated[Identifier | None, Field(alias="as")] = None

    def check(self, checker: Checker) -> CheckedTrigger:
        """Its name, its filter, its key."""
        name = self.step or self.event
        checker.step_name(("trigger", "as" if self.step else "event"), name)
        checked = CheckedTrigger(self, {name: self.event})
        heard = checker.heard(("trigger",), self.event, self.where, scope_of(checker, {}))
        checker.keys(checked.key, self.event)
        checked.parts.append(Part(heard, ("trigger",), "start", step=name))
        return checked

    def build(self) -> core.Trigger:
        """With its delay."""
        return core.EventTrigger(self.delay)
