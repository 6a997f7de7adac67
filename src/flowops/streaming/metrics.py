"""What a live run counts, in shared memory: every metric with its meaning, and the table that workers write to.

The table is an array of 64-bit integers in a file of its own. Each worker has a row with a cell for every series of
every family, which only its dataflow's thread writes; times are kept in microseconds. Each reader has slots for its
partitions. The supervisor sums the rows when it is asked (`monitor`). Nothing is counted per record: workers add what a
batch or an epoch brought. Nothing in it is state, and a replay has none.

Counters go on when the workers are restarted. What a crash undid is counted again when it is done again.
"""

from __future__ import annotations

import mmap
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from flowops.core.effects import LOSSES
from flowops.core.plan import Project
from flowops.core.records import Micros
from flowops.core.state import KINDS
from flowops.sources.values import Reason
from flowops.streaming.pace import READERS

Labels: TypeAlias = tuple[str, ...]

OTHER: Final = "other"
"""Stands in the labels of what is counted under a name that the project does not list."""

RESULTS: Final = ("accepted", "failed", "expired")
"""What becomes of a command that was given to a channel's outlet."""

SNAPSHOT_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
EPOCH_BUCKETS: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `values`: of its labels in this project; `sparse`: a series without a count is not shown."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    values: Callable[[Project], Iterable[Labels]] = lambda _: [()]
    buckets: tuple[float, ...] = ()
    sparse: bool = False


def _plans(project: Project) -> Iterable[Labels]:
    return [(plan.id,) for plan in project.plans]


def _sources(project: Project) -> Iterable[Labels]:
    return [(source.name,) for source in project.sources]


RECORDS_READ = Family(
    "flowops_records_read_total",
    "counter",
    "Records read, bad ones too.",
    ("source", "kind"),
    lambda project: [(source.name, source.kind) for source in project.sources],
)
LATE = Family(
    "flowops_late_records_total",
    "counter",
    "Records that came after their partition's watermark (S9).",
    ("source",),
    _sources,
)
DEAD = Family(
    "flowops_dead_letters_total",
    "counter",
    "Records that could not be read (S3).",
    ("source", "reason"),
    lambda project: product((source.name for source in project.sources), get_args(Reason)),
    sparse=True,
)
TRIGGERS = Family(
    "flowops_triggers_total",
    "counter",
    "Triggers that fired, whatever was decided, each once, from its first decision on; one whose event comes again when"
    " nothing of it is remembered any more (S4) counts again, as it does not in the warehouse.",
    ("plan",),
    _plans,
)
LOSSES_BY_REASON = Family(
    "flowops_losses_total",
    "counter",
    "Attempts that were lost, by the first reason against them (S22); of an event that comes again as of triggers.",
    ("plan", "reason"),
    lambda project: product((plan.id for plan in project.plans), LOSSES),
    sparse=True,
)
DISPATCHES = Family(
    "flowops_dispatches_total",
    "counter",
    "Commands that a channel's outlet has done with; files and the terminal accept all.",
    ("channel", "result"),
    lambda project: product((channel.name for channel in project.channels), RESULTS),
)
IN_FLIGHT = Family(
    "flowops_commands_in_flight",
    "gauge",
    "Commands given to a channel's outlet and not yet done with.",
    ("channel",),
    lambda project: [(channel.name,) for channel in project.channels],
)
LIVE_USERS = Family("flowops_live_users", "gauge", "Users of whom something is remembered.")
PENDING = Family(
    "flowops_pending_instances",
    "gauge",
    "What waits for a timer, by kind; counted once a minute, from a sample where a shard has more than 2,000 users.",
    ("kind",),
    lambda _: [(kind,) for kind in KINDS],
)
SNAPSHOT = Family(
    "flowops_snapshot_seconds",
    "histogram",
    "Time that one shard took to save what had changed, once per epoch.",
    buckets=SNAPSHOT_BUCKETS,
)
EPOCH = Family("flowops_epoch_seconds", "histogram", "From the end of one epoch to the next.", buckets=EPOCH_BUCKETS)
UNREACHABLE = Family(
    "flowops_source_unreachable",
    "gauge",
    "Readers for which the source cannot be reached; 0 is well.",
    ("source",),
    _sources,
)

