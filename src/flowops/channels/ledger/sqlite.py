"""The ledger in the state folder: a file of SQLite for each writer and channel, so that none waits for another's lock.

Written ahead (WAL) and not synced with every answer: a process that dies loses nothing, a machine that loses power may
forget the last answers; a `durable` one waits for the disk. Locked as a whole, which needs no memory shared with other
processes: so the folder may lie on a disk that several hosts share. A file is there only when it is whole, so that one
that is empty was damaged; all of it is checked when it is opened, at about four million answers a second.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from flowops.channels.base import Answer
from flowops.core.records import Micros
from flowops.errors import RunError, StateError

_FORGET_EVERY = 600.0  # seconds
_AT_ONCE = 500  # of the placeholders that SQLite takes in one statement
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = (
    "create table if not exists answers (dispatch_id text primary key, receipt text not null, detail text,"
    " at integer not null) without rowid"
)


class SqliteLedger:
    """The file at `path`; answers older than `keep` microseconds are forgotten."""

    def __init__(self, path: Path, keep: Micros, *, durable: bool = False) -> None:
        self._path = path
        self._keep = keep
        self._forget_at = 0.0
        with self._errors():
            if not path.exists():
                _make(path)
            elif not path.stat().st_size:
                raise self._damaged("it is empty")
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("pragma locking_mode = exclusive")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._connection.execute(_TABLE)
            found = self._connection.execute("pragma quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self._damaged(found.replace("\n", " "))

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
            if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                raise self._damaged(str(error)) from error
            raise RunError(
                f"the ledger {self._path} cannot be used: {error}. Make room or give access: the same command goes on"
            ) from error

    def _damaged(self, how: str) -> StateError:
        return StateError(
            f"the ledger {self._path} is damaged ({how}): put it back, or move it away; without it a message that was"
            " sent may be sent once more, where the state does not know of it either"
        )


def _make(path: Path) -> None:
    """An empty ledger at `path`, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    for left in (beside, Path(f"{path}-wal"), Path(f"{path}-shm")):
        left.unlink(missing_ok=True)
    with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = off")
        connection.execute(_TABLE)
    beside.rename(path)
