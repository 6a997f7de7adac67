"""The ledger in the state folder: a file of SQLite for each writer and channel, so that none waits for another's lock.

Written ahead (WAL) and not synced with every answer: a process that dies loses nothing, a machine that loses power may
forget the last answers; a `durable` one waits for the disk. Locked as a whole, which needs no memory shared with other
processes: so the folder may lie on a disk that several hosts share.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowops.channels.base import Answer
from flowops.core.records import Micros
from flowops.errors import RunError

_FORGET_EVERY = 600.0  # seconds
_AT_ONCE = 500  # of the placeholders that SQLite takes in one statement


class SqliteLedger:
    """The file at `path`; answers older than `keep` microseconds are forgotten."""

    def __init__(self, path: Path, keep: Micros, *, durable: bool = False) -> None:
        self._path = path
        self._keep = keep
        self._forget_at = 0.0
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("pragma locking_mode = exclusive")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._connection.execute(
                "create table if not exists answers (dispatch_id text primary key, receipt text not null, detail text,"
                " at integer not null) without rowid"
            )

    def known(self, dispatch_ids: Sequence[str]) -> dict[str, Answer]:
        """Those that were answered, with their answers."""
        found: dict[str, Answer] = {}
        with self._errors():
            for begin in range(0, len(dispatch_ids), _AT_ONCE):
                part = dispatch_ids[begin : begin + _AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"select dispatch_id, receipt, detail from answers where dispatch_id in ({marks})"  # noqa: S608
                for dispatch_id, receipt, detail in self._connection.execute(query, part):
                    found[dispatch_id] = Answer(receipt, detail)
        return found

    def record(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Remember them, in one transaction."""
        now = time.time_ns() // 1000
        with self._errors():
            self._connection.execute("begin")
            self._connection.executemany(
                "insert or ignore into answers values (?, ?, ?, ?)",
                [(dispatch_id, answer.receipt, answer.detail, now) for dispatch_id, answer in answers],
            )
            if time.monotonic() >= self._forget_at:
                self._connection.execute("delete from answers where at < ?", (now - self._keep,))
                self._forget_at = time.monotonic() + _FORGET_EVERY
            self._connection.execute("commit")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RunError(
                f"the ledger {self._path} cannot be used: {error}. Make room or give access: the same command goes on"
            ) from error
