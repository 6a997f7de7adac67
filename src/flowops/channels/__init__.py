"""Channels: one file per channel. `CHANNELS` is the list of those there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowops.channels import console, file
from flowops.channels.base import Encoder, Outlet

__all__ = ["CHANNELS", "ChannelType", "Encoder", "Outlet"]


@dataclass(frozen=True, slots=True)
class ChannelType:
    """One kind of channel: how a command is encoded, and how its outlet is opened from (path, position)."""

    encode: Encoder
    open: Callable[[Path | None, int], Outlet]


CHANNELS: Mapping[str, ChannelType] = {
    "file": ChannelType(file.encode, file.FileOutlet),
    "console": ChannelType(console.encode, console.ConsoleOutlet),
}
"""By the `type` that a project's `channels:` names."""
