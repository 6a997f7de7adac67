"""A Redis set of user ids as membership of a segment: its changes are found by looking again."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Micros, Row
from flowops.core.time import SECOND
from flowops.sources.base import Partition, Position
from flowops.sources.decode import decoder
from flowops.sources.redis_client import Beside, LostError

if TYPE_CHECKING:
    from redis import Redis

_log = logging.getLogger(__name__)

_STALE = 3  # times `every` after which a set that was not seen again confirms nothing
_MANY = 10  # members that leave at once, and are most of them: worth a word


class _SetReader(Beside):
    """Looks at a set every so often."""

    def __init__(self, client: Redis, source: str, key: str, every: float, known: int, at: Micros | None) -> None:
        """`known`: how many members there were when it was looked at last, in a run before, at about `at`."""
        super().__init__(client, source, every)
        self._known = known
        self._at = at
        self._run_id: str | None = None  # of the server that had them, in this run
        self._was_lost = False
        self._emptied = False
        self.seen: tuple[Micros, frozenset[bytes]] | None = None
        """When it was looked at last, and what was in it."""
        self._key = key

    def _ask(self) -> bool:
        asked = time.time_ns() // 1000
        # Over one connection: where a scan has come to means nothing to another server.
        with self._client.client() as connection:  # type: ignore[no-untyped-call]
            found = frozenset(connection.sscan_iter(self._key, count=2000))
            server = _server(connection)
        if not found and self._known and self._is_lost(server, asked):
            raise LostError(
                f"the set `{self._key}` had {self._known} members, and is empty since Redis was started anew: put them"
                " back; if nobody is in it any more, add a member and remove it"
            )
        self._emptied = bool(self._known and not found and not self._emptied)
        if self._emptied:
            fields = {"source": self._source, "set": self._key, "members_before": self._known}
            _log.warning("a set is empty; looked at once more before all leave", extra={"fields": fields})
            return False
        self._known, self._run_id, self._was_lost = len(found), server.get("run_id"), False
        self.seen = asked, found
        return False

    def _is_lost(self, server: dict[str, Any], now: Micros) -> bool:
        """Whether the server was started anew since the set had members; once it was, that stays so."""
        if self._run_id is None and self._at is not None and "uptime_in_seconds" in server:
            self._was_lost |= now - int(server["uptime_in_seconds"]) * SECOND > self._at
        elif self._run_id is not None:
            self._was_lost |= server.get("run_id", self._run_id) != self._run_id
        return self._was_lost


def _server(connection: Redis) -> dict[str, Any]:
    """What the server says of itself; nothing to who may not ask."""
    from redis.exceptions import ResponseError  # noqa: PLC0415

    try:
        return connection.info("server")
    except ResponseError:
        return {}


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
        self._told: tuple[str, ...] = tuple(members)  # the members as a position tells them: they are sorted once
        self._every = every
        self._follow = follow
        self._taken: Micros | None = None  # the moment of the last look that was decided on
        self._reader = _SetReader(client, source.name, key, every, len(self._members), at)
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
        return self._count, self._at, tuple(self._changes), self._told

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
        before = self._members
        members = frozenset(member.decode(errors="replace") for member in seen[1])
        self._changes = [(user_id, "enter") for user_id in sorted(members - self._members)]
        self._changes += [(user_id, "leave") for user_id in sorted(self._members - members)]
        if self._changes:
            self._members, self._told = members, tuple(sorted(members))
        left = len(before - members)
        if left >= _MANY and 2 * left > len(before):
            fields = {"source": self._source.name, "set": self.name, "members_before": len(before), "left": left}
            _log.warning("most members of a set left at once", extra={"fields": fields})

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
