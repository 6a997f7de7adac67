"""The engine without its dataflow: an intake for each partition, the shards, and what comes out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flowops.core.effects import Effects, Pending
from flowops.core.intake import Intake
from flowops.core.plan import Project, Source
from flowops.core.records import BEFORE_ALL, SHARDS, Batch, Chunk, LateRecord, Micros, Record
from flowops.core.shard import Shard

S = TypeVar("S", bound=Shard)


@dataclass(slots=True)
class Machine(Generic[S]):
    """Fed by hand, it does what a run does: S5 to S9 are those of `Intake` and `Shard`.

    Args:
        project: what to run.
        sources: of each partition, its source; partitions count in this order (S7).
        names: of each partition.
        make: makes a shard.
        shards: the numbers of the shards that anything may come to; the others are left out.
        began: by source, when its history begins, where that is before its first record (S12a).
        keep: which records matter; left out: all.
    """

    project: Project
    sources: Sequence[Source]
    names: Sequence[str]
    make: Callable[[int, Project, int], S]
    shards: Iterable[int] | None = None
    began: Mapping[int, Micros] = field(default_factory=dict)
    keep: Callable[[Record], bool] | None = None
    at_work: Mapping[int, S] = field(init=False)
    intakes: list[Intake] = field(init=False)
    _until: Micros = field(init=False, default=BEFORE_ALL)

    def __post_init__(self) -> None:
        numbers = range(self.project.shards) if self.shards is None else self.shards
        self.at_work = {number: self.make(number, self.project, len(self.sources)) for number in numbers}
        attributes, spread = self.project.attributes, self.project.shards
        self.intakes = [
            Intake(number, source, name, attributes, spread)
            for number, (source, name) in enumerate(zip(self.sources, self.names, strict=True))
        ]

    def feed(self, partition: int, chunk: Chunk | None) -> None:
        """The next records of a partition; None: it has ended."""
        intake = self.intakes[partition]
        into: list[list[Record]] = [[] for _ in range(SHARDS)]
        late: list[list[LateRecord]] = [[] for _ in range(SHARDS)]
        if chunk is None:
            intake.end()
        else:
            intake.take(chunk, into, late)
        began = dict(self.began)
        if intake.first is not None:
            source = self.sources[partition].index
            began[source] = min(intake.first, began.get(source, intake.first))
        watermark, highest = intake.watermark, max(intake.highest, self._until)
        dead = [] if chunk is None else chunk.dead  # of no user, so they go with the first shard
        for number, shard in self.at_work.items():
            records = into[number] if self.keep is None else list(filter(self.keep, into[number]))
            shard.receive(Batch(number, partition, watermark, highest, records, late[number], dead, began))
            dead = []

    def until(self, instant: Micros) -> None:
        """Time goes on until then once all partitions have ended; say it before they end."""
        self._until = instant

    def advance(self) -> Iterable[Effects]:
        """What follows from all that was fed since the last time."""
        return [shard.advance() for shard in self.at_work.values()]

    def pending(self) -> list[Pending]:
        """What still waits."""
        return [row for shard in self.at_work.values() for row in shard.pending()]
