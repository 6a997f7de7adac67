"""What holds for every format: chunks and resumes change nothing, and the same data gives the same rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import csv_text, json_lines, pack, pieces, read_all, source

from flowops.core.plan import TimeField
from flowops.core.records import Chunk, shard_of
from flowops.sources import open_partition

COLUMNS = {"sku": "string", "price": "money", "new": "boolean", "at": "time", "day": "date"}
WHERE = source(time=TimeField(("ts",), "ms", None), event_id=(("id",),), columns=COLUMNS)
HEADER = ["user_id", "event", "ts", "id", "extra", *COLUMNS]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n,;\"'"), min_size=1, max_size=8)
MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001

RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": TEXT,
            "event": st.sampled_from(["view", "order"]),
            "ts": st.integers(0, 2_000_000_000_000),
        },
        optional={
            "id": st.none() | TEXT,
            "extra": TEXT,
            "sku": st.none() | TEXT,
            "price": st.none() | st.floats(-1e9, 1e9),
            "new": st.none() | st.booleans(),
            "at": st.none() | MOMENTS.map(datetime.isoformat),
            "day": st.none() | st.dates().map(lambda day: day.isoformat()),
        },
    ),
    max_size=12,
)
"""Records that every format can hold."""

LINES = st.lists(
    st.sampled_from(
        [
            b'{"user_id": "u1", "event": "view", "ts": 1, "sku": "A"}',
            b'{"user_id": 7, "event": "view", "ts": "1", "sku": "A", "properties": {"price": "5"}}',
            b'{"user_id": "u1", "event": "view", "ts": 1, "price": "dear"}',
            b'{"user_id": "u1", "event": "view"}',
            b'{"user_id": "u\xff", "event": "view", "ts": 1}',
            b'{"user_id": "u1",',
            b'"event": "view", "ts": 1}',
            b'{"user_id": "u1", "event": "view", "ts": 1} {"user_id": "u1", "event": "view", "ts": 1}',
            b"",
            b"  ",
            b"\0",
            b"u1,view,1,A",
            b'u1,view,1,"A',
            b'u1,view,1,"A""B"',
            b"u1,view",
            b'"u1"x,view,1,A',
            b"u1,view,\xff,A",
            "ü1,view,2,Ä".encode(),
        ]
    ),
    max_size=14,
)
"""Lines of JSON and CSV, good and bad."""

STEPS = st.lists(
    st.tuples(st.sampled_from(["go on", "release", "resume"]), st.integers(1, 400)), min_size=1, max_size=6
)
"""What is done before each read, and its limit."""

NAMES = ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.csv.zst", "a.parquet")


def write(folder, name, records, group=5):
    if name.endswith(".parquet"):
        fields = {
            "user_id": pa.string(),
            "event": pa.string(),
            "ts": pa.int64(),
            "id": pa.string(),
            "extra": pa.string(),
            "sku": pa.string(),
            "price": pa.float64(),
            "new": pa.bool_(),
            "at": pa.string(),
            "day": pa.string(),
        }
        table = pa.Table.from_pylist(records, schema=pa.schema(fields))
        pq.write_table(table, folder / name, row_group_size=group)
    else:
        data = json_lines(records) if "jsonl" in name else csv_text(records, HEADER)
        (folder / name).write_bytes(pack(data, name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("partitions")


@given(records=RECORDS)
@settings(max_examples=60)
def test_the_same_data_gives_the_same_rows_in_every_format(folder, records):
    """S1: the format is no more than a way of writing."""
    for name in NAMES:
        write(folder, name, records)
    first = read_all(folder, WHERE, NAMES[0])
    assert not first[1]
    assert len(first[0]) == len(records)
    for name in NAMES[1:]:
        assert read_all(folder, WHERE, name) == first


@given(records=RECORDS, steps=STEPS)
@settings(max_examples=60)
@pytest.mark.parametrize("name", NAMES)
def test_chunks_releases_and_resumes_change_nothing(folder, name, records, steps):
    """S7: whatever the limits, and wherever reading was broken off and taken up again."""
    write(folder, name, records)
    found = pieces(folder, WHERE, name, steps)
    assert found == read_all(folder, WHERE, name)


@given(lines=LINES, end=st.sampled_from([b"", b"\n", b"\r\n"]), steps=STEPS)
@settings(max_examples=150)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.csv.gz"])
def test_chunks_releases_and_resumes_change_nothing_about_bad_records(folder, name, lines, end, steps):
    """S3: rows, dead letters and positions are the same, however they were read."""
    text = (end or b"\n").join(lines) + end
    (folder / name).write_bytes(pack(b"user_id,event,ts,sku\n" + text if "csv" in name else text, name))
    where = source(columns={"sku": "string", "price": "money"})
    found = pieces(folder, where, name, steps)
    assert found == read_all(folder, where, name)


def test_large_files_resume_inside_blocks_and_row_groups(folder):
    """S7: also beyond one block of a decompressor, one buffer, one row group."""
    begin = datetime(2022, 1, 1, tzinfo=UTC)
    records = [
        {
            "user_id": f"user {n}",
            "event": "view",
            "ts": n,
            "sku": "x" * (n % 50),
            "at": (begin + timedelta(n)).isoformat(),
        }
        for n in range(12_000)
    ]
    expected = None
    for name in NAMES:
        write(folder, name, records, group=5000)
        steps, rows = iter(range(1, 10_000)), []
        partition = open_partition(folder, WHERE, name)
        while True:
            step = next(steps)
            if step % 5 == 0:
                position = partition.position()
                partition.close()
                partition = open_partition(folder, WHERE, name, position)
            chunk = partition.read(70_000 + 997 * step)
            if chunk is None:
                break
            assert isinstance(chunk, Chunk)
            assert chunk.first == len(rows)
            assert not chunk.dead
            rows += [
                (row.user_id, row.ts * chunk.unit, row.p0 or "", row.p3, shard_of(row.user_id)) for row in chunk.rows
            ]
        partition.close()
        expected = expected or rows
        assert len(rows) == len(records)
        assert rows == expected
