"""From decoded rows to records: event-time progress, lateness and routing of one partition (S6, S9).

One `Intake` per partition. It sees the partition's rows in their order, and nothing else, so what it decides does not
depend on how partitions interleave or on how the input is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import UNSET

from flowops.core.plan import Source
from flowops.core.records import (
    ENDED,
    NO_WATERMARK,
    POSITION_BITS,
    PROFILE,
    Chunk,
    LateRecord,
    Micros,
    Record,
    Row,
    shard_of,
)

IntakeState: TypeAlias = tuple[Micros, Micros, bool]
"""(highest, watermark, ended): all that an intake remembers; builtin, to be kept with the partition's position."""


class Intake:
    """Turns the rows of one partition into records, shard by shard.

    Args:
        partition: the partition's number over all sources; with the position it orders records of one instant (S7).
        source: who listens, and how far its records may be out of order.
        name: the partition's name, for the ids of events that carry none.
        attributes: the profile attributes by number (`plan.Project.attributes`); needed by profile sources.
    """

    __slots__ = ("_base", "_columns", "_name", "_source", "bound", "ended", "heard", "highest", "read", "watermark")

    def __init__(self, partition: int, source: Source, name: str, attributes: Sequence[str] = ()) -> None:
        self._base = partition << POSITION_BITS
        self._source = source
        self.bound = source.out_of_orderness
        self._name = name
        self._columns: tuple[tuple[int, str], ...] = ()
        if source.kind == "profiles":
            known = {attribute: number for number, attribute in enumerate(attributes)}
            self._columns = tuple(
                (known.get(column.name, place), column.attribute) for place, column in enumerate(source.columns)
            )
        self.highest: Micros = NO_WATERMARK
        self.watermark: Micros = NO_WATERMARK
        self.ended = False
        self.read = 0
        """Rows seen since this object was made."""
        self.heard = 0
        """Those of them that some plan listens to."""

    def state(self) -> IntakeState:
        """What to keep with the partition's position."""
        return self.highest, self.watermark, self.ended

    def restore(self, state: IntakeState) -> None:
        """Go on from a kept state."""
        self.highest, self.watermark, self.ended = state

    def end(self) -> None:
        """The bounded input has been read to its end: it holds nobody back any more (S6)."""
        self.ended = True
        self.watermark = ENDED

    def advance_to(self, moment: Micros) -> None:
        """Move the watermark of an idle, caught-up partition on with the wall clock (S6); it never goes back."""
        self.watermark = max(self.watermark, moment)

    def take(self, chunk: Chunk, into: Sequence[list[Record]], late: Sequence[list[LateRecord]]) -> None:
        """Route the rows of `chunk`, which follows the last one, into one list per shard.

        A row behind the watermark is late: it takes the watermark's place in the order (S9) and is also noted in the
        shard's list of `late`. Rows that nobody listens to still move the watermark on.
        """
        if self._source.kind == "profiles":
            self._take_profiles(chunk, into, late)
            return
        routes = self._source.routes.get
        fallback = self._source.any_route
        bound = self.bound
        highest = self.highest
        watermark = self.watermark
        heard = 0
        for sequence, row in enumerate(chunk.rows, self._base + chunk.first):
            if row is None:
                continue
            at = ts = row.ts
            if ts > highest:
                highest = ts
                if ts - bound > watermark:  # noqa: PLR1730 - `max` costs a call per row
                    watermark = ts - bound
            if ts < watermark:
                at = watermark
                self._note_late(row, sequence - self._base, watermark, late)
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
                event_id = self._made_id(sequence - self._base)
            into[shard_of(user_id)].append((at, sequence, user_id, ts, event_id, routed[1], routed[0]))
        self.highest = highest
        self.watermark = watermark
        self.heard += heard
        self.read += len(chunk.rows)

    def _take_profiles(self, chunk: Chunk, into: Sequence[list[Record]], late: Sequence[list[LateRecord]]) -> None:
        bound = self.bound
        for place, row in enumerate(chunk.rows):
            if row is None:
                continue
            position = chunk.first + place
            at = ts = row.ts
            if ts > self.highest:
                self.highest = ts
                self.watermark = max(self.watermark, ts - bound)
            if ts < self.watermark:
                at = self.watermark
                self._note_late(row, position, at, late)
            values: list[tuple[int, Any]] = []
            for number, attribute in self._columns:
                value = getattr(row, attribute)
                if value is not UNSET:
                    values.append((number, value))
            event_id = row.event_id or self._made_id(position)
            record = (at, self._base + position, row.user_id, ts, event_id, tuple(values), PROFILE)
            into[shard_of(row.user_id)].append(record)
        self.heard += len(chunk.rows)
        self.read += len(chunk.rows)

    def _made_id(self, position: int) -> str:
        return f"{self._source.name}/{self._name}:{position}"

    def _note_late(self, row: Row, position: int, watermark: Micros, late: Sequence[list[LateRecord]]) -> None:
        event_id = row.event_id or self._made_id(position)
        event = row.event if self._source.kind == "events" else "profile"
        note = LateRecord(self._source.name, self._name, position, event, event_id, row.user_id, row.ts, watermark)
        late[shard_of(row.user_id)].append(note)
