"""`flowops.yaml`: sources, events, profile, channels and the project's own limits, as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, Union

from pydantic import BeforeValidator, Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema

from flowops.channels import CHANNELS, LedgerSettings, Settings
from flowops.core.plan import SourceKind
from flowops.core.time import MINUTE, SECOND
from flowops.rules.document import Mapping
from flowops.rules.later import Place
from flowops.rules.schema_layers import Layering
from flowops.settings import shapes
from flowops.settings.fields import (
    LONGEST,
    MILLISECOND,
    Boolean,
    Count,
    Duration,
    Identifier,
    Label,
    Name,
    Wait,
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
from flowops.settings.quiet import Quiet
from flowops.settings.shapes import OR_ONE, Shaped, says
from flowops.sources import KafkaSettings, RedisSettings

TypeName: TypeAlias = Annotated[
    Literal["string", "number", "money", "boolean", "time", "date", "zone", "list", "object"], Word
]
TYPES = ("string", "number", "money", "boolean", "time", "date", "zone", "list", "object")
Labels: TypeAlias = Annotated[list[Label], BeforeValidator(parse_texts), OR_ONE]
Calendar: TypeAlias = Literal["day", "week", "month"]


def _event_name(value: Any) -> str:
    name = parse_label(value)
    if name == "any":
        refuse("FO108", "`any` stands for whichever event happens and cannot be an event's name", "map it to another")
    return name


EventName: TypeAlias = Annotated[str, BeforeValidator(_event_name), Shaped(shapes.TEXT)]


MAX_FUTURE = 10 * MINUTE
"""How far a record of Kafka or Redis may be ahead of the server's time, where the source does not say (S3)."""

_CONNECTORS = ("file", "kafka", "redis")


class TimeMapping(Model):
    """Where the time stands: a path, or a path with a unit and a zone."""

    path: Annotated[Label, says("The column, or the path to it.", "at", "meta.ts")]
    unit: Annotated[Annotated[Literal["s", "ms", "us"], Word] | None, says("Of numbers; left out: ISO 8601.", "ms")] = (
        None
    )
    zone: Annotated[
        ZoneName | None, says("Of times that carry no offset; left out: the project's.", "Asia/Shanghai")
    ] = None


