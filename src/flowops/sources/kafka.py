"""Kafka: a topic is a source, and each of its partitions one of ours; positions are offsets, which may have gaps.

Partitions are assigned, never subscribed to: which reader reads them and from where is the engine's business, and the
consumer group only shows others how far it is. A position names the topic by its id, too: offsets of one that was made
anew under the same name mean nothing. Decoding is that of `jsonl`; of Avro and JSON Schema, of `schemas`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, cast

from pydantic import AfterValidator, Field, model_validator

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Micros, Row
from flowops.core.time import isoformat
from flowops.errors import ConfigError
from flowops.settings.fields import Label, refuse
from flowops.settings.guess import one_of
from flowops.settings.kafka import KafkaConnection
from flowops.settings.model import Word
from flowops.settings.schema_registry import SchemaRegistry
from flowops.settings.secrets import Filled, FilledText
from flowops.settings.shapes import says
from flowops.sources.base import Partition, Position
from flowops.sources.decode import Decoder, decoder
from flowops.sources.lines import MAX_RECORD
from flowops.sources.values import Reason, UnfitError

if TYPE_CHECKING:  # the client is loaded by those who connect
    from flowops.sources.kafka_client import Fetched, Inbox, TopicClient
    from flowops.sources.schemas import Framed

BEGINNING = -2
"""The offset that stands for the first record there is."""

_SAMPLE = 200
_NO_TIME = 0  # the kind of a record's timestamp: it has none
_STAMP = itemgetter(1)

_REFUSED = {
    "allow.auto.create.topics": "reading must not make a topic",
    "auto.offset.reset": "a position that has gone is an error, never a jump",
    "bootstrap.servers": "the servers are named by `brokers`",
    "metadata.broker.list": "the servers are named by `brokers`",
    "enable.auto.commit": "positions are saved with the engine's state",
    "enable.auto.offset.store": "positions are saved with the engine's state",
    "enable.partition.eof": "the engine has to know when a partition has been read to its end",
    "group.id": "the group is named by `group`",
    "group.instance.id": "partitions are assigned by the engine, not by the group",
    "group.protocol": "partitions are assigned by the engine, not by the group",
    "partition.assignment.strategy": "partitions are assigned by the engine, not by the group",
    "isolation.level": "what a transaction took back must not count",
}
"""Options on which exactness rests, and why."""


def _options(options: dict[str, Filled]) -> dict[str, Filled]:
    for name in options:
        reason = _REFUSED.get(name)
        if reason is not None:
            refuse("FO107", f"the option `{name}` is set by flowops itself: {reason}", "leave it out")
    return options


class KafkaSettings(KafkaConnection):
    """`kafka:` of a source. `group` is for monitoring only; left out, it is `flowops-` and the project's name.

    `format` says what the values are; `avro` and `json_schema` name schemas of a `schema_registry`.
    """

    reach: ClassVar[frozenset[str]] = frozenset({*KafkaConnection.reach, "group", "schema_registry"})

    topic: Annotated[Label, says("The topic that is read.", "web")]
    group: Annotated[
        Label | None,
        says("The consumer group in which positions are shown; left out: `flowops-PROJECT`.", "shop-engine"),
    ] = None
    format: Annotated[
        Literal["json", "avro", "json_schema"],
        Word,
        says("What the values are; `avro` and `json_schema` name schemas of a `schema_registry`.", "avro"),
    ] = "json"
    schema_registry: Annotated[
        SchemaRegistry | None,
        says("Where the schemas of `avro` and `json_schema` are.", {"url": "https://registry:8081"}),
    ] = None
    options: Annotated[
        dict[Label, FilledText],
        AfterValidator(_options),
        *KafkaConnection.model_fields["options"].metadata,  # what holds for a channel, too
        says("Of librdkafka by name, for TLS, SASL and the like.", {"security.protocol": "SSL"}),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format == "json" and self.schema_registry is not None:
            hint = "`format: avro` or `format: json_schema`; or leave it out"
            refuse("FO107", "`schema_registry` is not for `format: json`, whose records name no schema", hint)
        if self.format != "json" and self.schema_registry is None:
            hint = "schema_registry: {url: https://host:8081}"
            refuse("FO102", f"`format: {self.format}` needs `schema_registry`", hint)
        return self


class KafkaTopic:
    """The connector of a topic. `bounds`: where each partition of a bounded run ends."""

    def __init__(
        self, source: Source, settings: KafkaSettings, *, follow: bool, bounds: Mapping[str, Position]
    ) -> None:
        self._source = source
        self._settings = settings
        self._follow = follow
        self._bounds = bounds
        self._open: TopicClient | None = None
        self._checked = False
        self._values: Decoder | Framed | None = None

    @property
    def _client(self) -> TopicClient:
        if self._open is None:
            from flowops.sources.kafka_client import TopicClient  # noqa: PLC0415

            self._open = TopicClient(self._source.name, self._settings, watch=self._follow)
        return self._open

    def partitions(self) -> Mapping[str, int]:
        """The topic's partitions; of a bounded run those that it began with. Raises ConfigError, see `_check`."""
        count = self._check()
        if self._bounds and not self._follow:
            return {name: self._number(name) for name in self._bounds}
        return {self._name(number): number for number in range(count)}

    def ends(self) -> Mapping[str, Position]:
        """The end offsets, of what is committed."""
        return {self._name(number): (end,) for number, end in self._client.ends(range(self._check())).items()}

    def open(self, name: str, position: Position | None) -> KafkaPartition:
        """A partition; assigned when it is first read."""
        end = None if self._follow else int(self._bounds[name][0])
        return KafkaPartition(self._source, self._client, self._decoder(), name, self._number(name), position, end)

    def _decoder(self) -> Decoder | Framed:
        """What decodes the values. Raises ConfigError where packages for it are not installed."""
        if self._values is None:
            if self._settings.schema_registry is None:
                self._values = decoder(self._source)
            else:
                self._values = _framed(self._source, self._settings.format, self._settings.schema_registry)
        return self._values

    def _check(self) -> int:
        """How many partitions there are.

        Raises ConfigError for a broker or schema registry that does not answer, and for an unknown topic.
        """
        if self._checked:
            return self._client.partition_count
        values = self._decoder()
        topic = self._settings.topic
        count = self._client.ask_partitions()
        if count is None:
            brokers, topics = ", ".join(self._settings.brokers), self._client.topics()
            hint = one_of(topic, topics) if topics else "make it, or name another"
            raise ConfigError(f"source `{self._source.name}`: there is no topic `{topic}` at {brokers}\n  try: {hint}")
        if not isinstance(values, Decoder):
            values.schemas.check()
        self._checked = True
        return count

    def _name(self, number: int) -> str:
        return f"{self._settings.topic}[{number}]"

    def _number(self, name: str) -> int:
        return int(name.removeprefix(self._settings.topic)[1:-1])


