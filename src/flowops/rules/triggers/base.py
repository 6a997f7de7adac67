"""What every kind of trigger shares: its keys, and what is kept of it once it was checked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from flowops.core import plan as core
from flowops.core.records import Micros
from flowops.core.time import Zone
from flowops.rules.document import Document, Loc
from flowops.rules.expressions import Checked, Scope, Type
from flowops.rules.later import Place
from flowops.rules.nodes import Ref
from flowops.settings.fields import (
    Duration,
    Identifier,
    Offset,
    Text,
    Weekday,
    parse_clock,
    parse_texts,
    refuse,
)
from flowops.settings.guess import one_of
from flowops.settings.model import MAPPING, TEXT, Model, text_or_mapping
from flowops.settings.shapes import OR_ONE, says

Keys: TypeAlias = Annotated[list[Identifier], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an attribute, or of a segment, which is one (S19); None: from, or to, whatever value."""

    attribute: str
    old: Any = None
    new: Any = None
    text: str = ""  # in words: `enters vip`


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that a plan listens to: what its own properties decide, and what only the shard can.

    A `change` of the profile is no event of any source: its `event` is empty.
    """

    event: str
    own: tuple[Checked, ...]
    rest: tuple[Checked, ...]
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """An event of a trigger, as one of the plan's listeners.

    `role` is the kind of the listener (`core.plan.Start`, `Take`, `Cancel`, ...), `number` its `part`; `steps` are the
    names under which its properties are kept for later filters and the content. `value` and `always` are a `Count`'s.
    """

    heard: Heard
    loc: Loc
    role: Literal["start", "take", "cancel", "exit", "resume", "count", "see"]
    number: int = 0
    steps: tuple[str, ...] = ()
    value: str | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a trigger is built with: its delay, the plan's zone, the attributes in the order of their numbers."""

    delay: core.Delay
    zone: Zone
    attributes: Sequence[str]


@dataclass(slots=True)
class CheckedTrigger:
    """A trigger with every text in it read."""

    model: Kind
    steps: dict[str, Mapping[str, Type]] = field(default_factory=dict)
    """The steps that have a name, in the order of `core.plan.Steps`, with the types of what they carry."""
    times: dict[str, int | None] = field(default_factory=dict)
    """How often those are taken at most, that are taken several times; None: without end."""
    parts: list[Part] = field(default_factory=list)
    until: Checked | None = None
    """Of a delay until a time that an event carries: that time."""

    attributes: list[str] = field(default_factory=list)
    """Attributes of the profile that it needs, beside those of its filters."""
    everyone: bool = False
    """It is for all of whom a profile or a segment was told, whether they do anything or not."""

    @property
    def key(self) -> list[str]:
        """The properties that make instances."""
        return self.model.key or []


class Checker(Protocol):
    """What a trigger asks of `rules.check.PlanChecker`."""

    document: Document
    zone: Zone
    user: dict[str, Type]
    derived: frozenset[str]
    """Those of `user` that no record tells."""

    def properties(self, event: str) -> dict[str, Type]:
        """The properties of an event with their types; of one that is not declared nobody knows them."""

    def declares(self, event: str) -> bool:
        """Whether there is such an event; `any` stands for all."""

    def heard(self, loc: Loc, event: str, where: str | None, scope: Scope) -> Heard:
        """Check an event and its filter."""

    def expression(self, loc: Loc, text: str, scope: Scope, *, condition: bool = False) -> Checked | None:
        """Check an expression; None, and a finding at its place, where it is wrong."""

    def keys(self, names: Sequence[str], event: str) -> None:
        """Each property of `key` must be one of the event."""

    def step_name(self, loc: Loc, name: str) -> None:
        """A step's name must be none of the language's words."""


