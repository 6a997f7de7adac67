"""When to look at whom again: one timer per user, in buckets of a minute.

A user is in here with the earliest thing that falls due for it (`state.User.armed`). A bucket holds bare user ids, 9
bytes each, and is put in order only when time reaches it; a heap entry per wait would cost 100 bytes. An entry whose
user is no longer armed for it is stale and skipped. Nothing in here is saved: restoring the users arms them again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from flowops.core.records import Micros

BUCKET: Micros = 60_000_000
NEVER: Micros = 1 << 62


class Timers:
    """The timers of one shard. `head` is a lower bound of the next due time: nothing is due before it."""

    __slots__ = ("_buckets", "_opened", "_order", "boundary", "head", "ready")

    def __init__(self) -> None:
        self._buckets: dict[int, list[str]] = {}
        self._order: list[int] = []  # heap of the keys of _buckets
        self._opened = -NEVER  # buckets up to this one have been opened
        self.ready: list[tuple[Micros, str]] = []
        """A heap of (due, user_id): the content of the buckets that time has reached, and what came to them since."""
        self.boundary: Micros = NEVER
        """When the next bucket begins that has not been opened."""
        self.head: Micros = NEVER
        """Nothing is due before this time. Whoever takes from `ready` calls `look` afterwards."""

    def add(self, due: Micros, user_id: str) -> None:
        """Arm `user_id` for `due`."""
        bucket = due // BUCKET
        if bucket <= self._opened:
            heappush(self.ready, (due, user_id))
            self.head = min(self.head, due)
            return
        users = self._buckets.get(bucket)
        if users is None:
            self._buckets[bucket] = [user_id]
            heappush(self._order, bucket)
            self.boundary = self._order[0] * BUCKET
            self.head = min(self.head, self.boundary)
        else:
            users.append(user_id)

    def open(self, until: Micros, due: Callable[[list[str], Micros, Micros], list[tuple[Micros, str]]]) -> None:
        """Move what may be due up to `until` into `ready`. `due` tells of users who is armed, and for when."""
        order = self._order
        while order and order[0] * BUCKET <= until:
            bucket = heappop(order)
            self._opened = bucket
            begin = bucket * BUCKET
            self.ready += due(self._buckets.pop(bucket), begin, begin + BUCKET)
            self.ready.sort()  # a sorted list is a heap
        self.boundary = order[0] * BUCKET if order else NEVER

    def look(self) -> None:
        """Set `head` anew."""
        self.head = min(self.boundary, self.ready[0][0]) if self.ready else self.boundary
