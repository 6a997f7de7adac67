"""A plan, as it is written: when, to whom, what, how often, and what counts as success."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from flowops.core.time import DAY
from flowops.rules.later import Place
from flowops.rules.schema_project import Cap, Labels, Quiet
from flowops.rules.triggers import Trigger
from flowops.settings.fields import (
    LONGEST,
    MILLISECOND,
    GoalWindow,
    Label,
    Name,
    Priority,
    Share,
    Text,
    Wait,
    When,
    ZoneName,
    as_text,
    parse_texts,
    refuse,
    within,
)
from flowops.settings.model import MAPPING, TEXT, Model, Word, text_or_mapping

Segments: TypeAlias = Annotated[list[Label], BeforeValidator(parse_texts), Field(min_length=1)]


class Dates(Model):
    """S20: `end` is included where it is a date."""

    start: Annotated[When | None, Field(alias="from")] = None
    end: Annotated[When | None, Field(alias="to")] = None


class Audience(Model):
    """A condition over the profile and the segments; of the blocks under `any` one is enough."""

    place: ClassVar[Place] = "audience"

    where: Text | None = None
    segments: Segments | None = None
    not_segments: Segments | None = None
    any: list[Audience] | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        conditions = (self.where, self.segments, self.not_segments)
        if all(each is None for each in conditions) == (self.any is None):
            what = "an audience is `where`, `segments` and `not_segments`, or `any` of such blocks"
            refuse("FO107", what, "audience: {where: user.tier = 'gold'}")
        return self


def _audience(value: Any) -> Any:
    if isinstance(value, str):
        if value != "everyone":
            refuse("FO106", f"`{value}` is no audience", "everyone, or {where: CONDITION}")
        return None
    return value


_gap = within(MILLISECOND, LONGEST)


def _reentry(value: Any) -> int | str:
    text = as_text(value, "`once`, `always` or a duration")
    if text in ("once", "always"):
        return text
    if not any(character.isdigit() for character in text):
        refuse("FO106", f"`{text}` is not understood here", "once, always, or a gap: `7d`")
    return _gap(text)


class Experiment(Model):
    """S23."""

    name: Name | None = None
    holdout: Share = Decimal(0)
    variants: dict[Name, Share] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.holdout == 1:
            refuse("FO202", "a holdout of 100% leaves nobody to send to", "less than 100%")
        if not self.holdout and not self.variants:
            refuse("FO102", "an experiment needs `holdout` or `variants`", "{holdout: 10%}")
        total = sum(self.variants.values(), Decimal(0))
        if self.variants and total != 1:
            hint = "the holdout is taken off before: variants divide the rest"
            refuse("FO209", f"the variants' shares sum to {(total * 100).normalize():f}%, not 100%", hint)
        if any(not share for share in self.variants.values()):
            refuse("FO202", "a variant with a share of 0%", "leave the variant out")
        return self


class Step(Model):
    """One step of sending. `content` is read by its shape: fields, a template, or these by variant."""

    place: ClassVar[Place] = "step"

    step: Name = "1"
    channel: Name
    content: dict[str, Any]
    expires: Wait = DAY


def _send(value: Any) -> Any:
    if isinstance(value, list):
        refuse("FO104", "a list of steps is not supported yet", "one step: send: {channel: ..., content: ...}")
    if isinstance(value, str):
        refuse("FO105", "a mapping is needed here, not a text", "send: {channel: ..., content: ...}")
    return value


class Goal(Model):
    """S41, S42."""

    place: ClassVar[Place] = "goal"

    goal: Name
    event: Label | None = None
    receipt: Annotated[Literal["displayed", "clicked"], Word] | None = None
    where: Text | None = None
    within: GoalWindow
    value: Text | None = None
    target: Share | None = None
    credit: Annotated[Literal["every", "last", "first"], Word] = "every"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.event is None) == (self.receipt is None):
            refuse("FO107", "a goal is an `event` or a `receipt`", "event: order, or receipt: clicked")
        if self.receipt is not None and (self.where or self.value):
            refuse("FO107", "a goal by a receipt has no `where` and no `value`", "leave them out, or name an event")
        return self


def _quiet(value: Any) -> Any:
    if isinstance(value, str) and value != "none":
        refuse("FO106", f"`{value}` is not understood here", "none, or {from: 22:00, to: 08:00, then: hold}")
    return value


QuietOrNone: TypeAlias = Annotated[
    Annotated[Quiet, Tag(MAPPING)] | Annotated[Literal["none"], Tag(TEXT)], Discriminator(text_or_mapping)
]


class PlanFile(Model):
    """All of rules/NAME.yaml."""

    place: ClassVar[Place] = "plan"

    plan: Name
    name: Label | None = None
    group: Label = "Default"
    owner: Label | None = None
    tags: Labels = Field(default_factory=list)
    notes: Text | None = None
    dates: Dates | None = None
    zone: ZoneName | None = None
    priority: Priority = 0
    audience: Annotated[Audience | None, BeforeValidator(_audience)] = None
    trigger: Trigger
    reentry: Annotated[int | Literal["once", "always"], BeforeValidator(_reentry)] = "always"
    caps: list[Cap] = Field(default_factory=list)
    quiet: Annotated[QuietOrNone, BeforeValidator(_quiet)] | None = None
    experiment: Experiment | None = None
    send: Annotated[Step, BeforeValidator(_send)]
    goals: list[Goal] = Field(default_factory=list)


Audience.model_rebuild()
