"""Files: which ones a source names, and their bytes, plain or decompressed. What the bytes mean, the formats know.

A compressed file is decompressed a block at a time (at most 256 KiB of output), so neither a line of 50 MB nor a
megabyte that was squeezed into a hundred bytes is ever held whole.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from glob import has_magic
from glob import iglob as find
from io import FileIO
from pathlib import Path
from typing import Literal

import zstandard

from flowops.core.plan import Source
from flowops.errors import InputError

Format = Literal["jsonl", "csv", "parquet"]
Compression = Literal["gz", "zst"]

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}

READABLE = f"{', '.join(SUFFIXES)}; all but .parquet also with {' or '.join(COMPRESSIONS)}"
_RAW = 64 * 1024
_PIECE = 256 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_ZSTD_HEADER = 18  # the longest frame header
_ZSTD_WINDOW = 1 << 27  # as the command line tool: larger windows need --long


class BrokenStreamError(Exception):
    """A compressed file that ends early or is damaged; what came before has been given out."""

    def __init__(self, reason: Literal["truncated", "corrupt"], detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def file_format(name: str) -> tuple[Format, Compression | None] | None:
    """What a file's suffix says that it is; None where it says nothing that can be read."""
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a name, not a path
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    format_ = SUFFIXES.get(suffix)
    if format_ is None or (compression and format_ == "parquet"):
        return None
    return format_, compression


def expand(folder: Path, source: Source) -> list[str]:
    """The files of a source, sorted, each once: relative to `folder` (with `/`) where below it, else absolute.

    `source.files` are files, folders (all data files in them, without sub-folders, hidden files or names that begin
    with `_`) or globs (`**` passes through folders; a folder that matches counts as a folder).
    Raises `InputError` when one of them names nothing, or a file whose suffix says no format.
    """
    base = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they are written
    found: set[str] = set()
    for pattern in source.files:
        files, empty_folder = matching(base, pattern)
        for file in files:
            if file_format(file) is None:
                raise InputError(
                    f"source `{source.name}`: `{_shown(base, file)}` has no suffix that says its format\n"
                    f"  try: rename it, or narrow `{pattern}`; what can be read: {READABLE}"
                )
        if not files:
            raise InputError(_nothing(source.name, pattern, base, empty_folder=empty_folder))
        found |= files
    return sorted(_shown(base, file) for file in found)


def matching(base: Path, pattern: str) -> tuple[set[str], bool]:
    """The files that an entry of `file:` names, whatever their suffix; whether it named a folder without data files."""
    full = os.path.normpath(base / pattern)
    is_glob = has_magic(pattern) and not os.path.lexists(full)
    matches = find(full, recursive=True) if is_glob else [full]  # noqa: PTH207 - patterns may be absolute
    files: set[str] = set()
    empty_folder = False
    for match in matches:
        if os.path.isdir(match):  # noqa: PTH112
            inside = _in_folder(match)
            files.update(inside)
            empty_folder = empty_folder or not inside
        elif os.path.exists(match):  # noqa: PTH110
            if is_glob and os.path.basename(match).startswith("_") and file_format(match) is None:  # noqa: PTH119
                continue  # the marks that batch jobs leave: _SUCCESS
            files.add(match)
    return files, empty_folder


def _in_folder(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if entry.is_file() and not entry.name.startswith((".", "_")) and file_format(entry.name)
        ]


def _shown(base: Path, file: str) -> str:
    path = Path(file)
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _nothing(source: str, pattern: str, base: Path, *, empty_folder: bool) -> str:
    if empty_folder:
        return f"source `{source}`: the folder `{pattern}` has no data files\n  what can be read: {READABLE}"
    what = "no file matches" if has_magic(pattern) else "there is no file"
    parent = (base / pattern).parent
    hint = f"check the path; it is looked up from {base}"
    if not has_magic(str(parent)) and parent.is_dir():
        there = sorted(path.name for path in parent.iterdir() if path.is_dir() or file_format(path.name))
        if there:
            more = ", ..." if len(there) > 8 else ""
            hint = f"{_shown(base, str(parent))}/ has: {', '.join(there[:8])}{more}"
    return f"source `{source}`: {what} `{pattern}`\n  try: {hint}"


