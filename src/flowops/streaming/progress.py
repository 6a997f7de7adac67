"""Where a run has come to, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flowops.core.records import Micros
from flowops.streaming.pace import Pace


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run has come to, counted since it was started or resumed."""

    seconds: float
    read: int
    event_time: Micros | None
    decided: int
    dispatched: int
    live_users: int
    snapshot_seconds: float

    @property
    def rate(self) -> float:
        """Records read per second."""
        return self.read / self.seconds if self.seconds > 0 else 0.0


OnProgress: TypeAlias = Callable[[Progress], None]


def nothing_done() -> Progress:
    """Of a run that did nothing."""
    return Progress(0.0, 0, None, 0, 0, 0, 0.0)


def progress_of(pace: Pace, began: float, before: Progress | None = None) -> Progress:
    """What the table tells, since `began` on the monotonic clock; on top of what was done `before` a restart."""
    base = before or nothing_done()
    return Progress(
        time.monotonic() - began,
        base.read + pace.read(),
        pace.event_time(),
        base.decided + pace.decided(),
        base.dispatched + pace.dispatched(),
        pace.live_users(),
        base.snapshot_seconds + pace.saving(),
    )
