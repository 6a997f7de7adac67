"""Readers: the engine's input on Bytewax. A fixed number of them, each owning several partitions (S6).

A reader reads the partition that is furthest behind, routes a chunk of it, and sends every shard its records with the
reader's watermark. No reader runs ahead of the others by more than a few batches (`pace`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, TypeAlias

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flowops.core.intake import Intake, IntakeState
from flowops.core.plan import Source
from flowops.core.records import ENDED, NO_WATERMARK, SHARDS, Batch, Chunk, DeadLetter, LateRecord, Micros, Record
from flowops.sources import Partition
from flowops.streaming.clock import Clock, Move
from flowops.streaming.clock import Place as ClockPlace
from flowops.streaming.epochs import EpochEnd, Turns
from flowops.streaming.failures import noted
from flowops.streaming.inputs import Inputs, PartitionSpec
from flowops.streaming.journal import NAME as JOURNAL
from flowops.streaming.metrics import NO_MORE, RECORDS_READ, UNREACHABLE, Meter, Progress
from flowops.streaming.pace import AHEAD, READERS, Pace
from flowops.streaming.statefolder import StateFolder

CHUNK = 1 << 17
"""About how many bytes of input are decoded at a time: their rows stay in the processor's cache."""

CHUNKS = 48
HEARD = 16_384
"""So many chunks of one partition make a batch, or fewer, once they hold so many records that some plan listens to:
enough to be worth a batch to each shard, and a bound of what shards hold."""

_FIRST_CHUNK = 2048  # enough to announce a partition's first time, small enough for hundreds of them
_OPEN_FILES = 64  # partitions of a reader that may keep their file open while they wait
_NAP = 0.005
_LONGEST_NAP = 0.1  # one source that sleeps long would stall the others
_TICK = 0.1
_DURABLE_TICK = 0.5
"""Seconds between two looks at the wall clock; what it moves is written down, and a durable file is waited for."""

SHARD_KEYS = tuple(f"{shard:02d}" for shard in range(SHARDS))

ReaderState: TypeAlias = tuple[bool, dict[str, tuple[Any, IntakeState]], ClockPlace, list[Move]]
"""(the end has been announced, by partition `source/name`: its position and its intake's state, where the clock's file
stands, moves of it that are still to be made anew)."""


class _Lane:
    """A partition under way. `poll_at`: when to look again at one that had nothing; `place`: behind what was read."""

    __slots__ = ("counted", "intake", "key", "partition", "place", "poll_at", "source", "started")

    def __init__(self, key: str, source: Source, partition: Partition, intake: Intake, *, started: bool) -> None:
        self.key = key
        self.source = source
        self.partition = partition
        self.intake = intake
        self.started = started
        self.poll_at = 0.0
        self.place = 0
        self.counted = 0  # of the rows read, those that the meter has


@noted
class Readers(FixedPartitionedSource[tuple[str, Batch], ReaderState]):
    """The engine's one input step."""

    def __init__(
        self,
        inputs: Inputs,
        state: StateFolder,
        stopping: Callable[[], bool],
        *,
        until: Micros | None = None,
        meter: Meter | None = None,
        durable: bool = False,
        shared_epoch: float | None = None,
    ) -> None:
        """`shared_epoch`: the seconds of an epoch, where several workers close it together."""
        self._inputs = inputs
        self._state = state
        self._durable = durable
        self._turns = Turns()
        self._shared_epoch = shared_epoch
        self._stopping = stopping
        self._until = until
        self._meter = meter
        list(inputs.partitions())  # an input that is not there is refused before anything is built

    def list_parts(self) -> list[str]:
        """Every worker can read every input."""
        return [f"reader-{number}" for number in range(READERS)]

    def build_part(self, step_id: str, for_part: str, resume_state: ReaderState | None) -> _Reader:  # noqa: ARG002
        """The reader, with its partitions."""
        number = int(for_part.rpartition("-")[2])
        announced, known, place, again = resume_state or (False, {}, None, [])
        announced = announced and not self._inputs.follow  # files may have been added meanwhile
        clock = Clock(self._state.clock, number, place, durable=self._durable)
        pace = Pace(self._state.pace)
        end = None if self._shared_epoch is None else EpochEnd(self._turns, self._shared_epoch)
        reader = _Reader(
            number, self._inputs, pace, clock, again, self._stopping, self._until, announced, self._meter, end
        )
        added = []
        for spec in self._inputs.of_reader(number):
            if spec.key in known or not (known and self._inputs.was_added(spec)):
                reader.add(spec, known.get(spec.key))
            else:
                added.append(spec)
        for spec in added:
            reader.add_later(spec)
        reader.report()
        return reader


