"""Channels: one file per channel. `CHANNELS` is the list of those there are, by the `type` that a project names."""

from __future__ import annotations

from collections.abc import Mapping

from flowops.channels import console, file, kafka, redis, webhook
from flowops.channels.base import Local, Network, Outlet, Settings
from flowops.channels.ledger import LedgerSettings

__all__ = ["CHANNELS", "LedgerSettings", "Local", "Network", "Outlet", "Settings"]

CHANNELS: Mapping[str, Local | Network] = {
    "file": file.CHANNEL,
    "console": console.CHANNEL,
    "kafka": kafka.CHANNEL,
    "redis": redis.CHANNEL,
    "webhook": webhook.CHANNEL,
}
