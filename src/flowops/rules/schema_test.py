"""A test of a plan, as it is written beside it: rules/NAME.test.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema

from flowops.core.effects import LOSSES
from flowops.core.receipts import RECEIPTS
from flowops.core.records import Micros
from flowops.core.state import KINDS
from flowops.rules.document import Mapping
from flowops.settings import shapes
from flowops.settings.fields import (
    Boolean,
    Label,
    Moment,
    Name,
    Text,
    When,
    as_text,
    parse_moment,
    parse_number,
    parse_offset,
    parse_texts,
    refuse,
)
from flowops.settings.guess import one_of
from flowops.settings.model import MAPPING, TEXT, Model, text_or_mapping
from flowops.settings.shapes import OR_ONE, Shaped, says

Words: TypeAlias = tuple[str, ...]


def _since(value: Any) -> Moment | Micros:
    """`2022-04-21 10:00`, or `+30m` since the line before."""
    text = as_text(value, "a time")
    if text[:1] in ("+", "-"):
        return parse_offset(text)
    if re.fullmatch(r"(\d+[a-z]+)+", text):
        refuse("FO205", f"`{text}` is not a date or time", f"since the line before: `+{text}`")
    return parse_moment(text)


Since = Annotated[
    Moment | Micros,
    BeforeValidator(_since),
    Shaped({"anyOf": [shapes.MOMENT, {"type": "string", "pattern": "^[+-][0-9]"}]}),
]


def _one_of(words: Words, what: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = as_text(value, what)
        if text not in words:
            refuse("FO106", f"`{text}` is not {what}", one_of(text, words))
        return text

    return parse


def _gather(model: type[Model], key: str) -> Callable[[Any], Any]:
    """Let the keys that a mapping has beside its own stand under `key`: they are names of the project."""

    def gather(data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        kept, others = Mapping(), Mapping()
        for each in (kept, others):
            each.loc, each.node = data.loc, data.node
        for name, value in data.items():
            (kept if name in model.keys() else others)[name] = value  # noqa: SIM118 - a method
        if others and isinstance(kept.get(key), dict):
            others.update(kept[key])
        if others:
            kept[key] = others
        return kept

    return gather


class _Open(Model):
    """A mapping in which names of the project may stand beside its own keys."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors: any key may stand there."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        handler.resolve_ref_schema(schema)["additionalProperties"] = True
        return schema


_VALUES = {"type": "object", "additionalProperties": True}
Values: TypeAlias = Annotated[dict[str, Any], Shaped(_VALUES)]


class Line(_Open):
    """Something that happens: an event with its properties, a receipt, what changes of a profile or segment, a link."""

    at: Annotated[Since, says("When: local time of the plan, or since the line before.", "2022-04-21 10:00", "+30m")]
    user: Annotated[Label, says("To whom.", "u1")]
    event: Annotated[Label | None, says("An event; its properties stand beside it.", "product_view")] = None
    event_id: Annotated[Label | None, says("Its id, where an event is told twice; left out: made up.", "e1")] = None
    properties: Annotated[
        Values, says("Properties, where they cannot stand beside the event.", {"sku": "A", "at": "noon"})
    ] = Field(default_factory=dict)
    receipt: Annotated[
        Annotated[str, BeforeValidator(_one_of(RECEIPTS, "a receipt")), Shaped({"enum": list(RECEIPTS)})] | None,
        says("What the provider tells of the user's latest message before this.", "clicked"),
    ] = None
    of: Annotated[
        Label | None, says("Of which step, or on which channel, that message is; left out: of any.", "opener")
    ] = None
    profile: Annotated[
        Values | None, says("What changes of the profile; without a value it is deleted.", {"tier": "gold"})
    ] = None
    enters: Annotated[Label | None, says("A segment that the user enters.", "vip")] = None
    leaves: Annotated[Label | None, says("A segment that the user leaves.", "vip")] = None
    identity: Annotated[Label | None, says("An id that leads to the user from here on.", "anon-7")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = (self.event, self.receipt, self.profile, self.enters, self.leaves, self.identity)
        if sum(each is not None for each in given) != 1:
            what = "a line is one of `event`, `receipt`, `profile`, `enters`, `leaves`, `identity`"
            refuse("FO107", what, "{at: +30m, user: u1, event: order, amount: 60}")
        if self.of is not None and self.receipt is None:
            refuse("FO107", "`of` is for a receipt", "{at: +30m, user: u1, receipt: clicked, of: opener}")
        if self.properties and self.event is None:
            names = ", ".join(f"`{name}`" for name in self.properties)
            refuse("FO107", f"{names} beside no event", "properties belong to an `event`; attributes under `profile:`")
        return self


class Contains(Model):
    """A part of a text."""

    contains: Annotated[Text, says("A text that is in it.", "Hi Mei")]


Wanted: TypeAlias = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[Contains, Tag(MAPPING)], Discriminator(text_or_mapping)
]
_at = says("When: local time of the plan.", "2022-04-21 11:00")
_user = says("Whose.", "u1")
_plan = says("Of which plan, where several are tested together.", "unfinished-order")
_key = says("The value of the trigger's `key`.", "A")
_step = says("The step of sending.", "opener")
_channel = says("The channel.", "push")


