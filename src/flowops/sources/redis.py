"""Redis: a stream is a source of one partition; a set is one of membership, whose changes are found by looking again.

A thread beside the readers does the asking, so that a server that does not answer holds nobody up: what it got waits in
a small queue. A stream's position is (ms, seq, entries read, entries that were gone before the first).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Micros, Row
from flowops.core.time import DAY, SECOND, isoformat
from flowops.errors import ConfigError, FlowopsError, InputError, RunError
from flowops.settings.fields import Label, refuse, within
from flowops.settings.redis import RedisConnection
from flowops.settings.shapes import DURATION, Shaped, says
from flowops.sources.base import Partition, Position
from flowops.sources.decode import decoder
from flowops.sources.lines import MAX_RECORD
from flowops.sources.values import UnfitError

if TYPE_CHECKING:  # the client is loaded by those who connect
    from redis import Redis

Id: TypeAlias = tuple[int, int]
"""An entry's id: milliseconds and a number, usually those of when it was added."""

_log = logging.getLogger(__name__)

_WAIT = 10.0  # for the server, when a run begins
_TIMEOUT = 2.0  # of an answer, later
_QUEUE = 4
_FIRST = 200  # entries that are asked for before anything is known of their size
_MOST = 5_000
_IDLE = 0.02
_RETRY = 0.5
_SAMPLE = 200
_A_TIME = 10**11  # a smaller number is no time in milliseconds: somebody numbers entries
_STALE = 3  # times `every` after which a set that was not seen again confirms nothing


class RedisSettings(RedisConnection):
    """`redis:` of a source: a `stream`, or a `set` that is looked at `every` so often.

    A stream's entry is the record, its fields the values, unless `json` names the one field that holds it as JSON.
    """

    stream: Annotated[Label | None, says("The stream that is read; its entries are records.", "web")] = None
    json_field: Annotated[
        Label | None,
        Field(alias="json"),
        says(
            "Of a stream: the field that holds the record as JSON; left out: the entry's fields are the record.",
            "payload",
        ),
    ] = None
    members_of: Annotated[
        Label | None,
        Field(alias="set"),
        says("The set that is looked at: the user ids in it are in the segment.", "vip-users"),
    ] = None
    every: Annotated[
        Micros | None,
        BeforeValidator(within(SECOND, DAY)),
        Shaped(DURATION),
        says("How often a set is looked at, 1s to 1d; left out: 30s.", "30s", "5m"),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.stream is None) == (self.members_of is None):
            refuse(
                "FO107", "`redis` is either a `stream` or a `set`", "{stream: KEY, url: ...} or {set: KEY, url: ...}"
            )
        if self.stream is not None and self.every is not None:
            refuse("FO107", "a stream has no `every`: it is read as it grows", "leave `every` out")
        if self.members_of is not None and self.json_field is not None:
            refuse("FO107", "a set has no `json`: its members are user ids", "leave `json` out")
        return self

    @property
    def key(self) -> str:
        """The key that is read."""
        return self.stream or self.members_of or ""