class _Handle:
    """A file that may be closed between reads, and is opened again where it was; `InputError` if it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._file: FileIO | None = None
        self._opened()

    def _opened(self) -> FileIO:
        if self._file is None:
            try:
                self._file = FileIO(str(self._path))
                self._file.seek(self._at)
            except OSError as error:
                raise InputError(
                    f"{self._path} cannot be read: {error.strerror}\n  try: check the path and its rights"
                ) from None
        return self._file

    def size(self) -> int:
        return os.fstat(self._opened().fileno()).st_size

    def skip(self, size: int) -> None:
        self._at = self._opened().seek(size, os.SEEK_CUR)

    def read(self, size: int) -> bytes:
        data = self._opened().read(size) or b""
        self._at += len(data)
        return data

    def readinto(self, view: memoryview) -> int:
        size = self._opened().readinto(view) or 0
        self._at += size
        return size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class ByteStream:
    """The (decompressed) bytes of a file from an offset on. Raises `InputError` when the file cannot be opened."""

    def __init__(self, path: Path, compression: Compression | None, offset: int) -> None:
        self._file = _Handle(path)
        try:
            self._pieces = self._start(path, compression)
            self._rest = memoryview(b"")
            self._skip(path, offset)
        except BaseException:
            self._file.close()
            raise

    def _start(self, path: Path, compression: Compression | None) -> Iterator[bytes] | None:
        if compression is None:
            return None
        head = self._file.read(4)
        self._file.skip(-len(head))
        if compression == "gz":
            known = head[:2] == _GZIP_MAGIC[: len(head)]
        else:
            known = head == _ZSTD_MAGIC[: len(head)] or int.from_bytes(head, "little") in _ZSTD_SKIPPABLE
        if not known:
            raise InputError(
                f"{path} is named .{compression}, but does not begin like one\n  try: name it as what it is"
            )
        return (_gunzip if compression == "gz" else _unzstd)(self._file)

    def _skip(self, path: Path, offset: int) -> None:
        if self._pieces is None:
            size = self._file.size()
            if offset > size:
                raise InputError(_shrunk(path, offset, size))
            self._file.skip(offset)
            return
        at = 0
        while at < offset:
            piece = next(self._pieces, None)
            if piece is None:
                raise InputError(_shrunk(path, offset, at))
            at += len(piece)
            self._rest = memoryview(piece)[len(piece) - max(at - offset, 0) :]

    def readinto(self, view: memoryview) -> int:
        """Read at most as many bytes as `view` has room for; 0 at the end (for now, if the file is plain).

        Raises `BrokenStreamError`.
        """
        if self._pieces is None:
            return self._file.readinto(view)
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def pause(self) -> None:
        """Give back the file handle only; the next read takes it again."""
        self._file.close()

    def close(self) -> None:
        """Give back the file handle and the decompressor."""
        self._file.close()
        self._pieces = None


def _shrunk(path: Path, offset: int, size: int) -> str:
    return (
        f"{path} was read up to byte {offset}, but has only {size} now: it is not the file that it was\n"
        "  try: bring it back, or begin anew with `--fresh`"
    )


def _gunzip(file: _Handle) -> Iterator[bytes]:
    """The members of a gzip file, one after the other; zeros behind them are padding."""
    raw = file.read(_RAW)
    while raw:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not raw:
                raise BrokenStreamError("truncated", "the gzip stream ends before its end mark")
            try:
                piece = member.decompress(raw, _PIECE)
            except zlib.error as error:
                raise BrokenStreamError("corrupt", f"the gzip stream is damaged: {error}") from None
            raw = member.unconsumed_tail
            if piece:
                yield piece
            if not raw and not member.eof:
                raw = file.read(_RAW)
        raw = member.unused_data or file.read(_RAW)
        while raw and not raw.strip(b"\0"):
            raw = file.read(_RAW)
        if raw.startswith(b"\0"):
            raise BrokenStreamError("corrupt", "something that is no gzip stream follows its end mark")


def _unzstd(file: _Handle) -> Iterator[bytes]:
    """The frames of a zstd file. Fed block by block (RFC 8878, 3.1.1): a block is at most 128 KiB, squeezed or not."""

    def take(size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise BrokenStreamError("truncated", "the zstd stream ends inside a frame")
        return data

    while start := file.read(_ZSTD_HEADER):
        if len(start) >= 8 and int.from_bytes(start[:4], "little") in _ZSTD_SKIPPABLE:
            file.skip(8 + int.from_bytes(start[4:8], "little") - len(start))
            continue
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        try:
            header = zstandard.frame_header_size(start)
            checksum = 4 if zstandard.get_frame_parameters(start).has_checksum else 0
            file.skip(header - len(start))
            frame.decompress(start[:header])
            last = False
            while not last:
                head = take(3)
                bits = int.from_bytes(head, "little")
                last, kind, size = bool(bits & 1), bits >> 1 & 3, bits >> 3
                block = head + take(1 if kind == 1 else size)  # kind 1: one byte, repeated `size` times
                if last:
                    block += take(checksum)
                piece = frame.decompress(block)
                if piece:
                    yield piece
        except zstandard.ZstdError as error:
            if len(start) < _ZSTD_HEADER and _ZSTD_MAGIC.startswith(start[:4]):
                raise BrokenStreamError("truncated", "the zstd stream ends inside a frame") from None
            raise BrokenStreamError("corrupt", f"the zstd stream is damaged: {error}") from None
