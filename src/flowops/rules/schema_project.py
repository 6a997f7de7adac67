"""`flowops.yaml`: sources, events, profile, channels and the project's own limits, as they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, Union

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from flowops.channels import CHANNELS, LedgerSettings, Settings
from flowops.core.plan import SourceKind
from flowops.core.time import MINUTE, SECOND
from flowops.rules.document import Mapping
from flowops.rules.later import Place
from flowops.settings.fields import (
    LONGEST,
    MILLISECOND,
    Boolean,
    Clock,
    Count,
    Duration,
    Identifier,
    Label,
    Name,
    Wait,
    Weekday,
    When,
    ZoneName,
    as_text,
    parse_label,
    parse_texts,
    refuse,
    within,
)
from flowops.settings.guess import one_of
from flowops.settings.model import MAPPING, TEXT, Model, Word, text_or_mapping
from flowops.sources import KafkaSettings, RedisSettings

TypeName: TypeAlias = Annotated[
    Literal["string", "number", "money", "boolean", "time", "date", "zone", "list", "object"], Word
]
Labels: TypeAlias = Annotated[list[Label], BeforeValidator(parse_texts)]
Calendar: TypeAlias = Literal["day", "week", "month"]


def _event_name(value: Any) -> str:
    name = parse_label(value)
    if name == "any":
        refuse("FO108", "`any` stands for whichever event happens and cannot be an event's name", "map it to another")
    return name


EventName: TypeAlias = Annotated[str, BeforeValidator(_event_name)]


MAX_FUTURE = 10 * MINUTE
"""How far a record of Kafka or Redis may be ahead of the server's time, where the source does not say (S3)."""

_CONNECTORS = ("file", "kafka", "redis")


class TimeMapping(Model):
    """Where the time stands: a path, or a path with a unit and a zone."""

    path: Label
    unit: Annotated[Literal["s", "ms", "us"], Word] | None = None
    zone: ZoneName | None = None


def _time_mapping(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Fields(Model):
    """Names of S1, and any property or attribute by name."""

    user_id: Label | None = None
    event: Label | None = None
    event_id: Labels | None = None
    ts: Annotated[TimeMapping | None, BeforeValidator(_time_mapping)] = None
    properties: Label | None = None
    others: dict[Identifier, Label] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields and key != "others"}
        return {**own, "others": {key: value for key, value in data.items() if key not in own}}


class Source(Model):
    """One input."""

    kind: Annotated[SourceKind, Word] = "events"
    file: Annotated[list[Label], BeforeValidator(parse_texts), Field(min_length=1)] = Field(default_factory=list)
    kafka: KafkaSettings | None = None
    redis: RedisSettings | None = None
    event: EventName | None = None
    segment: Label | None = None
    mapping: Annotated[Fields, Field(alias="fields")] = Fields()
    out_of_orderness: Duration = 5 * SECOND
    max_future: Wait | None = None
    since: When | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in _CONNECTORS if getattr(self, name)]
        if not given:
            refuse(
                "FO102",
                "a source needs `file`, `kafka` or `redis`",
                "file: data/web.jsonl, or kafka: {topic: web, ...}",
            )
        if len(given) > 1:
            refuse("FO107", f"`{given[0]}` and `{given[1]}` exclude each other", "a source for each of them")
        if self.file and self.max_future is not None:
            refuse("FO107", "`max_future` is for `kafka` and `redis`: a file has no clock", "leave it out")
        if self.redis is not None and self.redis.members_of is not None and self.kind in ("events", "profiles"):
            refuse("FO107", "a `set` holds members of a segment", "kind: segments, segment: NAME")
        if self.kind != "events" and self.event is not None:
            refuse("FO107", f"a {self.kind} source has no `event`", "leave `event` out, or `kind: events`")
        if self.kind != "segments" and self.segment is not None:
            refuse("FO107", f"`segment` is not for sources of {self.kind}", "`kind: segments`, or leave it out")
        if self.segment is not None and "segment" in self.mapping.others:
            refuse("FO107", "`segment` is the same for all records, or a column under `fields`", "one of the two")
        if self.kind in ("segments", "receipts") and (self.mapping.event or self.mapping.properties):
            refuse("FO107", f"records of {self.kind} have no `event` and no `properties`", "leave them out of `fields`")
        return self


class Event(Model):
    """What an event carries."""

    properties: dict[Identifier, TypeName] = Field(default_factory=dict)


def _event(value: Any) -> Any:
    return {} if value is None else value


class Attribute(Model):
    """What a profile carries under a name."""

    type: TypeName
    sensitive: Boolean = False


