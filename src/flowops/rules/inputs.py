"""What the files of a source are like, as far as lint asks: whether they are there, and which columns they have.

Only headers are read. The records themselves, and every complaint about them, are the business of `flowops.sources`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path

import zstandard

from flowops.sources.files import COMPRESSIONS, SUFFIXES, file_format, matching

_LONGEST_HEADER = 1 << 20
_LARGEST_LOOKED_AT = 1 << 20


@dataclass(slots=True)
class Problem:
    """What is wrong with a file or pattern of a source: number `entry` of its `file` list."""

    code: str
    entry: int
    what: str
    hint: str | None = None


@dataclass(slots=True)
class Inputs:
    """The files of one source. `columns` has those that tell: CSV and Parquet; None where every file is JSON lines."""

    files: list[Path] = field(default_factory=list)
    columns: dict[Path, frozenset[str]] = field(default_factory=dict)
    open_ended: bool = False  # a file without a header: any name may occur
    problems: list[Problem] = field(default_factory=list)

    def may_have(self, column: str) -> bool:
        """Whether some file has the column, or could have it."""
        return self.open_ended or not self.columns or any(column in names for names in self.columns.values())

    def has(self, column: str) -> bool:
        """Whether some file is seen to have the column; of JSON lines the first record of the first file is asked."""
        if any(column in names for names in self.columns.values()):
            return True
        lines = next((path for path in self.files if path not in self.columns and _format_of(path) == "jsonl"), None)
        if lines is None:
            return False
        try:
            first: object = json.loads(_first_line(lines))
        except (OSError, EOFError, ValueError, zstandard.ZstdError):
            return False  # what is wrong with the file, its reader says
        return isinstance(first, dict) and column in first

    def values(self, path: tuple[str, ...]) -> set[str] | None:
        """The texts that stand at `path` in the records; None where files are not small and plain enough to look."""
        found: set[str] = set()
        for file in self.files:
            if file.suffix.lower() in COMPRESSIONS or file.stat().st_size > _LARGEST_LOOKED_AT:
                return None
            try:
                found.update(_values(file, path))
            except (OSError, ValueError, csv.Error):
                return None  # what is wrong with the file, its reader says
        return found if self.files else None

    def lacking(self, column: str) -> Path | None:
        """A file whose header lacks the column."""
        return next((path for path, names in self.columns.items() if column not in names), None)


def look_at(folder: Path, patterns: Sequence[str]) -> Inputs:
    """Find the files of a source and read the headers of those that have one."""
    inputs = Inputs()
    for entry, pattern in enumerate(patterns):
        files, is_empty_folder = matching(folder, pattern)
        found = sorted(map(Path, files))
        if not found:
            what, hint = "there is no file", "paths start at the folder of flowops.yaml"
            if has_magic(pattern):
                what = "no file matches"
            elif is_empty_folder:
                what, hint = "there is no data file in the folder", f"it may hold {', '.join(SUFFIXES)} files"
            inputs.problems.append(Problem("FO501", entry, f"{what} `{pattern}`", hint))
        for path in found:
            if path in inputs.files:
                continue
            inputs.files.append(path)
            _look(inputs, entry, path)
    return inputs


def tabular(patterns: Sequence[str]) -> bool:
    """Whether all files are CSV by name, so that a dot in a column's name is no path."""
    return bool(patterns) and all(_format_of(Path(pattern)) == "csv" for pattern in patterns)


def _format_of(path: Path) -> str | None:
    known = file_format(path.name)
    return None if known is None else known[0]


def _look(inputs: Inputs, entry: int, path: Path) -> None:
    kind = _format_of(path)
    if kind is None:
        hint = "`.csv`, `.jsonl` or `.parquet`; the first two also with `.gz` or `.zst`"
        inputs.problems.append(Problem("FO504", entry, f"`{path.name}` has no suffix that says its format", hint))
        return
    if kind == "jsonl":
        inputs.open_ended = True
        return
    try:
        inputs.columns[path] = frozenset(_parquet(path) if kind == "parquet" else _header(path))
    except (OSError, EOFError, ValueError, csv.Error, zstandard.ZstdError) as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        hint = "the first line of a CSV names its columns" if kind == "csv" else "is it a Parquet file?"
        inputs.problems.append(Problem("FO502", entry, f"`{path.name}` cannot be read: {reason}", hint))


def _values(file: Path, path: tuple[str, ...]) -> Iterator[str]:
    kind = _format_of(file)
    if kind == "parquet":
        import pyarrow.parquet  # noqa: PLC0415 - heavy, and only few projects have such files

        yield from (str(each) for each in pyarrow.parquet.read_table(file, columns=[path[0]])[path[0]].to_pylist())
        return
    text = file.read_text(encoding="utf-8-sig")
    if kind == "csv":
        header = text.split("\n", 1)[0]
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
        yield from (row[".".join(path)] for row in rows if row.get(".".join(path)))
        return
    for line in text.splitlines():
        value: object = json.loads(line) if line.strip() else None
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            yield str(value)


def _parquet(path: Path) -> list[str]:
    import pyarrow.parquet  # noqa: PLC0415 - heavy, and only few projects have such files

    return list(pyarrow.parquet.read_schema(path).names)


def _header(path: Path) -> list[str]:
    line = _first_line(path)
    delimiter = max(",;\t", key=line.count)  # as `sources.csv` finds it
    names = next(csv.reader([line], delimiter=delimiter), [])
    if not line.strip() or not names:
        raise ValueError("the file is empty, it has no header")
    return names


def _first_line(path: Path) -> str:
    with path.open("rb") as raw:
        stream: io.BufferedIOBase = raw
        if path.suffix.lower() == ".gz":
            stream = gzip.GzipFile(fileobj=raw)
        elif path.suffix.lower() == ".zst":
            stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw))
        return stream.readline(_LONGEST_HEADER).decode("utf-8-sig")
