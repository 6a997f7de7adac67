"""Immutable segments: what one epoch landed, a folder of Parquet files that appears whole or not at all.

`<warehouse>/segments/00000007/decisions.parquet` is what the seventh sealed epoch decided; `00000001-00000200` stands
for the two hundred segments that were merged into it (`compact`). A name that begins with a dot is under way and
belongs to nobody once its writer is gone.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from flowops.errors import RunError, StateError
from flowops.warehouse.schema import RELATIONS, Relation

ROW_GROUP = 50_000
"""Rows that are buffered in memory before they are written out."""

_NAME = re.compile(r"(\d{8,})(?:-(\d{8,}))?")
OPEN, MERGING, GONE = ".open", ".merging", ".gone"
"""Folders under way: a segment being written, a merge, one being removed."""


class Segment(NamedTuple):
    """A folder that holds the segments `first` to `last`, both included."""

    first: int
    last: int
    path: Path


def root(folder: Path) -> Path:
    """Where the segments of the warehouse in `folder` are."""
    return folder / "segments"


def name(first: int, last: int) -> str:
    """The name of a folder of segments; it sorts by number."""
    return f"{first:08d}" if first == last else f"{first:08d}-{last:08d}"


def found(folder: Path) -> list[Segment]:
    """All complete folders, those that a merged one replaces included; by `first`, the widest first."""
    if not root(folder).is_dir():
        return []
    segments = []
    for path in root(folder).iterdir():
        if match := _NAME.fullmatch(path.name):
            first = int(match[1])
            segments.append(Segment(first, int(match[2] or first), path))
    return sorted(segments, key=lambda segment: (segment.first, -segment.last))


def standing(folder: Path, upto: int) -> list[Segment]:
    """The folders that together hold the segments 1 to `upto`, each exactly once; merged ones for what they replace.

    Raises StateError where one is missing, or where a merged one reaches beyond `upto`.
    """
    chosen: list[Segment] = []
    covered = 0
    for segment in found(folder):
        if segment.first == covered + 1 and segment.last <= upto:
            chosen.append(segment)
            covered = segment.last
    if covered != upto:
        raise StateError(
            f"{root(folder)}: segment {covered + 1} of {upto} is missing; the outcomes were changed by hand, or the "
            "state folder belongs to another warehouse: put it back, or begin anew with `flowops replay --fresh`"
        )
    return chosen


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(segment: Path) -> None:
    """Remove a folder of segments; it is gone at once, even if the removal is cut short."""
    gone = segment.parent / GONE
    if gone.exists():
        shutil.rmtree(gone)
    segment.rename(gone)
    shutil.rmtree(gone)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses (full, read-only, no permission), said as a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write the outcomes to {folder}: {error}; make room or give access, and resume"
        ) from error


class _Part:
    """The file of one relation in the segment under way: a buffer of columns before a Parquet writer.

    What is full is written `beside` whoever fills the buffer; `close` waits for it, and raises what it raised.
    """

    def __init__(self, relation: Relation, folder: Path, beside: ThreadPoolExecutor) -> None:
        self.path = folder / f"{relation.name}.parquet"
        self._relation = relation
        self._beside = beside
        self._writing: Future[None] | None = None
        self._columns: list[list[object]] = [[] for _ in relation.columns]
        self._writer = pq.ParquetWriter(
            self.path,
            relation.schema,
            compression="zstd",  # as quick as lz4 on rows of ids and labels, at half the size
            use_dictionary=[column.name for column in relation.columns if column.storage.repeats],
            write_statistics=[column.name for column in relation.columns if column.storage.ordered],
        )

    def add(self, columns: Sequence[Sequence[object]]) -> None:
        for buffered, values in zip(self._columns, columns, strict=True):
            buffered.extend(values)
        if len(self._columns[0]) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._columns[0]:
            table = self._relation.table(self._columns)
            self._writing = self._beside.submit(self._writer.write_table, table)
            self._columns = [[] for _ in self._relation.columns]

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def close(self) -> None:
        self._flush()
        self._wait()
        self._writer.close()
        sync(self.path)


class Segments:
    """The writer's side: collects the facts of an epoch and seals them. One at a time per warehouse.

    Built once per run with the number of segments that the run's own snapshot knows of: whatever lies beyond was
    sealed by an epoch that will be played again, and is removed. Raises StateError where a segment up to `sealed` is
    missing; every method raises RunError where the disk refuses or a value cannot be stored.
    """

    def __init__(self, folder: Path, sealed: int = 0) -> None:
        self._folder = folder
        self._sealed = sealed
        self._run = sealed
        self._parts: dict[str, _Part] = {}
        self._beside = ThreadPoolExecutor(1, "landing")
        self._open = root(folder) / OPEN
        with disk_errors(folder):
            root(folder).mkdir(parents=True, exist_ok=True)
            standing(folder, sealed)  # before anything is removed
            for segment in found(folder):
                if segment.last > sealed:
                    discard(segment.path)
            for leftover in (OPEN, MERGING, GONE):
                if (root(folder) / leftover).exists():
                    shutil.rmtree(root(folder) / leftover)

    @property
    def sealed(self) -> int:
        """How many segments are sealed: what a snapshot has to remember."""
        return self._sealed

    def add(self, relation: str, columns: Sequence[Sequence[object]]) -> None:
        """Add facts to the segment under way: the columns of the fact in their order, all of one length."""
        if not columns or not len(columns[0]):
            return
        if any(len(column) != len(columns[0]) for column in columns):
            raise ValueError(f"the columns of {relation} differ in length: {[len(column) for column in columns]}")
        if relation == "pending_facts":
            columns = (*columns, [self._run] * len(columns[0]))
        with disk_errors(self._folder):
            self._part(relation).add(columns)

    def state_pending(self, columns: Sequence[Sequence[object]]) -> None:
        """State what is pending as the run stops: columns of `effects.Pending`; without rows: that nothing is.

        All statements of one run add up; together they replace what earlier runs stated.
        """
        if columns and len(columns[0]):
            self.add("pending_facts", columns)
        else:
            nothing = [[None] for _ in RELATIONS["pending_facts"].columns[:-1]]
            with disk_errors(self._folder):
                self._part("pending_facts").add((*nothing, [self._run]))

    def _part(self, relation: str) -> _Part:
        part = self._parts.get(relation)
        if part is None:
            self._open.mkdir(exist_ok=True)
            part = self._parts[relation] = _Part(RELATIONS[relation], self._open, self._beside)
        return part

    def seal(self) -> int:
        """End the epoch: what was added becomes the next segment, at once and whole. Returns how many are sealed.

        Without anything added there is no segment and the number stays.
        """
        if not self._parts:
            return self._sealed
        with disk_errors(self._folder):
            for part in self._parts.values():
                part.close()
            sync(self._open)
            number = self._sealed + 1
            self._open.rename(root(self._folder) / name(number, number))
            sync(root(self._folder))
        self._parts = {}
        self._sealed = number
        return number
