"""Sources: what a source of the project names, read as rows, with a position at which reading goes on.

`expand` lists the files of a source, `open_partition` opens one of them. A file per format: `jsonl`, `csv`, `parquet`;
below them `files` (paths and bytes), `lines`, `layout` (where fields stand), `values` (types) and `decode` (rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from flowops.core.plan import Source
from flowops.core.records import Chunk
from flowops.errors import InputError
from flowops.sources.files import READABLE, expand, file_format

__all__ = ["Partition", "Position", "expand", "open_partition"]

Position: TypeAlias = Sequence[int]
"""Where a partition goes on: a tuple of integers, opaque, for `msgpack`; a list of them is as good."""


class Partition(Protocol):
    """One file of a source, while it is being read."""

    @property
    def name(self) -> str:
        """The file, as it was given to `open_partition`."""

    def read(self, limit: int) -> Chunk | None:
        """The next records, at least one: about `limit` bytes of input; None: at the end for now.

        Records are numbered from 0, bad ones too (`Chunk.first + index`), however the reads fall. Raises `InputError`
        when the file cannot be opened any more, or is shorter than what was read of it.
        """

    def position(self) -> tuple[int, ...]:
        """Just after the last record of the last chunk; `open_partition` goes on there."""

    def release(self) -> None:
        """Give the file handle and what was read ahead back; the next `read` opens the file again where it was.

        For partitions that wait. Parquet decodes the row group again up to its row.
        """

    def close(self) -> None:
        """Called once, when nothing more is read."""


def open_partition(
    folder: Path, source: Source, file: str, position: Position | None = None, *, follow: bool = False
) -> Partition:
    """The partition `file` (as `expand` gave it) of a source, from `position` on.

    `follow`: the file may still grow, so an unfinished last record is left for later; without, it is the last record.
    No file stays open before the first `read`. Raises `InputError` for a file that cannot be read, is not what its
    suffix says, or lacks a column that the mapping names.
    """
    known = file_format(file)
    if known is None:
        raise InputError(f"source `{source.name}`: `{file}` has no suffix that can be read\n  try: {READABLE}")
    format_, compression = known
    path = folder / file
    if format_ == "jsonl":
        from flowops.sources.jsonl import JsonLines  # noqa: PLC0415 - only what is used is loaded

        return JsonLines(path, compression, source, file, position, follow=follow)
    if format_ == "csv":
        from flowops.sources.csv import CsvFile  # noqa: PLC0415

        return CsvFile(path, compression, source, file, position, follow=follow)
    from flowops.sources.parquet import ParquetTable  # noqa: PLC0415

    return ParquetTable(path, source, file, position)
