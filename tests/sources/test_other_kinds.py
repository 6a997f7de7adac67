"""Receipts and segments: the same rows from every format, and what is refused of them (S2, S3, S40)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet
import pytest
from kit import as_tuple, csv_text, json_lines, read_all, source

from flowops.core.plan import TimeField
from flowops.core.receipts import RECEIPTS
from flowops.core.records import BEFORE_ALL
from flowops.sources.decode import decoder

FORMATS = ["jsonl", "csv", "parquet"]
RECEIPT = {
    "name": "back",
    "kind": "receipts",
    "event_path": ("status",),
    "properties_path": None,
    "columns": {"dispatch_id": ("string", ("message",)), "detail": "string"},
}
SEGMENT = {
    "name": "vip",
    "kind": "segments",
    "event_path": ("segment",),
    "properties_path": None,
    "columns": {"action": "string"},
}


def written(folder, suffix, records):
    """The records as a file; the keys of the first are the columns of a table."""
    path = folder / f"in.{suffix}"
    header = list(records[0])
    if suffix == "jsonl":
        path.write_bytes(json_lines([{k: v for k, v in each.items() if v is not None} for each in records]))
    elif suffix == "csv":
        path.write_bytes(csv_text(records, header))
    else:
        columns = {name: [each.get(name) for each in records] for name in header}
        pa.parquet.write_table(pa.table(columns), path)
    return path.name


@pytest.mark.parametrize("suffix", FORMATS)
def test_receipts_name_a_dispatch_and_perhaps_a_user(tmp_path, suffix) -> None:
    records = [
        {"message": "m1", "status": says, "ts": n, "user_id": None if n else "u1", "detail": "why" if n == 1 else None}
        for n, says in enumerate(RECEIPTS)
    ]
    rows, dead = read_all(tmp_path, source(**RECEIPT), written(tmp_path, suffix, records))
    assert dead == []
    assert rows == [
        (None if n else "u1", says, None, n, "m1", "why" if n == 1 else None) for n, says in enumerate(RECEIPTS)
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_receipts_need_no_column_of_users_or_details(tmp_path, suffix) -> None:
    records = [{"message": "m1", "status": "delivered", "ts": 1}]
    rows, dead = read_all(tmp_path, source(**RECEIPT), written(tmp_path, suffix, records))
    assert (rows, dead) == ([(None, "delivered", None, 1, "m1", None)], [])


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_no_receipt_says_is_a_dead_letter_with_the_reason(tmp_path, suffix) -> None:
    records = [
        {"message": "m1", "status": "opened", "ts": 1},
        {"message": None, "status": "clicked", "ts": 2},
        {"message": "m1", "status": None, "ts": 3},
        {"message": "m1", "status": "clicked", "ts": None},
        {"message": "m2", "status": "clicked", "ts": 5},
    ]
    rows, dead = read_all(tmp_path, source(**RECEIPT), written(tmp_path, suffix, records))
    assert [row and row[4] for row in rows] == [None, None, None, None, "m2"]
    assert [letter.reason for letter in dead] == ["bad_type", "missing_field", "missing_field", "missing_field"]
    assert dead[0].detail == f'`receipt` (`status`): expected one of {", ".join(RECEIPTS)}, got "opened"'
    assert dead[1].detail.startswith("`dispatch_id` (`message`)")


@pytest.mark.parametrize("suffix", FORMATS)
def test_members_enter_unless_they_leave(tmp_path, suffix) -> None:
    records = [
        {"user_id": f"u{n}", "segment": "vip", "ts": n, "action": action}
        for n, action in enumerate(["enter", "leave", None, "join"])
    ]
    rows, dead = read_all(tmp_path, source(**SEGMENT), written(tmp_path, suffix, records))
    assert rows == [
        ("u0", "vip", None, 0, "enter"),
        ("u1", "vip", None, 1, "leave"),
        ("u2", "vip", None, 2, None),
        None,
    ]
    assert [(letter.reason, letter.detail) for letter in dead] == [
        ("bad_type", '`action`: expected one of enter, leave, got "join"')
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_list_of_users_is_a_segment(tmp_path, suffix) -> None:
    """S1: a constant name and no time: from before the first record."""
    members = source(**{**SEGMENT, "event": "vip", "event_path": (), "time": TimeField(None, None, None)})
    rows, dead = read_all(tmp_path, members, written(tmp_path, suffix, [{"user_id": "u1"}, {"user_id": "u2"}]))
    assert dead == []
    assert rows == [("u1", "vip", None, BEFORE_ALL, None), ("u2", "vip", None, BEFORE_ALL, None)]


CONTACTS = {
    **SEGMENT,
    "name": "contacts",
    "event_path": ("employee",),
    "time": TimeField(None, None, None),
    "around": ("contacts of ", "!"),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_segment_may_be_named_by_a_column(tmp_path, suffix) -> None:
    """S2: whoever is a contact of several is in a segment of each."""
    records = [{"employee": who, "user_id": user} for who, user in (("alice", "u1"), ("bob", "u1"), (None, "u2"))]
    rows, dead = read_all(tmp_path, source(**CONTACTS), written(tmp_path, suffix, records))
    assert rows == [
        ("u1", "contacts of alice!", None, BEFORE_ALL, None),
        ("u1", "contacts of bob!", None, BEFORE_ALL, None),
        None,
    ]
    assert [letter.reason for letter in dead] == ["missing_field"]


def test_the_column_of_a_segment_may_hold_numbers_and_lie_deep(tmp_path) -> None:
    """However a value is written, and whatever of the ways to decode it goes."""
    deep = source(**{**CONTACTS, "event_path": ("by", "id")})
    for ids in ([7] * 200, ["7"] * 200, [7, "7"] * 100):
        records = [{"by": {"id": one}, "user_id": "u1"} for one in ids]
        rows, dead = read_all(tmp_path, deep, written(tmp_path, "jsonl", records))
        assert (set(rows), dead) == ({("u1", "contacts of 7!", None, BEFORE_ALL, None)}, [])


IDENTITY = {"name": "ids", "kind": "identities", "event_path": ("cookie",), "properties_path": None}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_link_has_an_identity_and_a_user(tmp_path, suffix) -> None:
    """S2a."""
    records = [
        {"cookie": "anon", "user_id": "u1", "ts": 1},
        {"cookie": None, "user_id": "u1", "ts": 2},
        {"cookie": "anon", "user_id": None, "ts": 3},
    ]
    rows, dead = read_all(tmp_path, source(**IDENTITY), written(tmp_path, suffix, records))
    assert rows == [("u1", "anon", None, 1), None, None]
    assert [(letter.reason, letter.detail.split(":")[0]) for letter in dead] == [
        ("missing_field", "`identity` (`cookie`)"),
        ("missing_field", "`user_id`"),
    ]


@pytest.mark.parametrize(
    ("given", "row"),
    [
        (source(**IDENTITY), ("u1", "anon", None, 1)),
        (source(**{**CONTACTS, "event_path": ("cookie",)}), ("u1", "contacts of anon!", None, BEFORE_ALL, None)),
    ],
)
def test_topics_and_streams_carry_them_too(given, row) -> None:
    """As Kafka's records are decoded, all at once or each alone, and the fields of Redis's entries."""
    line, made = b'{"cookie": "anon", "user_id": "u1", "ts": 1}', decoder(given)
    unit = made.unit
    assert [as_tuple(one, given, unit) for one in made.block([line, line])] == [row, row]
    assert as_tuple(made.line(line), given) == row
    assert as_tuple(made.lines([line])[0][0], given) == row
    assert as_tuple(made.cells({"cookie": "anon", "user_id": "u1", "ts": "1"}), given) == row


def test_receipts_may_be_nested(tmp_path) -> None:
    columns = {"dispatch_id": ("string", ("event", "id")), "detail": "string"}
    deep = source(**{**RECEIPT, "columns": columns, "event_path": ("event", "kind"), "user_id": ("to", "user")})
    records = [{"event": {"kind": "clicked", "id": "m1"}, "to": {"user": "u1"}, "ts": 1}, {"event": {}, "ts": 2}]
    rows, dead = read_all(tmp_path, deep, written(tmp_path, "jsonl", records))
    assert rows == [("u1", "clicked", None, 1, "m1", None), None]
    assert [letter.reason for letter in dead] == ["missing_field"]
