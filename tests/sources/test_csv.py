"""CSV: every record is a row or a dead letter; a header that does not fit is refused at once."""

from __future__ import annotations

import gc
import tracemalloc

import msgspec
import pytest
from kit import pack, read_all, reasons, source

from flowops.core.plan import TimeField
from flowops.core.records import BEFORE_ALL
from flowops.core.time import Zone
from flowops.errors import InputError
from flowops.sources import open_partition

WHERE = {"time": TimeField(("ts",), "s", None), "columns": {"sku": "string", "price": "money"}}
HEADER = b"user_id,event,ts,sku,price\n"


def write(folder, data: bytes, name="a.csv"):
    (folder / name).write_bytes(pack(data, name))
    return name


def read(folder, data: bytes, limit=1 << 18, **changes):
    return read_all(folder, source(**{**WHERE, **changes}), write(folder, data), limit=limit)


def test_columns_are_found_by_name(tmp_path):
    """S1: by the names of the mapping, in any order, others are left alone; an empty cell is a null."""
    data = b"price,x,ts,event,user_id,sku\n5,,1,view,u1,A\n,,2,view,2,\n"
    rows, dead = read(tmp_path, data)
    assert rows == [("u1", "view", None, 1_000_000, "A", 5.0), ("2", "view", None, 2_000_000, None, None)]
    assert not dead


def test_mapped_names_dotted_names_and_ids_of_several_columns(tmp_path):
    """S1: a path of several parts is a column with dots in its name."""
    where = {"event": "order", "event_id": (("basket",), ("product",)), "user_id": ("user", "id")}
    rows, _ = read(tmp_path, b"basket,product,user.id,ts,properties.sku\nb,p,u1,1,A\nb,,u1,1,A\n", **where)
    assert rows == [("u1", "order", "b-p", 1_000_000, "A", None), ("u1", "order", None, 1_000_000, "A", None)]


def test_profiles_carry_every_column_there_is(tmp_path):
    """S2: an empty cell deletes; an attribute without a column is left alone."""
    where = {"kind": "profiles", "time": TimeField(None, None, None), "columns": {"city": "string", "tier": "string"}}
    rows, _ = read(tmp_path, b"user_id,city\nu1,Paris\nu2,\n", **where)
    assert rows == [
        ("u1", "", None, BEFORE_ALL, "Paris", msgspec.UNSET),
        ("u2", "", None, BEFORE_ALL, None, msgspec.UNSET),
    ]


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("string", " a ", " a "),
        ("number", "007", 7.0),
        ("boolean", "true", True),
        ("boolean", "0", False),
        ("time", "2022-07-01 12:00:00", 1656691200_000000),
        ("date", "1970-01-02", 1),
        ("list", '"[1,""a""]"', [1, "a"]),
        ("object", '"{""a"":1}"', {"a": 1}),
    ],
)
def test_cells_are_read_as_their_type(tmp_path, kind, cell, expected):
    """S1: text that is a value of the declared type; a local time is of the source's zone."""
    where = {"time": TimeField(("ts",), "s", Zone("America/New_York")), "columns": {"x": kind}}
    rows, dead = read(tmp_path, f"user_id,event,ts,x\nu1,view,1,{cell}\n".encode(), **where)
    assert not dead
    assert rows[0][4] == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b",view,1,A,5", "missing_field"),
        (b"u1,,1,A,5", "missing_field"),
        (b"u1,view,,A,5", "missing_field"),
        (b"u1,view,soon,A,5", "bad_time"),
        (b"u1,view,1,A,cheap", "bad_type"),
        (b"u1,view,1,A", "field_count"),
        (b"u1,view,1,A,5,6", "field_count"),
        (b'u1,view,1,"A"B,5', "unparseable"),
        (b'"u1,view,1,A,5', "unparseable"),
        (b"u\xff,view,1,A,5", "unparseable"),
        (b"u\0,view,1,A,5", "unparseable"),
        (b"\0\0\0\0", "field_count"),
        (b"u1,view\r,1,A,5", "unparseable"),
    ],
)
def test_a_bad_record_is_a_dead_letter(tmp_path, record, reason):
    """S3: and costs no other: a quote that is never closed costs the line on which it was opened."""
    good = b"u1,view,1,A,5\n"
    rows, dead = read(tmp_path, HEADER + good + record + b"\n" + good)
    assert rows == [("u1", "view", None, 1_000_000, "A", 5.0), None, ("u1", "view", None, 1_000_000, "A", 5.0)]
    assert reasons(dead) == [(1, reason)]
    assert dead[0].detail
    assert len(dead[0].sample) <= 200


def test_bad_bytes_in_a_column_that_nobody_uses_do_no_harm(tmp_path):
    """Only what is used is looked at."""
    rows, dead = read(tmp_path, HEADER[:-1] + b",z\nu1,view,1,A,5,\xff\0\n")
    assert not dead
    assert rows[0][0] == "u1"


