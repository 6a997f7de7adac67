"""Messages as somebody would get them: rendered by what was compiled, beside each value and what stands in for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from math import prod
from typing import Any
from zoneinfo import ZoneInfo

from flowops.core.admission import arm_of
from flowops.core.plan import KNOWN, Plan, Project, Step
from flowops.core.records import Micros
from flowops.core.time import Zone, to_datetime
from flowops.errors import ConfigError, ContentError
from flowops.rules.check import CheckedPlan
from flowops.rules.check_send import Message as Checked
from flowops.rules.expressions import Type
from flowops.rules.shown import number_text
from flowops.rules.templates import CheckedTemplate, Output
from flowops.rules.texts import Length, sms_length
from flowops.settings.guess import one_of
from flowops.sources.values import Clock, UnfitError, converters

_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Value:
    """A value that the texts read; `shown` is None where it is missing. `fallbacks`: what then stands there."""

    name: str
    shown: str | None
    made_up: bool
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message; `error` says why there is none. `sms`: of each field, on a channel that is held to it."""

    variant: str | None
    share: float  # of the users who get a message
    content: Mapping[str, str]
    error: str | None = None
    sms: Mapping[str, Length] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """All messages of a step on one channel for one user. `losses`: why nothing would be sent; `arm`: the user's.

    `unjudged`: the audience, where what the user did before decides, which no profile tells.
    """

    plan: str
    version: str
    channel: str
    kind: str
    address: str | None  # None: none is needed; its text is empty where it is missing
    messages: list[Message]
    values: list[Value]
    losses: list[tuple[str, str]]
    arm: str | None = None
    unjudged: str | None = None
    step: str | None = None  # None: the plan has but one message


@dataclass(slots=True)
class Given:
    """What is known of the user and of the events. What is not in `attributes` is missing, if `made_up` is false."""

    attributes: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    made_up: bool  # whether attributes that are not given are examples


def preview(
    project: Project, plan: Plan, checked: CheckedPlan, types: Mapping[str, Type], given: Given, *, now: Micros,
    user_id: str | None, kind: str, sms: bool, sensitive: frozenset[str], number: int = 0,
) -> Preview:  # fmt: skip
    """Render each variant of a message of a plan, by its number.

    `types` are those of the attributes, `kind` and `sms` are of the channel.
    """
    step = plan.messages[number]
    example = _Examples(now, plan.zone)
    attributes: dict[str, Any] = {KNOWN: True, **given.attributes}  # whoever is looked at is known
    if given.made_up:
        layers = {project.attributes[each.attribute]: each.layers[0][0] for each in project.layerings}
        attributes = {name: example.of(type_, name) for name, type_ in types.items()} | layers | attributes
    user = tuple(attributes.get(name) for name in project.attributes)
    steps: dict[str, dict[str, Any]] = {}
    for name, names in checked.captured().items():
        own = name.partition("[")[0]  # of a taking: `viewed[2]`
        known, declared = given.steps.get(own, {}), checked.trigger.steps[own]
        steps[name] = {each: known[each] if each in known else example.of(declared[each], each) for each in names}
    taken = tuple(tuple(values.values()) for values in steps.values())
    arm, drawn = arm_of(plan.experiment, user_id) if user_id is not None else (None, None)
    messages = []
    for variant, share in _shares(plan):
        fields, error = {}, None
        try:
            fields = step.content[variant](taken, user, now, variant)
        except ContentError as wrong:
            error = str(wrong)
        lengths = {name: sms_length(text) for name, text in fields.items()} if sms else {}
        messages.append(Message(variant, share, fields, error, lengths))
    show = shower(plan.zone)
    shown = _values(checked.send.messages[number], attributes, steps, given, show, now)
    to = step.channel.address
    address = None
    if to is not None:
        name = project.attributes[to]
        value = attributes.get(name)
        address = "" if value is None else f"{name} (sensitive, not shown)" if name in sensitive else str(value)
    inside = None if given.made_up else _is_inside(project, plan, user, taken, now, drawn)
    return Preview(
        plan=plan.id,
        version=plan.version,
        channel=step.channel.name,
        kind=kind,
        address=address,
        messages=messages,
        values=shown,
        losses=_losses(plan, step, user, inside=inside) if not given.made_up else [],
        arm=arm if drawn is None else drawn,
        unjudged=plan.who if inside is None and not given.made_up else None,
        step=None if plan.journey is None else step.name,
    )


def parse_value(text: str, type_: Type, name: str, zone: Zone, now: Micros) -> Any:
    """A value as people write it, read as an input would be. Raises ConfigError where it is none of the type."""
    try:
        return converters(None, Clock(zone))[type_](text)
    except UnfitError as error:
        example = shower(zone)(_Examples(now, zone).of(type_, name), type_)
        raise ConfigError(f"{name} is a {type_}, and {text!r} is none: {error}\n  try: {name}={example}") from None


