"""Readers: the engine's input on Bytewax. A fixed number of them, each owning several partitions (S6).

A reader reads the partition that is furthest behind, routes a chunk of it, and sends every shard its records with the
reader's watermark. No reader runs ahead of the others by more than a few chunks (`pace`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flowops.core.intake import Intake, IntakeState
from flowops.core.plan import Project, Source
from flowops.core.records import ENDED, NO_WATERMARK, SHARDS, Batch, DeadLetter, LateRecord, Micros, Record
from flowops.sources import Partition, expand, open_partition
from flowops.streaming.failures import noted
from flowops.streaming.metrics import NO_MORE, RECORDS_READ, Meter, Progress
from flowops.streaming.pace import AHEAD, READERS, Pace

CHUNK = 1 << 17
"""About how many bytes of input are decoded at a time: their rows stay in the processor's cache."""

CHUNKS = 48
HEARD = 16_384
"""So many chunks of one partition make a batch, or fewer, once they hold so many records that some plan listens to:
enough to be worth a batch to each shard, and a bound of what shards hold."""

_FIRST_CHUNK = 2048  # enough to announce a partition's first time, small enough for hundreds of them
_OPEN_FILES = 64  # partitions of a reader that may keep their file open while they wait
_NAP = timedelta(milliseconds=5)
_LONG_NAP = timedelta(milliseconds=100)  # one source that sleeps long would stall the others

SHARD_KEYS = tuple(f"{shard:02d}" for shard in range(SHARDS))

ReaderState: TypeAlias = tuple[bool, dict[str, tuple[Any, IntakeState]]]
"""(the end has been announced, by partition `source/name`: its position and its intake's state)."""


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """One partition of all that are read: `number` is its place in the order of S7."""

    number: int
    source: Source
    name: str

    @property
    def key(self) -> str:
        """Its name over all sources."""
        return f"{self.source.name}/{self.name}"


def partitions_of(project: Project, folder: Path) -> list[PartitionSpec]:
    """All partitions, numbered by source as listed, then by name. Raises InputError for a source without files."""
    listed = [(source, name) for source in project.sources for name in expand(folder, source)]
    return [PartitionSpec(number, source, name) for number, (source, name) in enumerate(listed)]


class _Lane:
    """A partition under way. `idle`: it has been read to its end for now; `poll_at`: when to look again."""

    __slots__ = ("counted", "idle", "intake", "key", "partition", "poll_at", "source", "started")

    def __init__(self, key: str, source: Source, partition: Partition, intake: Intake, *, started: bool) -> None:
        self.key = key
        self.source = source
        self.partition = partition
        self.intake = intake
        self.started = started
        self.idle = False
        self.poll_at = 0.0
        self.counted = 0  # of the rows read, those that the meter has


