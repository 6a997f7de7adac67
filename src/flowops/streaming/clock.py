"""What the wall clock moved, written down by each reader before anybody is told: so a restart decides the same (S6).

How far time has passed for a partition that was read to its end is nothing that its records say. So a reader appends
each such move to a file of the state folder: a line of a checksum and, as JSON, `[partition, place, watermark]`, where
`place` is that of the first record that had not been read yet. A run that goes on makes the moves anew that followed
the epoch it goes on from, each before that record, and only then looks at the clock again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias
from zlib import crc32

import msgspec

from flowops.core.records import Micros
from flowops.errors import StateError
from flowops.streaming.failures import naming

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
        first, offset = self._saved
        found = {int(path.stem.partition("-")[2]) for path in folder.glob(f"{reader}-*.log")}
        if offset and first not in found:
            raise StateError(f"{self._path(first)} is missing: put it back, or begin anew with --fresh")
        self.since: list[Move] = []
        """Those that followed, oldest first."""
        for generation in sorted(each for each in found if each >= first):
            self.since += self._read(generation, offset if generation == first else 0)
        self._generation = max([first, *found]) + 1  # what stands there is never written to again
        self._file: BinaryIO | None = None
        self._length = 0

    def write(self, moves: Iterable[Move]) -> None:
        """Write moves down, for good."""
        data = b"".join(_line(_encode(move)) for move in moves)
        if self._file is None:
            self._file = self._path(self._generation).open("wb")
        with naming(self._path(self._generation)):
            self._file.write(data)
            self._file.flush()  # all of it, or an error: what a full disk took a part of, nobody is told
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
        return self._folder / f"{self._reader}-{generation}.log"

    def _read(self, generation: int, offset: int) -> list[Move]:
        path = self._path(generation)
        data = path.read_bytes()
        if len(data) < offset:
            raise StateError(
                f"{path} has {len(data)} bytes where {offset} were saved: put it back, or begin anew with --fresh"
            )
        *whole, _ = data[offset:].split(b"\n")  # of the last line, if it was cut, nobody has been told
        moves: list[Move] = []
        at = offset
        for line in whole:
            said = line[9:]
            if _line(said) != line + b"\n":
                raise StateError(f"{path} is damaged at byte {at}: put it back, or begin anew with --fresh")
            moves.append(_decode(said))
            at += len(line) + 1
        return moves


def _line(data: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(data), data)
