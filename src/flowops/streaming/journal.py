"""The journal: what providers said of messages, on its way back into the engine as receipts (S40).

Bytewax has no loops: so each writer appends what became of its commands to a log, whose length is part of its state
and which is cut back to it after a crash, and the readers follow these logs as a source of kind receipts. One JSON
object a line: `dispatch_id`, `receipt` (accepted, failed, expired), `ts` (the wall clock when it was written, so that
it is not late), `detail`, `user_id`.

A log is a row of files, its segments, as Kafka's are: `writer-N-B.jsonl`, where B is the offset in the log of the first
byte of the file. They end where a line ends. Positions are offsets in the log, so nobody sees segments in them. A
segment that has a successor grows no more; it is removed when no run can go on before its end.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import orjson

from flowops.channels.base import WRITERS, Answer, Command
from flowops.core.plan import Column, Project, Source, TimeField
from flowops.core.records import Chunk, Micros
from flowops.core.time import SECOND, isoformat
from flowops.errors import StateError
from flowops.rules.mapping import TOLD
from flowops.sources.base import Partition, Position
from flowops.sources.jsonl import JsonLines
from flowops.streaming.failures import naming

NAME = ".journal"
"""Of the source: no source of a project can be called so."""

_LARGE = 4 << 20  # bytes of a segment, after which the next one is begun
_KEPT = 3  # committed positions; what was read before the oldest of them is removed: one would do

Segment: TypeAlias = tuple[int, Path]
"""(the offset of its first byte, its file)."""


def with_journal(project: Project) -> Project:
    """The project as the readers see it: with the journals as one more source."""
    columns = [Column(f"p{number}", name, (name,), "string") for number, name in enumerate(TOLD["receipts"])]
    source = Source(
        index=len(project.sources),
        name=NAME,
        kind="receipts",
        files=(),
        user_id=("user_id",),
        event=None,
        event_path=("receipt",),
        event_id=(),
        time=TimeField(("ts",), None, None),
        properties_path=None,
        columns=tuple(columns),
        out_of_orderness=SECOND,
        routes={},
        any_route=None,
    )
    return replace(project, sources=(*project.sources, source))


def segments(folder: Path, writer: int) -> list[Segment]:
    """Those of a writer's journal in the folder of journals, oldest first."""
    paths = folder.glob(f"writer-{writer}-{'[0-9]' * 16}.jsonl")
    return sorted((int(path.stem.rpartition("-")[2]), path) for path in paths)


def _path(folder: Path, writer: int, begin: int) -> Path:
    return folder / f"writer-{writer}-{begin:016d}.jsonl"


def _missing(folder: Path, writer: int, position: int) -> StateError:
    return StateError(
        f"{folder} has no part of the journal of writer {writer} with its byte {position}: put it back, or begin anew"
        " with --fresh"
    )


def _short(path: Path, size: int, wanted: int) -> StateError:
    return StateError(f"{path} has {size} bytes where {wanted} were written: put it back, or begin anew with --fresh")


