"""A log of the state folder, of a shard or a writer: frames appended at every snapshot, rewritten now and then.

Bytewax keeps only (number, generation, length). What was appended after the epoch that a run resumes from is cut off,
so a frame needs no transaction. A process that dies leaves the page cache to the operating system; power loss may cost
the frames that it had not written yet, which the length check reports. A `durable` log waits for the disk instead.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias
from zlib import crc32

from flowops.errors import StateError
from flowops.streaming.failures import naming

Place: TypeAlias = tuple[int, int, int]
"""(number of the shard or writer, generation, length in bytes)."""

_HEAD = struct.Struct("<II")  # length and crc32 of the frame that follows
_SMALL = 256 * 1024
_TURNS = 4
_LEAST, _SPREAD = 1.2, 2.6  # how many times what it holds a log outgrows: at least, and up to so much more
_STEPS = 0.6180339887, 0.7548776662  # of numbers and generations, over which what a log outgrows is spread evenly
_KEPT = 3  # snapshots after which a replaced generation cannot be asked for: its successor is committed by then


class StateLog:
    """The log number `number` in `folder`, at `place`, or a new one that replaces whatever is there."""

    def __init__(self, folder: Path, number: int, place: Place | None = None, *, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self._number = number
        self._generation = 0 if place is None else place[1]
        self._length = 0 if place is None else place[2]
        self._turn = number
        self._whole = 0  # length of the generation's first frame
        self._retired: list[tuple[Path, int]] = []
        for path in folder.glob(f"{number:02d}-*.log"):
            if path != self._path():
                path.unlink()
        if place is None:
            self._file: BinaryIO = self._path().open("wb")
        else:
            try:
                self._file = self._path().open("r+b")
            except FileNotFoundError as error:
                raise StateError(
                    f"{self._path()} is missing: the state cannot be resumed; put it back, or begin anew with --fresh"
                ) from error
            self._file.seek(0, 2)
            if self._file.tell() < self._length:
                raise StateError(
                    f"{self._path()} has {self._file.tell()} bytes where {self._length} were saved: the state folder is"
                    " damaged; put it back, or begin anew with --fresh"
                )
            self._file.truncate(self._length)

    def frames(self) -> Iterator[bytes]:
        """The frames of the log, oldest first. Raises StateError when one is damaged."""
        self._file.seek(0)
        at = 0
        while at < self._length:
            frame = _read_frame(self._file)
            if frame is None:
                raise StateError(f"{self._path()} is damaged at byte {at}: put it back, or begin anew with --fresh")
            at += _HEAD.size + len(frame)
            if not self._whole:
                self._whole = at
            yield frame
        self._file.seek(self._length)

    def wants_rewrite(self) -> bool:
        """Whether the log has outgrown what a rewrite would leave.

        Shards take turns, and each outgrows another part of it each time: few do it in one epoch, however alike they
        grow, and together they stay of one size.
        """
        spread = (self._number * _STEPS[0] + self._generation * _STEPS[1]) % 1
        return self._turn % _TURNS == 0 and self._length > _SMALL + self._whole * (_LEAST + _SPREAD * spread)

    def append(self, frame: bytes) -> Place:
        """Write the frame and say where the log stands now."""
        with naming(self._path()):
            self._file.write(_HEAD.pack(len(frame), crc32(frame)))
            self._file.write(frame)
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
        self._length += _HEAD.size + len(frame)
        self._turn += 1
        if not self._whole:
            self._whole = self._length
        self._retire()
        return self._number, self._generation, self._length

    def rewrite(self, frame: bytes) -> Place:
        """Begin a new generation with a frame that holds everything."""
        self._file.close()
        self._retired.append((self._path(), _KEPT))
        self._generation += 1
        self._file = self._path().open("wb")
        self._length = self._whole = 0
        return self.append(frame)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _path(self) -> Path:
        return self._folder / f"{self._number:02d}-{self._generation}.log"

    def _retire(self) -> None:
        left = [(path, count - 1) for path, count in self._retired]
        for path, count in left:
            if count < 0:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        self._retired = [(path, count) for path, count in left if count >= 0]


def newest_frames(folder: Path, number: int) -> Iterator[bytes]:
    """The whole frames of the newest log of that number, read beside a run: what is being appended is left out."""
    logs = sorted(folder.glob(f"{number:02d}-*.log"), key=lambda path: int(path.stem.partition("-")[2]))
    if logs:
        with logs[-1].open("rb") as file:
            while (frame := _read_frame(file)) is not None:
                yield frame


def _read_frame(file: BinaryIO) -> bytes | None:
    """The next frame; None where there is no whole one."""
    head = file.read(_HEAD.size)
    length, check = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 1)
    frame = file.read(length)
    # of nothing but zeros, as a lost page is, the checksum is right
    return frame if frame and crc32(frame) == check else None