def _time_mapping(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Fields(Model):
    """Names of S1, and any property or attribute by name."""

    user_id: Annotated[Label | None, says("Where the user stands; left out: `user_id`.", "uid", "context.user.id")] = (
        None
    )
    event: Annotated[Label | None, says("Where the event's name stands; left out: `event`.", "type")] = None
    event_id: Annotated[
        Labels | None,
        says(
            "Where the id stands, several columns are joined; left out: `event_id`, if there is one.",
            "id",
            ["basket_id", "product_id"],
        ),
    ] = None
    ts: Annotated[
        TimeMapping | None,
        BeforeValidator(_time_mapping),
        Shaped(shapes.TEXT, beside=True),
        says(
            "Where the time stands, and how it is written; left out: `ts` in ISO 8601.",
            "bought_at",
            {"path": "at", "unit": "ms"},
        ),
    ] = None
    properties: Annotated[
        Label | None, says("The object that holds the properties; left out: `properties`, if there is one.", "props")
    ] = None
    others: dict[Identifier, Label] = Field(default_factory=dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Names of properties and attributes stand beside the keys."""
        schema = handler(core_schema)
        keys = handler.resolve_ref_schema(schema)
        keys["properties"].pop("others")
        keys["additionalProperties"] = shapes.TEXT
        return schema

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields and key != "others"}
        return {**own, "others": {key: value for key, value in data.items() if key not in own}}


_COLUMN = re.compile(r"([^{}]*)\{\{ *([^{}]*[^{} ]) *\}\}([^{}]*)")


def _segment_name(value: Any) -> str:
    name = parse_label(value)
    if ("{{" in name or "}}" in name) and not _COLUMN.fullmatch(name):
        refuse("FO108", f"`{name}` does not name one column", 'segment: "contacts of {{ employee }}"')
    return name


SegmentName: TypeAlias = Annotated[str, BeforeValidator(_segment_name), Shaped(shapes.TEXT)]


class Source(Model):
    """One input."""

    kind: Annotated[SourceKind, Word, says("What its records are; left out: events.", "profiles")] = "events"
    file: Annotated[
        list[Label],
        BeforeValidator(parse_texts),
        Field(min_length=1),
        OR_ONE,
        says(
            "A file, a folder or a pattern, or a list of them: .csv, .jsonl (both also .gz, .zst) or .parquet.",
            "data/web-*.jsonl",
            ["data/a.csv", "data/b.csv"],
        ),
    ] = Field(default_factory=list)
    kafka: Annotated[KafkaSettings | None, says("A Kafka topic.", {"topic": "web", "brokers": "localhost:9092"})] = None
    redis: Annotated[
        RedisSettings | None,
        says(
            "A Redis stream, or a set of the users of a segment.", {"stream": "web", "url": "redis://localhost:6379/0"}
        ),
    ] = None
    event: Annotated[
        EventName | None, says("Of events: the name of all of them; left out: each record names its own.", "order")
    ] = None
    segment: Annotated[
        SegmentName | None,
        says(
            "Of segments: the segment of all records, or one made of a column; left out: each names its own.",
            "vip",
            "contacts of {{ employee }}",
        ),
    ] = None
    mapping: Annotated[
        Fields,
        Field(alias="fields"),
        says(
            "Where things stand in a record; also properties and attributes by name, with their columns.",
            {"user_id": "uid", "ts": {"path": "at", "unit": "ms"}},
        ),
    ] = Fields()
    out_of_orderness: Annotated[
        Duration, says("How much later than its successors a record may come; left out: 5s.", "5s")
    ] = 5 * SECOND
    max_future: Annotated[
        Wait | None, says("How far a time may be ahead of the server's, for kafka and redis; left out: 10m.", "10m")
    ] = None
    since: Annotated[When | None, says("From when on the history is complete.", "2021-01-01")] = None

    @property
    def segment_parts(self) -> tuple[str, str, str] | None:
        """Of a segment that is made of a column: what stands before it, the column, and what stands behind."""
        found = _COLUMN.fullmatch(self.segment or "")
        return None if found is None else (found[1], found[2], found[3])

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
        if (
            self.redis is not None
            and self.redis.members_of is not None
            and self.kind in ("events", "profiles", "identities")
        ):
            refuse("FO107", "a `set` holds members of a segment", "kind: segments, segment: NAME")
        if self.kind != "events" and self.event is not None:
            refuse("FO107", f"a source of {self.kind} has no `event`", "leave `event` out, or `kind: events`")
        if self.kind != "segments" and self.segment is not None:
            refuse("FO107", f"`segment` is not for sources of {self.kind}", "`kind: segments`, or leave it out")
        if self.segment is not None and "segment" in self.mapping.others:
            refuse("FO107", "`segment` is the same for all records, or a column under `fields`", "one of the two")
        if self.redis is not None and self.redis.members_of is not None and self.segment_parts is not None:
            refuse("FO107", "a `set` has no columns, so its segment has one name", "segment: vip")
        if self.kind in ("segments", "receipts", "identities") and (self.mapping.event or self.mapping.properties):
            refuse("FO107", f"records of {self.kind} have no `event` and no `properties`", "leave them out of `fields`")
        return self


class Event(Model):
    """What an event carries."""

    properties: Annotated[
        dict[Identifier, TypeName],
        says("What it carries, by name, each with its type.", {"sku": "string", "price": "money"}),
    ] = Field(default_factory=dict)


def _event(value: Any) -> Any:
    return {} if value is None else value


class Attribute(Model):
    """What a profile carries under a name."""

    type: Annotated[TypeName, says("What its values are.", "string")]
    sensitive: Annotated[Boolean, says("Whether it is not to be shown.", True)] = False


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
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Nothing that an editor would let pass."""
        return {"not": {}}

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

    group: Annotated[Label | None, says("Plans of this group.", "Conversion")] = None
    channel: Annotated[Name | None, says("Messages on this channel.", "sms")] = None
    tag: Annotated[Label | None, says("Plans with this tag.", "cart")] = None
    plan: Annotated[Name | None, says("This plan.", "welcome")] = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_dump(exclude_none=True):
            refuse("FO102", "the scope names nothing", "plan, project, or {group: NAME}, also channel, tag, plan")
        return self

    @property
    def text(self) -> str:
        """For people."""
        return ", ".join(f"{key} {value}" for key, value in self.model_dump(exclude_none=True).items())


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


_WINDOW = {"anyOf": [{"enum": ["calendar day", "calendar week", "calendar month", "ever"]}, shapes.DURATION]}


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

    at_most: Annotated[Count, says("How many messages at most.", 1)]
    per: Annotated[
        Window,
        BeforeValidator(_window),
        Shaped(_WINDOW),
        says("Within which time: rolling, calendar, or ever.", "24h", "calendar week", "ever"),
    ]
    scope: Annotated[
        Annotated[ScopeOrWord, BeforeValidator(_scope)] | None,
        says(
            "What is counted: `plan` (a plan's default), `project` (the project's), or what all the keys name.",
            "project",
            {"group": "Conversion"},
        ),
    ] = None
    key: Annotated[
        Identifier | None,
        says("Count each value of this property of the trigger's events on its own; left out: all together.", "sku"),
    ] = None


class ProjectFile(Model):
    """All of flowops.yaml."""

    place: ClassVar[Place] = "project"
    reach: ClassVar[frozenset[str]] = frozenset({"state", "warehouse"})

    flowops: Annotated[Literal["1"], Word, Shaped({"enum": [1, "1"]}), says("The version of the language.", 1)]
    project: Annotated[Name, says("The project's name.", "shop")]
    zone: Annotated[ZoneName, says("The default of every local time: an IANA name.", "Asia/Shanghai")]
    currency: Annotated[Label | None, says("Of costs and values, for reports.", "CNY")] = None
    sources: Annotated[
        dict[Name, Source],
        Field(min_length=1),
        says(
            "Inputs by name. Their order breaks ties between records of one instant.",
            {"web": {"file": "data/web.jsonl"}},
        ),
    ]
    events: Annotated[
        dict[EventName, Annotated[Event, BeforeValidator(_event), Shaped({"const": None}, beside=True)]],
        says(
            "What plans may name, with properties and their types.",
            {"order": {"properties": {"sku": "string", "amount": "money"}}},
        ),
    ] = Field(default_factory=dict)
    profile: Annotated[
        dict[Identifier, Annotated[Attribute, BeforeValidator(_attribute), Shaped({"enum": list(TYPES)}, beside=True)]],
        says(
            "What is known of users, by name, with types.",
            {"city": "string", "phone": {"type": "string", "sensitive": True}},
        ),
    ] = Field(default_factory=dict)
    layers: Annotated[
        dict[Identifier, Layering],
        says(
            "Layers of users by what they did, as attributes: `user.life_cycle`.",
            {"life_cycle": {"event": "order", "layers": {"active": {"recency": "30d"}, "other": {}}}},
        ),
    ] = Field(default_factory=dict)
    channels: Annotated[
        dict[Name, Channel],
        Field(min_length=1),
        says("Ways to the user by name.", {"push": {"type": "file", "path": "out/push.jsonl"}}),
    ]
    caps: Annotated[
        list[Cap], says("Limits over all plans, or over those that their scope names.", [{"at_most": 3, "per": "7d"}])
    ] = Field(default_factory=list)
    quiet: Annotated[
        Quiet | None,
        says("Quiet hours of plans that say nothing of their own.", {"from": "22:00", "to": "08:00", "then": "hold"}),
    ] = None
    banned_words: Annotated[Labels, says("What no message says.", ["最", "第一"])] = Field(default_factory=list)
    state: Annotated[Label, says("The folder of the engine's state; left out: .flowops.", ".flowops")] = ".flowops"
    warehouse: Annotated[Label, says("The folder of the outcomes; left out: warehouse.", "warehouse")] = "warehouse"
    ledger: Annotated[
        LedgerSettings,
        says("Where it is remembered what was sent.", {"redis": {"url": "redis://redis:6379/1"}, "keep": "30d"}),
    ] = LedgerSettings()

    @property
    def attributes(self) -> dict[str, TypeName]:
        """What `user.` may name, with its type: the profile, and layers."""
        own: dict[str, TypeName] = {name: attribute.type for name, attribute in self.profile.items()}
        return own | dict.fromkeys(self.layers, "string")