class Journal:
    """The journal of one writer, which begins at `position`: anything beyond was never committed."""

    def __init__(self, folder: Path, writer: int, position: int, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writer = writer
        self._durable = durable  # wait for the disk: other hosts read it
        self._position = position
        found = segments(folder, writer)
        while found and found[-1][0] > position:
            found.pop()[1].unlink()
        if position and not found:
            raise _missing(folder, writer, position)
        ends = [*(begin for begin, _ in found[1:]), position]
        for (begin, path), end in zip(found, ends, strict=False):  # of a journal that begins there is none
            size = path.stat().st_size
            if size < end - begin:
                raise _short(path, size, end - begin)
        self._open(found[-1][0] if found else 0)
        self._file.truncate(position - self._begin)

    def _open(self, begin: int) -> None:
        self._begin = begin
        self._path = _path(self._folder, self._writer, begin)
        self._file = self._path.open("ab")

    def append(self, answers: Sequence[tuple[Command, Answer]], now: Micros) -> None:
        """Write them down."""
        ts = isoformat(now)
        lines = [
            orjson.dumps(
                {
                    "dispatch_id": command.dispatch_id,
                    "receipt": answer.receipt,
                    "ts": ts,
                    "detail": answer.detail,
                    "user_id": command.user_id,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for command, answer in answers
        ]
        data = b"".join(lines)
        with naming(self._path):
            self._file.write(data)
            self._file.flush()
        self._position += len(data)

    def save(self) -> int:
        """Its length in bytes, all of them written."""
        if self._durable:
            os.fsync(self._file.fileno())
        if self._position - self._begin > _LARGE:
            self._file.close()
            self._open(self._position)
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Journals:
    """The connector of the journals in `folder`, as `with_journal` names them: a partition for each writer."""

    def __init__(self, folder: Path, source: Source) -> None:
        self._folder = folder
        self._source = source

    def partitions(self) -> Mapping[str, int]:
        """One for each writer. It has no part of a place in its name: the state may be moved."""
        return {f"writer-{writer}": writer for writer in range(WRITERS)}

    def ends(self) -> Mapping[str, Position]:
        """Nothing: they are read in live runs."""
        return {}

    def open(self, name: str, position: Position | None) -> Partition:
        """What a writer says, from a position on."""
        return _Answers(self._folder, self._source, self.partitions()[name], position)


class _Answers(Partition):
    """The journal of one writer, being read. Its position is (offset, records).

    No file is looked for before the first `read`, which comes when all writers have cut their journals.
    """

    def __init__(self, folder: Path, source: Source, writer: int, position: Position | None) -> None:
        self.name = f"writer-{writer}"
        self._folder = folder
        self._source = source
        self._writer = writer
        self._offset: int
        self._count: int
        self._offset, self._count = position or (0, 0)
        self._caught_up: Micros | None = None
        self._begin = 0  # of the segment that is being read
        self._lines: JsonLines | None = None
        self._done: deque[tuple[int, Path]] = deque()  # segments before it that are still there, by their end
        self._committed: deque[int] = deque(maxlen=_KEPT)

    def read(self, limit: int) -> Chunk | None:
        """The next answers; goes on from one segment to the next one. Raises StateError for what no writer wrote."""
        asked = time.time_ns() // 1000
        lines = self._lines or self._find()
        chunk = lines.read(limit)
        # a successor that begins here: so this segment has grown no more since, and has been read to its end
        while chunk is None and self._offset > self._begin and _path(self._folder, self._writer, self._offset).exists():
            lines.close()
            self._done.append((self._offset, _path(self._folder, self._writer, self._begin)))
            lines = self._open(self._offset)
            chunk = lines.read(limit)
        if chunk is None:
            self._caught_up = asked
            return None
        if chunk.dead:
            letter = chunk.dead[0]
            raise StateError(
                f"{letter.partition} is damaged in line {letter.position - chunk.first + 1} from byte"
                f" {self._offset - self._begin} on ({letter.detail}): put it back, or begin anew with --fresh"
            )
        offset, self._count, _ = lines.position()
        self._offset = self._begin + offset
        return chunk

    def _find(self) -> JsonLines:
        """The segment that holds the position, and what is left of those before it."""
        found = [each for each in segments(self._folder, self._writer) if each[0] <= self._offset]
        if not found:
            raise _missing(self._folder, self._writer, self._offset)
        self._done.extend((end, path) for (_, path), (end, _) in pairwise(found))
        return self._open(found[-1][0])

    def _open(self, begin: int) -> JsonLines:
        self._begin = begin
        path = _path(self._folder, self._writer, begin)
        position = (self._offset - begin, self._count, 0)
        self._lines = JsonLines(path, None, self._source, str(path), position, follow=True)
        return self._lines

    def ended(self) -> bool:
        """Never: a writer may say more."""
        return False

    def caught_up_at(self) -> Micros | None:
        """The moment of the last read that found nothing."""
        return self._caught_up

    def position(self) -> tuple[int, int]:
        """(offset, records)."""
        return self._offset, self._count

    def saved(self, position: Position) -> None:
        """Remove the segments that no run will ask for any more."""
        self._committed.append(position[0])
        while len(self._committed) == _KEPT and self._done and self._done[0][0] <= self._committed[0]:
            self._done.popleft()[1].unlink(missing_ok=True)

    def release(self) -> None:
        """Close the file until the next read."""
        if self._lines is not None:
            self._lines.release()

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()
