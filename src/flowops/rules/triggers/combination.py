"""`any: [...]`: whichever happens; `all: [...]`: each, in any order (S15)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowops.core import plan as core
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Kind, Part, scope_of
from flowops.rules.triggers.events import Event, Events, name_step, shared
from flowops.settings.fields import Identifier, Wait
from flowops.settings.shapes import says


class AnyTrigger(Kind):
    """S15."""

    any: Annotated[Events, says("Events of which any triggers.", ["share", {"event": "order", "where": "amount > 50"}])]
    step: Annotated[
        Identifier | None,
        Field(alias="as"),
        says("A name for whichever it was, for later filters and texts.", "shown"),
    ] = None

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """Each under its own name, and all under the one that `as` gives."""
        for number, event in enumerate(self.any):
            part = _read(checker, checked, "any", number, event)
            names = part.steps if self.step is None else (*part.steps, self.step)
            checked.parts.append(Part(part.heard, part.loc, "start", number, names))
        if self.step is not None:
            checker.step_name(("trigger", "as"), self.step)
            if self.step in checked.steps:
                checker.document.report("FO309", ("trigger", "as"), f"two steps are called `{self.step}`")
            checked.steps[self.step] = shared(checker, self.any)

    def build(self, given: Given) -> core.Trigger:
        """With its delay."""
        return core.AnyTrigger(given.delay)


class AllTrigger(Kind):
    """S15."""

    all: Annotated[Events, says("Events that must all have happened, in any order.", ["share", "order"])]
    within: Annotated[Wait, says("The sliding window in which all of them lie.", "1d")]

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """Each may begin, and each may be what was still missing."""
        parts = [_read(checker, checked, "all", number, event) for number, event in enumerate(self.all)]
        checked.parts += parts
        checked.parts += [Part(part.heard, part.loc, "take", part.number, part.steps) for part in parts]

    def build(self, given: Given) -> core.Trigger:
        """With its window."""
        return core.AllTrigger(len(self.all), self.within, given.delay)


def _read(checker: Checker, checked: CheckedTrigger, key: str, number: int, event: Event) -> Part:
    loc = ("trigger", key, number)
    name = name_step(checker, checked, loc, event)
    heard = event.hear(checker, loc, scope_of(checker, {}), checked.key)
    return Part(heard, loc, "start", number, (name,))
