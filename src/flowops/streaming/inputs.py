"""The inputs of a run: the project's sources, connected, and their partitions, numbered and dealt to readers.

Numbers and owners depend on nothing that may change between two starts: a partition that is added renumbers none, and
no reader asks for one that another has in its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

from flowops.core.plan import Project, Source
from flowops.sources import Connection, Connector, Partition, Position, connect
from flowops.streaming.pace import READERS

Bounds: TypeAlias = Mapping[str, Mapping[str, Position]]
"""By source that is no files: the partitions that it had when the run began; of a bounded run with where each ends."""

_PER_SOURCE = 16  # bits of a partition's number within its source: with 40 of a position, 7 are left for the source


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """One partition of all that are read: `place` is its number within its source."""

    source: Source
    name: str
    place: int

    @property
    def number(self) -> int:
        """Its place in the order of S7: by source as listed, then within the source."""
        return self.source.index << _PER_SOURCE | self.place

    @property
    def key(self) -> str:
        """Its name over all sources."""
        return f"{self.source.name}/{self.name}"


class Inputs:
    """The sources of a project. `connections` has those that are no files; `follow`: they may grow.

    `own` has the connectors of what the engine writes to itself, by the name of the source.
    `bounds` are None for a run that is about to begin: then it can only be asked for them.
    """

    def __init__(
        self,
        project: Project,
        folder: Path,
        connections: Mapping[str, Connection],
        *,
        follow: bool,
        bounds: Bounds | None = None,
        own: Mapping[str, Connector] | None = None,
    ) -> None:
        self.project = project
        self.follow = follow
        self.growing = frozenset(connections) if follow else frozenset[str]()
        """Sources whose partitions may become more."""
        self._bounds = bounds or {}
        self._connectors: dict[str, Connector] = dict(own or {})
        for source in project.sources:
            name = source.name
            if name not in self._connectors:
                self._connectors[name] = connect(
                    folder, source, connections.get(name), follow=follow, bounds=self._bounds.get(name)
                )
        self._connections = connections

    def bounds(self) -> Bounds:
        """What a run that begins now begins with. Raises ConfigError for an input that is not there."""
        found: dict[str, Mapping[str, Position]] = {}
        for name in self._connections:
            connector = self._connectors[name]
            found[name] = dict.fromkeys(connector.partitions(), ()) if self.follow else dict(connector.ends())
        return found

    def partitions(self) -> Iterator[PartitionSpec]:
        """All partitions, as far as they are known by now. Raises ConfigError for an input that is not there."""
        for source in self.project.sources:
            yield from self._of(source)

    def files(self) -> Iterator[PartitionSpec]:
        """Those that are files; nothing else is asked."""
        return (
            spec for source in self.project.sources if source.name not in self._connections for spec in self._of(source)
        )

    def of_reader(self, number: int) -> Iterator[PartitionSpec]:
        """The partitions that a reader owns."""
        return (spec for spec in self.partitions() if self._owner(spec) == number)

    def was_added(self, spec: PartitionSpec) -> bool:
        """Whether the partition was not there yet when the run began."""
        return spec.source.name in self._bounds and spec.name not in self._bounds[spec.source.name]

    def open(self, spec: PartitionSpec, position: Position | None) -> Partition:
        """The partition, from a position on."""
        return self._connectors[spec.source.name].open(spec.name, position)

    def _of(self, source: Source) -> Iterator[PartitionSpec]:
        for name, place in self._connectors[source.name].partitions().items():
            yield PartitionSpec(source, name, place)

    def _owner(self, spec: PartitionSpec) -> int:
        """The reader of a partition.

        A followed file's is told by its name, since files that are added between two starts renumber others. A
        partition that is added to a source belongs to a reader that has one of it already, so that there is no reader
        which has told all that its input has ended, and then gets one.
        """
        if self.follow and spec.source.name not in self._connections:
            return crc32(spec.key.encode()) % READERS
        place = spec.place
        if self.was_added(spec):
            place %= len(self._bounds[spec.source.name])
        return (spec.source.index + place) % READERS
