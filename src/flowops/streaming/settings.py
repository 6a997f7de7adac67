"""What a run was told, and where its state lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from flowops.core.records import Micros
from flowops.errors import ConfigError


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
    hosts: tuple[str, ...] = ()  # the addresses of all processes where they run on several machines; () on one
    process: int = 0  # which of the hosts this is

    @property
    def follow(self) -> bool:
        """Whether inputs may grow."""
        return self.mode == "run"

    @property
    def workers(self) -> int:
        """How many processes there are, on all machines."""
        return len(self.hosts) or self.processes

    @property
    def durable(self) -> bool:
        """Whether what is saved must survive the machine: with several hosts the others may have committed it."""
        return bool(self.hosts)

    @property
    def epoch_interval(self) -> timedelta:
        """How long an epoch is."""
        if self.epoch is not None:
            return self.epoch
        return timedelta(seconds=1 if self.follow else 10)


@dataclass(frozen=True, slots=True)
class Watch:
    """How a live run is watched.

    `listen`: where to answer over HTTP; `restarts`: how many within ten minutes before it is given up; `stalled`:
    seconds without the end of an epoch after which it is not well; `verbose`: say more.
    """

    listen: str | None = None
    restarts: int = 10
    stalled: float = 60.0
    verbose: bool = False


def split_address(text: str) -> tuple[str, int]:
    """`name:port`, without a name: every address of this machine. Raises ConfigError for anything else."""
    name, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"an address is written as name:port, got {text!r}: for example 127.0.0.1:9464")
    return name.strip("[]"), int(port)
