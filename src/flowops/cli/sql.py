"""`flowops sql`: a question to the outcomes, answered as a table, CSV or JSON."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowops.cli.options import AsJson, Project, Verbose
from flowops.errors import ConfigError
from flowops.settings.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from flowops.warehouse.query import Answer, Row

SHOWN = 200
"""Rows of a table on the screen; csv and json write all."""


def warehouse_of(project: Path | None) -> tuple[Path, str]:
    """The project's warehouse folder and zone. Plans are not read: outcomes can be seen while one of them is wrong.

    Raises ConfigError where there is no project, or where its flowops.yaml cannot be read.
    """
    from flowops.rules.document import read_document
    from flowops.rules.load import PROJECT_FILE, find_project
    from flowops.rules.schema import read_model
    from flowops.rules.schema_project import ProjectFile

    folder = find_project(project or Path.cwd())
    document = read_document(folder, folder / PROJECT_FILE)
    file = read_model(ProjectFile, document, document.data()) if document.root else None
    if file is None:
        raise ConfigError(f"{folder / PROJECT_FILE} cannot be read; `flowops lint` says what is wrong with it")
    return folder / file.warehouse, file.zone


def command(
    query: Annotated[str, typer.Argument(help="One SELECT; `-` reads it from the standard input.", show_default=False)],
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print the rows.")] = "table",
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Ask the outcomes a question in SQL."""
    from flowops.warehouse.outcomes import connect
    from flowops.warehouse.query import ask

    if as_json:
        form = "json"
    text = sys.stdin.read() if query == "-" else query
    folder, zone = warehouse_of(project)
    connection = connect(folder, zone)
    try:
        answer = ask(connection, text, "json" if form == "json" else "text")
        if form == "csv":
            _csv(answer)
        elif form == "json":
            _json(answer)
        else:
            _table(answer)
    finally:
        connection.close()


def _csv(answer: Answer) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)


def _json(answer: Answer) -> None:
    import json

    if len(set(answer.columns)) < len(answer.columns):
        raise ConfigError(f"two columns have the same name: {', '.join(answer.columns)}; rename one with `as`")
    keys = [json.dumps(column) for column in answer.columns]
    before = "[\n"
    for row in answer.rows:
        pairs = ", ".join(f"{key}: {value or 'null'}" for key, value in zip(keys, row, strict=True))
        sys.stdout.write(f"{before}{{{pairs}}}")
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "DOUBLE", "FLOAT", "DECIMAL")


def _table(answer: Answer) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows = list(itertools.islice(answer.rows, SHOWN))
    rest = sum(1 for _ in answer.rows)
    if _width(answer.columns, rows) > console.width and len(answer.columns) > 3:
        _records(console, answer.columns, rows)
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, kind in zip(answer.columns, answer.types, strict=True):
            table.add_column(
                Text(column),
                justify="right" if kind.startswith(_NUMBERS) and "[" not in kind else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text("NULL", style="dim") if value is None else Text(value) for value in row))
        console.print(table)
    total = len(rows) + rest
    console.print(
        counted(total, "row") + (f", the first {SHOWN} shown; --format csv writes all" if rest else ""),
        style="dim",
        highlight=False,
    )


def _width(columns: Sequence[str], rows: Iterable[Row]) -> int:
    widths = [len(column) for column in columns]
    for row in rows:
        widths = [max(width, min(len(value or "NULL"), 40)) for width, value in zip(widths, row, strict=True)]
    return sum(widths) + 2 * len(widths)


def _records(console: Console, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Rows too wide for the terminal, one value to a line."""
    from rich.table import Table
    from rich.text import Text

    for number, row in enumerate(rows, 1):
        console.rule(f"row {number}", align="left", style="dim")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for column, value in zip(columns, row, strict=True):
            grid.add_row(Text(column), Text("NULL", style="dim") if value is None else Text(value))
        console.print(grid)
