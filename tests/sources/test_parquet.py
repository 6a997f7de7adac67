"""Parquet: the table's own types are used where they say more than text could."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kit import read_all, reasons, source

from flowops.core.plan import TimeField
from flowops.core.records import BEFORE_ALL
from flowops.core.time import Zone
from flowops.errors import InputError
from flowops.sources import open_partition

NOON = 1650542400_000000  # 2022-04-21T12:00:00Z
LOCAL_NOON = NOON + 4 * 3600_000000  # in New York


def write(folder, name="a.parquet", **columns):
    table = pa.table({"user_id": ["u1"], "event": ["view"], "ts": [1], **columns})
    pq.write_table(table, folder / name)
    return name


def one(folder, where, **columns):
    where = source(**where)
    rows, dead = read_all(folder, where, write(folder, **columns))
    assert len(rows) == 1
    return rows[0] if rows[0] is not None else (dead[0].reason, dead[0].detail)


STAMP = datetime(2022, 4, 21, 12)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("array", "micros"),
    [
        (pa.array([NOON]), NOON),
        (pa.array([STAMP], pa.timestamp("ns", "UTC")), NOON),
        (pa.array([STAMP], pa.timestamp("s", "Asia/Tokyo")), NOON),
        (pa.array([NOON * 1000 + 999], pa.timestamp("ns", "UTC")), NOON),
        (pa.array([STAMP], pa.timestamp("ms")), LOCAL_NOON),
        (pa.array([date(2022, 4, 21)]), LOCAL_NOON - 12 * 3600_000000),
        (pa.array([date(2022, 4, 21)], pa.date64()), LOCAL_NOON - 12 * 3600_000000),
    ],
)
def test_times(tmp_path, array, micros):
    """S1: a number of the unit, a timestamp with a zone, one without (of the declared zone), a date (its midnight)."""
    where = {"time": TimeField(("ts",), "us", Zone("America/New_York")), "columns": {"x": "time"}}
    kind = array.type
    extra = {"x": array} if pa.types.is_temporal(kind) else {}
    assert one(tmp_path, where, ts=array, **extra)[3:] == (micros, micros if extra else None)


def test_times_as_text_and_bad_times(tmp_path):
    """S1, S3: ISO 8601 is read as elsewhere; null, and a local time without a declared zone, are dead letters."""
    iso = {"time": TimeField(("ts",), None, None)}
    assert one(tmp_path, iso, ts=["2022-04-21T12:00:00Z"])[3] == NOON
    assert one(tmp_path, iso, ts=pa.array([STAMP], pa.timestamp("us")))[0] == "bad_time"
    assert one(tmp_path, iso, ts=pa.array([None], pa.timestamp("us")))[0] == "missing_field"
    assert one(tmp_path, iso, ts=pa.array([None], pa.date32()))[0] == "missing_field"
    assert one(tmp_path, iso, ts=[5])[0] == "bad_time"
    assert one(tmp_path, {}, user_id=pa.array([None], pa.string()))[0] == "missing_field"


@pytest.mark.parametrize(
    ("kind", "array", "expected"),
    [
        ("string", pa.array(["a"]).dictionary_encode(), "a"),
        ("string", pa.array([7], pa.int16()), "7"),
        ("string", pa.array([7.0]), "7"),
        ("string", pa.array([Decimal("7.00")]), "7"),
        ("string", pa.array([Decimal("7.50")]), "7.50"),
        ("string", pa.array([b"a"]), "a"),
        ("string", pa.array(["a"], pa.large_string()), "a"),
        ("money", pa.array([Decimal("7.25")], pa.decimal128(10, 2)), 7.25),
        ("number", pa.array([7], pa.uint64()), 7.0),
        ("number", pa.array([float("nan")]), None),
        ("number", pa.array(["7"]), 7.0),
        ("boolean", pa.array([False]), False),
        ("boolean", pa.array([1]), True),
        ("date", pa.array([date(1970, 1, 3)]), 2),
        ("date", pa.array([date(1970, 1, 3)], pa.date64()), 2),
        ("date", pa.array([datetime(1970, 1, 3, 23)], pa.timestamp("us")), 2),  # noqa: DTZ001
        ("date", pa.array([datetime(1970, 1, 3, 23, tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")), 3),
        ("date", pa.array(["1970-01-03"]), 2),
        ("list", pa.array([["a", None]]), ["a", None]),
        ("object", pa.array([{"a": 1}]), {"a": 1}),
        ("object", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), {"a": 1}),
        ("string", pa.array([None], pa.null()), None),
    ],
)
def test_types(tmp_path, kind, array, expected):
    """S1: what the table holds, as the declared type."""
    assert one(tmp_path, {"columns": {"x": kind}}, x=array)[4] == expected


def test_a_value_of_another_type_is_a_dead_letter(tmp_path):
    """S3."""
    reason, detail = one(tmp_path, {"columns": {"x": "number"}}, x=["cheap"])
    assert reason == "bad_type"
    assert detail == '`x`: expected a number, got "cheap"'


def test_structs_are_walked(tmp_path):
    """S1: a path of several parts leads into a struct; the properties' struct is looked into, the top level wins."""
    where = {"user_id": ("user", "id"), "columns": {"sku": "string", "price": "money"}}
    columns = {
        "user": pa.array([{"id": 5, "z": 1}]),
        "properties": pa.array([{"sku": "in", "price": 2.5}]),
        "sku": ["top"],
    }
    assert one(tmp_path, where, **columns) == ("5", "view", None, 1, "top", 2.5)
    assert one(tmp_path, where, user=pa.array([None], pa.struct([("id", pa.int64())])))[0] == "missing_field"


