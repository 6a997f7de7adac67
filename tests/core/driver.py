"""Runs the engine's core without a dataflow: intakes and shards, fed by hand, cut and restored anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import model
from flowops.core.effects import Decision, Dispatch, GoalEvent, Link, Pending, Receipt, StageChange
from flowops.core.intake import Intake
from flowops.core.plan import Project
from flowops.core.records import (
    SHARDS,
    Batch,
    Chunk,
    DeadLetter,
    LateRecord,
    Micros,
    Record,
    shard_of,
    shard_of_dispatch,
)
from flowops.core.shard import Shard


@dataclass
class Run:
    """One run: what came out so far, and the machines that it came out of."""

    project: Project
    partitions: Sequence[model.Partition]
    decisions: list[Decision] = field(default_factory=list)
    goals: list[GoalEvent] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    late: list[LateRecord] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    compared: list[GoalEvent] = field(default_factory=list)
    outside_audience: int = 0
    further: list[str] = field(default_factory=list)
    stages: list[StageChange] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def __post_init__(self) -> None:
        shards = self.project.shards
        rows = [(one.source.kind, row) for one in self.partitions for row in one.rows if row is not None]
        numbers = {shard_of(row.user_id or "", shards) for _, row in rows}
        numbers |= {shard_of_dispatch(row.p0, shards) for kind, row in rows if kind == "receipts"}
        self.shards = {number: Shard(number, self.project, len(self.partitions)) for number in sorted(numbers | {0})}
        self.frames: dict[int, list[bytes]] = {number: [] for number in self.shards}
        self.intakes = self.new_intakes()
        self.read = [0] * len(self.partitions)
        self.snapshot()

    def new_intakes(self) -> list[Intake]:
        attributes, shards = self.project.attributes, self.project.shards
        return [Intake(i, one.source, one.name, attributes, shards) for i, one in enumerate(self.partitions)]

    def feed(self, index: int, rows: int) -> None:
        """The next rows of one partition, as one chunk; it ends with its last row, if it does."""
        partition, intake, first = self.partitions[index], self.intakes[index], self.read[index]
        into: list[list[Record]] = [[] for _ in range(SHARDS)]
        late: list[list[LateRecord]] = [[] for _ in range(SHARDS)]
        chunk = Chunk(first, partition.rows[first : first + rows], [])
        intake.take(chunk, into, late)
        self.read[index] = first + len(chunk.rows)
        if partition.ended and self.read[index] == len(partition.rows) and not intake.ended:
            intake.end()
        for number, shard in self.shards.items():
            began = {} if intake.first is None else {partition.source.index: intake.first}
            batch = Batch(number, index, intake.watermark, intake.highest, into[number], late[number], [], began)
            shard.receive(batch)
        for number in set(range(SHARDS)) - set(self.shards):
            assert not into[number]
            assert not late[number]

    def until(self, instant: Micros) -> None:
        """`--until`: time is moved on to `instant`, now that all partitions have ended (S6)."""
        first = self.intakes[0]
        for number, shard in self.shards.items():
            shard.receive(Batch(number, 0, first.watermark, max(instant, first.highest), [], [], []))

    def left(self) -> list[int]:
        """The partitions of which not all has been read."""
        return [i for i, one in enumerate(self.partitions) if self.read[i] < len(one.rows)]

    def advance(self) -> None:
        for shard in self.shards.values():
            effects = shard.advance()
            self.decisions += effects.decisions
            self.goals += effects.goals
            self.compared += effects.compared
            self.dispatches += effects.dispatches
            self.late += effects.late
            self.stages += effects.stages
            self.receipts += effects.receipts
            self.links += effects.links
            self.dead += effects.dead
            self.outside_audience += effects.outside_audience
            self.further += effects.further

    def snapshot(self, *, whole: bool = False) -> None:
        """As at the end of an epoch: a frame is appended to each shard's log, or the log is rewritten."""
        self.advance()
        for number, shard in self.shards.items():
            if whole:
                shard.snapshot()
                self.frames[number] = [shard.whole()]
            else:
                self.frames[number].append(shard.snapshot())
        self.kept = self._outputs(), [intake.state() for intake in self.intakes], list(self.read)

    def crash(self) -> None:
        """All that came after the last snapshot is lost, outputs too; the rest is built anew from what was kept."""
        outputs, intakes, self.read = self.kept[0], self.kept[1], list(self.kept[2])
        for rows, length in zip(self._rows(), outputs[:-1], strict=True):
            del rows[length:]
        self.outside_audience = outputs[-1]
        for number in self.shards:
            self.shards[number] = Shard.restore(number, self.project, len(self.partitions), self.frames[number])
        self.intakes = self.new_intakes()
        for intake, state in zip(self.intakes, intakes, strict=True):
            intake.restore(state)

    def _rows(self) -> tuple[list[Any], ...]:
        of_messages = self.decisions, self.goals, self.compared, self.dispatches, self.stages, self.receipts
        return *of_messages, self.late, self.links, self.dead

    def _outputs(self) -> tuple[int, ...]:
        return (*map(len, self._rows()), self.outside_audience)

    def to_the_end(self, until: Micros | None = None) -> Run:
        """Feed whatever is left, each partition at once."""
        for index, partition in enumerate(self.partitions):
            left = len(partition.rows) - self.read[index]
            if left or (partition.ended and not self.intakes[index].ended):
                self.feed(index, left)
        if until is not None:
            self.until(until)
        self.advance()
        self.pending = [row for shard in self.shards.values() for row in shard.pending()]
        return self


