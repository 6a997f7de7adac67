"""Sleeping while an epoch is closed: the end is foreseen, and the sleep as long as closing takes."""

from __future__ import annotations

import time

import pytest

from flowops.streaming.epochs import EpochEnd, Turns


class Runtime:
    """Two readers of a worker, asked as Bytewax does it; an epoch of a second takes `closing` seconds to be closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, closing: float) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        turns = Turns()
        self.readers = [EpochEnd(turns, 1.0) for _ in range(2)]
        self._awake = [0.0, 0.0]
        self._began = [self.now, self.now]
        self._closed_at = self.now
        self._closing = closing
        self.slept = self.spun = self.waited = 0.0

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            now = self.now
            self.now += 0.0001
            if now < self._closed_at:
                self.spun += 0.001
                self.now = now + 0.001
            else:
                self._ask(now)
            self.now = max(self.now, min(self._awake))

    def _ask(self, now: float) -> None:
        for number, reader in enumerate(self.readers):
            if now >= self._awake[number]:
                with reader.turn(number):
                    self.now += 0.03
                self._awake[number] = reader.put_off(0.0)
                self.slept += max(0.0, self._awake[number] - self.now)
            if now - self._began[number] >= 1.0:
                reader.saved()
                self._began[number] = now
                self._closed_at = self.now + self._closing
                self.waited += self._closing


@pytest.mark.parametrize("closing", [0.02, 0.2, 0.4])
def test_a_worker_sleeps_for_about_as_long_as_it_must_wait(monkeypatch: pytest.MonkeyPatch, closing: float) -> None:
    runtime = Runtime(monkeypatch, closing)
    runtime.run(10)
    runtime.slept = runtime.spun = runtime.waited = 0.0
    runtime.run(60)
    assert 50 * 2 * closing < runtime.waited, "both readers, in every second"
    assert runtime.spun < 0.1 * runtime.waited / 2 + 60 * 0.01
    assert runtime.slept < 1.1 * runtime.waited + 60 * 0.03


def test_a_nap_ends_with_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the runtime would end the epoch without asking, and look for its end at once."""
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    end = EpochEnd(Turns(), 1.0)
    with end.turn(0):
        pass
    assert end.put_off(100.5) == 100.5
    assert end.put_off(101.5) == 101.0
