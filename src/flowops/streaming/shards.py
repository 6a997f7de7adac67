"""Shards on Bytewax: one `stateful_batch` key per shard, its state in the shard's log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from bytewax.operators import StatefulBatchLogic

from flowops.channels import Local, Network
from flowops.channels.base import WRITERS, Command
from flowops.core.effects import Dispatch, Effects, task_id
from flowops.core.plan import Project
from flowops.core.records import Batch
from flowops.core.shard import Hearing, Shard
from flowops.errors import StateError
from flowops.streaming.failures import noted
from flowops.streaming.measure import ShardMeter
from flowops.streaming.metrics import Meter
from flowops.streaming.pace import READERS, Pace
from flowops.streaming.statelog import Place, StateLog

Columns: TypeAlias = Sequence[Sequence[object]]


class ToWarehouse(NamedTuple):
    """Facts of one relation, as columns: they pickle and convert more cheaply than rows."""

    relation: str
    columns: Columns


class ToChannel(NamedTuple):
    """Encoded commands for one local channel."""

    channel: str
    lines: list[bytes]


class ToNetwork(NamedTuple):
    """Commands for one network channel, for the writer of this shard."""

    writer: int
    channel: str
    commands: list[Command]


BEAT = ToWarehouse("decisions", ())
"""Nothing, sent with every batch of one shard: the landing is woken in each epoch and shows what has been committed."""

WRITER_BEATS = tuple(ToNetwork(writer, "", []) for writer in range(WRITERS))
"""Nothing, sent likewise to each writer where there are network channels: it saves, and tells what was answered."""

Outcome: TypeAlias = ToWarehouse | ToChannel | ToNetwork


@noted
class ShardSteps:
    """Builds the logic of each shard; what all shards of a process share."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        pace: Path,
        channels: Sequence[Local | Network],
        meter: Meter | None = None,
        *,
        networked: bool,
        durable: bool = False,
    ) -> None:
        self.project = project
        self.hearing = Hearing(project)
        self.folder = folder
        self.channels = channels  # in the order of `project.channels`
        self.meter = meter
        self.networked = networked  # some plan sends by a network channel
        self.durable = durable
        self._pace = pace

    def __call__(self, place: Place | None) -> _StateLogic:
        """The logic of a new shard, or of one that goes on at `place`."""
        return _StateLogic(self, Pace(self._pace), place)


@noted
class _StateLogic(StatefulBatchLogic[Batch, Outcome, Place]):
    """Feeds one shard. Which one it is, its first batch tells: Bytewax gives a logic no key."""

    def __init__(self, steps: ShardSteps, pace: Pace, place: Place | None) -> None:
        self._steps = steps
        self._pace = pace
        self._shard: Shard | None = None
        self._log: StateLog | None = None
        self._consumed = self._decided = self._dispatched = 0
        self._saving = 0.0
        self._measure = None if steps.meter is None else ShardMeter(steps.meter)
        if place is not None:
            self._open(place[0], place)

    def on_batch(self, values: list[Batch]) -> tuple[list[Outcome], bool]:
        shard = self._shard or self._open(values[0].shard, None)
        for batch in values:
            shard.receive(batch)
        effects = shard.advance()
        self._consumed += len(values)
        self._decided += len(effects.decisions)
        self._dispatched += len(effects.dispatches)
        self._pace.report_shard(shard.number, self._consumed, self._decided, self._dispatched, shard.live_users())
        if self._measure is not None:
            self._measure.count(effects)
        return self._outcomes(effects, shard), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Outcome], bool]:
        """The input has ended or stops: say what waits, and leave it waiting (S6)."""
        if self._shard is None:
            return [], StatefulBatchLogic.RETAIN
        pending = self._shard.pending()
        return [ToWarehouse("pending_facts", _columns(pending))], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Place:
        if self._shard is None or self._log is None:
            raise StateError("a shard was saved before it was fed")
        began = time.perf_counter()
        if self._log.wants_rewrite():
            place = self._log.rewrite(self._shard.whole())
        else:
            place = self._log.append(self._shard.snapshot())
        took = time.perf_counter() - began
        self._saving += took
        if self._measure is not None:
            self._measure.saved(self._shard, took)
        self._pace.report_saving(self._shard.number, int(self._saving * 1_000_000), self._shard.live_users())
        return place

    def _open(self, number: int, place: Place | None) -> Shard:
        self._log = StateLog(self._steps.folder, number, place, durable=self._steps.durable)
        if place is None:
            self._shard = Shard(number, self._steps.project, READERS, self._steps.hearing)
        else:
            try:
                self._shard = Shard.restore(
                    number, self._steps.project, READERS, self._log.frames(), self._steps.hearing
                )
            except ValueError as error:
                raise StateError(f"the state of shard {number} cannot be read: {error}") from error
        return self._shard

    def _outcomes(self, effects: Effects, shard: Shard) -> list[Outcome]:
        found: list[Outcome] = [
            ToWarehouse(relation, _columns(rows))
            for relation, rows in (
                ("decisions", effects.decisions),
                ("stage_changes", effects.stages),
                ("receipt_facts", effects.receipts),
                ("goal_facts", effects.goals),
                ("goal_facts", effects.compared),
                ("links", effects.links),
                ("late", effects.late),
                ("dead_letters", effects.dead),
            )
            if rows
        ]
        if effects.dispatches:
            found.extend(self._commands(effects.dispatches, shard.number))
        if shard.number == 0:
            found.append(BEAT)
            if self._steps.networked:
                found.extend(WRITER_BEATS)
        return found

    def _commands(self, dispatches: list[Dispatch], shard: int) -> list[ToChannel | ToNetwork]:
        by_channel: dict[int, list[Dispatch]] = {}
        for dispatch in dispatches:
            by_channel.setdefault(dispatch.channel, []).append(dispatch)
        found: list[ToChannel | ToNetwork] = []
        for index, those in by_channel.items():
            name, channel = self._steps.project.channels[index].name, self._steps.channels[index]
            if isinstance(channel, Local):
                found.append(ToChannel(name, [channel.encode(dispatch) for dispatch in those]))
            else:
                commands = [_command(dispatch, channel.encode(dispatch)) for dispatch in those]
                found.append(ToNetwork(shard % WRITERS, name, commands))
        return found


def _command(dispatch: Dispatch, body: bytes) -> Command:
    decision = dispatch.decision
    if decision.expires_at is None:
        raise AssertionError("a message that was decided to be sent expires")
    return Command(
        dispatch.dispatch_id,
        decision.user_id,
        dispatch.plan,
        decision.plan,
        task_id(decision.plan, decision.day, decision.clock),
        dispatch.zone,
        decision.expires_at,
        body,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> Columns:
    return tuple(zip(*rows, strict=True))