def run(project: Project, partitions: Sequence[model.Partition], until: Micros | None = None) -> model.Outcome:
    """Everything at once: what the model should say too."""
    return outcome(Run(project, partitions).to_the_end(until))


def bit_by_bit(project: Project, partitions: Sequence[model.Partition], until: Micros | None = None) -> model.Outcome:
    """A row of each partition in turn, and all that follows from it at once."""
    engine = Run(project, partitions)
    while left := engine.left():
        for index in left:
            engine.feed(index, 1)
            engine.advance()
    return outcome(engine.to_the_end(until))


def outcome(engine: Run) -> model.Outcome:
    return model.Outcome(
        engine.decisions,
        engine.goals,
        engine.late,
        engine.pending,
        engine.outside_audience,
        engine.stages,
        engine.receipts,
        engine.links,
        engine.compared,
    )


def comparable(outcome: model.Outcome) -> model.Outcome:
    """In one order, whatever the shards: users apart, the order of S7 within a user; without what is prose."""
    return model.Outcome(
        sorted((one._replace(detail=None) for one in outcome.decisions), key=lambda one: one.user_id),
        sorted(outcome.goals, key=lambda one: one.user_id),
        sorted(outcome.late, key=repr),
        sorted(outcome.pending, key=repr),
        outcome.outside_audience,
        sorted(outcome.stages, key=repr),
        sorted(outcome.receipts, key=repr),
        outcome.links,
        sorted(outcome.compared, key=lambda one: one.user_id),
    )


def same(got: model.Outcome, want: model.Outcome) -> None:
    """Field by field, so that a failure names what differs."""
    got, want = comparable(got), comparable(want)
    assert [_parsed(one) for one in got.decisions] == [_parsed(one) for one in want.decisions]
    assert got.stages == want.stages
    assert _of_each_event(got.goals) == _of_each_event(want.goals)
    assert got.late == want.late
    assert got.pending == want.pending
    assert got.outside_audience == want.outside_audience
    assert got.receipts == want.receipts
    assert got.links == want.links
    assert _of_each_event(got.compared) == _of_each_event(want.compared)


def _of_each_event(goals: list[GoalEvent]) -> list[GoalEvent]:
    """One event may attain the goals of several messages, in whatever order: they go by their ids."""
    return [
        one
        for _, those in groupby(goals, key=lambda one: (one.user_id, one.event_id))
        for one in sorted(those, key=lambda one: (one.plan, one.trigger_id, one.goal, one.dispatch_id or ""))
    ]


def _parsed(decision: Decision) -> Decision:
    """The content as what it says, not as it is spaced."""
    return decision._replace(content=decision.content and json.loads(decision.content))


def agreed(project: Project, *partitions: model.Partition, until: Micros | None = None) -> model.Outcome:
    """What the model says, and the engine both all at once and bit by bit; in the order of `comparable`."""
    said = model.expected(project, partitions, until)
    same(run(project, partitions, until), said)
    same(bit_by_bit(project, partitions, until), said)
    return comparable(said)
