"""From decoded rows to records: event-time progress, lateness and routing of one partition (S6, S9).

One `Intake` per partition. It sees the partition's rows in their order, and nothing else, so what it decides does not
depend on how partitions interleave or on how the input is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from zlib import crc32

from msgspec import UNSET

from flowops.core.plan import KNOWN, SEGMENT, Source
from flowops.core.records import (
    BEFORE_ALL,
    ENDED,
    LEAVE,
    LINK,
    NO_WATERMARK,
    POSITION_BITS,
    PROFILE,
    RECEIPT,
    SHARDS,
    Chunk,
    LateRecord,
    Micros,
    Record,
    Row,
    Values,
    shard_of,
    shard_of_dispatch,
)

IntakeState: TypeAlias = tuple[Micros, Micros, bool, Micros | None]
"""(highest, watermark, ended, first): all that an intake remembers; to be kept with the partition's position."""

Told: TypeAlias = tuple[int, Values, tuple[int, ...]]
"""(shard, values, hits) of a record."""

Tell: TypeAlias = Callable[[Any], "Told | None"]
"""A row -> what it tells, or None if nobody wants to know."""


class Intake:
    """Turns the rows of one partition into records, shard by shard.

    Args:
        partition: the partition's number over all sources; with the position it orders records of one instant (S7).
        source: who listens, and how far its records may be out of order.
        name: the partition's name, for the ids of events that carry none.
        attributes: the attributes by number (`plan.Project.attributes`); needed by profile and segment sources.
        shards: over how many users are spread (`plan.Project.shards`).
    """

    __slots__ = (
        "_base", "_columns", "_everyone", "_known", "_name", "_shards", "_source", "_tell",
        "bound", "ended", "first", "heard", "highest", "read", "watermark",
    )  # fmt: skip

    def __init__(
        self, partition: int, source: Source, name: str, attributes: Sequence[str] = (), shards: int = SHARDS
    ) -> None:
        self._base = partition << POSITION_BITS
        self._source = source
        self.bound = source.out_of_orderness
        self._name = name
        self._shards = shards
        self._known = {attribute: number for number, attribute in enumerate(attributes)}
        self._columns = tuple(
            (self._known.get(column.name, place), column.attribute) for place, column in enumerate(source.columns)
        )
        tells = {
            "profiles": self._tell_profile,
            "segments": self._tell_segment,
            "receipts": self._tell_receipt,
            "identities": self._tell_link,
        }
        self._tell: Tell | None = tells.get(source.kind)
        everyone = self._known.get(KNOWN)
        self._everyone: tuple[tuple[int, bool], ...] = () if everyone is None else ((everyone, True),)
        self.highest: Micros = NO_WATERMARK
        self.watermark: Micros = NO_WATERMARK
        self.ended = False
        self.first: Micros | None = None
        """The time of its first record that has one, or where the wall clock found it before there was any (S12a)."""
        self.read = 0
        """Rows seen since this object was made."""
        self.heard = 0
        """Those of them that some plan listens to."""

    def state(self) -> IntakeState:
        """What to keep with the partition's position."""
        return self.highest, self.watermark, self.ended, self.first

    def restore(self, state: IntakeState) -> None:
        """Go on from a kept state."""
        self.highest, self.watermark, self.ended, self.first = state

    def end(self) -> None:
        """The bounded input has been read to its end: it holds nobody back any more (S6)."""
        self.ended = True
        self.watermark = ENDED

    def advance_to(self, moment: Micros) -> None:
        """Move the watermark of an idle, caught-up partition on with the wall clock (S6); it never goes back."""
        self.watermark = max(self.watermark, moment)
        if self.first is None and moment > BEFORE_ALL:
            self.first = moment

    def take(self, chunk: Chunk, into: Sequence[list[Record]], late: Sequence[list[LateRecord]]) -> None:
        """Route the rows of `chunk`, which follows the last one, into one list per shard.

        A row behind the watermark is late: it takes the watermark's place in the order (S9) and is also noted in the
        shard's list of `late`. Rows that nobody listens to still move the watermark on.
        """
        if self.first is None:
            times = (row.ts * chunk.unit for row in chunk.rows if row is not None)
            self.first = next((ts for ts in times if ts > BEFORE_ALL), None)
        if self._tell is not None:
            self._take_told(self._tell, chunk, into, late)
            return
        routes = self._source.routes.get
        fallback = self._source.any_route
        base = self._base
        shards = self._shards
        bound = self.bound
        unit = chunk.unit
        # The watermark is the highest time less the bound, unless the wall clock has moved it further (`advance_to`).
        # `mark` is the time that a row has to pass to move it on: below it is the one comparison that most rows need.
        before = mark = max(self.highest, self.watermark + bound)
        heard = 0
        for position, row in zip(_positions(chunk), chunk.rows, strict=True):
            if row is None:
                continue
            ts = row.ts * unit
            if ts > mark:
                mark = ts
                at = ts
            elif ts < mark - bound:
                at = mark - bound
                self._note_late(row, position, ts, at, late)
            else:
                at = ts
            route = routes(row.event, fallback)
            if route is None:
                continue
            routed = route(row)
            if routed is None:
                continue
            heard += 1
            user_id = row.user_id
            event_id = row.event_id
            if event_id is None:
                event_id = self._made_id(position)
            record = (at, base + position, user_id, ts, event_id, routed[1], routed[0])
            into[crc32(user_id.encode()) % shards].append(record)  # `shard_of`, without the call
        if mark > before:
            self.highest = mark
            self.watermark = mark - bound
        elif before > self.highest:  # the wall clock was ahead of the records
            self.highest = max(self.highest, *(row.ts * unit for row in chunk.rows if row is not None), NO_WATERMARK)
        self.heard += heard
        self.read += len(chunk.rows)

    def _take_told(
        self, tell: Tell, chunk: Chunk, into: Sequence[list[Record]], late: Sequence[list[LateRecord]]
    ) -> None:
        """Route the rows of a source that no plan listens to, but that tells of users or of messages."""
        bound = self.bound
        for position, row in zip(_positions(chunk), chunk.rows, strict=True):
            if row is None:
                continue
            at = ts = row.ts * chunk.unit
            if ts > self.highest:
                self.highest = ts
                self.watermark = max(self.watermark, ts - bound)
            if ts < self.watermark:
                at = self.watermark
                self._note_late(row, position, ts, at, late)
            told = tell(row)
            if told is not None:
                shard, values, hits = told
                event_id = row.event_id or self._made_id(position)
                record = (at, self._base + position, row.user_id or "", ts, event_id, values, hits)
                into[shard].append(record)
        self.heard += len(chunk.rows)
        self.read += len(chunk.rows)

    def _tell_profile(self, row: Any) -> Told:
        values = [
            (number, value) for number, attribute in self._columns if (value := getattr(row, attribute)) is not UNSET
        ]
        return shard_of(row.user_id, self._shards), (*values, *self._everyone), PROFILE

    def _tell_segment(self, row: Any) -> Told | None:
        """Membership is an attribute of the user like any other; a segment that no plan asks about is none."""
        number = self._known.get(SEGMENT + row.event)
        values = self._everyone if number is None else ((number, row.p0 != LEAVE), *self._everyone)
        return (shard_of(row.user_id, self._shards), values, PROFILE) if values else None

    def _tell_receipt(self, row: Any) -> Told:
        return shard_of_dispatch(row.p0, self._shards), (row.p0, row.event, row.p1, row.user_id or None), RECEIPT

    def _tell_link(self, row: Any) -> Told:
        return shard_of(row.user_id, self._shards), (row.event, self._source.name, self._name), LINK

    def _made_id(self, position: int) -> str:
        return f"{self._source.name}/{self._name}:{position}"

    def _note_late(
        self, row: Row, position: int, ts: Micros, watermark: Micros, late: Sequence[list[LateRecord]]
    ) -> None:
        event_id = row.event_id or self._made_id(position)
        event = "profile" if self._source.kind == "profiles" else row.event
        user_id = row.user_id or ""
        note = LateRecord(self._source.name, self._name, position, event, event_id, user_id, ts, watermark)
        late[shard_of(user_id, self._shards)].append(note)


def _positions(chunk: Chunk) -> Sequence[int]:
    return range(chunk.first, chunk.first + len(chunk.rows)) if chunk.positions is None else chunk.positions
