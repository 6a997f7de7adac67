"""The journal: what providers said of messages, on its way back into the engine as receipts (S40).

Bytewax has no loops: so each writer appends what became of its commands to a file, whose length is part of its state
and which is cut back to it after a crash, and the readers follow these files as a source of kind receipts. One JSON
object a line: `dispatch_id`, `receipt` (accepted, failed, expired), `ts` (the wall clock when it was written, so that
it is not late), `detail`, `user_id`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from flowops.channels.base import WRITERS, Answer, Command
from flowops.core.plan import Column, Project, Source, TimeField
from flowops.core.records import DeadLetter, Micros
from flowops.core.time import SECOND, isoformat
from flowops.errors import StateError
from flowops.rules.mapping import TOLD
from flowops.streaming.failures import naming

NAME = ".journal"
"""Of the source: no source of a project can be called so."""


def with_journal(project: Project, folder: Path) -> Project:
    """The project as the readers see it: with the journals in `folder` as one more source, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / journal_name(writer) for writer in range(WRITERS)]
    for path in paths:
        path.touch()
    columns = [Column(f"p{number}", name, (name,), "string") for number, name in enumerate(TOLD["receipts"])]
    source = Source(
        index=len(project.sources),
        name=NAME,
        kind="receipts",
        files=tuple(str(path) for path in paths),
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


def journal_name(writer: int) -> str:
    """The file of a writer, in the folder of journals."""
    return f"writer-{writer}.jsonl"


def unreadable(letter: DeadLetter) -> StateError:
    """For a line that this engine cannot have written."""
    return StateError(
        f"{letter.partition} is damaged in line {letter.position + 1} ({letter.detail}): put it back, or begin anew"
        " with --fresh"
    )


class Journal:
    """The journal of one writer, which begins at `position`: anything beyond was never committed."""

    def __init__(self, folder: Path, writer: int, position: int, *, durable: bool = False) -> None:
        self._path = path = folder / journal_name(writer)
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
        with naming(self._path):
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