class Trigger(Model):
    """A trigger that fired and was decided."""

    at: Annotated[When | None, says("The time of the trigger, without its delay.", "2022-04-21 11:00")] = None
    user: Annotated[Label | None, _user] = None
    plan: Annotated[Name | None, _plan] = None
    key: Annotated[Text | None, _key] = None
    evidence: Annotated[
        Annotated[list[Label], BeforeValidator(parse_texts), OR_ONE] | None,
        says("The ids of its events, first to last.", ["e1"]),
    ] = None
    variant: Annotated[Name | None, says("The variant of the experiment.", "long")] = None


class Dispatch(_Open):
    """A message that was sent; the fields of its content stand beside these keys."""

    at: Annotated[When | None, _at] = None
    user: Annotated[Label | None, _user] = None
    plan: Annotated[Name | None, _plan] = None
    key: Annotated[Text | None, _key] = None
    step: Annotated[Name | None, _step] = None
    channel: Annotated[Name | None, _channel] = None
    variant: Annotated[Name | None, says("The variant of the experiment.", "long")] = None
    address: Annotated[Text | None, says("Where it goes.", "t1")] = None
    content: Annotated[
        dict[str, Wanted],
        Shaped({"type": "object", "additionalProperties": True}),
        says("Fields of the content, where they cannot stand beside these keys.", {"body": {"contains": "Hi Mei"}}),
    ] = Field(default_factory=dict)


class Loss(Model):
    """An attempt that came to nothing."""

    loss: Annotated[
        Annotated[str, BeforeValidator(_one_of(LOSSES, "a loss")), Shaped({"enum": list(LOSSES)})] | None,
        says("Why: one of the reasons of the decision list.", "frequency_cap"),
    ] = None
    at: Annotated[When | None, _at] = None
    user: Annotated[Label | None, _user] = None
    plan: Annotated[Name | None, _plan] = None
    key: Annotated[Text | None, _key] = None
    step: Annotated[Name | None, _step] = None
    channel: Annotated[Name | None, _channel] = None
    detail: Annotated[Wanted | None, says("What is said of it.", {"contains": "1 per 24h"})] = None


class Goal(Model):
    """A goal that a user attained; its events add up."""

    goal: Annotated[Name | None, says("The goal.", "ordered")] = None
    at: Annotated[When | None, says("When it was attained first.", "2022-04-21 11:20")] = None
    user: Annotated[Label | None, _user] = None
    plan: Annotated[Name | None, _plan] = None
    value: Annotated[
        float | None, BeforeValidator(parse_number), Shaped(shapes.NUMBER), says("The sum of its values.", 60)
    ] = None
    held_out: Annotated[Boolean | None, says("Whether by a user who was held out.", False)] = None


