"""`inactive_for: 7d`, optionally `event: login`: nothing, or none of a kind, for so long since the last one (S17)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from flowops.core import plan as core
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given
from flowops.rules.triggers.event import EventTrigger
from flowops.settings.fields import Identifier, Label, Text, Wait
from flowops.settings.shapes import says


class InactivityTrigger(EventTrigger):
    """S17."""

    inactive_for: Annotated[Wait, says("For how long nothing of the user, or none of the event, has come.", "7d")]
    event: Annotated[Label, says("The event of which none comes; left out: any.", "login")] = "any"
    where: Annotated[Text | None, says("Which of them: a condition, in SQL.", "device = 'phone'")] = None
    step: Annotated[
        Identifier | None,
        Field(alias="as"),
        says("A name of the last one, for later filters and texts; left out: the event's.", "last"),
    ] = None

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """As an event, of the last of which filters and content may speak; each that comes is seen by what waits."""
        super().read(checker, checked)
        (start,) = checked.parts
        checked.parts = [replace(start, role="see"), start]

    def build(self, given: Given) -> core.Trigger:
        """With its wait and its delay."""
        return core.InactivityTrigger(self.inactive_for, given.delay)
