"""CSV: a header, then a record a line; a quoted field may hold line ends. Blank lines are no records.

An empty cell is a null.

The delimiter is the one of comma, semicolon and tab that the header has most of (a comma when in doubt).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter
from flowops.errors import InputError
from flowops.settings.counted import counted
from flowops.sources.decode import decoder
from flowops.sources.files import Compression
from flowops.sources.layout import find_column
from flowops.sources.lines import MAX_RECORD, Lines
from flowops.sources.values import Reason, UnfitError

_SAMPLE = 200
_TEXT = ("string", "zone", "event_id", "optional_id")  # a cell that is not empty is one already
_UNCLOSED = "unexpected end of data"  # what the csv module says of a quote without its end

csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_RECORD))  # the module's own limit is 128 KiB, for all readers


class CsvFile:
    """A partition of CSV. Its position is (offset in decompressed bytes, records, 1 when it has ended)."""

    def __init__(
        self,
        path: Path,
        compression: Compression | None,
        source: Source,
        file: str,
        position: Sequence[int] | None,
        *,
        follow: bool,
    ) -> None:
        self.name = file
        self._source = source.name
        self._follow = follow
        self._decoder = decoder(source)
        self._lines = Lines(path, compression, follow=follow)
        try:
            self._read_header()
        finally:
            self._lines.forget()
        if position:
            self._lines.offset, self._count, self._ended = position
        else:
            self._count = self._ended = 0

    def _read_header(self) -> None:
        data = b"\n"
        while data and not data.strip():
            data = self._lines.lines(1).tobytes()
            self._lines.take(len(data))
        where = f"source `{self._source}`: {self.name}"
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise InputError(f"{where} is not UTF-8\n  try: save it as UTF-8") from None
        if not text or "\0" in text:
            raise InputError(f"{where} has no header line\n  try: name the columns in its first line")
        self._delimiter = max(",;\t", key=text.count)
        try:
            header = next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise InputError(
                f"{where}: its header cannot be read: {error}\n  try: one line, without line ends"
            ) from None
        self._width = len(header)
        self._columns = [find_column(where, slot, header) for slot in self._decoder.slots]

    def read(self, limit: int) -> Chunk | None:
        """The next records: about `limit` bytes, or one that is longer. None: at the end for now."""
        size = min(max(limit, 1), MAX_RECORD + 1)
        while not self._ended:
            first = self._count
            data = self._lines.lines(size).tobytes()
            if data:
                final = self._lines.final and not self._follow
                records, faults, used = self._split(data, final=final, longest=size > MAX_RECORD)
                if not used:
                    if self._lines.final:
                        self._lines.forget()
                        return None
                    size = min(4 * size, MAX_RECORD + 1)
                    continue
                self._lines.take(used)
                if not records:
                    continue
                unfinished = used == len(data) and not data.endswith(b"\n")
                chunk = self._chunk(first, records, faults, data, unfinished=unfinished)
            elif self._lines.oversized:
                fault = UnfitError("too_large", f"a record of more than {MAX_RECORD:,} bytes")
                chunk = Chunk(first, [None], [self._dead(first, fault, _text(self._lines.head(4 * _SAMPLE)))])
                if not self._lines.skip():
                    return None
            elif broken := self._lines.broken:
                fault = UnfitError(broken.reason, broken.detail)
                chunk = Chunk(first, [None], [self._dead(first, fault, _text(self._lines.head(4 * _SAMPLE)))])
                self._ended = 1
                self._lines.forget()
            else:
                return None
            self._count += len(chunk.rows)
            return chunk
        return None

    def position(self) -> tuple[int, ...]:
        """Just after the last record of the last chunk."""
        return self._lines.offset, self._count, self._ended

    def release(self) -> None:
        """Close the file; the next `read` opens it again."""
        self._lines.release()

    def close(self) -> None:
        """Nothing is read any more."""
        self._lines.forget()

    def _split(self, data: bytes, *, final: bool, longest: bool) -> tuple[list[list[str]], dict[int, UnfitError], int]:
        """The records in whole lines, the faults among them by index, and how many bytes they take.

        A record that has not ended is left for when there is more, unless there will be no more (`final`), or it is the
        first and there may be no more (`longest`). Then its quote was never closed, which costs the line on which it
        was opened, and no other.
        """
        text = _text(data)
        reader = csv.reader(StringIO(text, newline="\n"), delimiter=self._delimiter, strict=True)
        try:
            return [record for record in reader if record], {}, len(data)
        except csv.Error:
            pass
        lines = [line + "\n" for line in text.split("\n")]
        lines[-1] = lines[-1][:-1]
        if not lines[-1]:
            lines.pop()
        records: list[list[str]] = []
        faults: dict[int, UnfitError] = {}
        begin = done = 0
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while done < len(lines):
            try:
                for record in reader:
                    done = begin + reader.line_num
                    if record:
                        records.append(record)
            except csv.Error as error:
                start, fault = done, UnfitError("unparseable", str(error))
                done = begin + reader.line_num
                if str(error) == _UNCLOSED:
                    done = start + 1
                    if not (final or (longest and start == 0)):
                        done = start
                        break
                    reason: Reason = "truncated" if final and done == len(lines) else "unparseable"
                    fault = UnfitError(reason, "a quote is opened and never closed")
                    begin, reader = done, csv.reader(lines[done:], delimiter=self._delimiter, strict=True)
                faults[len(records)] = fault
                records.append(["".join(lines[start:done])])
        return records, faults, sum(len(line.encode("utf-8", "surrogateescape")) for line in lines[:done])

    def _chunk(
        self, first: int, records: list[list[str]], faults: dict[int, UnfitError], data: bytes, *, unfinished: bool
    ) -> Chunk:
        for number, record in enumerate(records):
            if len(record) != self._width and number not in faults:
                is_cut = unfinished and number == len(records) - 1
                detail = f"expected {counted(self._width, 'field')}, as in the header, got {len(record)}"
                faults[number] = UnfitError("truncated" if is_cut else "field_count", detail)
        if b"\0" in data or not _is_utf8(data):
            used = [column for column in self._columns if column is not None]
            for number, record in enumerate(records):
                if number not in faults and any("\0" in record[n] or not _is_utf8(record[n]) for n in used):
                    faults[number] = UnfitError("unparseable", "a field is not UTF-8, or has a NUL byte in it")
        good = [record for number, record in enumerate(records) if number not in faults] if faults else records
        cells = list(zip(*good, strict=True)) or [()] * self._width
        columns = [None if column is None else [cell or None for cell in cells[column]] for column in self._columns]
        converts = [
            None if slot.kind in _TEXT or (slot.kind == "id" and column and None not in column) else convert
            for slot, column, convert in zip(self._decoder.slots, columns, self._decoder.converts, strict=True)
        ]
        rows, bad = self._decoder.table(columns, converts)
        if faults:
            places = [number for number in range(len(records)) if number not in faults]
            faults |= {places[number]: fault for number, fault in bad}
            at = dict(zip(places, rows, strict=True))
            rows = [at.get(number) for number in range(len(records))]
        else:
            faults = dict(bad)
        dead = [
            self._dead(first + number, faults[number], self._delimiter.join(records[number]))
            for number in sorted(faults)
        ]
        return Chunk(first, rows, dead)

    def _dead(self, position: int, fault: UnfitError, text: str) -> DeadLetter:
        sample = text[:_SAMPLE].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return DeadLetter(self._source, self.name, position, fault.reason, fault.detail, sample)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="surrogateescape")


def _is_utf8(data: bytes | str) -> bool:
    try:
        return bool(data.encode() if isinstance(data, str) else data.decode()) or True
    except UnicodeError:
        return False