_WAITS = tuple(kind for kind in (*KINDS, "sent") if kind != "open")


class Pending(Model):
    """What still waits at the end."""

    kind: Annotated[
        Annotated[str, BeforeValidator(_one_of(_WAITS, "what may wait")), Shaped({"enum": list(_WAITS)})] | None,
        says("For what.", "wait"),
    ] = None
    at: Annotated[When | None, says("When it falls due.", "2022-04-22 08:00")] = None
    user: Annotated[Label | None, _user] = None
    plan: Annotated[Name | None, _plan] = None


class Expect(Model):
    """What comes of it. Only the keys that are there are compared, each list whole, in whatever order."""

    triggers: Annotated[
        list[Trigger] | None, says("Triggers that fired.", [], [{"at": "2022-04-21 11:00", "user": "u1"}])
    ] = None
    dispatches: Annotated[
        list[Annotated[Dispatch, BeforeValidator(_gather(Dispatch, "content"))]] | None,
        says("Messages.", [], [{"user": "u2", "channel": "push", "body": {"contains": "Hi Mei"}}]),
    ] = None
    losses: Annotated[
        list[Loss] | None, says("Messages that were not sent, or not delivered.", [], [{"loss": "frequency_cap"}])
    ] = None
    goals: Annotated[
        list[Goal] | None, says("Goals, once for each user and task.", [], [{"goal": "ordered", "value": 60}])
    ] = None
    pending: Annotated[list[Pending] | None, says("What still waits.", [], [{"kind": "wait", "user": "u1"}])] = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            refuse("FO102", "nothing is expected", "expect: {dispatches: []}")
        return self


class Case(Model):
    """One course of events, and what comes of it."""

    name: Annotated[Label, says("What it shows.", "an order in time cancels")]
    start: Annotated[
        When | None,
        Field(alias="from"),
        says("When time, and all that is known, begins; left out: with the first line.", "2022-04-20"),
    ] = None
    profiles: Annotated[
        dict[Label, Values], says("As above, over it, for this case.", {"u2": {"device_token": "t2"}})
    ] = Field(default_factory=dict)
    events: Annotated[
        list[Annotated[Line, BeforeValidator(_gather(Line, "properties"))]],
        says(
            "What happens, in the order in which it is read.",
            [{"at": "2022-04-21 10:00", "user": "u1", "event": "order", "sku": "A"}],
        ),
    ] = Field(default_factory=list)
    until: Annotated[
        Since | None, says("Time goes on until then, that included; left out: to the last line.", "+2h")
    ] = None
    expect: Annotated[Expect, says("What comes of it.", {"dispatches": []})]


class TestFile(Model):
    """All of rules/NAME.test.yaml."""

    __test__ = False  # it is none of pytest's

    test: Annotated[
        Annotated[list[Name], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE],
        says("The plan; or several, which run together.", "unfinished-order", ["unfinished-order", "welcome"]),
    ]
    profiles: Annotated[
        dict[Label, Values],
        says("What is known of users before anything happens.", {"u1": {"device_token": "t1"}}),
    ] = Field(default_factory=dict)
    segments: Annotated[
        dict[Label, Annotated[list[Label], BeforeValidator(parse_texts), OR_ONE]],
        says("Who is in which segment before anything happens.", {"vip": ["u1"]}),
    ] = Field(default_factory=dict)
    arms: Annotated[
        dict[Label, Name],
        says("Who gets which variant, or is in `holdout` or `treatment`: no test depends on a draw.", {"u1": "long"}),
    ] = Field(default_factory=dict)
    cases: Annotated[
        list[Case],
        Field(min_length=1),
        says("Courses of events.", [{"name": "nothing", "events": [], "expect": {"dispatches": []}}]),
    ]


Kinds: TypeAlias = Literal["triggers", "dispatches", "losses", "goals", "pending"]
