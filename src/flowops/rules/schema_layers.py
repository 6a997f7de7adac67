"""Layers of users by what they did: how lately, how often, for how much (S12b)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from flowops.rules.later import Place
from flowops.rules.triggers.counting import parse_amount
from flowops.rules.triggers.sequence import Times, parse_times
from flowops.settings.fields import Boolean, Identifier, Label, Text, Wait, as_text, refuse
from flowops.settings.model import Model
from flowops.settings.shapes import Shaped, says

_TIMES = {"type": ["integer", "string"], "pattern": r"^[0-9]+(\+|\.\.[0-9]+)?$"}
_MONEY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\+$"}


def _money(value: Any) -> Decimal:
    text = as_text(value, "an amount")
    if not text.endswith("+"):
        refuse("FO203", f"`{text}` is no least amount", f"write `{text}+`: the first layer that fits is the user's")
    return parse_amount(text.removesuffix("+"))


class Layer(Model):
    """Who is in it; nothing: everyone of whom the layers before do not hold."""

    place: ClassVar[Place] = "layer"

    recency: Annotated[Wait | None, says("The last event is less long ago than this.", "30d")] = None
    frequency: Annotated[
        Times | None,
        BeforeValidator(parse_times),
        Shaped(_TIMES),
        says("How often, within the layering's `within`: so often, at least, or from and to.", 1, "3+", "2..5"),
    ] = None
    money: Annotated[
        Decimal | None,
        BeforeValidator(_money),
        Shaped(_MONEY),
        says("What `money` adds up to at least, within the layering's `within`.", "500+"),
    ] = None

    @property
    def is_rest(self) -> bool:
        """Whether it asks nothing."""
        return (self.recency, self.frequency, self.money) == (None, None, None)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.frequency is not None and (self.frequency.least, self.frequency.most) == (0, None):
            refuse("FO202", "`frequency: 0+` is always so", "leave it out, or at least 1: `1+`")
        return self


Layers: TypeAlias = Annotated[dict[Label, Layer], Field(min_length=1)]


class Layering(Model):
    """An event by which users are told apart, and the layers in which they are."""

    place: ClassVar[Place] = "layering"

    event: Annotated[Label, says("The event by which users are told apart; `any`: whichever.", "order")]
    where: Annotated[Text | None, says("Which of them: a condition on its properties, in SQL.", "amount > 0")] = None
    money: Annotated[Identifier | None, says("The property that is added up.", "amount")] = None
    within: Annotated[
        Wait | None, says("So far back `frequency` and `money` look; left out: since the history begins.", "365d")
    ] = None
    layers: Annotated[
        Layers,
        says(
            "By name; the first that fits is the user's.",
            {"active": {"recency": "30d"}, "asleep": {"recency": "180d"}, "lost": {"frequency": "1+"}, "never": {}},
        ),
    ]
    figures: Annotated[Boolean, says("Whether figures are split by it: `layer` of `triggers`.", True)] = False