COUNTED: Final = (
    RECORDS_READ,
    LATE,
    DEAD,
    TRIGGERS,
    LOSSES_BY_REASON,
    DISPATCHES,
    IN_FLIGHT,
    LIVE_USERS,
    PENDING,
    SNAPSHOT,
    EPOCH,
    UNREACHABLE,
)
"""What workers write to the table."""

LAG = Family(
    "flowops_consumer_lag_records",
    "gauge",
    "Records of a partition that have not been read yet, where its source can tell (not for files).",
    ("source", "partition"),
)
WATERMARK_DELAY = Family(
    "flowops_watermark_delay_seconds",
    "gauge",
    "Now less the watermark: the least over a source's partitions on this host.",
    ("source",),
)
EVENT_TIME = Family(
    "flowops_event_time_delay_seconds", "gauge", "Now less the watermark of all readers: how far decisions are behind."
)
PARTITIONS = Family("flowops_partitions", "gauge", "Partitions that readers of this host read.", ("source",))
EPOCH_AGE = Family("flowops_epoch_age_seconds", "gauge", "Since the reader that is furthest behind ended an epoch.")
RESTARTS = Family("flowops_worker_restarts_total", "counter", "Restarts of the workers by this supervisor.")
WORKERS = Family("flowops_workers", "gauge", "Workers of this host that are alive.")
READY = Family("flowops_ready", "gauge", "1 while /readyz answers 200.")
INFO = Family("flowops_info", "gauge", "Always 1: what runs here.", ("version", "project"))

DERIVED: Final = (LAG, WATERMARK_DELAY, EVENT_TIME, PARTITIONS, EPOCH_AGE, RESTARTS, WORKERS, READY, INFO)
"""What the supervisor knows or works out when it is asked."""

FAMILIES: Final = (*COUNTED, *DERIVED)

_SLOTS = 64  # partitions of one reader that are shown by name
_NAME = 64  # bytes of a partition's name
_SLOT = 3 + _NAME // 8  # source index + 1, watermark, lag, name
_BEAT = 1 + _SLOTS * _SLOT  # of a reader: when it last ended an epoch, then its slots
_UNKNOWN = -1

NO_MORE: Final = -1
"""The beat of a reader that has nothing to read and has ended."""


class Progress(NamedTuple):
    """How far a partition is. `lag`: records that have not been read, None where unknown."""

    source: int
    name: str
    watermark: Micros
    lag: int | None


