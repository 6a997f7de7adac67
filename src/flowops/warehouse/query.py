"""An analyst's own SQL: checked to be a question, answered as text that DuckDB itself wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import duckdb

from flowops.errors import ConfigError

Row: TypeAlias = tuple[str | None, ...]

_FETCH = 10_000


class Answer(NamedTuple):
    """Column names, DuckDB's names of their types, and the rows; None is NULL. `rows` raises ConfigError as it goes."""

    columns: list[str]
    types: list[str]
    rows: Iterator[Row]


def ask(connection: duckdb.DuckDBPyConnection, sql: str, form: Literal["text", "json"] = "text") -> Answer:
    """Run one SELECT. Values come as DuckDB prints them, or as JSON (times ISO 8601 in UTC, money as a number).

    Raises ConfigError for what is not one SELECT, and with DuckDB's own words for what it cannot run.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            got = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise ConfigError(
                f"only one SELECT at a time can be asked here (FROM, WITH, DESCRIBE and SUMMARIZE too), got: {got}; "
                "for anything else open outcomes.duckdb with a DuckDB client"
            )
        relation = connection.sql(sql)  # what is wrong is told of the analyst's own words, not of those around them
        columns, types = list(relation.columns), [str(kind) for kind in relation.types]
        write = _json if form == "json" else _text
        written = ", ".join(write(number, kind) for number, kind in enumerate(types, 1))
        asked = statements[0].query.strip().rstrip(";")
        cursor = connection.execute(f"select {written} from (\n{asked}\n)")  # noqa: S608 - it is the analyst's to say
    except duckdb.Error as error:
        raise _failed(error) from error
    return Answer(columns, types, _rows(cursor))


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    try:
        while rows := cursor.fetchmany(_FETCH):
            yield from rows
    except duckdb.Error as error:
        raise _failed(error) from error


def _failed(error: duckdb.Error) -> ConfigError:
    hint = '\n`flowops sql "show tables"` lists the relations' if isinstance(error, duckdb.CatalogException) else ""
    return ConfigError(f"the query failed: {error}{hint}")


def _text(number: int, _kind: str) -> str:
    return f"#{number}::varchar"


def _json(number: int, kind: str) -> str:
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"to_json(strftime(#{number} at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ'))"
    if kind in ("DOUBLE", "FLOAT"):
        return f"case when isfinite(#{number}) then to_json(#{number}) end"  # JSON has no NaN
    return f"to_json(#{number})"