class RedisKey:
    """The connector of one key. `bounds`: the last entry of a bounded run."""

    def __init__(
        self, source: Source, settings: RedisSettings, *, follow: bool, bounds: Mapping[str, Position]
    ) -> None:
        self._source = source
        self._settings = settings
        self._follow = follow
        self._bounds = bounds
        self._checked = False

    def partitions(self) -> Mapping[str, int]:
        """The key. Raises ConfigError for a server that does not answer, and for a key of another type."""
        if not self._checked:
            self._ask_last()
            self._checked = True
        return {self._settings.key: 0}

    def ends(self) -> Mapping[str, Position]:
        """The id of the stream's last entry; of a set, nothing but that it is looked at once."""
        return {self._settings.key: self._ask_last()}

    def open(self, name: str, position: Position | None) -> RedisStream | RedisSet:
        """The stream or set."""
        client = self._settings.connect(timeout=_TIMEOUT)
        if self._settings.stream is None:
            every = (self._settings.every or 30 * SECOND) / SECOND
            return RedisSet(self._source, client, name, position, every, follow=self._follow)
        end = None if self._follow else _id(self._bounds[name])
        return RedisStream(self._source, client, name, self._settings.json_field, position, end)

    def _ask_last(self) -> Id:
        import redis  # noqa: PLC0415

        settings, key = self._settings, self._settings.key
        where = f"source `{self._source.name}`"
        wanted = "set" if settings.stream is None else "stream"
        client = settings.connect(timeout=_WAIT)
        try:
            found = _string(client.type(key))
            if found not in (wanted, "none"):
                raise ConfigError(f"{where}: `{key}` is a {found} in Redis, not a {wanted}\n  try: name another key")
            if wanted == "set" or found == "none":
                return 0, 0
            return _parse(client.xinfo_stream(key)["last-generated-id"])
        except redis.RedisError as error:
            raise ConfigError(
                f"{where}: Redis at `{settings.url}` does not serve ({error})\n  try: check `url`, `password` and the"
                " network"
            ) from error
        finally:
            client.close()


class _Beside(ABC):
    """Asks in a thread of its own, again and again; says once when nobody answers, and when somebody does again."""

    def __init__(self, client: Redis, source: str, pause: float) -> None:
        self._client = client
        self._source = source
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"redis-{source}", daemon=True)
        self.is_lost = False
        """Whether nobody answers."""
        self.failure: FlowopsError | None = None
        """Why it asks no more."""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(_TIMEOUT)
        self._client.close()

    @abstractmethod
    def _ask(self) -> bool:
        """Ask once; whether to ask again at once. Raises RedisError, or InputError where going on makes no sense."""

    def _run(self) -> None:
        import redis  # noqa: PLC0415

        while not self._over.is_set():
            try:
                at_once = self._ask()
            except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError) as error:
                if not self.is_lost:
                    self.is_lost = True
                    fields = {"source": self._source, "reason": error}
                    _log.warning("source waits for Redis", extra={"fields": fields})
                self._over.wait(_RETRY)
                continue
            except redis.RedisError as error:
                self.failure = RunError(
                    f"source `{self._source}`: Redis refuses to be read: {error}. The state is kept: the same command"
                    " goes on from the last epoch."
                )
                return
            except InputError as error:
                self.failure = error
                return
            if self.is_lost:
                self.is_lost = False
                _log.warning("source goes on", extra={"fields": {"source": self._source}})
            if not at_once:
                self._over.wait(self._pause)


class _Read(NamedTuple):
    """An answer: entries, and the instant before which all that was added is among them or before them."""

    entries: list[tuple[Id, dict[bytes, bytes]]]
    before: int
    """How many entries were gone before the first that was ever read, as far as is known by now."""
    all_until: Micros | None


class _StreamReader(_Beside):
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
        entries = [(_parse(id_), fields) for _, several in _streams(found) for id_, fields in several]
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
            if _parse(about["last-generated-id"]) < self._last:
                raise InputError(
                    f"source `{self._source}`: the stream `{self._key}` was made anew, and its ids begin before"
                    f" {_text(self._last)}, the last that was read\n  try: begin anew (`--fresh`)"
                )
            self._before = gone - self._count  # made anew, behind all that was read
            return
        known = self._before + self._count
        is_first = bool(entries) and _parse(about["first-entry"][0]) == entries[0][0]
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


class _SetReader(_Beside):
    """Looks at a set every so often."""

    def __init__(self, client: Redis, source: str, key: str, every: float) -> None:
        super().__init__(client, source, every)
        self.seen: tuple[Micros, frozenset[bytes]] | None = None
        """When it was looked at last, and what was in it."""
        self._key = key

    def _ask(self) -> bool:
        asked = time.time_ns() // 1000
        self.seen = asked, frozenset(self._client.sscan_iter(self._key, count=2000))
        return False