def unknown(name: str, known: Sequence[str], what: str) -> ConfigError:
    """A name that was given and that nothing of the plan has."""
    return ConfigError(f"there is no {what} `{name}`\n  try: {one_of(name, known)}")


class _Examples:
    """Values that can be told to be made up, by type."""

    def __init__(self, now: Micros, zone: Zone) -> None:
        self._now = now
        self._zone = zone

    def of(self, type_: Type, name: str) -> Any:
        """An example."""
        made: dict[str, Any] = {
            "number": 3.0, "money": 59.9, "boolean": True, "time": self._now, "date": self._zone.day(self._now),
            "zone": self._zone.name, "list": [f"[{name}]"], "object": {},
        }  # fmt: skip
        return made.get(type_, f"[{name}]")


def _shares(plan: Plan) -> list[tuple[str | None, float]]:
    if plan.experiment is None:
        return [(None, 1.0)]
    reached = 1 - plan.experiment.holdout
    return [(name, share * reached) for name, share in plan.experiment.variants] or [(None, reached)]


_MOST_PASTS = 1_000


def _is_inside(project: Project, plan: Plan, user: Any, steps: Any, now: Micros, variant: str | None) -> bool | None:
    """Whether the user is in the audience; None: that depends on what the user did before, which is not known here.

    All that the past may say is tried out: each layer that was not given, each answer of a lookback.
    """
    if plan.audience is None:
        return True
    layers = [each for each in project.layerings if user[each.attribute] is None]
    pasts: list[list[str | bool | None]] = [[*(name for name, _ in each.layers), None] for each in layers]
    pasts += [[True, False, None] for _ in plan.lookbacks]
    if prod(map(len, pasts)) > _MOST_PASTS:
        return None
    found: set[bool] = set()
    for past in product(*pasts):
        known = list(user)
        for each, layer in zip(layers, past, strict=False):
            known[each.attribute] = layer
        found.add(plan.audience((), steps, (*known, *past[len(layers) :]), now, variant))
    return found.pop() if len(found) == 1 else None


def _losses(plan: Plan, step: Step, user: Any, *, inside: bool | None) -> list[tuple[str, str]]:
    """What of the decision list is known without a history."""
    channel = step.channel
    found = []
    if inside is False:
        found.append(("not_in_audience", plan.who))
    if channel.opt_in is not None and user[channel.opt_in] is not True:
        found.append(("no_consent", "not opted in"))
    if channel.opt_out is not None and user[channel.opt_out] is True:
        found.append(("no_consent", "opted out"))
    if channel.address is not None and user[channel.address] in (None, ""):
        found.append(("no_address", "the address is missing"))
    return found


def _values(
    message: Checked,
    attributes: Mapping[str, Any],
    steps: Mapping[str, Mapping[str, Any]],
    given: Given,
    show: Callable[[Any, Type], str],
    now: Micros,
) -> list[Value]:
    """Every value that some text reads, once, in the order of names."""
    texts = {id(each): each for fields in message.content.values() for each in fields.values()}.values()
    refs = {ref for text in texts for ref in text.refs}
    values = []
    for ref in sorted(refs, key=lambda ref: (ref.kind, ref.step, ref.name)):
        if ref.kind == "variant":
            continue
        if ref.kind == "step":
            name, value = f"{ref.step}.{ref.name}", steps[ref.step][ref.name]
            made_up = ref.name not in given.steps.get(ref.step, {})
        elif ref.kind == "user":
            name, value = f"user.{ref.name}", attributes.get(ref.name)
            made_up = given.made_up and ref.name not in given.attributes
        else:
            name, value, made_up = "now", now, False
        missing = value is None
        path = tuple(name.split(".", 1))
        stands = tuple(dict.fromkeys(default for text in texts for default in _defaults(text, path)))
        empty = missing or value is False or value == ""
        values.append(Value(name, None if missing else show(value, ref.type), made_up, stands if empty else ()))
    return values


_DEFAULT = r"\{{\{{-?\s*{name}\s*\|\s*default:\s*(?:'([^']*)'|\"([^\"]*)\")"


def _defaults(text: CheckedTemplate, path: tuple[str, ...]) -> list[str]:
    """What the text says in place of a value that it does not have."""
    if text.parts is None:
        found = re.findall(_DEFAULT.format(name=re.escape(".".join(path))), text.text)
        return [first or second for first, second in found]
    outputs = [part for part in text.parts if isinstance(part, Output)]
    return [output.default for output in outputs if output.path == path and output.default is not None]


def shower(zone: Zone) -> Callable[[Any, Type], str]:
    """Values as people read them, times in `zone`."""
    tz = ZoneInfo(zone.name)

    def show(value: Any, type_: Type) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if type_ == "time":
            return to_datetime(value).astimezone(tz).isoformat(" ", "seconds")
        if type_ == "date":
            return date.fromordinal(value + _EPOCH_DAY).isoformat()
        return number_text(value) if isinstance(value, float) else str(value)

    return show
