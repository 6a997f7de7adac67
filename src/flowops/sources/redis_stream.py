"""A Redis stream, read ahead by a thread of its own: what it got waits in a small queue.

A position is (ms, seq, entries read, entries that were gone before the first).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Micros, Row
from flowops.core.time import isoformat
from flowops.errors import InputError
from flowops.sources.base import Partition, Position
from flowops.sources.decode import decoder
from flowops.sources.lines import MAX_RECORD
from flowops.sources.redis_client import Beside, as_text
from flowops.sources.values import UnfitError

if TYPE_CHECKING:
    from redis import Redis

Id: TypeAlias = tuple[int, int]
"""An entry's id: milliseconds and a number, usually those of when it was added."""

_QUEUE = 4
_FIRST = 200  # entries that are asked for before anything is known of their size
_MOST = 5_000
_IDLE = 0.02
_SAMPLE = 200
_A_TIME = 10**11  # a smaller number is no time in milliseconds: somebody numbers entries


class _Read(NamedTuple):
    """An answer: entries, and the instant before which all that was added is among them or before them."""

    entries: list[tuple[Id, dict[bytes, bytes]]]
    before: int
    """How many entries were gone before the first that was ever read, as far as is known by now."""
    all_until: Micros | None


class _StreamReader(Beside):
    """Reads a stream ahead, from behind `last`, of which `count` entries were read, `before` of them never."""

    def __init__(self, client: Redis, source: str, key: str, last: Id, count: int, before: int) -> None:
        super().__init__(client, source, _IDLE)
        self.answers: queue.Queue[_Read] = queue.Queue(_QUEUE)
        self.added: int | None = None
        """Entries that were ever added, as the server said last."""
        self._key = key
        self._last = last
        self._count = count
        self._before = before
        self._wanted = _FIRST
        self._kept: _Read | None = None

    def _ask(self) -> bool:
        if self._kept is not None:
            return self._put(self._kept)
        asked = time.time_ns() // 1000
        pipe = self._client.pipeline(transaction=True)
        pipe.xread({self._key: _text(self._last)}, count=self._wanted)
        pipe.xinfo_stream(self._key)
        found, about = pipe.execute(raise_on_error=False)
        if isinstance(found, Exception):
            raise found
        entries = [(parse(id_), fields) for _, several in _streams(found) for id_, fields in several]
        if not isinstance(about, Exception):  # there is such a key
            self._check(entries, about)
        complete = len(entries) < self._wanted
        if entries:
            self._last = entries[-1][0]
            self._count += len(entries)
        if complete and not isinstance(about, Exception) and "entries-added" in about:
            self._before = int(about["entries-added"]) - self._count  # also of those that were deleted one by one
        if entries:
            size = sum(len(value) for _, fields in entries for value in (fields or {}).values())
            self._wanted = min(_MOST, max(1, (1 << 20) * len(entries) // max(size, 1)))
        return self._put(_Read(entries, self._before, asked if complete else None)) and not complete

    def _put(self, answer: _Read) -> bool:
        try:
            self.answers.put(answer, timeout=_IDLE * 5)
        except queue.Full:
            self._kept = answer
            return True
        self._kept = None
        return True

    def _check(self, entries: Sequence[tuple[Id, Any]], about: Mapping[str, Any]) -> None:
        """Raises InputError where some of what follows the last entry was trimmed away unread."""
        added = about.get("entries-added")
        self.added = added
        if added is None:
            return  # before Redis 7 nobody counts
        gone = int(added) - int(about["length"])
        if not self._count:
            self._before = gone  # what was trimmed before anything was read is not missed
            return
        if int(added) < self._before + self._count:
            if parse(about["last-generated-id"]) < self._last:
                raise InputError(
                    f"source `{self._source}`: the stream `{self._key}` was made anew, and its ids begin before"
                    f" {_text(self._last)}, the last that was read\n  try: begin anew (`--fresh`)"
                )
            self._before = gone - self._count  # made anew, behind all that was read
            return
        known = self._before + self._count
        is_first = bool(entries) and parse(about["first-entry"][0]) == entries[0][0]
        lost = gone - known if is_first else int(added) - known if not entries else 0
        if lost > 0:
            raise InputError(
                f"source `{self._source}`: {lost} entries of the stream `{self._key}` behind"
                f" {_text(self._last)} were removed before they were read\n  try: let it grow longer"
                " (MAXLEN), and begin anew with what there is (`--fresh`)"
            )


class RedisStream(Partition):
    """A stream as a partition; up to the entry `end`, where it is bounded."""

    nap = 0.02

    def __init__(
        self, source: Source, client: Redis, key: str, json_field: str | None, position: Position | None, end: Id | None
    ) -> None:
        self.name = key
        self._source = source
        self._json = None if json_field is None else json_field.encode()
        self._decoder = decoder(source)
        ms, seq, count, before = position or (0, 0, 0, 0)
        self._last: Id = (ms, seq)
        self._count: int = count
        self._before: int = before
        self._end = end
        self._ended = False
        self._caught_up: Micros | None = None
        self._reader = _StreamReader(client, source.name, key, self._last, self._count, self._before)
        self._begun = False

    def read(self, limit: int) -> Chunk | None:  # noqa: ARG002 - the reader asks for about a megabyte
        """The next entries. None: there are none for now, or nobody answers, or `ended`."""
        if not self._begun:
            self._begun = True
            self._reader.start()
        while not self.ended():
            try:
                answer = self._reader.answers.get_nowait()
            except queue.Empty:
                if self._reader.failure is not None:
                    raise self._reader.failure from None
                return None
            entries = answer.entries
            self._before = answer.before
            if self._end is not None:
                bound = self._end
                entries = [entry for entry in entries if entry[0] <= bound]
                self._ended = answer.all_until is not None or len(entries) < len(answer.entries)
            self._caught_up = answer.all_until or self._caught_up
            if entries:
                first, self._count = self._count, self._count + len(entries)
                self._last = entries[-1][0]
                return self._chunk(first, entries)
        return None

    def ended(self) -> bool:
        """Whether a bounded stream has been read to what was its last entry when the run began."""
        return self._end is not None and (self._ended or self._last >= self._end)

    def position(self) -> tuple[int, ...]:
        """(ms, seq, entries read, entries that were gone before the first) in this order."""
        return *self._last, self._count, self._before

    def caught_up_at(self) -> Micros | None:
        """The moment of the last question that gave all that there was."""
        return self._caught_up

    def lag(self) -> int | None:
        """From the server's last answer."""
        added = self._reader.added
        return None if added is None else max(0, added - self._before - self._count)

    def is_reachable(self) -> bool:
        """Whether the last question was answered."""
        return not self._reader.is_lost

    def close(self) -> None:
        """Read no more."""
        if self._begun:
            self._reader.stop()

    def _chunk(self, first: int, entries: Sequence[tuple[Id, dict[bytes, bytes]]]) -> Chunk:
        rows: list[Row | None] = []
        dead: list[DeadLetter] = []
        for number, (id_, fields) in enumerate(entries):
            try:
                rows.append(self._row(id_, fields))
            except UnfitError as error:
                rows.append(None)
                sample = b" ".join(key + b"=" + value[:_SAMPLE] for key, value in fields.items())[: 4 * _SAMPLE]
                text = sample.decode(errors="replace")[:_SAMPLE]
                dead.append(DeadLetter(self._source.name, self.name, first + number, error.reason, error.detail, text))
        return Chunk(first, rows, dead)

    def _row(self, id_: Id, fields: dict[bytes, bytes]) -> Row:
        if sum(map(len, fields.values())) > MAX_RECORD:
            raise UnfitError("too_large", f"a record of more than {MAX_RECORD:,} bytes")
        if self._json is not None:
            if self._json not in fields:
                raise UnfitError(
                    "unparseable", f"the entry has no field `{self._json.decode()}`, which holds the record"
                )
            row = self._decoder.line(fields[self._json])
        else:
            try:
                cells = {name.decode(): value.decode() or None for name, value in fields.items()}
            except UnicodeDecodeError:
                raise UnfitError("unparseable", "a field is not UTF-8") from None
            row = self._decoder.cells(cells)
        bound = self._source.max_future
        if bound is not None and id_[0] > _A_TIME and row.ts > id_[0] * 1000 + bound:
            told = f"`ts` is {isoformat(row.ts)}, the entry is of {isoformat(id_[0] * 1000)}"
            raise UnfitError("in_future", f"{told}: more than `max_future` ahead")
        return row


def parse(id_: bytes | str) -> Id:
    """An id as the server writes it."""
    ms, _, seq = as_text(id_).partition("-")
    return int(ms), int(seq or 0)


def _text(id_: Id) -> str:
    return f"{id_[0]}-{id_[1]}"


def _streams(found: Any) -> Sequence[tuple[bytes, Any]]:
    """What XREAD gave, by stream, in either protocol."""
    return list(found.items()) if isinstance(found, dict) else found or []