@pytest.mark.parametrize("limit", [1, 20, 1 << 18])
def test_quoted_fields_hold_delimiters_quotes_and_line_ends(tmp_path, limit):
    """RFC 4180."""
    rows, dead = read(tmp_path, HEADER + b'u1,view,1,"a ""b"",\r\nc\n\nd",5\n\nu2,view,1,,6\n', limit=limit)
    assert not dead
    assert [row[4] for row in rows] == ['a "b",\r\nc\n\nd', None]


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
def test_the_header_tells_the_delimiter(tmp_path, delimiter):
    """Comma, semicolon or tab, whichever the header has most of."""
    rows, _ = read(tmp_path, (HEADER + b"u1,view,1,A,5\n").replace(b",", delimiter))
    assert rows == [("u1", "view", None, 1_000_000, "A", 5.0)]


@pytest.mark.parametrize(
    ("data", "count", "expected"),
    [
        (HEADER, 0, []),
        (HEADER[:-1], 0, []),
        (b"\xef\xbb\xbf\n" + HEADER + b"u1,view,1,A,5", 1, []),
        (HEADER.replace(b"\n", b"\r\n") + b"u1,view,1,A,5\r\n\r\nu1,view,1,A,5\r\n", 2, []),
        (HEADER + b"u1,view,1,A,5\nu1,vi", 2, [(1, "truncated")]),
        (HEADER + b'u1,view,1,A,5\nu1,"vi', 2, [(1, "truncated")]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst"])
def test_ends_of_lines_and_files(tmp_path, data, count, expected, suffix):
    """A BOM, CRLF, blank lines (not counted), a missing last line end, a last line that was cut off."""
    rows, dead = read_all(tmp_path, source(**WHERE), write(tmp_path, data, "a" + suffix))
    assert len(rows) == count
    assert reasons(dead) == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "has no header line"),
        (b"\n\n", "has no header line"),
        (
            b"uid,event,ts\n",
            "no column `user_id` for `user_id`; it has `uid`, `event`, `ts`\n  try: did you mean `uid`?",
        ),
        (
            b"user_id,event,bought_at\n",
            "no column `ts` for `ts`; it has `user_id`, `event`, `bought_at`\n  try: name it",
        ),
        (b"user_id,event,ts,sku,sku\n", "has 2 columns `sku`"),
        (b"user_id,event,ts,caf\xe9\n", "is not UTF-8"),
        ("user_id,event,ts\n".encode("utf-16"), "is UTF-16"),
        (b'"user_id,event,ts\n', "its header cannot be read"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, header, message):
    """Exit code 2, before anything is read: the message names what there is, and guesses."""
    with pytest.raises(InputError) as error:
        read(tmp_path, header)
    assert message in str(error.value)


def test_a_renamed_column_must_be_there_and_a_property_need_not(tmp_path):
    """A file holds the properties of its own events; what the mapping names is promised."""
    rows, _ = read(tmp_path, b"user_id,event,ts\nu1,view,1\n")
    assert rows == [("u1", "view", None, 1_000_000, None, None)]
    with pytest.raises(InputError, match="no column `article` for `sku`"):
        read(tmp_path, b"user_id,event,ts\nu1,view,1\n", columns={"sku": ("string", ("article",))})


@pytest.mark.parametrize("limit", [100, 1 << 18, 4 << 20])
def test_a_quote_that_is_never_closed_costs_its_line_only(tmp_path, limit):
    """However much follows, and however it is read."""
    good = b"u1,view,1,A,5\n"
    for after in (2, 100_000):
        rows, dead = read(tmp_path, HEADER + good + b'u1,view,1,"A,5\n' + good * after, limit=limit)
        assert reasons(dead) == [(1, "unparseable")]
        assert len(rows) == after + 2
        assert "never closed" in dead[0].detail


@pytest.mark.parametrize("suffix", [".csv", ".csv.zst"])
def test_a_record_of_50_mb_is_a_dead_letter_and_is_never_held(tmp_path, suffix):
    """S3: over 1 MiB -> dead letter."""
    good = b"u1,view,1,A,5\n"
    name = write(tmp_path, HEADER + good + b"u1,view,1," + b"y" * 50_000_000 + b",5\n" + good, "a" + suffix)
    gc.collect()
    tracemalloc.start()
    rows, dead = read_all(tmp_path, source(**WHERE), name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row is None for row in rows] == [False, True, False]
    assert reasons(dead) == [(1, "too_large")]
    assert peak < 8 << 20


def test_a_growing_file_is_read_as_far_as_records_are_finished(tmp_path):
    """`follow` leaves an unfinished record for later, also one whose quoted field goes on."""
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b"u1,view,1,A,5\nu2,vi")
    partition = open_partition(tmp_path, source(**WHERE), "a.csv", follow=True)
    assert [row.user_id for row in partition.read(1 << 18).rows] == ["u1"]
    assert partition.read(1 << 18) is None
    path.write_bytes(HEADER + b'u1,view,1,A,5\nu2,view,1,"B\n')
    assert partition.read(1 << 18) is None
    path.write_bytes(HEADER + b'u1,view,1,A,5\nu2,view,1,"B\nC",5\nu3,view,1,,\n')
    assert [row.p0 for row in partition.read(1 << 18).rows] == ["B\nC", None]
    assert partition.read(1 << 18) is None
    partition.close()
