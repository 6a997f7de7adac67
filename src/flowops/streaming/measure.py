"""What a shard tells the meter: counts of its effects, and at each epoch's end what it holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Final

from flowops.core.effects import LOSSES, Effects
from flowops.core.shard import Shard
from flowops.streaming.metrics import (
    DEAD,
    EPOCH,
    LATE,
    LIVE_USERS,
    LOSSES_BY_REASON,
    PENDING,
    SNAPSHOT,
    TRIGGERS,
    Meter,
)

_FIRST_WITHIN: Final = 10.0
_COUNT_EVERY: Final = 60.0
_SAMPLE: Final = 1_000
"""What waits is counted once in so many seconds, by looking at about so many users of a shard."""

_LOST: Final = frozenset(LOSSES)


class ShardMeter:
    """Of one shard of a live run."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._live = 0
        self._pending: Counter[str] = Counter()
        self._count_at = time.monotonic() + _FIRST_WITHIN * random.random()  # noqa: S311 - not all in one epoch
        self._saved_at = 0.0

    def count(self, effects: Effects) -> None:
        """Count what a batch caused, if anything."""
        if effects.decisions:
            rows = effects.decisions
            triggers = Counter(row.plan for row in rows if not row.attempt)
            triggers.subtract(effects.further)
            for plan, count in triggers.items():
                self._meter.add(TRIGGERS, count, plan)
            for (plan, stage), count in Counter((row.plan, row.stage) for row in rows if row.stage in _LOST).items():
                self._meter.add(LOSSES_BY_REASON, count, plan, stage)
        if effects.late:
            for source, count in Counter(row.source for row in effects.late).items():
                self._meter.add(LATE, count, source)
        if effects.dead:
            for (source, reason), count in Counter((row.source, row.reason) for row in effects.dead).items():
                self._meter.add(DEAD, count, source, reason)

    def saved(self, shard: Shard, seconds: float) -> None:
        """An epoch has ended: it took so long to save `shard`, whose users are at rest."""
        meter = self._meter
        meter.observe(SNAPSHOT, seconds)
        now = time.monotonic()
        if meter.timekeeper is None:
            meter.timekeeper = shard.number
        if meter.timekeeper == shard.number:
            if self._saved_at:
                meter.observe(EPOCH, now - self._saved_at)
            self._saved_at = now
        live = shard.live_users()
        meter.add(LIVE_USERS, live - self._live)
        self._live = live
        if now >= self._count_at:
            pending = shard.waiting(_SAMPLE)
            for kind in pending | self._pending:
                meter.add(PENDING, pending[kind] - self._pending[kind], kind)
            self._pending = pending
            self._count_at = now + _COUNT_EVERY
