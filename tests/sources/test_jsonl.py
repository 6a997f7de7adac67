"""JSON Lines: every line is a row or a dead letter, and says why."""

from __future__ import annotations

import gc
import json
import tracemalloc
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from kit import as_tuple, json_lines, pack, read_all, reasons, source

from flowops.core.plan import TimeField
from flowops.core.records import BEFORE_ALL
from flowops.core.time import Zone
from flowops.errors import InputError
from flowops.sources import files, open_partition

EVENT = {"user_id": "u1", "event": "view", "ts": 1_650_000_000_000_000}
GOOD = ("u1", "view", None, 1_650_000_000_000_000)


def write(folder, data: bytes, name="a.jsonl"):
    (folder / name).write_bytes(pack(data, name))
    return name


def one(folder, record, **changes):
    """The row of one record, or its dead letter's reason and detail."""
    line = record if isinstance(record, bytes) else json.dumps(record).encode()
    where = source(**changes)
    rows, dead = read_all(folder, where, write(folder, line + b"\n"))
    assert len(rows) == 1
    return rows[0] if rows[0] is not None else (dead[0].reason, dead[0].detail)


def test_a_record_is_decoded_by_its_mapping(tmp_path):
    """S1: any input's fields are mapped onto the names of an event; what is not mapped is not decoded."""
    where = {
        "user_id": ("uid",),
        "event_path": ("type",),
        "event_id": (("id",),),
        "time": TimeField(("at",), "ms", None),
        "columns": {"sku": "string", "price": "money"},
    }
    record = {"uid": "u1", "type": "view", "id": "e1", "at": 1650000000123, "sku": "A", "price": 5, "other": [1, {}]}
    assert one(tmp_path, record, **where) == ("u1", "view", "e1", 1650000000123000, "A", 5.0)


def test_a_constant_event_name_is_not_read(tmp_path):
    """S1: a source may say which event all of its records are."""
    assert one(tmp_path, {**EVENT, "event": 7}, event="order") == ("u1", "order", None, EVENT["ts"])


def test_profiles_tell_absent_from_null(tmp_path):
    """S2: a null deletes an attribute, absence leaves it alone; without a time it holds from before all (S1)."""
    where = {"kind": "profiles", "time": TimeField(None, None, None), "columns": {"city": "string", "tier": "string"}}
    row = one(tmp_path, {"user_id": "u1", "city": None}, **where)
    assert row == ("u1", "", None, BEFORE_ALL, None, msgspec.UNSET)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "x", "x"),
        ("string", 12, "12"),
        ("string", 12.0, "12"),
        ("string", None, None),
        ("string", "a\u0000b", "a\u0000b"),
        ("zone", "Asia/Shanghai", "Asia/Shanghai"),
        ("number", 1, 1.0),
        ("number", "1.5e3", 1500.0),
        ("money", "-2", -2.0),
        ("boolean", True, True),
        ("boolean", "FALSE", False),
        ("boolean", 1, True),
        ("time", "2022-04-21T10:00:00Z", 1650535200_000000),
        ("time", "2022-04-21T12:00:00.000001+02:00", 1650535200_000001),
        ("time", "2022-04-21 12:00+02:00", 1650535200_000000),
        ("date", "1970-01-11", 10),
        ("date", "1970-01-11T23:00:00-05:00", 10),
        ("list", [1, "a"], [1, "a"]),
        ("list", "[1]", [1]),
        ("object", {"a": None}, {"a": None}),
    ],
)
def test_types_as_declared_or_nearly(tmp_path, kind, value, expected):
    """S1: a value of the declared type, or one that can only mean it; times are microseconds, dates days."""
    assert one(tmp_path, {**EVENT, "x": value}, columns={"x": kind}) == (*GOOD, expected)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("string", True, "bad_type"),
        ("string", 1.5, "bad_type"),
        ("string", 1e300, "bad_type"),
        ("string", ["a"], "bad_type"),
        ("number", "12 apples", "bad_type"),
        ("number", "1_000", "bad_type"),
        ("number", "nan", "bad_type"),
        ("number", "1e999", "bad_type"),
        ("number", True, "bad_type"),
        ("boolean", "yes", "bad_type"),
        ("boolean", 2, "bad_type"),
        ("time", 1650535200, "bad_time"),
        ("time", "tomorrow", "bad_time"),
        ("time", "2022-04-21T10:00:00", "bad_time"),
        ("date", "2022-02-30", "bad_time"),
        ("list", {"a": 1}, "bad_type"),
        ("object", "x", "bad_type"),
    ],
)
def test_a_value_of_another_type_is_a_dead_letter_that_names_it(tmp_path, kind, value, reason):
    """S3: the reason is a code, the detail names field, what was expected and what was got."""
    got, detail = one(tmp_path, {**EVENT, "x": value}, columns={"x": kind})
    assert got == reason
    assert "`x`" in detail
    assert "expected" in detail or "no zone" in detail


