"""`sequence: [...]`, `within: W`: steps in order, within a time of the first (S14)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag

from flowops.core import plan as core
from flowops.core.matchers.base import EVIDENCE as MOST
from flowops.core.plan import Repeat
from flowops.core.records import Micros
from flowops.rules import document
from flowops.rules.document import Loc
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Heard, Kind, Part, scope_of
from flowops.rules.triggers.events import Event, Events, Happening, name_step, shared, shorthand
from flowops.settings.fields import Boolean, Identifier, Wait, as_text, refuse, show_duration
from flowops.settings.model import Model, Word
from flowops.settings.shapes import OR_ONE, TEXT, Shaped, says

_TIMES = re.compile(r"(\d{1,6})(\+|\.\.(\d{1,6}))?", re.ASCII)


class Times(NamedTuple):
    """How often a step is taken: `most` is None without end."""

    least: int
    most: int | None


ONCE = Times(1, 1)


def parse_times(value: Any) -> Times:
    """`2`, `2+`, `2..5`, `0..3`."""
    text = as_text(value, "a number of times")
    found = _TIMES.fullmatch(text)
    if found is None:
        refuse("FO203", f"`{text}` is no number of times", "write 2, 2+ or 2..5")
    least = int(found[1])
    most = None if found[2] == "+" else int(found[3] or found[1])
    if max(least, most or 0) > MOST or most == 0:
        refuse("FO202", f"`{text}` is out of range", f"from 1 to {MOST}; `0..3` and `0+` may be left out")
    if most is not None and most < least:
        refuse("FO202", f"`{text}` is never reached", f"write {most}..{least}")
    return Times(least, most)


Repeated: TypeAlias = Annotated[
    Times,
    BeforeValidator(parse_times),
    Shaped({"type": ["integer", "string"], "pattern": r"^[0-9]+(\+|\.\.[0-9]+)?$"}),
    Field(alias="times"),
    says("How often it is taken: so often, at least, or from and to; from 0 it may be left out.", 2, "2+", "0..3"),
]


class _Step(Model):
    within: Annotated[
        Wait | None, says("It must come within so long of the step before; of `without`: none for so long.", "1h")
    ] = None

    @classmethod
    def siblings(cls) -> frozenset[str]:
        """The keys of other steps: they need not be guessed at."""
        return frozenset(key for kind in STEPS for key in kind.keys())  # noqa: SIM118 - a method

    @property
    def times(self) -> Times:
        """How often it is taken."""
        return ONCE


class EventStep(_Step, Event):
    """One event, or one change."""

    repeated: Repeated = ONCE

    @property
    def times(self) -> Times:
        """As it says."""
        return self.repeated


class AnyStep(_Step):
    """Whichever of several."""

    any: Annotated[Events, says("Events of which any will do.", ["share", {"event": "favourite"}])]
    step: Annotated[
        Identifier | None, Field(alias="as"), says("A name for whichever it was, for later filters and texts.", "liked")
    ] = None
    repeated: Repeated = ONCE

    @property
    def times(self) -> Times:
        """As it says."""
        return self.repeated


class AllStep(_Step):
    """Each of several, in any order."""

    all: Annotated[Events, says("Events that must all come, in any order.", ["share", "favourite"])]


class WithoutStep(_Step):
    """None of these, before the next step or for so long."""

    without: Annotated[
        list[Annotated[Happening, Shaped(TEXT, beside=True)]],
        BeforeValidator(shorthand),
        Field(min_length=1),
        OR_ONE,
        says("What must not come between: an event or a change, or a list of which none may.", "order"),
    ]


STEPS: Mapping[type[_Step], str] = {
    EventStep: "<event>",
    AnyStep: "<any>",
    AllStep: "<all>",
    WithoutStep: "<without>",
}
"""The kinds of steps with their tags."""


def _step_kind(value: Any) -> str:
    if isinstance(value, _Step):
        return STEPS[type(value)]
    keys = set(value) if isinstance(value, document.Mapping) else set()
    return next((f"<{key}>" for key in ("without", "all", "any") if key in keys), "<event>")


def _step(value: Any) -> Any:
    return {"event": value} if isinstance(value, str) else value


Step: TypeAlias = Annotated[
    Annotated[
        Annotated[EventStep, Tag("<event>")]
        | Annotated[AnyStep, Tag("<any>")]
        | Annotated[AllStep, Tag("<all>")]
        | Annotated[WithoutStep, Tag("<without>")],
        Discriminator(_step_kind),
    ],
    BeforeValidator(_step),
    Shaped(TEXT, beside=True),
]


class SequenceTrigger(Kind):
    """S14."""

    sequence: Annotated[
        list[Step],
        Field(min_length=1),
        says(
            "Steps in order: events, any or all of several, or `without`: none of these between.",
            ["product_view", {"without": "order"}, {"event": "add_to_cart", "where": "sku = product_view.sku"}],
        ),
    ]
    within: Annotated[Wait, says("How long after the first event the last one may come.", "24h")]
    strict: Annotated[Boolean, says("No other event of the user may come between; left out: false.", "true")] = False
    unfinished: Annotated[
        Boolean, says("Fires when it was begun and not completed in time, and only then; left out: false.", "true")
    ] = False
    repeat: Annotated[
        Repeat,
        Word,
        says(
            "What a further first event does meanwhile: nothing, begin anew, or one of its own; left out: ignore.",
            "restart",
        ),
    ] = "ignore"

    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """Step by step, each of which may speak of those before it."""
        for number, (step, numbers) in enumerate(self._numbered()):
            loc = ("trigger", "sequence", number)
            if isinstance(step, WithoutStep):
                self._without(checker, checked, loc, step, numbers)
            else:
                self._taken(checker, checked, loc, step, numbers, first=number == 0)
        if self.strict:
            every = Heard("any", (), ())
            checked.parts.append(Part(every, ("trigger", "strict"), "take", core.ANY_EVENT))
        self._correlation(checker, checked.parts)
        _Order(self, checker).check()

    def _taken(
        self,
        checker: Checker,
        checked: CheckedTrigger,
        loc: Loc,
        step: EventStep | AnyStep | AllStep,
        numbers: list[int],
        *,
        first: bool,
    ) -> None:
        scope = scope_of(checker, checked.steps, checked.times)
        events = _events(step)
        names: list[str] = []
        for place, (event, number) in enumerate(zip(events, numbers, strict=True)):
            key = "any" if isinstance(step, AnyStep) else "all"
            at = loc if isinstance(step, EventStep) else (*loc, key, place)
            heard = event.hear(checker, at, scope, checked.key)
            name = name_step(checker, checked, at, event)
            names.append(name)
            kept = (name, step.step) if isinstance(step, AnyStep) and step.step is not None else (name,)
            checked.parts.append(Part(heard, at, "take", number, kept))
            if first:
                checked.parts.append(Part(heard, at, "start", number, kept))
        if isinstance(step, AnyStep) and step.step is not None:
            checker.step_name((*loc, "as"), step.step)
            if step.step in checked.steps:
                checker.document.report("FO309", (*loc, "as"), f"two steps are called `{step.step}`")
            checked.steps[step.step] = shared(checker, events)
            names.append(step.step)
        if step.times.most != 1:
            checked.times |= dict.fromkeys(names, step.times.most)

    def _without(
        self, checker: Checker, checked: CheckedTrigger, loc: Loc, step: WithoutStep, numbers: list[int]
    ) -> None:
        scope = scope_of(checker, checked.steps, checked.times)
        for place, (event, number) in enumerate(zip(step.without, numbers, strict=True)):
            at = (*loc, "without", place)
            heard = event.hear(checker, at, scope, checked.key)
            checked.parts.append(Part(heard, at, "take", number))

    def _correlation(self, checker: Checker, parts: Sequence[Part]) -> None:
        """Ask for a key where a filter compares with an earlier step (S17a); once is enough."""
        compares = (part for part in parts if any(each.step_properties for each in part.heard.rest))
        first = next(compares, None)
        if first is not None and not self.key and self.repeat == "ignore":
            what = "the filter compares with an earlier step, and there is no `key`"
            hint = "`key:` of a property that all events have makes each its own; or say `repeat:`"
            checker.document.report("FO601", (*first.loc, "where"), what, hint=hint)

    def _numbered(self) -> Iterator[tuple[EventStep | AnyStep | AllStep | WithoutStep, list[int]]]:
        """The steps with the numbers of their events: first those that are taken, then those of `without`."""
        taken = 0
        unwanted = sum(len(_events(step)) for step in self.sequence if not isinstance(step, WithoutStep))
        for step in self.sequence:
            if isinstance(step, WithoutStep):
                yield step, list(range(unwanted, unwanted + len(step.without)))
                unwanted += len(step.without)
            else:
                count = len(_events(step))
                yield step, list(range(taken, taken + count))
                taken += count

    def waits(self) -> list[tuple[str, Micros]]:
        """Of what is unfinished the whole time, then the delay."""
        return [*([("within", self.within)] if self.unfinished else []), *super().waits()]

    def build(self, given: Given) -> core.Trigger:
        """With its steps."""
        steps = tuple(_built(step, numbers) for step, numbers in self._numbered())
        return core.SequenceTrigger(steps, self.within, self.repeat, self.strict, self.unfinished, given.delay)


class _Order:
    """Whether the steps can come as they are written."""

    def __init__(self, trigger: SequenceTrigger, checker: Checker) -> None:
        self.trigger = trigger
        self.document = checker.document

    def check(self) -> None:
        """What is wrong is reported at the step that it is about."""
        steps = self.trigger.sequence
        self._first(steps[0])
        self._last(steps[-1])
        self._times()

    def _first(self, step: _Step) -> None:
        loc = ("trigger", "sequence", 0)
        if isinstance(step, WithoutStep):
            what = "a sequence begins with an event, not with `without`"
            self.document.report("FO107", loc, what, hint="put the event that begins it in front")
        elif step.times.least == 0:
            self.document.report("FO107", (*loc, "times"), "the first step cannot be left out", hint="times: 1+")
        if step.within is not None:
            what = "`within` counts from the step before, and there is none"
            hint = "leave it out: the sequence's own `within` counts from the first event"
            self.document.report("FO107", (*loc, "within"), what, hint=hint)

    def _last(self, step: _Step) -> None:
        trigger = self.trigger
        loc = ("trigger", "sequence", len(trigger.sequence) - 1)
        if isinstance(step, WithoutStep):
            if step.within is None:
                what = "the last `without` needs `within`: until when may it not come?"
                self.document.report("FO102", loc, what, hint="{without: order, within: 1h}")
            if trigger.unfinished:
                what = "`unfinished` and a `without` at the end exclude each other"
                hint = "a `without` at the end already fires when something does not come"
                self.document.report("FO107", ("trigger", "unfinished"), what, hint=hint)
            return
        if step.times.least == 0 and len(trigger.sequence) > 1:
            what = "the sequence is complete before its last step, which may be left out"
            self.document.report("FO604", (*loc, "times"), what, hint="leave the step out, or `times: 1+`")
        needed = [each for each in trigger.sequence if not isinstance(each, WithoutStep) and each.times.least]
        single = len(needed) == 1 and needed[0].times.least == 1 and len(_events(needed[0])) == 1
        if trigger.unfinished and single:
            what = "the sequence is complete with its first event, so it is never unfinished"
            self.document.report("FO107", ("trigger", "unfinished"), what, hint="add the step that is missed")

    def _times(self) -> None:
        """A `without` that lasts at least as long as the next step, or the sequence, has time."""
        wait = 0
        for number, step in enumerate(self.trigger.sequence):
            loc = ("trigger", "sequence", number)
            if isinstance(step, WithoutStep):
                wait = max(wait, step.within or 0)
                continue
            limit = min(step.within or self.trigger.within, self.trigger.within)
            if wait >= limit:
                what = f"this step has {show_duration(limit)}, and the `without` before it lasts {show_duration(wait)}"
                hint = "give it longer: both count from the step before"
                self.document.report("FO212", (*loc, "within") if step.within == limit else loc, what, hint=hint)
            elif number and step.within is not None and step.within >= self.trigger.within:
                what = f"the whole sequence has {show_duration(self.trigger.within)}, so this changes nothing"
                self.document.report("FO604", (*loc, "within"), what, hint="leave it out, or make it shorter")
            if step.times.least:
                wait = 0


def _events(step: _Step) -> list[Event]:
    if isinstance(step, EventStep):
        return [step]
    return step.any if isinstance(step, AnyStep) else step.all if isinstance(step, AllStep) else []


def _built(step: _Step, numbers: list[int]) -> core.SequenceStep:
    parts = tuple(numbers)
    if isinstance(step, WithoutStep):
        return core.SequenceStep("without", parts, within=step.within)
    if isinstance(step, AllStep):
        return core.SequenceStep("all", parts, within=step.within)
    return core.SequenceStep("any", parts, step.times.least, step.times.most, step.within)
