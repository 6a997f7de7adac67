"""What every kind of trigger shares: its keys, and what is kept of it once it was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

from pydantic import BeforeValidator, Field

from flowops.core import plan as core
from flowops.core.records import Micros
from flowops.core.time import Zone
from flowops.rules.document import Document, Loc
from flowops.rules.expressions import Checked, Scope, Type
from flowops.rules.later import Place
from flowops.settings.fields import Identifier, parse_duration, parse_texts, refuse
from flowops.settings.model import Model

Keys: TypeAlias = Annotated[list[Identifier], BeforeValidator(parse_texts), Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that a plan listens to: what its own properties decide, and what only the shard can."""

    event: str
    own: tuple[Checked, ...]
    rest: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """An event of a trigger, as one of the plan's listeners.

    `role` is the kind of the listener (`core.plan.Start`, `Cancel`, ...), `number` its `part`; `step` the name
    under which its properties are kept for later filters and the content, None where they are not. `value` and `always`
    are a `Count`'s.
    """

    heard: Heard
    loc: Loc
    role: Literal["start", "cancel", "count", "see"]
    number: int = 0
    step: str | None = None
    value: str | None = None
    always: bool = False


@dataclass(slots=True)
class CheckedTrigger:
    """A trigger with every text in it read."""

    model: Kind
    steps: dict[str, str] = field(default_factory=dict)
    """The steps that have a name, in the order of `core.plan.Steps`, with their events."""
    parts: list[Part] = field(default_factory=list)

    @property
    def key(self) -> list[str]:
        """The properties that make instances."""
        return self.model.key or []


class Checker(Protocol):
    """What a trigger asks of `rules.check.PlanChecker`."""

    document: Document
    zone: Zone
    user: dict[str, Type]

    def properties(self, event: str) -> dict[str, Type]:
        """The properties of an event with their types; none of one that is not declared."""

    def declares(self, event: str) -> bool:
        """Whether there is such an event; `any` stands for all."""

    def heard(self, loc: Loc, event: str, where: str | None, scope: Scope) -> Heard:
        """Check an event and its filter."""

    def keys(self, names: Sequence[str], event: str) -> None:
        """Each property of `key` must be one of the event."""

    def step_name(self, loc: Loc, name: str) -> None:
        """A step's name must be none of the language's words."""


def _delay(value: Any) -> int:
    if isinstance(value, dict):
        refuse("FO104", "a `delay` that is no duration is not supported yet", "a duration: `delay: 10m`")
    return parse_duration(value)


class Kind(Model):
    """The keys that stand beside any kind, and what a kind answers."""

    place: ClassVar[Place] = "trigger"

    key: Keys | None = None
    delay: Annotated[int, BeforeValidator(_delay)] = 0

    @classmethod
    def siblings(cls) -> frozenset[str]:
        """The keys of the other kinds: they need not be guessed at."""
        kinds = list[type[Kind]](Kind.__subclasses__())
        for kind in kinds:  # grows on the way
            kinds += kind.__subclasses__()
        return frozenset(key for kind in kinds for key in kind.keys())  # noqa: SIM118 - a method

    def check(self, checker: Checker) -> CheckedTrigger:
        """Read every text of it; what is wrong is reported to the checker's document."""
        raise NotImplementedError

    def waits(self) -> list[tuple[str, Micros]]:
        """What lies at least between the first event and the decision: the keys that say so, with their durations."""
        return [("delay", self.delay)] if self.delay else []

    def build(self) -> core.Trigger:
        """What the engine runs."""
        raise NotImplementedError


def scope_of(checker: Checker, steps: Mapping[str, str]) -> Scope:
    """What the filter of an event may name beside its own properties: earlier steps and the profile."""
    named = {name: checker.properties(event) for name, event in steps.items()}
    return Scope({}, steps=named, user=checker.user, zone=checker.zone)