@pytest.mark.parametrize("field", ["user_id", "event", "ts"])
@pytest.mark.parametrize("value", [None, "", ...])
def test_a_key_field_must_be_there(tmp_path, field, value):
    """S3: missing a key field -> dead letter."""
    record = {key: held for key, held in {**EVENT, field: value}.items() if held is not ...}
    reason, detail = one(tmp_path, record)
    assert reason == "missing_field"
    assert f"`{field}`" in detail


@pytest.mark.parametrize(
    ("unit", "value", "micros"),
    [
        ("s", 1650535200, 1650535200_000000),
        ("s", 1650535200.25, 1650535200_250000),
        ("s", "1650535200", 1650535200_000000),
        ("ms", 0, 0),
        ("ms", 0.0, 0),
        ("ms", -1, -1000),
        ("us", 1650535200_000001, 1650535200_000001),
        (None, "2022-04-21T10:00:00Z", 1650535200_000000),
        (None, "2022-04-21T10:00:00.5+00:00", 1650535200_500000),
    ],
)
def test_times_are_microseconds(tmp_path, unit, value, micros):
    """S1: a number of the declared unit, or ISO 8601 with an offset."""
    assert one(tmp_path, {**EVENT, "ts": value}, time=TimeField(("ts",), unit, None))[3] == micros


@pytest.mark.parametrize(
    ("unit", "value"),
    [("ms", 10**30), ("ms", "soon"), ("s", True), ("us", 10**18), (None, 1650535200), (None, "2022-13-01T00:00:00Z")],
)
def test_what_is_no_time_is_a_dead_letter(tmp_path, unit, value):
    """S3, S11: a time out of range is refused, not clamped."""
    assert one(tmp_path, {**EVENT, "ts": value}, time=TimeField(("ts",), unit, None))[0] == "bad_time"


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2022-07-01T12:00:00", "2022-07-01T16:00:00+00:00"),
        ("2022-03-13T02:30:00", "2022-03-13T07:00:00+00:00"),  # skipped: the first instant after the gap
        ("2022-11-06T01:30:00", "2022-11-06T05:30:00+00:00"),  # twice: the first
        ("2022-11-06T02:00:00", "2022-11-06T07:00:00+00:00"),
        ("2022-07-01T12:00:00+02:00", "2022-07-01T10:00:00+00:00"),  # its own offset
    ],
)
def test_a_time_without_an_offset_is_of_the_declared_zone(tmp_path, local, utc):
    """S1: an ambiguous local time is the first, a skipped one after the gap."""
    where = {"time": TimeField(("ts",), None, Zone("America/New_York")), "columns": {"x": "time"}}
    row = one(tmp_path, {**EVENT, "ts": local, "x": local}, **where)
    expected = int(datetime.fromisoformat(utc).timestamp()) * 1_000_000
    assert (row[3], row[4]) == (expected, expected)


