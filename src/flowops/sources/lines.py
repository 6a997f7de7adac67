"""Whole lines out of a file, a block at a time, with the offset at which reading goes on: under JSON Lines and CSV."""

from __future__ import annotations

from pathlib import Path

from flowops.errors import InputError
from flowops.sources.files import BrokenStreamError, ByteStream, Compression

MAX_RECORD = 1 << 20
"""The longest record, in bytes without its line end (S3)."""

_LEAST = 4096
_BLOCK = 256 * 1024
_CHEAP = 4 << 20  # this much is decompressed again in some milliseconds
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Lines:
    """The lines of a file from `offset` (in decompressed bytes) on.

    `lines` gives a block and `take` moves past as much of it as was used; until then the same block is given again.
    `follow`: an unfinished last line is left until its end has been written.
    """

    def __init__(self, path: Path, compression: Compression | None, *, follow: bool) -> None:
        self.offset = 0
        self.broken: BrokenStreamError | None = None
        """Why nothing follows what was read, but for an unfinished line that nobody can trust (`head`)."""
        self.final = False
        """Whether no line follows those that `lines` gave, for now."""
        self._path = path
        self._compression: Compression | None = compression
        self._follow = follow
        self._stream: ByteStream | None = None
        self._buffer = bytearray()  # one, read into again and again: a fresh one costs page faults
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # what has been read and not been taken
        self._at_end = False

    def lines(self, limit: int) -> memoryview:
        """Whole lines: at most `limit` bytes of them, or else one line. Good until the next call.

        Empty at the end (see `broken`), or when the next line is over `MAX_RECORD` (then `oversized`). Without
        `follow`, what stands behind the last line end is a line too. Raises `InputError` when the file cannot be
        opened.
        """
        self._fill(limit)
        if self._at_end and self._end - self._start <= limit:
            cut = self._end if self._counts_unfinished else self._buffer.rfind(b"\n", self._start, self._end) + 1
        else:
            cut = self._buffer.rfind(b"\n", self._start, self._start + limit) + 1 or self._end_of_line()
        cut = max(cut, self._start)
        self.final = self._at_end and (
            cut == self._end if self._counts_unfinished else self._buffer.find(b"\n", cut, self._end) < 0
        )
        if cut == self._start and self._follow and self._compression and not (self.oversized or self.broken):
            self.forget()  # a decompressor that met its end cannot go on
            return self._view
        return self._view[self._start : cut]

    def _end_of_line(self) -> int:
        """Where the next line ends in the buffer, reading on until that is known; 0: nowhere, or too far."""
        while True:
            start, have = self._start, self._end - self._start
            cut = self._buffer.find(b"\n", start, start + min(have, MAX_RECORD + 1)) + 1
            if cut or have > MAX_RECORD:
                return cut
            if self._at_end:
                return self._end if self._counts_unfinished else 0
            self._fill(2 * have)

    @property
    def _counts_unfinished(self) -> bool:
        return not self._follow and self.broken is None

    @property
    def oversized(self) -> bool:
        """Whether the next line is known to be longer than `MAX_RECORD`."""
        start = self._start
        return self._end - start > MAX_RECORD and self._buffer.find(b"\n", start, start + MAX_RECORD + 1) < 0

    def head(self, size: int) -> bytes:
        """At most `size` bytes of what comes next, as far as it has been read."""
        return bytes(self._view[self._start : min(self._start + size, self._end)])

    def take(self, size: int) -> None:
        """Move on by `size` bytes of what `lines` gave."""
        self._start += size
        self.offset += size

    def skip(self) -> bool:
        """Move past an oversized line, a block of it at a time; False: its end is not yet there (`follow`)."""
        begin = self.offset
        while self._start < self._end:
            end = self._buffer.find(b"\n", self._start, self._end)
            if end >= 0:
                self.take(end + 1 - self._start)
                return True
            self.take(self._end - self._start)
            self._fill(_BLOCK)
        if self._follow:
            self.forget()
            self.offset = begin
        return not self._follow

    def release(self) -> None:
        """Close the file; the next `lines` opens it again where it was.

        A decompressor is kept only where going there again would take long, since each holds a window of some MiB.
        """
        if self._stream is None or not self._compression or self.offset < _CHEAP or (self._follow and self._at_end):
            self.forget()
            return
        self._stream.pause()
        rest = self.head(self._end - self._start)
        self._buffer = bytearray(rest)
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, len(rest)

    def forget(self) -> None:
        """Close the file and drop all that was read ahead; the next `lines` begins anew at `offset`."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._at_end = False
        self.broken = None

    def _fill(self, wanted: int) -> None:
        """Have `wanted` bytes, if there are as many."""
        wanted = max(wanted, _LEAST)
        have = self._end - self._start
        if have >= wanted:
            return
        rest = self._view[self._start : self._end]
        if wanted > len(self._buffer):
            self._buffer = bytearray(wanted)
            self._view = memoryview(self._buffer)
        self._view[:have] = rest
        self._start, self._end = 0, have
        self._at_end = False
        while self._end < wanted and not self._at_end:
            size = self._read_into(self._view[self._end : wanted])
            self._end += size
            self._at_end = size == 0
        if self.offset == 0:
            head = self.head(3)
            if head.startswith(_UTF16):
                self.forget()
                raise InputError(f"{self._path} is UTF-16\n  try: save it as UTF-8")
            if head == _BOM:
                self.take(len(_BOM))

    def _read_into(self, view: memoryview) -> int:
        if self.broken:
            return 0
        try:
            if self._stream is None:
                self._stream = ByteStream(self._path, self._compression, self.offset)
            return self._stream.readinto(view)
        except BrokenStreamError as error:
            if not (self._follow and error.reason == "truncated"):
                self.broken = error
            return 0
