"""A plan, as it is written: when, to whom, what, how often, and what counts as success."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from flowops.core.time import WEEK
from flowops.rules.later import Place
from flowops.rules.lookbacks import Dids
from flowops.rules.schema_project import Cap, Labels, Scope
from flowops.rules.schema_send import Send
from flowops.rules.triggers import Trigger
from flowops.rules.triggers.events import Happening, shorthand
from flowops.settings import shapes
from flowops.settings.fields import (
    LONGEST,
    MILLISECOND,
    Boolean,
    GoalWindow,
    Label,
    Name,
    Priority,
    Share,
    Text,
    When,
    ZoneName,
    as_text,
    integer,
    parse_texts,
    refuse,
    within,
)
from flowops.settings.model import MAPPING, TEXT, Model, Word, text_or_mapping
from flowops.settings.quiet import Quiet
from flowops.settings.shapes import OR_ONE, Shaped, says

Segments: TypeAlias = Annotated[list[Label], BeforeValidator(parse_texts), Field(min_length=1), OR_ONE]


class Dates(Model):
    """S20: `end` is included where it is a date."""

    start: Annotated[When | None, Field(alias="from"), says("The first day, or the first instant.", "2022-04-20")] = (
        None
    )
    end: Annotated[
        When | None,
        Field(alias="to"),
        says(
            "The last day, included; with a time, the instant at which the plan has ended.",
            "2022-04-30",
            "2022-04-30 18:00",
        ),
    ] = None


class Audience(Model):
    """A condition over the profile and the segments; of the blocks under `any` one is enough."""

    place: ClassVar[Place] = "audience"

    where: Annotated[
        Text | None,
        says("A condition over the profile, in SQL.", "user.city = 'Beijing' and user.tier in ('gold', 'silver')"),
    ] = None
    segments: Annotated[Segments | None, says("The user is in all of these.", ["vip"])] = None
    not_segments: Annotated[Segments | None, says("The user is in none of these.", ["staff"])] = None
    did: Annotated[
        Dids | None, says("What the user did before: an event, or a list.", {"event": "order", "within": "30d"})
    ] = None
    did_not: Annotated[
        Dids | None, says("What the user did not do: an event, or a list.", {"event": "complaint", "within": "90d"})
    ] = None
    any: Annotated[
        Annotated[list[Audience], Field(min_length=1)] | None,
        says(
            "Blocks of which one is enough, instead of the other keys.",
            [{"segments": ["vip"]}, {"where": "user.tier = 'gold'"}],
        ),
    ] = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        conditions = (self.where, self.segments, self.not_segments, self.did, self.did_not)
        if all(each is None for each in conditions) == (self.any is None):
            what = "an audience is `where`, `segments`, `not_segments`, `did` and `did_not`, or `any` of such blocks"
            refuse("FO107", what, "audience: {where: user.tier = 'gold'}")
        return self


def _audience(value: Any) -> Any:
    if isinstance(value, str):
        if value != "everyone":
            refuse("FO106", f"`{value}` is no audience", "everyone, or {where: CONDITION}")
        return None
    return value


_gap = within(MILLISECOND, LONGEST)
_lately = within(MILLISECOND, WEEK)


_REENTRY = {"anyOf": [{"enum": ["once", "always"]}, shapes.DURATION]}


def _reentry(value: Any) -> int | str:
    text = as_text(value, "`once`, `always` or a duration")
    if text in ("once", "always"):
        return text
    if not any(character.isdigit() for character in text):
        refuse("FO106", f"`{text}` is not understood here", "once, always, or a gap: `7d`")
    return _gap(text)


class Reached(Model):
    """S25."""

    within: Annotated[int, BeforeValidator(_lately), Shaped(shapes.DURATION), says("How lately, up to 7d.", "3d")]
    by: Annotated[
        Scope | None,
        says("By which plans, or on which channel; left out: by any other plan.", {"group": "Promotions"}),
    ] = None


def _reached(value: Any) -> Any:
    return {"within": value} if isinstance(value, str) else value


class Exit(Happening):
    """S29."""

    place: ClassVar[Place] = "exit"

    touches: Annotated[
        Annotated[int, BeforeValidator(integer(1, 1000)), Shaped(shapes.INTEGER)] | None,
        says("Or after so many of its steps have sent something.", 3),
    ] = None

    def one(self) -> None:
        """Touches stand alone."""
        if self.touches is None:
            super().one()
        elif self.event is not None or self.what or self.where is not None:
            refuse("FO107", "`touches` stands alone", "an entry for each of them")


class Experiment(Model):
    """S23."""

    name: Annotated[
        Name | None, says("Decides who gets which part, together with the user; left out: the plan's id.", "cart-copy")
    ] = None
    holdout: Annotated[Share, says("The share of users who get nothing and are compared with.", "10%")] = Decimal(0)
    variants: Annotated[
        dict[Name, Share], says("Shares of the rest; they sum to 100%.", {"short": "50%", "long": "50%"})
    ] = Field(default_factory=dict)

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


class Goal(Model):
    """S41, S42."""

    place: ClassVar[Place] = "goal"

    goal: Annotated[Name, says("Its name.", "ordered")]
    event: Annotated[Label | None, says("The event that attains it.", "order")] = None
    receipt: Annotated[
        Annotated[Literal["displayed", "clicked"], Word] | None,
        says("The receipt of the message itself that attains it, instead of an event.", "clicked"),
    ] = None
    where: Annotated[Text | None, says("Which of the events: a condition, in SQL.", "amount >= 50")] = None
    within: Annotated[GoalWindow, says("How long after the delivery, 5m to 90d.", "1h")]
    value: Annotated[Text | None, says("A number to add up, of each such event.", "amount")] = None
    target: Annotated[Share | None, says("The rate that is hoped for.", "15%")] = None
    credit: Annotated[
        Literal["every", "last", "first"],
        Word,
        says("Whose the orders and the value are where several plans reached the user; left out: every.", "last"),
    ] = "every"
    label: Annotated[
        Label | None,
        says("A segment in which everyone is who attains it, from then on: other plans ask for it.", "came-back"),
    ] = None

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

    plan: Annotated[Name, says("The id, unique in the project.", "unfinished-order")]
    name: Annotated[Label | None, says("For people; left out: the id.", "Reminder of an unfinished order")] = None
    group: Annotated[Label, says("For reports and caps; left out: Default.", "Conversion")] = "Default"
    owner: Annotated[Label | None, says("Who answers for it.", "growth")] = None
    tags: Annotated[Labels, says("For reports and caps.", ["cart"])] = Field(default_factory=list)
    notes: Annotated[
        Text | None, says("Whatever should be known of it.", "Nobody is told what they have already bought.")
    ] = None
    dates: Annotated[
        Dates | None,
        says(
            "Outside of them nothing triggers, and what falls due is lost; left out: always.",
            {"from": "2022-04-20", "to": "2022-04-30"},
        ),
    ] = None
    zone: Annotated[ZoneName | None, says("Of the plan's local times; left out: the project's.", "Asia/Shanghai")] = (
        None
    )
    priority: Annotated[
        Priority, says("Of plans that want the same instant the higher goes first; left out: 0.", 10)
    ] = 0
    audience: Annotated[
        Audience | None,
        BeforeValidator(_audience),
        Shaped({"const": "everyone"}, beside=True),
        says("Who takes part; left out: everyone.", "everyone", {"where": "user.tier = 'gold'"}),
    ] = None
    trigger: Annotated[
        Trigger,
        says("When: what must happen, or not happen.", {"event": "product_view", "without": "order", "within": "1h"}),
    ]
    reentry: Annotated[
        int | Literal["once", "always"],
        BeforeValidator(_reentry),
        Shaped(_REENTRY),
        says(
            "How often a user may enter: once, always, or the least time between two entries; left out: always.",
            "once",
            "7d",
        ),
    ] = "always"
    caps: Annotated[list[Cap], says("Limits of this plan, beside the project's.", [{"at_most": 1, "per": "24h"}])] = (
        Field(default_factory=list)
    )
    skip_if_reached: Annotated[
        Reached | None,
        BeforeValidator(_reached),
        Shaped(shapes.DURATION, beside=True),
        says(
            "Skip users whom another plan reached so lately: a duration up to 7d; also by which plans.",
            "3d",
            {"within": "3d", "by": {"group": "Promotions"}},
        ),
    ] = None
    transactional: Annotated[
        Boolean,
        says(
            "Whether the user waits for it: no caps, no `skip_if_reached`, no quiet hours, and it does not count.", True
        ),
    ] = False
    quiet: Annotated[
        Annotated[QuietOrNone, BeforeValidator(_quiet)] | None,
        says("`none`, or its own quiet hours; left out: the project's.", "none", {"from": "22:00", "to": "08:00"}),
    ] = None
    exit: Annotated[
        list[Annotated[Exit, Shaped(shapes.TEXT, beside=True)]],
        BeforeValidator(shorthand),
        Field(min_length=1),
        OR_ONE,
        says(
            "What ends it for the user at once, also in the middle of a wait: an event or a change, or a list of them.",
            {"event": "order"},
            ["order", {"leaves": "vip"}, {"touches": 3}],
        ),
    ] = Field(default_factory=list)
    experiment: Annotated[
        Experiment | None,
        says("Holdout and variants.", {"holdout": "10%", "variants": {"short": "50%", "long": "50%"}}),
    ] = None
    send: Annotated[
        Send,
        says(
            "What is sent: a step, a list of steps, or a policy with its content.",
            {"channel": "push", "content": {"title": "Hi", "body": "Welcome!"}},
            [
                {"step": "opener", "channel": "push", "content": {"body": "A"}},
                {"after": "24h", "when": "not opener.clicked", "channel": "sms", "content": {"body": "B"}},
            ],
        ),
    ]
    goals: Annotated[
        list[Goal],
        says(
            "What counts as success; left out: a click, where the channel has receipts.",
            [{"goal": "ordered", "event": "order", "within": "1h"}],
        ),
    ] = Field(default_factory=list)


Audience.model_rebuild()
