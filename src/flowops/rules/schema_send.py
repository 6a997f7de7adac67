"""`send:` as it is written: a step, a list of steps, or a policy with its content (S30).

The kind of a step is chosen first, by the keys that are there, so that a wrong key gets one message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, RootModel, Tag, model_validator

from flowops.core.time import DAY
from flowops.rules import document
from flowops.rules.document import Loc
from flowops.rules.later import Place
from flowops.rules.triggers.events import Happening
from flowops.settings import shapes
from flowops.settings.fields import Clock, Name, Text, Wait, Weekday, parse_texts, refuse
from flowops.settings.model import MAPPING, TEXT, Model, text_or_mapping
from flowops.settings.shapes import OR_ONE, Shaped, says

_FIELDS = {"type": "object", "minProperties": 1, "additionalProperties": shapes.TEXT}
_CONTENT: dict[str, list[Any]] = {
    "anyOf": [
        _FIELDS,
        {
            "type": "object",
            "required": ["variants"],
            "properties": {
                "variants": {
                    "description": "A content for each variant of the experiment.",
                    "examples": [{"short": {"body": "A"}, "long": {"template": "thanks"}}],
                    "type": "object",
                    "additionalProperties": _FIELDS,
                }
            },
            "additionalProperties": False,
        },
    ]
}
_BY_CHANNEL = {"type": "object", "minProperties": 1, "additionalProperties": _CONTENT}
_BY_STEP = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object", "minProperties": 1}}


class OnClock(Model):
    """A wait until a local time of day."""

    until: Annotated[Clock, says("The next time that the clock shows this.", "20:00")]
    days: Annotated[
        Annotated[list[Weekday], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE] | None,
        says("On which days; left out: all.", ["sat"]),
    ] = None


class Until(Happening):
    """What a wait is for."""

    place: ClassVar[Place] = "event"


def _after(value: Any) -> str:
    return TEXT if isinstance(value, int) else text_or_mapping(value)


def _event(value: Any) -> Any:
    return {"event": value} if isinstance(value, str) else value


class Item(Model):
    """What may stand before any step: a wait and a condition."""

    place: ClassVar[Place] = "step"

    after: Annotated[
        Annotated[
            Annotated[Wait, Tag(TEXT)] | Annotated[OnClock, Tag(MAPPING)],
            Discriminator(_after),
        ]
        | None,
        says("How long after the step before fell due, or until a time of day.", "24h", {"until": "20:00"}),
    ] = None
    until: Annotated[
        Until | None,
        BeforeValidator(_event),
        Shaped(shapes.TEXT, beside=True),
        says("Wait until this happens, but `at_most` so long: an event or a change.", {"event": "paid"}),
    ] = None
    at_most: Annotated[Wait | None, says("How long the wait for `until` lasts; then it has `timed_out`.", "24h")] = None
    when: Annotated[
        Text | None,
        says(
            "A condition: of steps before it (`opener.clicked`, `not clicked`), the profile, the trigger's events.",
            "not opener.clicked",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_wait(self) -> Self:
        if self.after is not None and self.until is not None:
            refuse("FO107", "`after` and `until` exclude each other", "until: {event: paid}, at_most: 24h")
        if (self.until is None) != (self.at_most is None):
            refuse("FO107", "`until` and `at_most` stand together", "until: {event: paid}, at_most: 24h")
        return self

    @classmethod
    def siblings(cls) -> frozenset[str]:
        """The keys of other kinds: they need not be guessed at."""
        return frozenset(key for kind in KINDS for key in kind.keys())  # noqa: SIM118 - a method


class Step(Item, ABC):
    """What all steps have that send."""

    step: Annotated[Name | None, says("Its name, where others speak of it; left out: its number.", "opener")] = None
    content: Annotated[
        dict[str, Any] | None,
        Shaped({"anyOf": [*_CONTENT["anyOf"], _BY_CHANNEL]}),
        says(
            "Texts by field, `{template: NAME}` for rules/templates/NAME.yaml, or `variants` with one content each; "
            "where a step has several channels, that for each of them.",
            {"title": "Still thinking?", "body": "{{ product_view.sku }} is waiting."},
            {"template": "thanks"},
            {"push": {"title": "A", "body": "B"}, "sms": {"body": "C"}},
        ),
    ] = None
    expires: Annotated[Wait, says("How long after its time it is still worth delivering; left out: 24h.", "2h")] = DAY

    @property
    @abstractmethod
    def ways(self) -> list[Way]:
        """Its channels."""


class Way(Model):
    """A channel of a step."""

    place: ClassVar[Place] = "way"

    channel: Annotated[Name, says("The channel.", "sms")]
    where: Annotated[Text | None, says("For whom it is considered: a condition, in SQL.", "user.tier = 'gold'")] = None


def _way(value: Any) -> Any:
    return {"channel": value} if isinstance(value, str) else value


Ways: TypeAlias = Annotated[
    list[Annotated[Way, BeforeValidator(_way), Shaped(shapes.NAME, beside=True)]], Field(min_length=1)
]


class OneStep(Step):
    """One channel with its content."""

    channel: Annotated[Name, says("The channel it goes out on.", "push")]

    @property
    def ways(self) -> list[Way]:
        """The one."""
        return [Way(channel=self.channel)]


class FirstStep(Step):
    """The first channel that may be sent."""

    first: Annotated[
        Ways,
        says("Channels of which the first is taken that may be sent.", ["push", {"channel": "sms", "where": "..."}]),
    ]
    fallback_after: Annotated[
        Wait | None,
        says("The next channel is taken when no receipt has come by then; left out: as its channel waits.", "30m"),
    ] = None

    @property
    def ways(self) -> list[Way]:
        """In their order."""
        return self.first


class EachStep(Step):
    """All of several channels."""

    each: Annotated[Ways, says("Channels on each of which it goes out.", ["push", "sms"])]

    @property
    def ways(self) -> list[Way]:
        """In their order."""
        return self.each


class Fork(Item):
    """Two ways that meet again."""

    then: Annotated[
        list[AnyItem] | None,
        Field(min_length=1),
        says("Steps where the condition holds.", [{"channel": "push", "content": {"body": "A"}}]),
    ] = None
    otherwise: Annotated[
        list[AnyItem] | None,
        Field(alias="else", min_length=1),
        says("Steps where it does not hold.", [{"channel": "push", "content": {"body": "B"}}]),
    ] = None

    @model_validator(mode="after")
    def _forks(self) -> Self:
        if self.when is None:
            refuse("FO102", "`when` is missing", "which way it goes: {when: opener.clicked, then: [...], else: [...]}")
        return self


KINDS: Mapping[type[Item], str] = {OneStep: "<one>", FirstStep: "<first>", EachStep: "<each>", Fork: "<fork>"}
"""The kinds with their tags."""


def kind_of(value: Any) -> str:
    """The tag of the kind for which the keys speak, or of one that was read."""
    if isinstance(value, Item):
        return KINDS[type(value)]
    keys = set(value) if isinstance(value, document.Mapping) else set()
    if keys & {"then", "else"}:
        return "<fork>"
    return next((f"<{key}>" for key in ("first", "each") if key in keys), "<one>")


_WAITS = frozenset({"after", "until", "at_most", "wait", "delay"})
"""What a list that has a wait for an entry of its own writes there: in other tools it is one."""


def _item(value: Any) -> Any:
    if isinstance(value, str):
        refuse("FO105", "a mapping is needed here, not a text", f"{{channel: {value}, content: ...}}")
    if isinstance(value, document.Mapping) and value and set(value) <= _WAITS:
        keys = ", ".join("after: ..." if key in ("wait", "delay") else f"{key}: ..." for key in value)
        refuse("FO102", "a wait stands with the step that it is before", f"{{{keys}, channel: push, content: ...}}")
    if isinstance(value, document.Mapping):
        channel = value.get("channel")
        if isinstance(channel, list):
            names = ", ".join(map(str, channel))
            refuse("FO105", "`channel` is one channel, not a list", f"`first: [{names}]` or `each: [{names}]`")
        if "fallback" in value:
            refuse(
                "FO101", "there is no key `fallback`: channels stand in the order they are tried", "first: [push, sms]"
            )
    return value


AnyItem: TypeAlias = Annotated[
    Annotated[
        Annotated[OneStep, Tag("<one>")]
        | Annotated[FirstStep, Tag("<first>")]
        | Annotated[EachStep, Tag("<each>")]
        | Annotated[Fork, Tag("<fork>")],
        Discriminator(kind_of),
    ],
    BeforeValidator(_item),
]

Steps: TypeAlias = Annotated[list[AnyItem], Field(min_length=1)]


class PolicyUse(Model):
    """A policy, and what its steps say."""

    policy: Annotated[Name, says("The list of steps: rules/policies/NAME.yaml.", "gentle")]
    content: Annotated[
        dict[str, Any],
        Shaped(_BY_STEP),
        says("The content of each of its steps, by their names.", {"opener": {"push": {"title": "A", "body": "B"}}}),
    ]


class PolicyFile(RootModel[Steps]):
    """All of rules/policies/NAME.yaml."""


def _send(value: Any) -> Any:
    if isinstance(value, str):
        refuse("FO105", "a mapping is needed here, not a text", "send: {channel: ..., content: ...}")
    if isinstance(value, dict) and "policy" not in value:
        return [value]
    return value


def _sent(value: Any) -> str:
    return "<steps>" if isinstance(value, list) else "<policy>"


Send: TypeAlias = Annotated[
    Annotated[
        Annotated[Steps, Tag("<steps>"), OR_ONE] | Annotated[PolicyUse, Tag("<policy>")],
        Discriminator(_sent),
    ],
    BeforeValidator(_send),
]

Fork.model_rebuild()


def items_of(steps: list[Any], loc: Loc) -> Iterator[tuple[Item, Loc]]:
    """All items of a list, those of forks too, in the order in which they are written."""
    for number, item in enumerate(steps):
        yield item, (*loc, number)
        if isinstance(item, Fork):
            yield from items_of(item.then or [], (*loc, number, "then"))
            yield from items_of(item.otherwise or [], (*loc, number, "else"))
