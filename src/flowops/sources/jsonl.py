"""JSON Lines: a record is a JSON object on a line of its own. Blank lines are none, and are not counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowops.core.plan import Source
from flowops.core.records import Chunk, DeadLetter, Row
from flowops.sources.decode import decoder
from flowops.sources.files import Compression
from flowops.sources.lines import MAX_RECORD, Lines
from flowops.sources.values import Reason

_SAMPLE = 200


class JsonLines:
    """A partition of JSON lines. Its position is (offset in decompressed bytes, records, 1 when it has ended)."""

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
        self._decoder = decoder(source)
        self._lines = Lines(path, compression, follow=follow)
        self._lines.offset, self._count, self._ended = position or (0, 0, 0)
        if not position:
            self._lines.lines(1)  # a file that cannot be read is refused now
            self._lines.release()

    def read(self, limit: int) -> Chunk | None:
        """The next records: about `limit` bytes, or one that is longer. None: at the end for now."""
        while not self._ended:
            first = self._count
            rows: Sequence[Row | None] = [None]
            dead: list[DeadLetter] = []
            unit = 1
            data = self._lines.lines(max(limit, 1)).tobytes()
            if data:
                block = self._block(data) if len(data) <= MAX_RECORD else None
                if block is None:
                    rows, dead = self._line_by_line(data)
                else:
                    rows, unit = block, self._decoder.unit
                self._lines.take(len(data))
                if not rows:
                    continue
            elif self._lines.oversized:
                dead = [self._too_large(self._lines.head(4 * _SAMPLE), first)]
                if not self._lines.skip():
                    return None
            elif broken := self._lines.broken:
                dead = [self._dead(first, broken.reason, broken.detail, self._lines.head(4 * _SAMPLE))]
                self._ended = 1
                self._lines.forget()
            else:
                return None
            self._count += len(rows)
            return Chunk(first, rows, dead, unit)
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

    def _block(self, data: bytes) -> Sequence[Row | None] | None:
        """The rows of whole lines, each as declared; None where one of them needs a closer look."""
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return self._decoder.block(lines)

    def _line_by_line(self, data: bytes) -> tuple[list[Row | None], list[DeadLetter]]:
        lines = [line for line in data.split(b"\n") if line and not line.isspace()]
        rows, bad = self._decoder.lines(lines)
        dead: list[DeadLetter] = []
        unfinished = not data.endswith(b"\n")
        for number, error in bad:
            line, at = lines[number], self._count + number
            reason, detail = error.reason, error.detail
            if reason == "unparseable" and unfinished and number == len(lines) - 1:
                reason, detail = "truncated", f"the last line has no end: {detail}"
            elif line.lstrip().startswith(b"["):
                detail += "; if the file is one JSON array, write its records one to a line"
            dead.append(self._dead(at, reason, detail, line))
        if len(data) > MAX_RECORD:
            long = [number for number, line in enumerate(lines) if len(line) > MAX_RECORD]
            dead = [letter for letter in dead if letter.position - self._count not in long]
            for number in long:
                rows[number] = None
                dead.append(self._too_large(lines[number], self._count + number))
            dead.sort(key=lambda letter: letter.position)
        return rows, dead

    def _too_large(self, line: bytes, position: int) -> DeadLetter:
        return self._dead(position, "too_large", f"a line of more than {MAX_RECORD:,} bytes", line)

    def _dead(self, position: int, reason: Reason, detail: str, line: bytes) -> DeadLetter:
        sample = line[: 4 * _SAMPLE].decode(errors="replace")[:_SAMPLE]
        return DeadLetter(self._source, self.name, position, reason, detail, sample)
