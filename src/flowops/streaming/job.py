"""What the engine runs: a project that compiled, with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowops.core.plan import Project
from flowops.errors import RuleError
from flowops.rules.config import Config, FileChannel
from flowops.rules.findings import render
from flowops.rules.load import load_project


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a channel's commands go: its type, and the path of a file."""

    type: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Job:
    """A project to be run."""

    folder: Path
    project: Project
    config: Config

    @property
    def outlets(self) -> Mapping[str, Outlet]:
        """By the channel's name."""
        return {
            channel.name: Outlet(channel.type, channel.path if isinstance(channel, FileChannel) else None)
            for channel in self.config.channels
        }


def load_job(folder: Path) -> Job:
    """The project in `folder`. Raises RuleError, with every finding, when it does not compile."""
    loaded = load_project(folder)
    if loaded.project is None or loaded.config is None:
        raise RuleError(f"the project does not compile\n{render(loaded.findings)}")
    return Job(loaded.folder, loaded.project, loaded.config)
