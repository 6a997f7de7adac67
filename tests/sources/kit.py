"""Sources for the tests of `flowops.sources`, and ways to read and write their files."""

from __future__ import annotations

import csv
import gzip
import io
import json
from itertools import cycle
from pathlib import Path

import msgspec
import zstandard

from flowops.core.plan import Column, Source, TimeField
from flowops.core.records import Chunk, DeadLetter
from flowops.sources import open_partition


def source(**changes) -> Source:
    """Flat events under the names of S1; `columns` as {name: type} or {name: (type, path)}."""
    given = dict(changes)
    columns = []
    for number, (name, wanted) in enumerate(given.pop("columns", {}).items()):
        kind, path = (wanted, (name,)) if isinstance(wanted, str) else wanted
        columns.append(Column(f"p{number}", name, path, kind))
    fields = {
        "index": 0,
        "name": "web",
        "kind": "events",
        "files": ("*",),
        "user_id": ("user_id",),
        "event": None,
        "event_path": ("event",),
        "event_id": (),
        "time": TimeField(("ts",), "us", None),
        "properties_path": ("properties",),
        "columns": tuple(columns),
        "out_of_orderness": 0,
        "routes": {},
        "any_route": None,
    }
    return Source(**{**fields, **given})


def as_tuple(row, source: Source, unit: int = 1):
    """What a row says, as something that compares; its time in microseconds."""
    if row is None:
        return None
    names = ["user_id", "event", "event_id", *(column.attribute for column in source.columns)]
    user_id, event, event_id, *values = (getattr(row, name) for name in names)
    return (user_id, event, event_id, row.ts * unit, *values)


def read_all(folder: Path, source: Source, file: str, limit: int = 1 << 18, **options):
    """(rows as tuples, dead letters) of a whole file."""
    partition = open_partition(folder, source, file, **options)
    rows, dead = [], []
    while (chunk := partition.read(limit)) is not None:
        assert isinstance(chunk, Chunk)
        assert chunk.first == len(rows)
        assert len(chunk.rows) > 0
        assert [letter.position - chunk.first for letter in chunk.dead] == [
            number for number, row in enumerate(chunk.rows) if row is None
        ]
        rows += [as_tuple(row, source, chunk.unit) for row in chunk.rows]
        dead += chunk.dead
    assert partition.read(limit) is None
    partition.close()
    return rows, dead


def pieces(folder: Path, source: Source, file: str, steps):
    """As `read_all`, with (action, limit) again and again: releases and resumes from a stored position in between."""
    partition = open_partition(folder, source, file)
    rows, dead = [], []
    for action, limit in cycle(steps):
        if action == "release":
            partition.release()
        elif action == "resume":
            stored = msgspec.msgpack.decode(msgspec.msgpack.encode(partition.position()))
            partition.close()
            partition = open_partition(folder, source, file, stored)
        chunk = partition.read(limit)
        if chunk is None:
            break
        assert chunk.first == len(rows)
        rows += [as_tuple(row, source, chunk.unit) for row in chunk.rows]
        dead += chunk.dead
    partition.close()
    return rows, dead


def reasons(dead: list[DeadLetter]) -> list[tuple[int, str]]:
    return [(letter.position, letter.reason) for letter in dead]


def pack(data: bytes, suffix: str) -> bytes:
    """The data as a file of that suffix holds it."""
    if suffix.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    if suffix.endswith(".zst"):
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return data


def json_lines(records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def csv_text(records, header) -> bytes:
    """Nulls and missing fields are empty cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for record in records:
        cells = [record.get(name) for name in header]
        writer.writerow(
            ["" if cell is None else json.dumps(cell) if isinstance(cell, bool) else cell for cell in cells]
        )
    return out.getvalue().encode()