class Layout:
    """Which cell of a row belongs to which series: the same for everybody who compiled the same project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.places: dict[Family, dict[Labels, int]] = {}
        self._gauges: list[int] = []
        size = 0
        for family in COUNTED:
            each = len(family.buckets) + 2 if family.kind == "histogram" else 1  # buckets, beyond them, sum
            places = self.places[family] = {}
            labels = [*family.values(project), *([(OTHER,) * len(family.labels)] if family.labels else [])]
            for one in labels:
                if one not in places:
                    places[one] = size
                    size += each
            if family.kind == "gauge":
                self._gauges += places.values()
        self.size = size

    @property
    def gauges(self) -> Sequence[int]:
        """Cells that begin at zero with each worker."""
        return self._gauges

    def place(self, family: Family, labels: Labels) -> int:
        """The cell of a series."""
        places = self.places[family]
        found = places.get(labels)
        return places[(OTHER,) * len(labels)] if found is None else found


class Table:
    """The table, mapped: `rows` of `layout.size` cells, then what each reader says."""

    def __init__(self, path: Path, layout: Layout, rows: int) -> None:
        self.layout = layout
        self.rows = rows
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _cells(layout, rows) * 8)
        self.cells = memoryview(self._map).cast("q")

    @staticmethod
    def create(path: Path, layout: Layout, rows: int) -> None:
        """Begin at zero."""
        path.write_bytes(bytes(_cells(layout, rows) * 8))

    def reader_at(self, reader: int) -> int:
        """Where the cells of a reader begin."""
        return self.rows * self.layout.size + reader * _BEAT

    def forget_readers(self) -> None:
        """Nobody reads anything: the workers are to begin anew."""
        for cell in range(self.rows * self.layout.size, len(self.cells)):
            self.cells[cell] = 0

    def sum(self, place: int) -> int:
        """A cell, over all rows."""
        return sum(self.cells[place : self.rows * self.layout.size : self.layout.size].tolist())

    def series(self, family: Family) -> Iterator[tuple[Labels, list[int]]]:
        """The series of a family with their sums; of a histogram: each bucket, what is beyond, the sum of values."""
        width = len(family.buckets) + 2 if family.kind == "histogram" else 1
        for labels, place in self.layout.places[family].items():
            found = [self.sum(place + cell) for cell in range(width)]
            if any(found) or not (family.sparse or OTHER in labels):
                yield labels, found

    def beats(self) -> list[Micros]:
        """When each reader of this host last ended an epoch (monotonic clock); `NO_MORE` for one that has ended."""
        return [beat for reader in range(READERS) if (beat := self.cells[self.reader_at(reader)])]

    def partitions(self) -> list[Progress]:
        """How far each partition is: of each reader the first few dozen."""
        found = []
        for reader in range(READERS):
            base = self.reader_at(reader) + 1
            for at in range(base, base + _SLOTS * _SLOT, _SLOT):
                source, watermark, lag = self.cells[at : at + 3].tolist()
                if source:
                    name = self.cells[at + 3 : at + _SLOT].tobytes().rstrip(b"\0").decode(errors="replace")
                    found.append(Progress(source - 1, name, watermark, None if lag == _UNKNOWN else lag))
        return found


class Meter:
    """What a worker writes: its own row, and the slots of its readers. To be called by its dataflow's thread only."""

    def __init__(self, path: Path, project: Project, row: int, rows: int) -> None:
        self._table = Table(path, Layout(project), rows)
        self._place = self._table.layout.place
        self._cells = self._table.cells
        self._base = row * self._table.layout.size
        self.timekeeper: int | None = None
        """The shard that measures the epochs of this worker."""
        for place in self._table.layout.gauges:
            self._cells[self._base + place] = 0

    def add(self, family: Family, count: int, *labels: str) -> None:
        """Count; for gauges too, which go down by a negative count."""
        self._cells[self._base + self._place(family, labels)] += count

    def put(self, family: Family, value: int, *labels: str) -> None:
        """Set a gauge of this worker."""
        self._cells[self._base + self._place(family, labels)] = value

    def observe(self, family: Family, seconds: float) -> None:
        """Take a value into a histogram."""
        at = self._base + self._place(family, ())
        self._cells[at + bisect_left(family.buckets, seconds)] += 1
        self._cells[at + len(family.buckets) + 1] += int(seconds * 1_000_000)

    def reader(self, reader: int, now: Micros, partitions: Sequence[Progress]) -> None:
        """An epoch of `reader` has ended at `now` (monotonic clock) or `NO_MORE`: how far its partitions are."""
        base = self._table.reader_at(reader)
        cells = self._cells
        for at, one in zip(range(base + 1, base + _BEAT, _SLOT), partitions, strict=False):
            cells[at], cells[at + 1] = one.source + 1, one.watermark
            cells[at + 2] = _UNKNOWN if one.lag is None else one.lag
            name = one.name.encode()[-_NAME:].ljust(_NAME, b"\0")
            cells[at + 3 : at + _SLOT] = memoryview(name).cast("q")
        cells[base] = now


def _cells(layout: Layout, rows: int) -> int:
    return rows * layout.size + READERS * _BEAT


def page() -> str:
    """The table of all metrics, for docs/metrics.md."""
    lines = ["| metric | type | labels | what it tells |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
