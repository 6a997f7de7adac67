"""What the wall clock moved, written down by each reader before anybody is told: so a restart decides the same (S6).

How far time has passed for a partition that was read to its end is nothing that its records say. So a reader appends
each such move to a file of the state folder: a JSON line `[partition, place, watermark]`, where `place` is that of the
first record that had not been read yet. A run that goes on makes the moves anew that followed the epoch it goes on
from, each before that record, and only then looks at the clock again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from flowops.core.records import Micros
from flowops.errors import StateError

Move: TypeAlias = tuple[str, int, Micros]
"""(key of the partition, place, watermark)."""

Place: TypeAlias = tuple[int, int]
"""(generation of the file, length in bytes)."""

_LARGE = 64 * 1024  # of a file, after which the next one is begun

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Move).decode


class Clock:
    """The moves of one reader; `place` is where the file stood in the epoch that a run goes on from."""

    def __init__(self, folder: Path, reader: int, place: Place | None, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._reader = reader
        self.durable = durable
        self._committed = self._saved = place or (0, 0)
        found = sorted(int(path.stem.partition("-")[2]) for path in folder.glob(f"{reader}-*.jsonl"))
        self.since: list[Move] = [move for generation in found for move in self._read(generation)]
        """Those that followed, oldest first."""
        self._generation = max([self._saved[0], *found]) + 1  # what stands there is never written to again
        self._file: BinaryIO | None = None
        self._length = 0

    def write(self, moves: Iterable[Move]) -> None:
        """Write moves down, for good."""
        data = b"".join(_encode(move) + b"\n" for move in moves)
        if self._file is None:
            self._file = self._path(self._generation).open("wb", buffering=0)
        self._file.write(data)
        if self.durable:
            os.fsync(self._file.fileno())
        self._length += len(data)

    def save(self) -> Place:
        """Where it stands at the end of an epoch. The epoch before is committed: what it did not need is removed."""
        if self._length > _LARGE:
            self.close()
            self._generation += 1
            self._length = 0
        for generation in range(self._committed[0], self._saved[0]):
            self._path(generation).unlink(missing_ok=True)
        self._committed, self._saved = self._saved, (self._generation, self._length)
        return self._saved

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _path(self, generation: int) -> Path:
        return self._folder / f"{self._reader}-{generation}.jsonl"

    def _read(self, generation: int) -> Sequence[Move]:
        first, offset = self._saved
        if generation < first:
            return []
        data = self._path(generation).read_bytes()[offset if generation == first else 0 :]
        whole, _, _ = data.rpartition(b"\n")  # of the last line, if it was cut, nobody has been told
        try:
            return [_decode(line) for line in whole.splitlines()]
        except msgspec.MsgspecError as error:
            raise StateError(f"{self._path(generation)} cannot be read: {error}; begin anew with --fresh") from error
