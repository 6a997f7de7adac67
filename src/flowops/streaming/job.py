"""What the engine runs: a project that compiled, with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowops.channels import CHANNELS, Network
from flowops.core.plan import Project
from flowops.errors import RuleError
from flowops.rules.config import Config
from flowops.rules.findings import render
from flowops.rules.load import load_project


@dataclass(frozen=True, slots=True)
class Job:
    """A project to be run."""

    folder: Path
    project: Project
    config: Config

    @property
    def networked(self) -> Mapping[str, str]:
        """The network channels that plans send by, each with the id of a plan that does."""
        return {
            step.channel.name: plan.id
            for plan in reversed(self.project.plans)
            for step in plan.messages
            if isinstance(CHANNELS[self.config.channels[step.channel.name].type], Network)
        }


def load_job(folder: Path) -> Job:
    """The project in `folder`. Raises RuleError, with every finding, when it does not compile."""
    loaded = load_project(folder)
    if loaded.project is None or loaded.config is None:
        raise RuleError(f"the project does not compile\n{render(loaded.findings)}")
    return Job(loaded.folder, loaded.project, loaded.config)