def test_a_time_without_an_offset_and_zone_is_never_the_machines(tmp_path, monkeypatch):
    """S1: never the machine's zone."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    reason, detail = one(tmp_path, {**EVENT, "ts": "2022-07-01T12:00:00"}, time=TimeField(("ts",), None, None))
    assert reason == "bad_time"
    assert "zone" in detail


def test_ids_may_be_numbers(tmp_path):
    """S1: user and event ids are text; a number is its digits. Many of them are as right as a few."""
    where = source(event_id=(("id",),))
    records = [{**EVENT, "user_id": number, "id": number} for number in range(500)]
    name = write(tmp_path, json_lines(records))
    for _ in range(2):  # the second time what was learned is in use
        rows, dead = read_all(tmp_path, where, name, limit=3000)
        assert not dead
        assert rows == [(str(number), "view", str(number), EVENT["ts"]) for number in range(500)]


def test_what_is_learned_of_a_source_changes_no_row(tmp_path):
    """A field that is often repaired is decoded another way, with the same rows and dead letters."""
    where = source(columns={"x": "string"})
    values = ["a", 1, None, 2.0, True, "", 2.5, [1]]
    records = [{**EVENT, "x": values[number % len(values)]} for number in range(800)]
    name = write(tmp_path, json_lines(records))
    first = read_all(tmp_path, where, name, limit=500)
    assert read_all(tmp_path, where, name, limit=70_000) == first
    assert [row and row[4] for row in first[0][:8]] == ["a", "1", None, "2", None, "", None, None]
    assert [row is None for row in first[0][:8]] == [False, False, False, False, True, False, True, True]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"basket": 1, "product": "x"}, "1-x"),
        ({"basket": "1", "product": 2}, "1-2"),
        ({"basket": 1}, None),
        ({"basket": 1, "product": None}, None),
        ({"basket": 1, "product": ""}, None),
    ],
)
def test_an_event_id_of_several_fields(tmp_path, record, expected):
    """S1: joined with `-`; where a part is missing, the id is made from the record's place as if none were mapped."""
    assert one(tmp_path, {**EVENT, **record}, event_id=(("basket",), ("product",)))[2] == expected


def test_properties_may_stand_inside(tmp_path):
    """S1: flat or nested; the top level wins where it carries the property."""
    columns = {"sku": "string", "price": "money", "at": "time"}
    record = {**EVENT, "sku": "top", "properties": {"sku": "in", "price": "3", "at": "1970-01-01T00:00:01Z", "z": 1}}
    assert one(tmp_path, record, columns=columns) == (*GOOD, "top", 3.0, 1_000_000)
    assert one(tmp_path, {**EVENT, "properties": None}, columns=columns) == (*GOOD, None, None, None)
    assert one(tmp_path, {**EVENT, "properties": {"sku": "in"}}, columns=columns, properties_path=None)[4] is None
    inner = {**EVENT, "context": {"traits": {"sku": "in"}}}
    assert one(tmp_path, inner, columns=columns, properties_path=("context", "traits"))[4] == "in"
    reason, detail = one(tmp_path, {**EVENT, "properties": []}, columns=columns)
    assert reason == "bad_type"
    assert "properties" in detail


def test_deeper_paths_shared_paths_and_paths_below_others(tmp_path):
    """S1: any path may be mapped, also twice, also one that leads on below another."""
    where = {
        "user_id": ("user", "id"),
        "event_path": ("what", "name"),
        "time": TimeField(("user", "at", "t"), "s", None),
        "event_id": (("user", "id"), ("n",)),
        "columns": {
            "id": ("string", ("user", "id")),
            "address": ("object", ("user", "address")),
            "city": ("string", ("user", "address", "city")),
            "zip": ("number", ("user", "address", "zip")),
            "n": "number",
        },
    }
    address = {"city": "Paris", "zip": "75001"}
    record = {"user": {"id": 5, "at": {"t": 1}, "address": address}, "what": {"name": "view"}, "n": 7}
    row = one(tmp_path, record, **where)
    assert row == ("5", "view", "5-7", 1_000_000, "5", address, "Paris", 75001.0, 7.0)
    del record["user"]["address"]
    assert one(tmp_path, record, **where)[5:8] == (None, None, None)
    del record["what"]
    assert one(tmp_path, record, **where)[0] == "missing_field"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "unparseable"),
        (b"nonsense", "unparseable"),
        (b'{"user_id": "u", "event": "e", "ts": 1} {}', "unparseable"),
        (b'{"user_id": "u\xff", "event": "e", "ts": 1}', "unparseable"),
        (b'{"user_id": "u\0", "event": "e", "ts": 1}', "unparseable"),
        (b"\0\0\0\0", "unparseable"),
        (b'{"user_id": "u", "event": "e", "ts": 1, "z": ' + b"[" * 100_000 + b"}", "unparseable"),
        (b"[1, 2]", "unparseable"),
        (b"null", "unparseable"),
    ],
)
def test_a_line_that_is_no_record_is_a_dead_letter(tmp_path, line, reason):
    """S3: unparseable -> dead letter, the others are read."""
    good = json.dumps(EVENT).encode()
    name = write(tmp_path, good + b"\n" + line + b"\n" + good + b"\n")
    rows, dead = read_all(tmp_path, source(), name)
    assert rows == [GOOD, None, GOOD]
    assert reasons(dead) == [(1, reason)]
    assert dead[0].source == "web"
    assert dead[0].partition == name
    assert len(dead[0].sample) <= 200


