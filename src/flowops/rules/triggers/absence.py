"""`event: A`, `without: B`, `within: W`: A, and no B in the time after (S13)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from flowops.core import plan as core
from flowops.core.plan import Repeat
from flowops.core.records import Micros
from flowops.rules.document import Loc
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Heard, Part, scope_of
from flowops.rules.triggers.event import EventTrigger
from flowops.rules.triggers.events import Happening, shorthand
from flowops.settings.fields import Wait
from flowops.settings.model import Word
from flowops.settings.shapes import OR_ONE, TEXT, Shaped, says


class AbsenceTrigger(EventTrigger):
    """S13."""

    without: Annotated[
        list[Annotated[Happening, Shaped(TEXT, beside=True)]],
        BeforeValidator(shorthand),
        Field(min_length=1),
        OR_ONE,
        says(
            "What must not come in the time after: an event or a change, or a list of which none may.",
            "order",
            [{"event": "order", "where": "sku = product_view.sku"}],
        ),
    ]
    within: Annotated[Wait, says("How long it is waited for; what comes at the very end comes too late.", "1h")]
    repeat: Annotated[
        Repeat,
        Word,
        says(
            "What a further first event does meanwhile: nothing, begin anew, or its own wait; left out: ignore.",
            "restart",
        ),
    ] = "ignore"

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """As an event; then each that must not come, which may speak of the first."""
        super().read(checker, checked)
        scope = scope_of(checker, checked.steps)
        for number, other in enumerate(self.without):
            loc = ("trigger", "without", number)
            heard = other.hear(checker, loc, scope, checked.key)
            checked.parts.append(Part(heard, loc, "cancel"))
            self._correlation(checker, loc, heard)

    def _correlation(self, checker: Checker, loc: Loc, heard: Heard) -> None:
        """Ask for a key where a filter compares with the first event (S17a)."""
        correlated = [part for part in heard.rest if part.step_properties]
        if not correlated or self.key or self.repeat == "parallel":
            return
        both = sorted(
            {name for part in correlated for _, name in part.step_properties} & {*checker.properties(heard.event)}
        )
        hint = f"`key: {both[0]}` makes each its own" if both else "say `key:`, or `repeat: parallel`"
        what = "the filter compares with the first event of the wait, and there is no `key`"
        checker.document.report("FO601", (*loc, "where"), what, hint=hint)

    def waits(self) -> list[tuple[str, Micros]]:
        """The wait, then the delay."""
        return [("within", self.within), *super().waits()]

    def build(self, given: Given) -> core.Trigger:
        """With its wait and its delay."""
        return core.AbsenceTrigger(self.within, self.repeat, given.delay)