def _framed(source: Source, format_: str, registry: SchemaRegistry) -> Framed:
    try:
        from flowops.sources.schemas import Framed, Schemas  # noqa: PLC0415 - of an extra

        if format_ == "avro":
            from flowops.sources.avro import RecordDecoder, avro_read  # noqa: PLC0415

            return Framed(source, RecordDecoder(source), Schemas(source.name, registry, "AVRO", avro_read))
        from flowops.sources.json_schema import json_read  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"source `{source.name}`: `format: {format_}` needs packages that are not installed: there is no"
            f" `{error.name}`\n  try: pip install 'flowops[schema-registry]'"
        ) from None
    return Framed(source, decoder(source), Schemas(source.name, registry, "JSON", json_read))


class KafkaPartition(Partition):
    """One partition of a topic, from `position` (the next offset) on; up to `end`, where it is bounded."""

    nap = 0.02

    def __init__(
        self,
        source: Source,
        client: TopicClient,
        values: Decoder | Framed,
        name: str,
        number: int,
        position: Position | None,
        end: int | None,
    ) -> None:
        self.name = name
        self._source = source
        self._client = client
        self._number = number
        self._decoder = values
        self._framed = None if isinstance(values, Decoder) else values
        self._waiting: Fetched | None = None  # for schemas that are not known yet
        self._end = end
        self._offset = int(position[0]) if position else (0 if end == 0 else BEGINNING)
        known = position[1] if position and len(position) > 1 else None
        client.check_id(known)
        self._topic_id: str | None = known or client.topic_id
        self._inbox: Inbox | None = None
        self._caught_up: Micros | None = None

    def read(self, limit: int) -> Chunk | None:
        """The next records: about `limit` bytes of values. None: no broker has sent any for now, or `ended`."""
        if self._client.failure is not None:
            raise self._client.failure
        if self._inbox is None:
            if self.ended():
                return None
            self._inbox = self._client.assign(self._number, self._offset)
        while not self.ended():
            taken = self._waiting or self._inbox.take(limit)
            if taken is None:
                return None
            if isinstance(taken, int):  # the end of the log, beyond what a transaction leaves in it
                self._offset = max(self._offset, taken)
                continue
            after = taken.offsets[-1] + 1
            if self._end is not None and after > self._end:
                taken = taken.part(0, bisect_left(taken.offsets, self._end))
                after = self._end
            if self._framed is not None:
                self._waiting = taken if self._framed.schemas.lack(self._prefixes(taken)) else None
                if self._waiting:
                    return None  # the position stands still, and time with it
            self._offset = after
            return self._chunk(taken) if taken.values else None
        return None

    def _prefixes(self, taken: Fetched) -> set[bytes]:
        """What names the schemas of values, and of the keys of those that are not there."""
        found = {value[:5] for value in taken.values if value is not None}
        if taken.keys is not None and self._source.kind == "profiles":
            keys = (key for key, value in zip(taken.keys, taken.values, strict=True) if value is None)
            found |= {key[:5] for key in keys if isinstance(key, bytes)}
        return found

    def ended(self) -> bool:
        """Whether a bounded partition has been read to where it ended when the run began."""
        return self._end is not None and self._offset >= self._end

    def position(self) -> tuple[int] | tuple[int, str]:
        """The next offset, and the topic's id where it is known."""
        return (self._offset,) if self._topic_id is None else (self._offset, self._topic_id)

    def caught_up_at(self) -> Micros | None:
        """The last instant at which the log's end was asked for and lay no further than what has been read."""
        if self._inbox is not None:
            asked = self._inbox.asked
            while asked and asked[0][1] <= self._offset:
                self._caught_up = asked.popleft()[0]
        return self._caught_up

    def saved(self, position: Position) -> None:
        """Shown as the group's offset."""
        if self._inbox is not None and position[0] >= 0:
            self._inbox.saved = int(position[0])

    def lag(self) -> int | None:
        """From the last answer to where the log ends."""
        end = None if self._inbox is None else self._inbox.end
        return None if end is None or self._offset < 0 else max(0, end - self._offset)

    def is_reachable(self) -> bool:
        """Whether the last question was answered."""
        return not (self._client.is_lost or (self._framed is not None and self._framed.schemas.is_lost))

    def close(self) -> None:
        """Read no more."""
        if self._inbox is not None:
            self._client.unassign(self._number)
            self._inbox = None

    def _chunk(self, taken: Fetched) -> Chunk:
        values, offsets = taken.values, taken.offsets
        rows: Sequence[Row | None] | None = None
        dead: list[DeadLetter] = []
        unit = 1
        whole = cast("list[bytes]", values)
        if (taken.keys is None or None not in values) and sum(map(len, whole)) <= MAX_RECORD:
            rows = self._decoder.block(whole)
            unit = self._decoder.unit
        if rows is None:
            rows, faults = self._one_by_one(taken)
            unit = 1
            dead = [self._dead(offsets[number], faults[number], values[number]) for number in sorted(faults)]
        if self._source.max_future is not None:
            rows, ahead = self._not_ahead(taken.stamps, rows, unit, self._source.max_future)
            if ahead:
                dead += [self._dead(offsets[number], error, values[number]) for number, error in ahead]
                dead.sort(key=lambda letter: letter.position)
        return Chunk(offsets[0], rows, dead, unit, None if isinstance(offsets, range) else offsets)

    def _one_by_one(self, taken: Fetched) -> tuple[list[Row | None], dict[int, UnfitError]]:
        rows: list[Row | None] = [None] * len(taken.values)
        faults: dict[int, UnfitError] = {}
        lines: list[bytes] = []
        places: list[int] = []
        for number, value in enumerate(taken.values):
            if value is None:
                try:
                    rows[number] = self._deleted(taken.keys[number] if taken.keys else None, taken.stamps[number][1])
                except UnfitError as error:
                    faults[number] = error
            elif len(value) > MAX_RECORD:
                faults[number] = UnfitError("too_large", f"a record of more than {MAX_RECORD:,} bytes")
            else:
                lines.append(value)
                places.append(number)
        good, bad = self._decoder.lines(lines)
        for place, row in zip(places, good, strict=True):
            rows[place] = row
        faults |= {places[number]: error for number, error in bad}
        return rows, faults

    def _deleted(self, key: bytes | None, stamp: int) -> Row:
        """A record without a value: in a topic of profiles, that the user of its key has no attributes any more."""
        if self._source.kind != "profiles":
            raise UnfitError("unparseable", "the record has no value (a tombstone): it only says something of profiles")
        user: str | None = None
        try:
            if key is not None:
                user = key.decode() if self._framed is None else self._framed.user(key)
        except UnicodeDecodeError:
            raise UnfitError("unparseable", "the record has no value (a tombstone), and its key is not UTF-8") from None
        if not user:
            raise UnfitError("missing_field", "the record has no value (a tombstone), and no key that names the user")
        return self._decoder.made({"user_id": user, "ts": stamp * 1000})

    def _not_ahead(
        self, stamps: list[tuple[int, int]], rows: Sequence[Row | None], unit: int, bound: Micros
    ) -> tuple[Sequence[Row | None], list[tuple[int, UnfitError]]]:
        """The rows, but none whose time is more than `bound` ahead of when the broker (or producer) recorded it."""
        times = [row.ts for row in rows if row is not None]
        if not times or max(times) * unit <= min(map(_STAMP, stamps)) * 1000 + bound:
            return rows, []  # a stamp that is none is 0 or less, and looked at
        kept = list(rows)
        ahead: list[tuple[int, UnfitError]] = []
        for number, (row, (kind, stamp)) in enumerate(zip(rows, stamps, strict=True)):
            if row is None or kind == _NO_TIME or row.ts * unit <= stamp * 1000 + bound:
                continue
            kept[number] = None
            told = f"`ts` is {isoformat(row.ts * unit)}, the record is of {isoformat(stamp * 1000)}"
            ahead.append((number, UnfitError("in_future", f"{told}: more than `max_future` ahead")))
        return kept, ahead

    def _dead(self, offset: int, error: UnfitError, value: bytes | None) -> DeadLetter:
        reason: Reason = error.reason
        sample = (value or b"")[: 4 * _SAMPLE].decode(errors="replace")[:_SAMPLE]
        return DeadLetter(self._source.name, self.name, offset, reason, error.detail, sample)
