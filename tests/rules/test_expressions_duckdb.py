"""Filters: DuckDB is the oracle for what an expression means."""

from __future__ import annotations

import sys
import unicodedata

import duckdb
import oracle
import pyarrow as pa
import pytest

from flowops.rules import functions
from seeds import FUZZED, kept


@pytest.mark.parametrize("batch", range(-(-FUZZED // oracle.BATCH)))
def test_an_expression_means_what_it_means_in_duckdb(batch: int) -> None:
    """Conditions in all three modes, values with their types, NULL everywhere: the same as DuckDB, row by row."""
    oracle.check_batch(range(batch * oracle.BATCH, min(FUZZED, (batch + 1) * oracle.BATCH)))


def test_expressions_mean_what_they_mean_in_duckdb_where_they_once_did_not() -> None:
    for seed in kept("expressions"):
        oracle.check_batch([seed])


def test_letter_case_is_that_of_duckdb() -> None:
    """Every character that Python's Unicode knows: `lower` and `upper` map one to one, as DuckDB does."""
    chars = [
        chr(code)
        for code in range(1, sys.maxunicode + 1)
        if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"
    ]
    found = duckdb.from_arrow(pa.table({"c": chars})).project("c, lower(c), upper(c)").fetchall()
    wrong = [
        (char, low, up, functions.lower(char), functions.upper(char))
        for char, low, up in found
        if (functions.lower(char), functions.upper(char)) != (low, up)
    ]
    assert wrong == []
