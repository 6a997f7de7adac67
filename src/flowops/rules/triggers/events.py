"""The events of a trigger that has several; a change of the profile may stand wherever an event may (S19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from flowops.rules.document import Loc
from flowops.rules.expressions import Scope, Type, Undeclared
from flowops.rules.later import Place
from flowops.rules.triggers.base import CheckedTrigger, Checker, Heard
from flowops.rules.triggers.change import Changes, hear_change
from flowops.settings.fields import Identifier, Label, Text, refuse
from flowops.settings.shapes import OR_ONE, TEXT, Shaped, says


class Happening(Changes):
    """An event, or a change."""

    place: ClassVar[Place] = "event"

    event: Annotated[Label | None, says("What happens; or a change, by the other keys.", "order")] = None
    where: Annotated[
        Text | None,
        says("Which of them: a condition, in SQL, that may name earlier steps.", "sku = product_view.sku"),
    ] = None

    @model_validator(mode="after")
    def _event_or_change(self) -> Self:
        self.one()
        return self

    def one(self) -> None:
        """It is an event or a change, not both; or refused."""
        if self.event is None and not self.what:
            refuse("FO102", "`event` is missing", "add `event:` here, or a change: `enters: vip`, `attribute: tier`")
        if self.event is not None and self.what:
            refuse("FO107", f"`event` and `{self.what}` exclude each other", "an entry for each of them")

    def hear(self, checker: Checker, loc: Loc, scope: Scope, key: Sequence[str]) -> Heard:
        """Check it as something that a plan hears. A change has no properties, so it has no key (S17a)."""
        if self.event is not None:
            checker.keys(key, self.event)
            return checker.heard(loc, self.event, self.where, scope)
        if key:
            what = f"`{self.what}` has no properties, so it never has the trigger's `key`"
            checker.document.report("FO107", (*loc, self.what), what, hint="leave the one or the other out")
        return hear_change(checker, loc, self, self.where, scope)


class Event(Happening):
    """One that later filters and the content may speak of, by the name that `as` gives, else the event's."""

    step: Annotated[
        Identifier | None,
        Field(alias="as"),
        says("A name for later filters and texts; left out: the event's.", "shared"),
    ] = None


def shorthand(value: Any) -> Any:
    """`order` for `{event: order}`, and one where a list may stand."""
    items = value if isinstance(value, list) else [value]
    return [{"event": item} if isinstance(item, str) else item for item in items]


Events: TypeAlias = Annotated[
    list[Annotated[Event, Shaped(TEXT, beside=True)]], BeforeValidator(shorthand), Field(min_length=1), OR_ONE
]


def name_step(checker: Checker, checked: CheckedTrigger, loc: Loc, event: Event) -> str:
    """Give the event's step its name, which must be its own; a change, of which nothing is told, has its place's."""
    name = event.step or event.event or ".".join(map(str, loc))
    place = (*loc, "as" if event.step else "event")
    checker.step_name(place, name)
    if name in checked.steps:
        what = f"two steps are called `{name}`"
        checker.document.report("FO309", place, what, hint="give one of them another name: `as: viewed`")
    checked.steps.setdefault(name, checker.properties(event.event) if event.event else {})
    return name


def shared(checker: Checker, events: Sequence[Event]) -> dict[str, Type]:
    """The properties that all of them have, of one type."""
    every = [checker.properties(event.event) if event.event else {} for event in events]
    first, *others = sorted(every, key=lambda types: not isinstance(types, Undeclared))
    if isinstance(first, Undeclared):
        return first
    return {name: type_ for name, type_ in first.items() if all(each.get(name) == type_ for each in others)}