@noted
class Readers(FixedPartitionedSource[tuple[str, Batch], ReaderState]):
    """The engine's one input step."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        pace: Path,
        stopping: Callable[[], bool],
        *,
        follow: bool = False,
        until: Micros | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._project = project
        self._folder = folder
        self._pace = pace
        self._stopping = stopping
        self._follow = follow
        self._until = until
        self._meter = meter
        self._partitions = partitions_of(project, folder)

    def list_parts(self) -> list[str]:
        """Every worker can read every file."""
        return [f"reader-{number}" for number in range(READERS)]

    def build_part(self, step_id: str, for_part: str, resume_state: ReaderState | None) -> _Reader:  # noqa: ARG002
        """The reader, with its partitions."""
        number = int(for_part.rpartition("-")[2])
        announced, known = resume_state or (False, {})
        announced = announced and not self._follow  # files may have been added meanwhile
        lanes = []
        for spec in self._partitions:
            if self._owner(spec) != number:
                continue
            intake = Intake(spec.number, spec.source, spec.name, self._project.attributes)
            position, state = known.get(spec.key, (None, None))
            if state is not None:
                intake.restore(state)
            partition = open_partition(self._folder, spec.source, spec.name, position, follow=self._follow)
            lanes.append(_Lane(spec.key, spec.source, partition, intake, started=state is not None))
        return _Reader(
            number, lanes, Pace(self._pace), self._stopping, self._until, announced, self._meter, follow=self._follow
        )

    def _owner(self, spec: PartitionSpec) -> int:
        """The reader of a partition: its place among all; by name where files may be added between two starts."""
        return crc32(spec.key.encode()) % READERS if self._follow else spec.number % READERS


@noted
class _Reader(StatefulSourcePartition[tuple[str, Batch], ReaderState]):
    def __init__(
        self,
        number: int,
        lanes: list[_Lane],
        pace: Pace,
        stopping: Callable[[], bool],
        until: Micros | None,
        announced: bool,
        meter: Meter | None,
        *,
        follow: bool,
    ) -> None:
        self._meter = meter
        self._number = number
        self._lanes = lanes
        self._pace = pace
        self._stopping = stopping
        self._until = until
        self._announced = announced  # every shard knows that this reader's input has ended
        self._follow = follow
        self._sent = 0
        self._marks = [NO_WATERMARK] * AHEAD  # the reader's watermark after its last few chunks
        self._awake: datetime | None = None
        self._greeted = False
        self._moved = False  # by the wall clock, at the end of the last epoch: still to be told
        self._report()

    def next_batch(self) -> list[tuple[str, Batch]]:
        """A chunk of the partition that is furthest behind, for all shards; empty when it is not this reader's turn."""
        if self._announced or self._stopping():
            raise StopIteration
        self._awake = None
        if self._moved:
            self._moved = False
            return self._send(_per_shard(), _per_shard(), [])
        if self._pace.awaits_writers():  # the runtime builds a writer for the first that comes to it: a beat, of this
            if self._greeted:
                return self._nap(_NAP)
            self._greeted = True
            return self._send(_per_shard(), _per_shard(), [])
        if self._pace.is_full() or self._marks[0] > self._pace.watermark():
            return self._nap(_NAP)
        lane = self._furthest_behind()
        if lane is None:
            return self._nap(_LONG_NAP) if self._lanes and self._follow else self._send(_per_shard(), _per_shard(), [])
        records: list[list[Record]] = _per_shard()
        late: list[list[LateRecord]] = _per_shard()
        dead: list[DeadLetter] = []
        taken = 0
        enough = lane.intake.heard + HEARD
        while taken < (CHUNKS if lane.started else 1) and lane.intake.heard < enough:
            chunk = lane.partition.read(CHUNK if lane.started else _FIRST_CHUNK)
            if chunk is None:
                break
            lane.intake.take(chunk, records, late)
            dead += chunk.dead
            taken += 1
        lane.idle = False
        lane.started = True
        if taken:
            if len(self._lanes) > _OPEN_FILES:
                lane.partition.release()
        elif self._follow:
            lane.idle = True
            lane.poll_at = time.monotonic() + _LONG_NAP.total_seconds()
            return []
        else:
            lane.intake.end()
            lane.partition.close()
        return self._send(records, late, dead)

    def next_awake(self) -> datetime | None:
        """Soon, when it is not this reader's turn; at once, otherwise."""
        return self._awake

    def snapshot(self) -> ReaderState:
        """The positions of all partitions.

        Here the wall clock is read, and only here: how far it moves the partitions that have been read to their end is
        part of this state, and is told in the next epoch, which begins when this one is committed. So a restart decides
        the same (S6).
        """
        if self._follow:
            now = time.time_ns() // 1000
            for lane in self._lanes:
                if lane.idle:
                    lane.intake.advance_to(now - lane.intake.bound)
                    self._moved = True
        if self._meter is not None:
            self._measure(self._meter)
        return self._announced, {
            lane.key: (lane.partition.position(), lane.intake.state()) for lane in self._lanes if lane.started
        }

    def close(self) -> None:
        """Give the files back."""
        for lane in self._lanes:
            lane.partition.close()

    def _measure(self, meter: Meter) -> None:
        for lane in self._lanes:
            if lane.intake.read != lane.counted:
                meter.add(RECORDS_READ, lane.intake.read - lane.counted, lane.source.name, lane.source.kind)
                lane.counted = lane.intake.read
        meter.reader(
            self._number,
            NO_MORE if self._announced else time.monotonic_ns() // 1000,
            [Progress(lane.source.index, lane.partition.name, lane.intake.watermark, None) for lane in self._lanes],
        )

    def _furthest_behind(self) -> _Lane | None:
        now = time.monotonic() if self._follow else 0.0
        open_lanes = [lane for lane in self._lanes if not lane.intake.ended and not (lane.idle and lane.poll_at > now)]
        return min(open_lanes, key=_watermark_of, default=None)

    def _send(
        self, records: list[list[Record]], late: list[list[LateRecord]], dead: list[DeadLetter]
    ) -> list[tuple[str, Batch]]:
        """One batch for every shard; dead letters, which have no user, go with the reader's own number."""
        watermark = min((lane.intake.watermark for lane in self._lanes), default=ENDED)
        highest = max((lane.intake.highest for lane in self._lanes), default=NO_WATERMARK)
        if watermark >= ENDED:
            highest = max(highest, self._until or NO_WATERMARK)
            self._announced = True
        self._marks = [*self._marks[1:], watermark]
        self._sent += SHARDS
        self._report(watermark, highest)
        number = self._number
        return [
            (
                key,
                Batch(shard, number, watermark, highest, records[shard], late[shard], dead if shard == number else []),
            )
            for shard, key in enumerate(SHARD_KEYS)
        ]

    def _nap(self, how_long: timedelta) -> list[tuple[str, Batch]]:
        self._awake = datetime.now(UTC) + how_long
        return []

    def _report(self, watermark: Micros | None = None, highest: Micros = NO_WATERMARK) -> None:
        if watermark is None:
            watermark = ENDED if self._announced else NO_WATERMARK
            highest = max((lane.intake.highest for lane in self._lanes), default=NO_WATERMARK)
        read = sum(lane.intake.read for lane in self._lanes)
        self._pace.report_reader(self._number, watermark, highest, self._sent, read)


def _per_shard() -> list[list[Any]]:
    return [[] for _ in range(SHARDS)]


def _watermark_of(lane: _Lane) -> Micros:
    return lane.intake.watermark
