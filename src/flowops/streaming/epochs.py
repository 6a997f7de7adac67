"""Sleeping while an epoch is closed.

When a reader's epoch has ended, the runtime asks it for nothing until all workers are done with that epoch. But once
the reader's time to awake has passed it looks for that without a pause, so that a worker that waits for another burns
its processor. It does not say when an epoch ends: here the end is foreseen, by the same rule, and the reader's
awakening put off for about as long as closing the epoch took the last times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_PAUSE = 0.0005  # seconds between two readers that do not get their turn one after the other
_SLACK = 0.005
_LONGEST = 0.5


class Turns:
    """When the turn of the readers of this worker began: the runtime compares that with the end of their epochs."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._last = -1
        self._left = 0.0

    def enter(self, reader: int) -> None:
        """A reader is asked; those of a turn one after the other, in the order of their numbers."""
        now = time.monotonic()
        if reader <= self._last or now - self._left > _PAUSE:
            self.began = now
        self._last = reader

    def leave(self) -> None:
        """It has answered."""
        self._left = time.monotonic()


class EpochEnd:
    """Of one reader. `interval`: seconds of an epoch."""

    def __init__(self, turns: Turns, interval: float) -> None:
        self._turns = turns
        self._interval = interval
        self._epoch_began = turns.began
        self._saved_at: float | None = None  # since then the epoch is being closed
        self._closing = 0.0  # seconds that it takes

    @contextmanager
    def turn(self, reader: int) -> Iterator[None]:
        """The reader is asked."""
        self._turns.enter(reader)
        self._closed()
        try:
            yield
        finally:
            self._turns.leave()

    def _closed(self) -> None:
        """If an epoch was being closed, it is so now, or the reader would not have been asked."""
        if self._saved_at is None:
            return
        took = self._turns.began - self._saved_at
        self._saved_at = None
        if took > self._closing + _SLACK:
            self._closing = min(_LONGEST, (self._closing + took) / 2)
        else:  # perhaps it was closed before
            self._closing *= 0.9

    def saved(self) -> None:
        """The epoch has ended."""
        self._epoch_began = self._turns.began
        self._saved_at = time.monotonic()

    def put_off(self, awake: float) -> float:
        """When to be asked again (monotonic clock) instead of at `awake`: not while an epoch is being closed."""
        end = self._epoch_began + self._interval
        if self._turns.began >= end:
            return max(awake, time.monotonic() + self._closing)
        return min(awake, end)
