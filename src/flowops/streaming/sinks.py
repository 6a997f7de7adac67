"""What leaves the shards: commands to the channels' outlets, facts to the warehouse's segments.

Both ends have a position that is saved with the epoch, so that what a crash undid is written again and nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from zlib import crc32

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flowops.channels import CHANNELS, Outlet
from flowops.core.plan import Project
from flowops.streaming import job
from flowops.streaming.failures import noted
from flowops.streaming.metrics import DISPATCHES, Meter
from flowops.streaming.shards import ToChannel, ToWarehouse
from flowops.warehouse.compact import compact
from flowops.warehouse.outcomes import publish
from flowops.warehouse.schema import plan_facts
from flowops.warehouse.segments import Segments

_WRITERS = 4
_PUBLISH_EVERY = 2.0
"""Seconds between two publications of the outcomes while a run is under way."""


@noted
class Delivery(FixedPartitionedSink[ToChannel, dict[str, int]]):
    """Writes commands to outlets. A fixed number of writers, each with the channels whose names hash onto it."""

    def __init__(self, outlets: Mapping[str, job.Outlet], meter: Meter | None = None) -> None:
        self._outlets = outlets
        self._meter = meter

    def list_parts(self) -> list[str]:
        """Every worker can write to every outlet."""
        return [f"writer-{number}" for number in range(_WRITERS)]

    def part_fn(self, item_key: str) -> int:
        """Which writer a channel belongs to."""
        return crc32(item_key.encode()) % _WRITERS

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, int] | None) -> _Writer:  # noqa: ARG002
        """The writer, its outlets cut back to where the last committed epoch left them."""
        number = int(for_part.rpartition("-")[2])
        positions = resume_state or {}
        outlets = {
            name: CHANNELS[outlet.type].open(outlet.path, positions.get(name, 0))
            for name, outlet in self._outlets.items()
            if self.part_fn(name) == number
        }
        return _Writer(outlets, self._meter)


@noted
class _Writer(StatefulSinkPartition[ToChannel, dict[str, int]]):
    def __init__(self, outlets: dict[str, Outlet], meter: Meter | None) -> None:
        self._outlets = outlets
        self._meter = meter

    def write_batch(self, values: list[ToChannel]) -> None:
        for channel, lines in values:
            self._outlets[channel].write(lines)
            if self._meter is not None:
                self._meter.add(DISPATCHES, len(lines), channel, "accepted")

    def snapshot(self) -> dict[str, int]:
        return {name: outlet.position() for name, outlet in self._outlets.items()}

    def close(self) -> None:
        for outlet in self._outlets.values():
            outlet.close()


@noted
class Landing(FixedPartitionedSink[ToWarehouse, int]):
    """Lands facts: one partition, one segment per epoch, published when the next epoch has begun."""

    def __init__(
        self, folder: Path, project: Project, published_at: int | None, on_end: Callable[[], None] | None
    ) -> None:
        self._folder = folder
        self._project = project
        self._published_at = published_at
        self._on_end = on_end

    def list_parts(self) -> list[str]:
        """One: an epoch is one segment."""
        return ["landing"]

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        """The only one."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Lander:  # noqa: ARG002
        """The landing, cut back to the segments of the last committed epoch."""
        segments = Segments(self._folder, resume_state or 0)
        for relation, rows in plan_facts(self._project, self._published_at).items():
            segments.add(relation, list(zip(*rows, strict=True)))
        return _Lander(self._folder, segments, self._on_end)


@noted
class _Lander(StatefulSinkPartition[ToWarehouse, int]):
    def __init__(self, folder: Path, segments: Segments, on_end: Callable[[], None] | None) -> None:
        self._folder = folder
        self._segments = segments
        self._committed = segments.sealed
        self._published = 0
        self._on_end = on_end
        self._published_at = time.monotonic()

    def write_batch(self, values: list[ToWarehouse]) -> None:
        for relation, columns in values:
            if relation == "pending_facts":
                self._segments.state_pending(columns)
            else:
                self._segments.add(relation, columns)

    def snapshot(self) -> int:
        """Seal this epoch; the one before is committed by now, so its outcomes may be shown."""
        if self._committed > self._published and time.monotonic() - self._published_at >= _PUBLISH_EVERY:
            compact(self._folder, self._published)  # of what was shown before: no recovery cuts that any more
            publish(self._folder, self._committed)
            self._published = self._committed
            self._published_at = time.monotonic()
        self._committed = self._segments.seal()
        return self._committed

    def close(self) -> None:
        if self._on_end is not None:
            self._on_end()
