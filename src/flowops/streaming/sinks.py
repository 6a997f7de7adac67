"""What leaves the shards: commands to the channels' outlets, facts to the warehouse's segments.

Both ends have a position that is saved with the epoch, so that what a crash undid is written again and nothing twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flowops.channels import CHANNELS, Local, Outlet
from flowops.channels.base import WRITERS, Command, Place
from flowops.channels.courier import Courier, wall_clock
from flowops.channels.ledger import open_ledger
from flowops.core.admission import quiet_until, quiets_of
from flowops.core.plan import Channel, Project
from flowops.core.records import Micros
from flowops.core.time import zone_named
from flowops.streaming.failures import noted
from flowops.streaming.flight import Flight
from flowops.streaming.job import Job
from flowops.streaming.journal import Journal
from flowops.streaming.metrics import DISPATCHES, IN_FLIGHT, Meter
from flowops.streaming.pace import Pace
from flowops.streaming.shards import ToChannel, ToNetwork, ToWarehouse
from flowops.streaming.statefolder import StateFolder
from flowops.warehouse.compact import compact
from flowops.warehouse.outcomes import publish
from flowops.warehouse.schema import plan_facts
from flowops.warehouse.segments import Segments

WriterState: TypeAlias = dict[str, Any]
"""By channel its position: a length in bytes, or what its sender says; and under names that no channel can have the
place of the log of what is in flight, and the length of the journal."""

_FLIGHT = "/flight"
_JOURNAL = "/journal"
_PUBLISH_EVERY = 2.0
"""Seconds between two publications of the outcomes while a run is under way."""


@noted
class Delivery(FixedPartitionedSink[ToChannel | ToNetwork, WriterState]):
    """Writes to local channels and hands over to the couriers of network channels; a fixed number of writers.

    A local channel belongs to the writer that its name hashes onto. Of a network channel each writer sends the commands
    of a part of the shards, so that several processes send, and a user's commands keep their order.
    """

    def __init__(self, job: Job, state: StateFolder, meter: Meter | None, *, durable: bool) -> None:
        self._job = job
        self._state = state
        self._meter = meter
        self._durable = durable
        self._couriers: list[Courier] = []  # of the writers of this process

    def list_parts(self) -> list[str]:
        """Every worker can write to every channel."""
        return [f"writer-{number}" for number in range(WRITERS)]

    def part_fn(self, item_key: str) -> int:
        """Which writer an item belongs to: the number behind a slash, or the one of the channel named."""
        slash, number = item_key[:1], item_key[1:]
        return int(number) if slash == "/" else crc32(item_key.encode()) % WRITERS

    def build_part(self, step_id: str, for_part: str, resume_state: WriterState | None) -> _Writer:  # noqa: ARG002
        """The writer, its channels as the last committed epoch left them."""
        number = int(for_part.rpartition("-")[2])
        known = resume_state or {}
        outlets: dict[str, Outlet] = {}
        for name, settings in self._job.config.channels.items():
            kind = CHANNELS[settings.type]
            if isinstance(kind, Local) and self.part_fn(name) == number:
                outlets[name] = kind.open(settings, self._job.folder, known.get(name, 0))
        network = None
        if self._job.networked:
            network = _Network(
                self._job, self._state, number, known, self._meter, self._couriers, durable=self._durable
            )
        return _Writer(outlets, network, self._meter)


@noted
class _Writer(StatefulSinkPartition[ToChannel | ToNetwork, WriterState]):
    def __init__(self, outlets: dict[str, Outlet], network: _Network | None, meter: Meter | None) -> None:
        self._outlets = outlets
        self._network = network
        self._meter = meter

    def write_batch(self, values: list[ToChannel | ToNetwork]) -> None:
        for value in values:
            if isinstance(value, ToChannel):
                self._outlets[value.channel].write(value.lines)
                if self._meter is not None:
                    self._meter.add(DISPATCHES, len(value.lines), value.channel, "accepted")
            elif self._network is not None and value.commands:
                self._network.hand(value.channel, value.commands)
        if self._network is not None:
            self._network.collect()

    def snapshot(self) -> WriterState:
        positions = {name: outlet.position() for name, outlet in self._outlets.items()}
        return positions if self._network is None else {**positions, **self._network.state()}

    def close(self) -> None:
        for outlet in self._outlets.values():
            outlet.close()
        if self._network is not None:
            self._network.close()


class _Network:
    """The part of a writer that has to do with network channels: couriers, what is in flight, the journal."""

    def __init__(
        self,
        job: Job,
        state: StateFolder,
        writer: int,
        known: WriterState,
        meter: Meter | None,
        everyone: list[Courier],
        *,
        durable: bool,
    ) -> None:
        """`everyone`: the couriers of all writers of this process, to which those of this one are added."""
        self._everyone = everyone
        self._pace = Pace(state.pace)
        self._meter = meter
        self._writer = writer
        self._plans = job.project.plans
        self._waiting: dict[str, int] = {}
        self._flight = Flight(state.flight, writer, known.get(_FLIGHT), durable=durable)
        self._journal = Journal(state.journal, writer, known.get(_JOURNAL, 0), durable=durable)
        self._assumed = {name for name, settings in job.config.channels.items() if settings.undelivered_after is None}
        self._couriers: dict[str, Courier] = {}
        ledger = job.config.ledger
        channels = {channel.name: channel for channel in job.project.channels}
        for name in sorted(job.networked):
            settings = job.config.channels[name]
            kind = CHANNELS[settings.type]
            if isinstance(kind, Local):
                continue
            place = Place(job.project.name, name, writer, state.published_at or wall_clock(), ledger.keep)
            self._couriers[name] = Courier(
                name,
                kind.open(settings, place),
                open_ledger(ledger, state.ledger, place, durable=durable),
                partial(self._held_until, channels[name]),
                known.get(name),
                partial(self._count, name),
            )
        everyone.extend(self._couriers.values())
        self._pace.report_writer(writer, 0)  # ready
        for name, courier in self._couriers.items():
            again = self._flight.of_channel(name)
            courier.hand(again)
            self._measure_flight(name, len(again))

    def hand(self, channel: str, commands: Sequence[Command]) -> None:
        """Take commands; one that is in flight already is not taken twice."""
        new = self._flight.add(channel, commands)
        self._couriers[channel].hand(new)
        self._measure_flight(channel, len(new))

    def collect(self) -> dict[str, Any]:
        """Write down what was answered meanwhile; the positions of the senders before it, by channel."""
        positions = {}
        now = wall_clock()
        for name, courier in self._couriers.items():
            positions[name], answered = courier.collect()
            telling = answered
            if name in self._assumed:  # the shard assumed that it was accepted
                telling = [each for each in answered if each[1].receipt != "accepted"]
            if telling:
                self._journal.append(telling, now)
            self._flight.land(command.dispatch_id for command, _ in answered)
            if answered and self._meter is not None:
                for receipt, count in Counter(str(answer.receipt) for _, answer in answered).items():
                    self._meter.add(DISPATCHES, count, name, receipt)
                self._measure_flight(name, -len(answered))
        return positions

    def state(self) -> WriterState:
        """What goes on from here: nothing before the positions is in flight."""
        positions = self.collect()
        return {**positions, _FLIGHT: self._flight.save(), _JOURNAL: self._journal.save()}

    def close(self) -> None:
        """Stop sending; what is in flight is sent when the run goes on. The other writers stop with this one."""
        for courier in self._everyone:
            courier.leave()
        for courier in self._couriers.values():
            courier.close()
        self._journal.close()
        self._flight.close()

    def _measure_flight(self, channel: str, change: int) -> None:
        if self._meter is not None and change:
            self._meter.add(IN_FLIGHT, change, channel)

    def _held_until(self, channel: Channel, command: Command, now: Micros) -> Micros | None:
        """When the quiet of the command's plan and channel ends, in the user's zone; None if it is not quiet (S31a)."""
        plan = self._plans[command.plan]
        return quiet_until(quiets_of(plan, channel), zone_named(command.zone) or plan.zone, now)

    def _count(self, channel: str, waiting: int) -> None:
        """Called in the couriers' threads: readers look at it, also when nothing comes in here."""
        self._waiting[channel] = waiting
        self._pace.report_writer(self._writer, sum(self._waiting.values()))


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
        self._publisher = ThreadPoolExecutor(1, "publisher")
        self._publishing: Future[None] | None = None

    def write_batch(self, values: list[ToWarehouse]) -> None:
        for relation, columns in values:
            if relation == "pending_facts":
                self._segments.state_pending(columns)
            else:
                self._segments.add(relation, columns)

    def snapshot(self) -> int:
        """Seal this epoch; the one before is committed by now, so its outcomes may be shown."""
        if self._committed > self._published and time.monotonic() - self._published_at >= _PUBLISH_EVERY:
            self._show()
        self._committed = self._segments.seal()
        return self._committed

    def _show(self) -> None:
        """Publish beside the dataflow, which does not wait for it; raises what the publication before came to."""
        if self._publishing is not None:
            if not self._publishing.done():
                return
            self._publishing.result()
        self._publishing = self._publisher.submit(_publish, self._folder, self._published, self._committed)
        self._published = self._committed
        self._published_at = time.monotonic()

    def close(self) -> None:
        self._publisher.shutdown()
        if self._on_end is not None:
            self._on_end()


def _publish(folder: Path, before: int, committed: int) -> None:
    compact(folder, before)  # of what was shown before: no recovery cuts that any more
    publish(folder, committed)
