"""Parquet: row group by row group, a batch of rows at a time, the needed columns only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Micros
from flowops.core.time import DAY
from flowops.errors import InputError
from flowops.sources.decode import decoder
from flowops.sources.layout import Path as FieldPath
from flowops.sources.layout import Slot, find_column
from flowops.sources.values import FIRST, LAST, Convert, show, unfit

_SAMPLE = 200
_MOST_ROWS = 8192
_BUFFER = 256 * 1024  # of a column's pages; without, a row group's columns are held whole


class ParquetTable:
    """A partition of Parquet. Its position is (rows, 1 when it has ended)."""

    def __init__(self, path: Path, source: Source, file: str, position: Sequence[int] | None) -> None:
        self.name = file
        self._path = path
        self._source = source.name
        self._decoder = decoder(source)
        self._count, self._ended = position or (0, 0)
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        with self._open() as table:
            if self._count > table.metadata.num_rows:
                raise InputError(
                    f"{path} was read up to row {self._count}, but has only {table.metadata.num_rows} now: it is not "
                    "the file that it was\n  try: bring it back, or begin anew with `--fresh`"
                )
            paths = [path for field in table.schema_arrow for path in _fields(field, ())]
        names = [".".join(path) for path in paths]
        found = [find_column(f"source `{source.name}`: {file}", slot, names) for slot in self._decoder.slots]
        self._columns: list[FieldPath | None] = [None if at is None else paths[at] for at in found]

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path, buffer_size=_BUFFER, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(
                f"source `{self._source}`: {self.name} cannot be read as Parquet: {reason}\n"
                "  try: check the path, and that the file was written to its end"
            ) from None

    def read(self, limit: int) -> Chunk | None:
        """The next records: about `limit` bytes, at least one. None: at the end."""
        if self._ended:
            return None
        first = self._count
        try:
            if self._batches is None:
                self._batches = self._from(first)
            batch = self._batch if self._batch is not None else next(self._batches, None)
        except (pa.ArrowException, OSError) as error:
            self._ended = 1
            self._count += 1
            self.release()
            detail = f"the rows from here on cannot be read: {error}"
            return Chunk(first, [None], [DeadLetter(self._source, self.name, first, "corrupt", detail, "")])
        if batch is None:
            self.release()
            return None
        rows = max(1, min(batch.num_rows, max(limit, 1) * batch.num_rows // max(batch.nbytes, 1)))
        self._batch = batch.slice(rows) if rows < batch.num_rows else None
        self._count += rows
        return self._chunk(first, batch.slice(0, rows))

    def position(self) -> tuple[int, ...]:
        """Just after the last record of the last chunk."""
        return self._count, self._ended

    def release(self) -> None:
        """Close the file; the next `read` opens it again and goes to its row."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # a generator: it closes the file
        self._batches = self._batch = None

    def close(self) -> None:
        """Nothing is read any more."""
        self.release()

    def _from(self, start: int) -> Iterator[pa.RecordBatch]:
        """Batches of rows from row `start` on; row groups before it are not touched."""
        columns = sorted({".".join(path) for path in self._columns if path is not None})
        with self._open() as table:
            at = 0
            for group in range(table.num_row_groups):
                here = table.metadata.row_group(group)
                if at + here.num_rows <= start:
                    at += here.num_rows
                    continue
                size = max(1, min(_MOST_ROWS, (1 << 22) * here.num_rows // max(here.total_byte_size, 1)))
                for batch in table.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                    skip = min(max(start - at, 0), batch.num_rows)
                    at += batch.num_rows
                    if skip < batch.num_rows:
                        yield batch.slice(skip)

    def _chunk(self, first: int, batch: pa.RecordBatch) -> Chunk:
        columns: list[list[Any] | None] = []
        converts: list[Convert | None] = []
        for slot, path, convert in zip(self._decoder.slots, self._columns, self._decoder.converts, strict=True):
            if path is None:
                columns.append(None)
                converts.append(convert)
                continue
            array = batch.column(batch.schema.get_field_index(path[0]))
            if len(path) > 1:
                array = pc.struct_field(array, list(path[1:]))
            values, how = self._values(slot, array, convert)
            columns.append(values)
            converts.append(how)
        rows, bad = self._decoder.table(columns, converts)
        dead = []
        for number, fault in bad:
            shown = (f"{slot.label}: {show(column[number])}" for slot, column in self._given(columns))
            sample = ", ".join(shown)[:_SAMPLE]
            dead.append(DeadLetter(self._source, self.name, first + number, fault.reason, fault.detail, sample))
        return Chunk(first, rows, dead)

    def _given(self, columns: Sequence[list[Any] | None]) -> Iterator[tuple[Slot, list[Any]]]:
        for slot, column in zip(self._decoder.slots, columns, strict=True):
            if column is not None:
                yield slot, column

    def _values(self, slot: Slot, array: pa.Array, convert: Convert) -> tuple[list[Any], Convert | None]:
        """A column's values and how to convert them; its own times and dates need no reading."""
        kind = array.type
        if pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        clock = self._decoder.clock
        if pa.types.is_timestamp(kind):
            array = array.cast(pa.timestamp("us", kind.tz), safe=kind.unit != "ns")  # finer parts are cut off
            if slot.kind in ("time", "ts"):
                return array.cast(pa.int64()).to_pylist(), _instant(slot, clock.instant if kind.tz is None else None)
            if slot.kind == "date":
                local = array if kind.tz is None else pc.local_timestamp(array)
                return [None if at is None else at // DAY for at in local.cast(pa.int64()).to_pylist()], None
        elif pa.types.is_date(kind):
            days = array.cast(pa.date32()).cast(pa.int32()).to_pylist()
            if slot.kind == "date":
                return days, None
            if slot.kind in ("time", "ts"):
                return [None if day is None else day * DAY for day in days], _instant(slot, clock.instant)
        values = array.to_pylist()
        if pa.types.is_map(kind):
            values = [None if value is None else dict(value) for value in values]
        return values, convert


def _fields(field: pa.Field, above: FieldPath) -> Iterator[FieldPath]:
    """The paths of a column and of the fields inside it."""
    path = (*above, field.name)
    yield path
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _fields(inner, path)


def _instant(slot: Slot, local: Callable[[Micros], Micros] | None) -> Convert:
    """The reader of microseconds since the epoch; with `local`, of a wall clock's, which it turns into an instant."""

    def convert(value: Micros | None) -> Micros | None:
        if value is None:
            return None if not slot.required else unfit("missing_field", "a time", value)
        if not FIRST <= value <= LAST:
            unfit("bad_time", "a time of the years 1 to 9999", value)
        return value if local is None else local(value)

    return convert
