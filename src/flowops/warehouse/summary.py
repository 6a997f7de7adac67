"""What a run came to, in numbers: printed at its end."""

from __future__ import annotations

from typing import NamedTuple

import duckdb


class Summary(NamedTuple):
    """Over all that is published."""

    triggers: int
    dispatches: int
    losses: int
    pending: int
    goal_events: int
    late: int
    dead_letters: int


def summary(connection: duckdb.DuckDBPyConnection) -> Summary:
    """The sums; `pending` counts what waits: triggers under way and messages held."""
    counts = ", ".join(f"(select count(*) from {relation})" for relation in Summary._fields)  # noqa: S608 - names
    row = connection.execute(f"select {counts}").fetchone()
    return Summary(*(row or (0,) * len(Summary._fields)))
