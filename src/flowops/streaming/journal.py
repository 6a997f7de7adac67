"""The journal: what providers said of messages, on its way back into the engine as receipts (S40).

Bytewax has no loops: so each writer appends what became of its commands to a file, whose length is part of its state
and which is cut back to it after a crash, and the readers follow these files as a source of kind receipts. One JSON
object a line: `dispatch_id`, `receipt` (accepted, failed, expired), `ts` (the wall clock when it was written, so that
it is not late), `detail`, `user_id`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from flowops.channels.base import Answer, Command
from flowops.core.records import Micros
from flowops.core.time import isoformat
from flowops.errors import StateError


def journal_name(writer: int) -> str:
    """The file of a writer, in the folder of journals."""
    return f"writer-{writer}.jsonl"


class Journal:
    """The journal of one writer, which begins at `position`: anything beyond was never committed."""

    def __init__(self, folder: Path, writer: int, position: int, *, durable: bool = False) -> None:
        path = folder / journal_name(writer)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        length = self._file.seek(0, 2)
        if length < position:
            raise StateError(
                f"{path} has {length} bytes where {position} were written: put it back, or begin anew with --fresh"
            )
        self._file.truncate(position)
        self._position = position
        self._durable = durable  # wait for the disk: other hosts read it

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
        self._file.write(data)
        self._file.flush()
        self._position += len(data)

    def save(self) -> int:
        """Its length in bytes, all of them written."""
        if self._durable:
            os.fsync(self._file.fileno())
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()
