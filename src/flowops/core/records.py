"""What travels: rows out of a decoder, records between readers and shards.

Only builtin tuples cross a process boundary (they pickle at a third of the cost of classes), so the shapes are given
here as aliases and as the functions that build them. Times are integers: microseconds since 1970-01-01 UTC (`Micros`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias
from zlib import crc32

Micros: TypeAlias = int
"""Microseconds since the epoch, UTC; also used for durations."""

SHARDS = 64
"""Users are hashed onto this many shards, whatever the number of processes. Part of the state format."""

NO_WATERMARK: Micros = -(1 << 62)
"""Before a partition has announced anything. Nothing fires below it."""

BEFORE_ALL: Micros = -(1 << 61)
"""The time of records that hold from before the first record (a profiles source without a time, S1)."""

ENDED: Micros = 1 << 61
"""The watermark of a partition whose bounded input has ended (S6); it holds nobody back."""

POSITION_BITS = 40

TRIGGER_ID = 24
"""The length of a trigger id, with which every dispatch id begins."""

Values: TypeAlias = tuple[Any, ...]
"""Property values of one event, in the order of `plan.EventTable.properties` (or of a capture)."""

Record: TypeAlias = tuple[Micros, int, str, Micros, str, Values, "tuple[int, ...]"]
"""(at, sequence, user_id, ts, event_id, values, hits), sorted by (at, sequence): S7.

- at: the record's place in the order: its `ts`, or for a late record the watermark of its partition (S9)
- sequence: `partition index << 40 | position`; partitions are numbered by source (as listed), then by name
- hits: the listeners (`plan.Project.listeners`) whose own-event conditions hold, ascending; or `PROFILE` or another of
  those that are told, not heard
"""

PROFILE: tuple[int, ...] = (-1,)
"""`hits` of a profile update, or of a segment's, which is an attribute like any other; its `values` are ((attribute
index, value), ...)."""

RECEIPT: tuple[int, ...] = (-2,)
"""`hits` of a receipt (S40); its `values` are (dispatch id, receipt, detail, whom it names); `user_id` may be empty."""

LINK: tuple[int, ...] = (-3,)
"""`hits` of an identity link (S2a): `user_id` is whom it leads to, its `values` are (identity, source, partition)."""


ENTER, LEAVE = ACTIONS = ("enter", "leave")
"""What a record of a segments source may say; one that says neither enters."""


class DeadLetter(NamedTuple):
    """A record that could not be read (S3). `sample` is its beginning, at most 200 characters."""

    source: str
    partition: str
    position: int
    reason: str
    detail: str
    sample: str


class LateRecord(NamedTuple):
    """A record that came after its own partition's watermark (S9), with how late it was."""

    source: str
    partition: str
    position: int
    event: str
    event_id: str
    user_id: str
    ts: Annotated[Micros, "time"]
    watermark: Annotated[Micros, "time"]


class Batch(NamedTuple):
    """What one reader sends to one shard at a time.

    `watermark` is the least over the reader's partitions (`NO_WATERMARK` until each has one, `ENDED` when all have
    ended); `highest` is the highest `ts` that it has read; `began` tells by source the first `ts` of its partitions, as
    far as they have any. Every shard gets every reader's progress, with or without records, or its own watermark would
    stand still.
    """

    shard: int
    reader: int
    watermark: Micros
    highest: Micros
    records: list[Record]
    late: list[LateRecord]
    dead: list[DeadLetter]
    began: Mapping[int, Micros] = {}


class Row(Protocol):
    """One decoded record of a source, before routing. Sources build it as a `msgspec.Struct` (see `sources.decode`).

    Beside these, an attribute `p0`, `p1`, ... for each property (or profile attribute) that some plan uses, in the
    order of `plan.Source.columns`. A profile attribute that the record does not carry is `msgspec.UNSET`. Of a segments
    source, `event` is the segment and `p0` the action; of a receipts source, `event` is what the receipt says, `p0` the
    dispatch id, `p1` the detail, and `user_id` may be None. Of an identities source, `event` is the identity.
    """

    user_id: str
    event: str
    event_id: str | None
    ts: int


class Chunk(NamedTuple):
    """What a partition yields at a time: records of it in order; None where a record was bad.

    They are consecutive, from position `first` on, unless `positions` tells each one's own (a log with gaps). One of a
    row's `ts` is `unit` microseconds: where all rows have the input's own unit, the intake converts on its way.
    """

    first: int
    rows: Sequence[Row | None]
    dead: list[DeadLetter]
    unit: int = 1
    positions: Sequence[int] | None = None

    @property
    def end(self) -> int:
        """The position behind the last row."""
        return self.first + len(self.rows) if self.positions is None else self.positions[-1] + 1

    def split(self, position: int) -> tuple[Chunk, Chunk | None]:
        """The rows before a position, and those from it on; None where there are none. Without the bad records."""
        positions = self.positions
        cut = max(0, position - self.first) if positions is None else bisect_left(positions, position)
        if cut >= len(self.rows):
            return self, None
        before, behind = (None, None) if positions is None else (positions[:cut], positions[cut:])
        first = self.first + cut if behind is None else behind[0]
        return (
            Chunk(self.first, self.rows[:cut], [], self.unit, before),
            Chunk(first, self.rows[cut:], [], self.unit, behind),
        )


def shard_of(user_id: str, shards: int = SHARDS) -> int:
    """The shard of a user among so many: stable over processes, machines and versions."""
    return crc32(user_id.encode()) % shards


def shard_of_dispatch(dispatch_id: str, shards: int = SHARDS) -> int:
    """The shard whose user a dispatch is for, as its id says (S32); an id that is none of ours is somebody's, too."""
    try:
        shard = int(dispatch_id[:2], 16)
    except ValueError:
        shard = SHARDS
    return shard % shards if 0 <= shard < SHARDS else shard_of(dispatch_id, shards)
