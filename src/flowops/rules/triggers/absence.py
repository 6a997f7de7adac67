"""`event: A`, `without: B`, `within: W`: A, and no B in the time after (S13)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from flowops.core import plan as core
from flowops.core.plan import Repeat
from flowops.core.records import Micros
from flowops.rules.document import Loc
from flowops.rules.later import Place
from flowops.rules.triggers.base import CheckedTrigger, Checker, Heard, Part, scope_of
from flowops.rules.triggers.event import EventTrigger
from flowops.settings.fields import Label, Text, Wait
from flowops.settings.model import Model, Word


class Other(Model):
    """One of the events that must not come."""

    place: ClassVar[Place] = "without"

    event: Label
    where: Text | None = None


def others(value: Any) -> Any:
    """`order` for `{event: order}`, and one where a list may stand."""
    items = value if isinstance(value, list) else [value]
    return [{"event": item} if isinstance(item, str) else item for item in items]


class AbsenceTrigger(EventTrigger):
    """S13."""

    without: Annotated[list[Other], BeforeValidator(others), Field(min_length=1)]
    within: Wait
    repeat: Annotated[Repeat, Word] = "ignore"

    def check(self, checker: Checker) -> CheckedTrigger:
        """As an event; then each that must not come, which may speak of the first."""
        checked = super().check(checker)
        scope = scope_of(checker, checked.steps)
        for number, other in enumerate(self.without):
            loc = ("trigger", "without", number)
            checker.keys(checked.key, other.event)
            heard = checker.heard(loc, other.event, other.where, scope)
            checked.parts.append(Part(heard, loc, "cancel"))
            self._correlation(checker, loc, heard)
        return checked

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

    def build(self) -> core.Trigger:
        """With its wait and its delay."""
        return core.AbsenceTrigger(self.within, self.repeat, self.delay)
