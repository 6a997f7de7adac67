"""Sources: what a source of the project names, read as rows, with a position at which reading goes on.

`connect` makes a source's connector (`base`), which lists its partitions and opens them: files here, `kafka`, `redis`.
A file per format of files: `jsonl`, `csv`, `parquet`; below them `files` (paths and bytes), `lines`, `layout` (where
fields stand), `values` (types) and `decode` (rows).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from flowops.core.plan import Source
from flowops.core.records import Chunk, Micros
from flowops.errors import InputError
from flowops.sources.base import Connector, Partition, Position
from flowops.sources.files import READABLE, expand, file_format
from flowops.sources.kafka import KafkaSettings
from flowops.sources.redis import RedisSettings

__all__ = [
    "Connection",
    "Connector",
    "KafkaSettings",
    "Partition",
    "Position",
    "RedisSettings",
    "connect",
    "expand",
    "open_partition",
]

Connection: TypeAlias = KafkaSettings | RedisSettings
"""How a source that is no files connects."""


def connect(
    folder: Path,
    source: Source,
    settings: Connection | None,
    *,
    follow: bool,
    bounds: Mapping[str, Position] | None = None,
) -> Connector:
    """The connector of a source; `settings` is None for one of files, which lie in `folder`.

    `follow`: it may grow. Else its partitions are those of `bounds`, and each ends there; without `bounds` it can only
    be asked (`ends`).
    """
    if isinstance(settings, KafkaSettings):
        from flowops.sources.kafka import KafkaTopic  # noqa: PLC0415 - only what is used is loaded

        return KafkaTopic(source, settings, follow=follow, bounds=bounds or {})
    if isinstance(settings, RedisSettings):
        from flowops.sources.redis import RedisKey  # noqa: PLC0415

        return RedisKey(source, settings, follow=follow, bounds=bounds or {})
    return Files(folder, source, follow=follow)


class Files:
    """The connector of a source of files: each is a partition, numbered by name."""

    def __init__(self, folder: Path, source: Source, *, follow: bool) -> None:
        self._folder = folder
        self._source = source
        self._follow = follow
        self._listed: dict[str, int] | None = None

    def partitions(self) -> Mapping[str, int]:
        """The files, as they were when this was asked first. Raises InputError for a source without any."""
        if self._listed is None:
            self._listed = {name: number for number, name in enumerate(expand(self._folder, self._source))}
        return self._listed

    def ends(self) -> Mapping[str, Position]:
        """Files end by themselves."""
        return {}

    def open(self, name: str, position: Position | None) -> Partition:
        """Open a file."""
        return open_partition(self._folder, self._source, name, position, follow=self._follow)


class _Format(Protocol):
    """What a format of files brings; as `Partition` has it."""

    name: str

    def read(self, limit: int) -> Chunk | None: ...

    def position(self) -> tuple[int, ...]: ...

    def release(self) -> None: ...

    def close(self) -> None: ...


class _File(Partition):
    """A file as a partition. One that may grow is caught up at the moment of a read that found nothing."""

    def __init__(self, file: _Format, *, follow: bool) -> None:
        self._file = file
        self._follow = follow
        self._caught_up: Micros | None = None
        self.name = file.name
        if not follow:
            self.read = file.read  # type: ignore[method-assign] # nobody asks when

    def read(self, limit: int) -> Chunk | None:
        """As the format reads; None: at the end for now."""
        asked = time.time_ns() // 1000
        chunk = self._file.read(limit)
        if chunk is None:
            self._caught_up = asked
        return chunk

    def ended(self) -> bool:
        """Whether the file does not grow."""
        return not self._follow

    def caught_up_at(self) -> Micros | None:
        """The moment of the last read that found nothing."""
        return self._caught_up

    def position(self) -> tuple[int, ...]:
        """As the format counts."""
        return self._file.position()

    def release(self) -> None:
        """Close the file until the next read."""
        self._file.release()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
    opened: Any
    if format_ == "jsonl":
        from flowops.sources.jsonl import JsonLines  # noqa: PLC0415 - only what is used is loaded

        opened = JsonLines(path, compression, source, file, position, follow=follow)
    elif format_ == "csv":
        from flowops.sources.csv import CsvFile  # noqa: PLC0415

        opened = CsvFile(path, compression, source, file, position, follow=follow)
    else:
        from flowops.sources.parquet import ParquetTable  # noqa: PLC0415

        opened = ParquetTable(path, source, file, position)
    return _File(opened, follow=follow)