@noted
class _Reader(StatefulSourcePartition[tuple[str, Batch], ReaderState]):
    def __init__(
        self,
        number: int,
        inputs: Inputs,
        pace: Pace,
        clock: Clock,
        again: Sequence[Move],
        stopping: Callable[[], bool],
        until: Micros | None,
        announced: bool,
        meter: Meter | None,
        epoch_end: EpochEnd | None,
    ) -> None:
        self._meter = meter
        self._epoch_end = epoch_end
        self._number = number
        self._inputs = inputs
        self._lanes: list[_Lane] = []
        self._pace = pace
        self._stopping = stopping
        self._until = until
        self._announced = announced  # every shard knows that this reader's input has ended
        self._sent = 0
        self._ahead: list[tuple[Micros, float]] = []  # a heap: watermark, and how much of a batch was read up to it
        self._weight = 0.0  # of these together
        self._awake = 0.0  # the monotonic clock before which there is nothing to do
        self._greeted = False
        self._clock = clock
        self._again: dict[str, deque[tuple[int, Micros]]] = {}  # by partition, moves that are to be made anew
        for key, place, watermark in [*again, *clock.since]:
            self._again.setdefault(key, deque()).append((place, watermark))
        self._tick_at = 0.0
        self._saved: dict[str, tuple[Any, IntakeState]] = {}
        self._gone: set[str] = set()  # sources that cannot be reached

    def add(self, spec: PartitionSpec, known: tuple[Any, IntakeState] | None) -> _Lane:
        """A partition that was there when the run began, or is in the state."""
        position, state = known or (None, None)
        intake = Intake(
            spec.number, spec.source, spec.name, self._inputs.project.attributes, self._inputs.project.shards
        )
        if state is not None:
            intake.restore(state)
        lane = _Lane(spec.key, spec.source, self._inputs.open(spec, position), intake, started=state is not None)
        self._lanes.append(lane)
        return lane

    def add_later(self, spec: PartitionSpec) -> None:
        """A partition that came while the run was under way.

        What this reader has told already stands: the partition begins at its watermark, so that what is older in it is
        late. That includes what it told before it was started anew.
        """
        told = min((self._last_told(lane) for lane in self._lanes), default=NO_WATERMARK)
        lane = self.add(spec, None)
        lane.intake.advance_to(told)
        lane.started = True

    def next_batch(self) -> list[tuple[str, Batch]]:
        """A chunk of the partition that is furthest behind, for all shards; empty when it is not this reader's turn."""
        if self._epoch_end is None:
            return self._next()
        with self._epoch_end.turn(self._number):
            return self._next()

    def _next(self) -> list[tuple[str, Batch]]:
        if self._announced or self._stopping():
            raise StopIteration
        self._awake = 0.0
        if self._pace.awaits_writers():  # the runtime builds a writer for the first that comes to it: a beat, of this
            if self._greeted:
                return self._nap(_NAP)
            self._greeted = True
            return self._send(_per_shard(), _per_shard(), [])
        if self._pace.is_full(self._inputs.project.shards):
            return self._nap(_NAP)
        now = time.monotonic()
        open_lanes = [lane for lane in self._lanes if not lane.intake.ended]
        if not open_lanes or self._time_passed(open_lanes, now):
            return self._send(_per_shard(), _per_shard(), [])
        lane = min((lane for lane in open_lanes if lane.poll_at <= now), key=_watermark_of, default=None)
        if lane is None:
            return self._nap(min(lane.poll_at for lane in open_lanes) - now)
        if not self._may_read(lane):
            return self._nap(_NAP)
        return self._read(lane)

    def _may_read(self, lane: _Lane) -> bool:
        """Whether what has been read ahead of the watermark of all leaves room for more.

        Shards hold it until the watermark reaches it. The partition that is furthest behind of all may always be read;
        another one not without end, be it because its reader is ahead of others or because the one that is further
        behind has nothing to read for now.
        """
        reached = self._pace.watermark()
        ahead = self._ahead
        while ahead and ahead[0][0] <= reached:
            self._weight -= heappop(ahead)[1]
        return lane.intake.watermark <= reached or self._weight < AHEAD

    def _read(self, lane: _Lane) -> list[tuple[str, Batch]]:
        records: list[list[Record]] = _per_shard()
        late: list[list[LateRecord]] = _per_shard()
        dead: list[DeadLetter] = []
        intake = lane.intake
        taken, heard, was_started = 0, intake.heard, lane.started
        while taken < (CHUNKS if was_started else 1) and intake.heard < heard + HEARD:
            chunk = lane.partition.read(CHUNK if was_started else _FIRST_CHUNK)
            if chunk is None:
                break
            self._take(lane, chunk, records, late)
            dead += chunk.dead
            taken += 1
        lane.started = True
        if taken:
            weight = (intake.heard - heard) / HEARD
            if was_started:
                weight = max(weight, taken / CHUNKS)
            heappush(self._ahead, (intake.watermark, weight))
            self._weight += weight
            if len(self._lanes) > _OPEN_FILES:
                lane.partition.release()
        elif lane.partition.ended():
            intake.end()
            lane.partition.close()
        else:
            lane.poll_at = time.monotonic() + lane.partition.nap
            return []
        return self._send(records, late, dead)

    def _take(self, lane: _Lane, chunk: Chunk, records: list[list[Record]], late: list[list[LateRecord]]) -> None:
        """Take rows in; where the wall clock had moved the partition on between two of them, it does so again."""
        again = self._again.get(lane.key)
        while again:
            before, behind = chunk.split(again[0][0])
            if behind is None:
                break
            lane.intake.take(before, records, late)
            lane.intake.advance_to(again.popleft()[1])
            chunk = behind
        lane.intake.take(chunk, records, late)
        lane.place = chunk.end

    def _time_passed(self, lanes: list[_Lane], now: float) -> bool:
        """Whether the wall clock moves this reader on.

        Up to when a partition is known to have been read to its end, less its bound, time has passed for it (S6).
        """
        if not self._inputs.follow or now < self._tick_at:
            return False
        self._tick_at = now + (_DURABLE_TICK if self._clock.durable else _TICK)
        told = min(lane.intake.watermark for lane in lanes)
        moves: list[tuple[_Lane, Micros]] = []
        reached = ENDED
        for lane in lanes:
            watermark = lane.intake.watermark
            caught_up = lane.partition.caught_up_at()
            if caught_up is not None:
                for _, moved in self._again.pop(lane.key, ()):  # all that was there then has been read again
                    lane.intake.advance_to(moved)
                passed = caught_up - lane.intake.bound
                if passed > lane.intake.watermark:
                    moves.append((lane, passed))
                watermark = max(lane.intake.watermark, passed)
            reached = min(reached, watermark)
        if reached <= told:
            return False
        self._clock.write((lane.key, lane.place, watermark) for lane, watermark in moves)
        for lane, watermark in moves:
            lane.intake.advance_to(watermark)
            lane.started = True
        return True

    def _last_told(self, lane: _Lane) -> Micros:
        again = self._again.get(lane.key)
        return max(lane.intake.watermark, again[-1][1]) if again else lane.intake.watermark

    def next_awake(self) -> datetime | None:
        """Soon, when it is not this reader's turn; at once, otherwise."""
        awake = self._awake if self._epoch_end is None else self._epoch_end.put_off(self._awake)
        now = time.monotonic()
        return datetime.now(UTC) + timedelta(seconds=awake - now) if awake > now else None

    def snapshot(self) -> ReaderState:
        """The positions of all partitions.

        What else the outside decides is decided here, and only here: which partitions were added, who is in a set. It
        is part of this state, and is told in the next epoch, which begins when this one is committed. So a restart
        decides the same (S6).
        """
        for lane in self._lanes:
            if lane.key in self._saved:
                lane.partition.saved(self._saved[lane.key][0])
            if not lane.intake.ended:
                lane.partition.decide()
        if self._inputs.follow:
            self._add_new()
        self._saved = {
            lane.key: (lane.partition.position(), lane.intake.state()) for lane in self._lanes if lane.started
        }
        if self._meter is not None:
            self._measure(self._meter)
        again = [(key, *move) for key, moves in self._again.items() for move in moves]
        if self._epoch_end is not None:
            self._epoch_end.saved()
        return self._announced, dict(self._saved), self._clock.save(), again

    def _add_new(self) -> None:
        if not self._inputs.growing or not self._lanes:
            return
        known = {lane.key for lane in self._lanes}
        for spec in self._inputs.of_reader(self._number):
            if spec.source.name in self._inputs.growing and spec.key not in known:
                self.add_later(spec)

    def close(self) -> None:
        """Give the files back."""
        for lane in self._lanes:
            lane.partition.close()
        self._clock.close()

    def _measure(self, meter: Meter) -> None:
        lanes = self._sources_lanes()
        for lane in lanes:
            if lane.intake.read != lane.counted:
                meter.add(RECORDS_READ, lane.intake.read - lane.counted, lane.source.name, lane.source.kind)
                lane.counted = lane.intake.read
        gone = {lane.source.name for lane in lanes if not lane.intake.ended and not lane.partition.is_reachable()}
        for name in gone ^ self._gone:
            meter.add(UNREACHABLE, 1 if name in gone else -1, name)
        self._gone = gone
        meter.reader(
            self._number,
            NO_MORE if self._announced else time.monotonic_ns() // 1000,
            [
                Progress(lane.source.index, lane.partition.name, lane.intake.watermark, lane.partition.lag())
                for lane in lanes
            ],
        )

    def _send(
        self, records: list[list[Record]], late: list[list[LateRecord]], dead: list[DeadLetter]
    ) -> list[tuple[str, Batch]]:
        """One batch for every shard; dead letters, which have no user, go with the reader's own number."""
        watermark = min((lane.intake.watermark for lane in self._lanes), default=ENDED)
        highest = max((lane.intake.highest for lane in self._lanes), default=NO_WATERMARK)
        if watermark >= ENDED:
            highest = max(highest, self._until or NO_WATERMARK)
            self._announced = True
        self._sent += SHARDS
        self.report(watermark, highest)
        number = self._number
        began = self._began()
        return [
            (key, Batch(shard, number, watermark, highest, records[shard], late[shard], dead_here, began))
            for shard, key in enumerate(SHARD_KEYS)
            for dead_here in [dead if shard == number else []]
        ]

    def _began(self) -> dict[int, Micros]:
        """By source: the first time of its partitions (S12a)."""
        began: dict[int, Micros] = {}
        for lane in self._lanes:
            first = lane.intake.first
            if first is not None:
                began[lane.source.index] = min(first, began.get(lane.source.index, first))
        return began

    def _nap(self, seconds: float) -> list[tuple[str, Batch]]:
        self._awake = time.monotonic() + min(max(seconds, 0.001), _LONGEST_NAP)
        return []

    def report(self, watermark: Micros | None = None, highest: Micros = NO_WATERMARK) -> None:
        """Tell the others how far this reader is."""
        if watermark is None:
            watermark = ENDED if self._announced else NO_WATERMARK
            highest = max((lane.intake.highest for lane in self._lanes), default=NO_WATERMARK)
        read = sum(lane.intake.read for lane in self._sources_lanes())
        self._pace.report_reader(self._number, watermark, highest, self._sent, read)

    def _sources_lanes(self) -> list[_Lane]:
        """Those of the project's sources: what the engine writes to itself is nobody's input, and is not counted."""
        return [lane for lane in self._lanes if lane.source.name != JOURNAL]


def _per_shard() -> list[list[Any]]:
    return [[] for _ in range(SHARDS)]


def _watermark_of(lane: _Lane) -> Micros:
    return lane.intake.watermark
