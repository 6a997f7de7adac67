"""`outcomes.duckdb`: published by the engine, opened read-only by everybody else.

It holds views over an explicit list of files and no rows. It is built beside the published one and renamed over it, so
an open reader keeps what was published when it connected, and no lock is ever shared.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from flowops.errors import ConfigError, RunError
from flowops.warehouse.schema import RELATIONS
from flowops.warehouse.segments import disk_errors, standing
from flowops.warehouse.sql import VIEWS, quote, relation_view

FILE: Final = "outcomes.duckdb"
_NEW: Final = ".outcomes.duckdb.new"


def publish(folder: Path, upto: int) -> None:
    """Show analysts the segments 1 to `upto`, at once and all of them.

    Raises StateError where one of them is missing, RunError where the file cannot be written.
    """
    folder = folder.resolve()
    new = folder / _NEW
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in (new, new.with_name(f"{_NEW}.wal")):
            leftover.unlink(missing_ok=True)
        try:
            with duckdb.connect(config={"threads": 1}) as connection:
                connection.execute(f"attach {quote(str(new))} as outcomes (storage_version 'v1.0.0')")
                connection.execute("use outcomes")
                _create_views(connection, folder, upto)
        except duckdb.Error as error:
            raise RunError(f"cannot write {new}: {error}") from error
        new.replace(folder / FILE)


def published(folder: Path) -> bool:
    """Whether there is anything to connect to."""
    return (folder / FILE).is_file()


def connect(folder: Path, zone: str = "UTC") -> duckdb.DuckDBPyConnection:
    """A read-only connection to what was last published; times are shown in `zone`.

    A warehouse that was moved after it was published, or that is mounted under another path, is read where it is now.
    Raises ConfigError where nothing has been published yet.
    """
    file = folder.resolve() / FILE
    if not published(folder):
        raise ConfigError(f"{file}: no outcomes yet; `flowops replay` or `flowops run` makes them")
    while True:
        shown = _mark(file)
        try:
            connection = _open(file, zone)
        except duckdb.Error as error:
            if _mark(file) == shown:
                raise ConfigError(f"{file} cannot be read: {error}; the next epoch of a run writes it anew") from error
        else:
            if _mark(file) == shown:
                return connection
            connection.close()


def _mark(file: Path) -> tuple[int, int]:
    """By which a publication is told from the one before: DuckDB opens a file by its name several times."""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns


def _open(file: Path, zone: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(file), read_only=True)
    row = connection.execute("select folder, segments from published").fetchone()
    if row is not None and row[0] != str(file.parent):
        connection.close()
        connection = duckdb.connect()
        _create_views(connection, file.parent, row[1])
    connection.execute(f"set TimeZone = {quote(zone)}")
    return connection


def _create_views(connection: duckdb.DuckDBPyConnection, folder: Path, upto: int) -> None:
    segments = standing(folder, upto)
    present = {segment.path: {file.name for file in segment.path.iterdir()} for segment in segments}
    connection.execute("begin")
    connection.execute("create schema facts")
    for relation in RELATIONS.values():
        connection.execute(relation_view(relation, []))
    for name, body in VIEWS.items():
        connection.execute(f"create view {name} as {body}")
    for relation in RELATIONS.values():  # last: what builds on them was then bound to empty ones, which is quick
        file = f"{relation.name}.parquet"
        if files := [path / file for path, names in present.items() if file in names]:
            connection.execute(relation_view(relation, files))
    connection.execute(
        f"create view published as select {upto}::bigint as segments, {quote(str(folder))} as folder, "
        f"{quote(datetime.now(UTC).isoformat())}::timestamptz as published_at"
    )
    connection.execute("commit")