def test_profiles_carry_every_column_there_is(tmp_path):
    """S2: a NULL deletes; an attribute without a column is left alone."""
    where = {"kind": "profiles", "time": TimeField(None, None, None), "columns": {"city": "string", "tier": "string"}}
    assert one(tmp_path, where, city=pa.array([None], pa.string())) == ("u1", "", None, BEFORE_ALL, None, msgspec.UNSET)


def test_a_missing_column_is_refused_with_a_guess(tmp_path):
    """Exit code 2, before anything is read."""
    name = write(tmp_path)
    with pytest.raises(
        InputError, match=r"no column `user-id`.*it has `user_id`, `event`, `ts`\n.*did you mean `user_id`\?"
    ):
        open_partition(tmp_path, source(user_id=("user-id",)), name)


@pytest.mark.parametrize("data", [b"", b"PAR1 nothing else", b"user_id,event\n"])
def test_what_is_no_parquet_is_refused(tmp_path, data):
    """An empty file, one that was not written to its end, one of another format."""
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_partition(tmp_path, source(), "a.parquet")


def test_damage_in_the_middle_is_a_dead_letter(tmp_path):
    """S3: what came before is read; the rest cannot be, and that is said."""
    table = pa.table({"user_id": [f"u{n}" for n in range(9000)], "event": ["view"] * 9000, "ts": range(9000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3000, use_dictionary=False, compression="none")
    where = pq.read_metadata(tmp_path / "a.parquet").row_group(1).column(0).data_page_offset
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[where : where + 40] = b"\xff" * 40
    (tmp_path / "a.parquet").write_bytes(data)
    rows, dead = read_all(tmp_path, source(), "a.parquet")
    assert len(rows) == 3001
    assert reasons(dead) == [(3000, "corrupt")]


def test_a_file_is_never_held_whole(tmp_path):
    """One row group of 16 MB, read in pieces."""
    count = 200_000
    table = pa.table(
        {"user_id": [f"user {n:076}" for n in range(count)], "event": ["view"] * count, "ts": range(count)}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=count, use_dictionary=False)
    del table
    partition = open_partition(tmp_path, source(), "a.parquet")
    pa.default_memory_pool().release_unused()
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    while (chunk := partition.read(1 << 18)) is not None:
        rows += len(chunk.rows)
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == count
    assert most < 8 << 20
    assert peak < 8 << 20


def test_a_file_that_became_shorter_is_refused(tmp_path):
    """A position that is no longer in the file is not passed over in silence."""
    with pytest.raises(InputError, match="it is not the file that it was"):
        open_partition(tmp_path, source(), write(tmp_path), (2, 0))
