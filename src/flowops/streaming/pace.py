"""A small table that all processes of an engine share: how far each reader is, how much has been consumed.

Readers keep step by it. Nothing in it is state: it is begun anew at every start, and an outcome never depends on it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from flowops.channels.base import WRITERS
from flowops.core.records import ENDED, NO_WATERMARK, SHARDS, Micros

READERS = 8
"""Readers of an engine, each owning several partitions; fixed, because Bytewax remembers them by name."""

AHEAD = 4
"""Batches that a reader may have read ahead of the watermark of all, so that what shards hold stays bounded."""

IN_FLIGHT = 48
"""Batches that may be on their way between readers and a shard, on average over the shards that have users."""

COMMANDS = 20_000
"""Commands that may be on their way to network channels; those held in quiet hours apart."""

_READER = 4  # watermark, highest, batches sent, rows read
_SHARD = 5  # batches consumed, triggers decided, dispatched, live users, microseconds spent saving
_WRITER = 1  # commands in flight to network channels
_WRITERS_AT = READERS * _READER + SHARDS * _SHARD
_NOT_READY = -1
_CELLS = _WRITERS_AT + WRITERS * _WRITER


class Pace:
    """The table, mapped. Every cell has one writer."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CELLS * 8)
        self._cells = memoryview(self._map).cast("q")

    @property
    def cells(self) -> memoryview:
        """All cells, 64-bit integers, to be mirrored between hosts (`peers`)."""
        return self._cells

    @staticmethod
    def create(path: Path, *, writers: bool = False) -> None:
        """Begin anew: nobody has read anything; with `writers`, none of which is ready, to be waited for."""
        cells = memoryview(bytearray(_CELLS * 8)).cast("q")
        for reader in range(READERS):
            cells[reader * _READER] = NO_WATERMARK
            cells[reader * _READER + 1] = NO_WATERMARK
        for writer in range(WRITERS):
            cells[_WRITERS_AT + writer] = _NOT_READY if writers else 0
        path.write_bytes(cells.tobytes())

    def report_reader(self, reader: int, watermark: Micros, highest: Micros, sent: int, read: int) -> None:
        """What `reader` has come to: its watermark, the highest time, batches sent and rows read so far."""
        base = reader * _READER
        cells = self._cells
        cells[base], cells[base + 1], cells[base + 2], cells[base + 3] = watermark, highest, sent, read

    def report_shard(self, shard: int, consumed: int, decided: int, dispatched: int, live: int) -> None:
        """What `shard` has come to, counted since the start of this run."""
        base = READERS * _READER + shard * _SHARD
        cells = self._cells
        cells[base], cells[base + 1], cells[base + 2], cells[base + 3] = consumed, decided, dispatched, live

    def report_saving(self, shard: int, micros: int, live: int) -> None:
        """How long `shard` has spent on saving its state since the start of this run, and how many users that holds."""
        base = READERS * _READER + shard * _SHARD
        self._cells[base + 3], self._cells[base + 4] = live, micros

    def report_writer(self, writer: int, waiting: int) -> None:
        """How many commands of `writer` wait to be answered by network channels; told first when it is ready."""
        self._cells[_WRITERS_AT + writer] = waiting

    def awaits_writers(self) -> bool:
        """Whether some writer has not cut its journal yet, which readers read."""
        return min(self._cells[_WRITERS_AT:].tolist()) == _NOT_READY

    def waiting(self) -> int:
        """Commands that wait to be answered by network channels."""
        return sum(self._cells[_WRITERS_AT:].tolist())

    def watermark(self) -> Micros:
        """The least over all readers."""
        return min(self._cells[: READERS * _READER : _READER].tolist())

    def is_full(self, shards: int) -> bool:
        """Whether so many batches, or commands, are on their way that readers should wait.

        Only the first `shards` have users: what the others get costs nothing, and they would hide one that is behind.
        """
        if self.waiting() > COMMANDS:
            return True
        sent = sum(self._cells[2 : READERS * _READER : _READER].tolist()) // SHARDS
        consumed = sum(self._cells[READERS * _READER : _WRITERS_AT : _SHARD].tolist()[:shards])
        return sent * shards - consumed > IN_FLIGHT * shards

    def read(self) -> int:
        """Rows read in this run."""
        return sum(self._cells[3 : READERS * _READER : _READER].tolist())

    def decided(self) -> int:
        """Triggers decided in this run."""
        return self._shards(1)

    def dispatched(self) -> int:
        """Messages dispatched in this run."""
        return self._shards(2)

    def live_users(self) -> int:
        """Users of whom something is remembered."""
        return self._shards(3)

    def saving(self) -> float:
        """Seconds spent on saving state in this run, over all shards."""
        return self._shards(4) / 1_000_000

    def event_time(self) -> Micros | None:
        """How far event time has come: the watermark of all, the highest time read when all have ended."""
        watermark = self.watermark()
        if watermark >= ENDED:
            watermark = max(self._cells[1 : READERS * _READER : _READER].tolist())
        return watermark if watermark > NO_WATERMARK // 4 else None

    def _shards(self, cell: int) -> int:
        return sum(self._cells[READERS * _READER + cell : _WRITERS_AT : _SHARD].tolist())