class RedisSet(Partition):
    """A set of user ids as a partition of enter and leave records. A bounded run looks at it once.

    What is found is decided at the end of an epoch and is of that instant: position and records are one, and told in
    the next epoch. Position: (records, instant, changes that are still to be read, members).
    """

    nap = 0.1

    def __init__(
        self, source: Source, client: Redis, key: str, position: Position | None, every: float, *, follow: bool
    ) -> None:
        self.name = key
        self._source = source
        self._decoder = decoder(source)
        count, at, changes, members = position or (0, None, (), ())
        self._count: int = count
        self._at: Micros | None = at
        self._changes: list[tuple[str, str]] = [(user_id, action) for user_id, action in changes]
        self._members = frozenset(members)
        self._every = every
        self._follow = follow
        self._taken: Micros | None = None  # the moment of the last look that was decided on
        self._reader = _SetReader(client, source.name, key, every)
        self._begun = False

    def read(self, limit: int) -> Chunk | None:
        """Changes that were decided. None: there are none."""
        if not self._begun:
            self._begun = True
            self._reader.start()
        if self._reader.failure is not None:
            raise self._reader.failure
        if not self._changes:
            return None
        count = max(1, limit // 32)
        now, self._changes = self._changes[:count], self._changes[count:]
        first, self._count = self._count, self._count + len(now)
        rows: list[Row | None] = []
        dead: list[DeadLetter] = []
        for number, (user_id, action) in enumerate(now):
            if user_id:
                made = {"user_id": user_id, "segment": self.name, "action": action, "ts": self._at}
                rows.append(self._decoder.made(made))
            else:
                rows.append(None)
                detail = "`user_id`: expected a value, got an empty member"
                dead.append(DeadLetter(self._source.name, self.name, first + number, "missing_field", detail, ""))
        return Chunk(first, rows, dead)

    def ended(self) -> bool:
        """Whether a bounded run has looked at it and read what it found."""
        return not self._follow and self._at is not None and not self._changes

    def position(self) -> tuple[Any, ...]:
        """(records, instant, changes that are still to be read, members) in this order."""
        return self._count, self._at, tuple(self._changes), tuple(sorted(self._members))

    def caught_up_at(self) -> Micros | None:
        """The instant of the last decision, once what it found has been read: later changes are of a later one."""
        return None if self._changes else self._at

    def decide(self) -> None:
        """Compare what is seen with what was known. While nobody answers, time stands still."""
        seen, now = self._reader.seen, time.time_ns() // 1000
        if self._changes or seen is None or now - seen[0] > _STALE * self._every * SECOND + 10 * SECOND:
            return
        if not self._follow and self._at is not None:
            return
        self._at = now
        if seen[0] == self._taken:
            return
        self._taken = seen[0]
        members = frozenset(member.decode(errors="replace") for member in seen[1])
        self._changes = [(user_id, "enter") for user_id in sorted(members - self._members)]
        self._changes += [(user_id, "leave") for user_id in sorted(self._members - members)]
        self._members = members

    def lag(self) -> int | None:
        """Changes that were decided and not been read."""
        return len(self._changes)

    def is_reachable(self) -> bool:
        """Whether the last question was answered."""
        return not self._reader.is_lost

    def close(self) -> None:
        """Look no more."""
        if self._begun:
            self._reader.stop()


def _id(position: Position) -> Id:
    ms, seq = position
    return ms, seq


def _parse(id_: bytes | str) -> Id:
    ms, _, seq = _string(id_).partition("-")
    return int(ms), int(seq or 0)


def _text(id_: Id) -> str:
    return f"{id_[0]}-{id_[1]}"


def _string(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _streams(found: Any) -> Sequence[tuple[bytes, Any]]:
    """What XREAD gave, by stream, in either protocol."""
    return list(found.items()) if isinstance(found, dict) else found or []