class Until(Model):
    """A delay until a local time of day, or until a time that an event carries (S12)."""

    until: Annotated[
        Text, says("A local time of day, or a property that carries a time or a date.", "20:00", "departs_at")
    ]
    days: Annotated[
        Annotated[list[Weekday], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE] | None,
        says("On which days a time of day counts; left out: all.", ["sat"]),
    ] = None
    offset: Annotated[Offset | None, says("So much before or after the time that is carried.", "-1d")] = None

    @property
    def is_clock(self) -> bool:
        """Whether it is a time of day."""
        return self.until[:1].isdigit()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.is_clock:
            parse_clock(self.until)
            if self.offset is not None:
                refuse("FO107", "`offset` is for a time that the event carries", "say the time of day that is meant")
        elif self.days is not None:
            refuse("FO107", "`days` is for a time of day", "delay: {until: 20:00, days: [sat]}")
        return self


def _how(value: Any) -> str:
    return TEXT if isinstance(value, int) else text_or_mapping(value)


class Kind(Model):
    """The keys that stand beside any kind, and what a kind answers."""

    place: ClassVar[Place] = "trigger"

    key: Annotated[
        Keys | None,
        says(
            "Makes instances per value of a property that every event concerned has: one, or a list.",
            "sku",
            ["shop", "sku"],
        ),
    ] = None
    delay: Annotated[
        Annotated[Duration, Tag(TEXT)] | Annotated[Until, Tag(MAPPING)],
        Discriminator(_how),
        says(
            "Acted on later: so much, at a time of day, or at a time that the event carries; left out: at once.",
            "10m",
            {"until": "20:00", "days": ["sat"]},
            {"until": "departs_at", "offset": "-1d"},
        ),
    ] = 0

    @classmethod
    def siblings(cls) -> frozenset[str]:
        """The keys of the other kinds: they need not be guessed at."""
        kinds = list[type[Kind]](Kind.__subclasses__())
        for kind in kinds:  # grows on the way
            kinds += kind.__subclasses__()
        return frozenset(key for kind in kinds for key in kind.keys())  # noqa: SIM118 - a method

    def check(self, checker: Checker) -> CheckedTrigger:
        """Read every text of it; what is wrong is reported to the checker's document."""
        checked = CheckedTrigger(self)
        self.read(checker, checked)
        if isinstance(self.delay, Until) and not self.delay.is_clock:
            checked.until = _carried(checker, checked.steps, self.delay.until)
        return checked

    @abstractmethod
    def read(self, checker: Checker, checked: CheckedTrigger) -> None:
        """Read the kind's own keys into the steps and parts of `checked`."""

    def waits(self) -> list[tuple[str, Micros]]:
        """What lies at least between the first event and the decision: the keys that say so, with their durations."""
        return [("delay", self.delay)] if isinstance(self.delay, int) and self.delay else []

    @abstractmethod
    def build(self, given: Given) -> core.Trigger:
        """What the engine runs."""


def _carried(checker: Checker, steps: Mapping[str, Mapping[str, Type]], text: str) -> Checked | None:
    """`departs_at`, or `booked.departs_at` where there are several steps."""
    loc = ("trigger", "delay", "until")
    step, _, name = text.rpartition(".")
    if not steps:
        checker.document.report("FO402", loc, f"no event begins this trigger that could carry `{text}`")
        return None
    if not step and len(steps) != 1:
        hint = f"write `{next(iter(steps))}.{text}`"
        checker.document.report("FO402", loc, f"`{text}`: of which step?", hint=hint)
        return None
    step = step or next(iter(steps))
    if Scope({}, steps=steps).follows(step):
        return None
    type_ = steps.get(step, {}).get(name)
    if type_ is None:
        known = {f"{of}.{each}" if len(steps) > 1 else each: None for of, names in steps.items() for each in names}
        what = f"`{text}` is no property that the delay could wait for"
        checker.document.report("FO402", loc, what, hint=one_of(text, known) if known else None)
        return None
    if type_ not in ("time", "date"):
        what = f"a delay waits until a time or a date, `{text}` is a {type_}"
        checker.document.report("FO403", loc, what, hint="declare it as `time`, or say a duration: `delay: 10m`")
        return None
    return Checked(text, Ref("step", name, type_, step))


def scope_of(
    checker: Checker, steps: Mapping[str, Mapping[str, Type]], times: Mapping[str, int | None] | None = None
) -> Scope:
    """What the filter of an event may name beside its own properties: earlier steps and the profile."""
    return Scope({}, steps=dict(steps), times=dict(times or {}), user=checker.user, zone=checker.zone)
