"""What a run was told, and where its state lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from flowops.core.records import Micros


@dataclass(frozen=True, slots=True)
class Settings:
    """One run of the engine.

    `folder` is the project's folder; `follow` (`run`) stays at the end of its inputs where `replay` ends; `until` moves
    time on after the end of input (S6).
    """

    folder: Path
    mode: Literal["replay", "run"] = "replay"
    until: Micros | None = None
    processes: int = 1
    epoch: timedelta | None = None  # None: 10 s in a replay, 1 s in a run

    @property
    def follow(self) -> bool:
        """Whether inputs may grow."""
        return self.mode == "run"

    @property
    def epoch_interval(self) -> timedelta:
        """How long an epoch is."""
        if self.epoch is not None:
            return self.epoch
        return timedelta(seconds=1 if self.follow else 10)