def _attribute(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _channel_type(value: Any) -> str:
    text = as_text(value, "a type of channel")
    refuse("FO106", f"`{text}` is no type of channel", one_of(text, CHANNELS))


class _NoChannel(Settings):
    """A channel whose type is none: only that is told of it."""

    type: Annotated[str, BeforeValidator(_channel_type)]
    receipts: Any = "assumed"  # not complained of

    @classmethod
    def keys(cls) -> list[str]:
        """Those of every channel: what does not fit is told when the type is known."""
        return sorted({key for kind in CHANNELS.values() for key in kind.settings.keys()})  # noqa: SIM118 - a method


def _channel_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if kind in CHANNELS else "<no channel>"


if TYPE_CHECKING:
    Channel: TypeAlias = Settings
else:  # one model for each type, and the type is read first: so a wrong key gets one message
    _kinds = [Annotated[kind.settings, Tag(f"<{name}>")] for name, kind in CHANNELS.items()]
    Channel = Annotated[
        Union[(*_kinds, Annotated[_NoChannel, Tag("<no channel>")])],
        Discriminator(_channel_tag),
    ]


class Scope(Model):
    """What a cap counts; several keys: what all of them name."""

    group: Label | None = None
    channel: Name | None = None
    tag: Label | None = None
    plan: Name | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_dump(exclude_none=True):
            refuse("FO102", "the scope names nothing", "plan, project, or {group: NAME}, also channel, tag, plan")
        return self


def _scope(value: Any) -> Any:
    if isinstance(value, str) and value not in ("plan", "project"):
        refuse("FO106", f"`{value}` is not a scope", "plan, project, or {group: NAME}, also channel, tag, plan")
    return value


ScopeOrWord: TypeAlias = Annotated[
    Annotated[Scope, Tag(MAPPING)] | Annotated[Literal["plan", "project"], Tag(TEXT)], Discriminator(text_or_mapping)
]

_CALENDAR: dict[str, Calendar] = {"day": "day", "week": "week", "month": "month"}
_rolling = within(MILLISECOND, LONGEST)


@dataclass(frozen=True, slots=True)
class Window:
    """A cap's window: rolling (microseconds), calendar, or neither of them: ever."""

    text: str
    rolling: int | None = None
    calendar: Calendar | None = None


def _window(value: Any) -> Window:
    text = as_text(value, "a window")
    words = text.split()
    if words == ["ever"]:
        return Window(text)
    if len(words) == 2 and words[0] == "calendar":
        unit = _CALENDAR.get(words[1])
        if unit is not None:
            return Window(text, calendar=unit)
    if not any(character.isdigit() for character in text):
        refuse("FO106", f"`{text}` is not a window", "`7d`, `calendar day`, `calendar week`, `calendar month`, `ever`")
    return Window(text, rolling=_rolling(text))


class Cap(Model):
    """S24."""

    place: ClassVar[Place] = "cap"

    at_most: Count
    per: Annotated[Window, BeforeValidator(_window)]
    scope: Annotated[ScopeOrWord, BeforeValidator(_scope)] | None = None


class QuietWindow(Model):
    """Local times, from and to, and the days on which the window begins."""

    start: Annotated[Clock, Field(alias="from")]
    end: Annotated[Clock, Field(alias="to")]
    days: Annotated[list[Weekday], BeforeValidator(parse_texts), Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.start in (self.end, 1440):
            refuse("FO202", "a window from a time to the same time", "the whole day is `from: 00:00, to: 24:00`")
        return self


class Quiet(Model):
    """S26: a window of quiet, or with `outside` all but a window."""

    start: Annotated[Clock | None, Field(alias="from")] = None
    end: Annotated[Clock | None, Field(alias="to")] = None
    days: Annotated[list[Weekday], BeforeValidator(parse_texts), Field(min_length=1)] | None = None
    outside: QuietWindow | None = None
    then: Annotated[Literal["hold", "drop"], Word] = "hold"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = (self.start, self.end)
        if self.outside is not None:
            if given != (None, None) or self.days is not None:
                refuse("FO107", "`outside` and `from`, `to`, `days` exclude each other", "put them inside `outside`")
        elif None in given:
            refuse("FO102", "quiet hours need `from` and `to`", "{from: 22:00, to: 08:00, then: hold}")
        elif self.start in (self.end, 1440):
            refuse("FO202", "a window from a time to the same time", "the whole day is `from: 00:00, to: 24:00`")
        return self


class ProjectFile(Model):
    """All of flowops.yaml."""

    place: ClassVar[Place] = "project"

    flowops: Annotated[Literal["1"], Word]
    project: Name
    zone: ZoneName
    currency: Label | None = None
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    events: dict[EventName, Annotated[Event, BeforeValidator(_event)]] = Field(default_factory=dict)
    profile: dict[Identifier, Annotated[Attribute, BeforeValidator(_attribute)]] = Field(default_factory=dict)
    channels: Annotated[dict[Name, Channel], Field(min_length=1)]
    caps: list[Cap] = Field(default_factory=list)
    quiet: Quiet | None = None
    banned_words: Labels = Field(default_factory=list)
    state: Label = ".flowops"
    warehouse: Label = "warehouse"
    ledger: LedgerSettings = LedgerSettings()
