"""Settings of a project that the core does not need: where things are, and how channels connect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowops.channels import LedgerSettings, Settings
from flowops.settings.fields import Moment
from flowops.sources import Connection


@dataclass(frozen=True, slots=True)
class Config:
    """Paths are absolute. `channels`, by name, stand in the order of `core.plan.Project.channels`."""

    channels: Mapping[str, Settings]
    ledger: LedgerSettings
    state: Path
    warehouse: Path
    connections: Mapping[str, Connection]  # by source, of those that are no files
    since: Mapping[str, Moment]  # by source: from when on its history is complete
    sensitive: frozenset[str]  # attributes not to be shown
    files: Mapping[str, str]  # the rule files that were read -> SHA-256, hexadecimal
    declared: str  # SHA-256 of what flowops.yaml says, but for how servers are reached and where things lie