def test_bad_bytes_in_a_field_that_nobody_uses_do_no_harm(tmp_path):
    """Only what is used is decoded."""
    assert one(tmp_path, b'{"user_id": "u1", "event": "view", "ts": 1650000000000000, "z": "\xff"}') == GOOD


@pytest.mark.parametrize(
    ("data", "rows", "expected"),
    [
        (b"", 0, []),
        (b"\n\r\n  \n", 0, []),
        (b"\xef\xbb\xbf", 0, []),
        (b"\xef\xbb\xbf%a\n%a\n", 2, []),
        (b"%a\r\n%a\r\n", 2, []),
        (b"%a\r\n\r\n%a", 2, []),
        (b"\n\n%a\n\n\n%a\n\n", 2, []),
        (b"%a\n%a", 2, []),
        (b'%a\n{"user_id": "u1", "ev', 2, [(1, "truncated")]),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson.gz", ".json.zst"])
def test_ends_of_lines_and_files(tmp_path, data, rows, expected, suffix):
    """A BOM, CRLF, blank lines (not counted), a missing last line end, a last line that was cut off."""
    name = write(tmp_path, data.replace(b"%a", json.dumps(EVENT).encode()), "a" + suffix)
    got, dead = read_all(tmp_path, source(), name)
    assert len(got) == rows
    assert reasons(dead) == expected
    assert all(row == GOOD for row in got if row is not None)


def test_objects_over_several_lines_are_not_records(tmp_path):
    """A record is a line, whatever JSON would allow, and however the lines are read."""
    record = b'{"user_id": "u1",\n"event": "view", "ts": 1}\n'
    doubled = b'{"user_id": "u1", "event": "view", "ts": 1} {"user_id": "u1", "event": "view", "ts": 1}\n'
    for data, lines in ((record * 5, 10), (record + doubled, 3), (doubled + record, 3)):
        for limit in (10, 1 << 18):
            rows, dead = read_all(tmp_path, source(), write(tmp_path, data), limit=limit)
            assert rows == [None] * lines
            assert [letter.reason for letter in dead] == ["unparseable"] * lines


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_line_of_50_mb_is_a_dead_letter_and_is_never_held(tmp_path, suffix):
    """S3: over 1 MiB -> dead letter."""
    good = json.dumps(EVENT).encode() + b"\n"
    name = write(tmp_path, good + b'{"x": "' + b"y" * 50_000_000 + b'"}\n' + good, "a" + suffix)
    gc.collect()
    tracemalloc.start()
    rows, dead = read_all(tmp_path, source(), name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [GOOD, None, GOOD]
    assert reasons(dead) == [(1, "too_large")]
    assert peak < 8 << 20


@pytest.mark.parametrize("limit", [100, 1 << 18, 1 << 20, 4 << 20])
def test_a_line_of_exactly_1_mib_passes(tmp_path, limit):
    """S3: over 1 MiB, not at it."""
    line = json.dumps({**EVENT, "x": ""}).encode()
    fits = line[:-2] + b"y" * ((1 << 20) - len(line)) + line[-2:]
    over = line[:-2] + b"y" * ((1 << 20) - len(line) + 1) + line[-2:]
    rows, dead = read_all(tmp_path, source(), write(tmp_path, b"\n".join([fits, over, fits, over])), limit=limit)
    assert rows == [GOOD, None, GOOD, None]
    assert reasons(dead) == [(1, "too_large"), (3, "too_large")]


def test_a_growing_file_is_read_as_far_as_lines_are_finished(tmp_path):
    """`follow` leaves an unfinished last line for later; without, it is the last record."""
    line = json.dumps(EVENT).encode() + b"\n"
    for suffix in (".jsonl", ".jsonl.gz"):
        path = tmp_path / ("grow" + suffix)
        path.write_bytes(pack(line + line[:20], suffix) if suffix == ".jsonl" else pack(line, suffix)[:-4])
        partition = open_partition(tmp_path, source(), path.name, follow=True)
        seen = []

        def drain(partition=partition, seen=seen):
            while (chunk := partition.read(1 << 18)) is not None:
                assert not chunk.dead
                seen.extend(as_tuple(row, source()) for row in chunk.rows)

        drain()
        assert len(seen) == 1
        path.write_bytes(pack(line * 3, suffix))
        drain()
        assert seen == [GOOD] * 3
        position = partition.position()
        partition.close()
        path.write_bytes(pack(line * 4, suffix))
        partition = open_partition(tmp_path, source(), path.name, position, follow=True)
        chunk = partition.read(1 << 18)
        assert (chunk.first, len(chunk.rows)) == (3, 1)
        partition.close()


def test_a_file_that_became_shorter_is_refused(tmp_path):
    """A position that is no longer in the file is not passed over in silence."""
    for suffix in (".jsonl", ".jsonl.gz", ".jsonl.zst"):
        name = write(tmp_path, json_lines([EVENT] * 10), "a" + suffix)
        partition = open_partition(tmp_path, source(), name)
        partition.read(1 << 18)
        partition.close()
        write(tmp_path, json_lines([EVENT]), name)
        with pytest.raises(InputError, match="it is not the file that it was"):
            open_partition(tmp_path, source(), name, partition.position()).read(1 << 18)


def test_no_file_stays_open_that_was_released(tmp_path):
    """Hundreds of daily files may wait."""
    for suffix in (".jsonl", ".jsonl.gz"):
        name = write(tmp_path, json_lines([{**EVENT, "ts": number} for number in range(1000)]), "a" + suffix)
        before = len(list(Path("/proc/self/fd").iterdir()))
        waiting = [open_partition(tmp_path, source(), name) for _ in range(50)]
        assert [partition.read(100).rows[0].ts for partition in waiting] == [0] * 50
        for partition in waiting:
            partition.release()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert waiting[0].read(100).first == 2
        waiting[0].close()


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_compressed_file_goes_on_after_a_release_without_beginning_again(tmp_path, suffix, monkeypatch):
    """Released between any two reads, a file of 12 MB is not unpacked from its start for each of them."""
    name = write(
        tmp_path, json_lines([{**EVENT, "x": "y" * 1000, "ts": number} for number in range(12_000)]), "a" + suffix
    )
    unpacked = 0
    unpack = getattr(files, "_gunzip" if suffix.endswith("gz") else "_unzstd")

    def counted(file):
        nonlocal unpacked
        for piece in unpack(file):
            unpacked += len(piece)
            yield piece

    monkeypatch.setattr(files, unpack.__name__, counted)
    partition = open_partition(tmp_path, source(), name)
    times = []
    while (chunk := partition.read(1 << 18)) is not None:
        times += [row.ts for row in chunk.rows]
        partition.release()
        assert not [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve().name == name]
    assert times == list(range(12_000))
    assert 12_000_000 < unpacked < 60_000_000  # 300 MB if it began again each time
    partition.close()


def test_rows_are_not_tracked_by_the_collector(tmp_path):
    """A million rows in memory cost the collector nothing."""
    partition = open_partition(tmp_path, source(), write(tmp_path, json_lines([EVENT])))
    assert not gc.is_tracked(partition.read(100).rows[0])
    partition.close()
