"""Records of Avro become the rows that the same records of JSON become (S1, S3). No server is needed for that."""

from __future__ import annotations

import contextlib
import io
import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import as_tuple, source
from writers import logical, record

from flowops.core.plan import TimeField
from flowops.core.time import zone_named
from flowops.sources.avro import RecordDecoder, avro_read
from flowops.sources.decode import Decoder
from flowops.sources.schemas import UnusableError
from flowops.sources.values import UnfitError

PREFIX = b"\0\0\0\0\1"
AT = datetime(2022, 4, 21, 10, 0, 0, 123456, tzinfo=UTC)


def written(schema, value) -> bytes:
    out = io.BytesIO(PREFIX)
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def rows_of(where, decoder, records):
    """(rows as tuples, reasons), the way a topic is decoded: a block, or each record of it on its own."""
    rows = decoder.block(records)
    if rows is not None:
        return [as_tuple(row, where, decoder.unit) for row in rows], []
    rows, bad = decoder.lines(records)
    return [as_tuple(row, where) for row in rows], [(number, error.reason) for number, error in bad]


def one(where, schema, value):
    """The row of one record, or its `UnfitError`."""
    decoder = RecordDecoder(where)
    rows, bad = decoder.lines([avro_read(json.dumps(schema), [])(written(schema, value))])
    if bad:
        raise bad[0][1]
    return as_tuple(rows[0], where)


SCHEMA = record(
    "Event",
    uid=["null", "string"],
    kind=["null", {"type": "enum", "name": "Kind", "symbols": ["view", "order"]}],
    at=["null", "long", "double"],
    sku=["null", "string", "long", "boolean"],
    price=["null", "double", "string"],
    ctx=["null", record("Context", device=["null", "string"], tags=["null", {"type": "array", "items": "string"}])],
)
WHERE = source(
    user_id=("uid",),
    event_path=("kind",),
    event_id=(("uid",), ("ctx", "device")),
    time=TimeField(("at",), "ms", None),
    columns={
        "sku": "string", "price": "money", "device": ("string", ("ctx", "device")), "tags": ("list", ("ctx", "tags")),
    },
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
records = st.fixed_dictionaries(
    {
        "uid": st.none() | texts,
        "kind": st.sampled_from([None, "view", "order"]),
        "at": st.none() | st.integers(-(2**62), 2**62) | st.integers(0, 2**41) | st.just(1.5),
        "sku": st.none() | texts | st.integers(-(2**62), 2**62) | st.booleans(),
        "price": st.none() | st.floats(-1e6, 1e6) | st.sampled_from(["1.5", "x", ""]),
        "ctx": st.none()
        | st.fixed_dictionaries({"device": st.none() | texts, "tags": st.none() | st.lists(texts, max_size=2)}),
    }
)


@given(st.lists(records, max_size=5), st.sampled_from([1, 70]))
def test_a_record_becomes_the_row_that_it_becomes_as_json(given_records, times):
    """S1, S3: nested, with nulls, unions and an enum; good and bad; also once the decoders have learned."""
    read = avro_read(json.dumps(SCHEMA), [])
    as_avro, as_json = RecordDecoder(WHERE), Decoder(WHERE)
    for _ in range(times):
        values = [read(written(SCHEMA, value)) for value in given_records]
        lines = [json.dumps(value).encode() for value in given_records]
        found = rows_of(WHERE, as_avro, values)
        assert found == rows_of(WHERE, as_json, lines)


@pytest.mark.parametrize("unit", [None, "s", "ms", "us"])
@pytest.mark.parametrize(
    ("type_", "at"),
    [
        (logical("long", "timestamp-millis"), AT.replace(microsecond=123000)),
        (logical("long", "timestamp-micros"), AT),
        (["null", logical("long", "timestamp-micros")], AT),
    ],
)
def test_a_timestamp_is_an_instant_whatever_the_unit(type_, at, unit):
    """S1: as of a Parquet column, the schema's own type counts."""
    where = source(time=TimeField(("ts",), unit, None), columns={"seen": "time", "day": ("date", ("seen",))})
    schema = record(
        "E", user_id="string", event="string", ts=type_, seen=type_ if isinstance(type_, dict) else ["null", type_[1]]
    )
    row = one(where, schema, {"user_id": "u", "event": "e", "ts": at, "seen": at})
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert row == ("u", "e", None, micros, micros, micros // 86_400_000_000)


def test_a_local_timestamp_and_a_day_are_of_the_sources_zone():
    """S1: a time without an offset takes the declared zone; a day as a time is its first instant there."""
    local = logical("long", "local-timestamp-millis")
    schema = record("E", user_id="string", event="string", ts=local, day=logical("int", "date"))
    columns = {"day": "date", "begins": ("time", ("day",))}
    value = {"user_id": "u", "event": "e", "ts": datetime(2022, 4, 21, 8), "day": date(2022, 4, 21)}  # noqa: DTZ001
    where = source(time=TimeField(("ts",), None, zone_named("Asia/Shanghai")), columns=columns)
    instant = int(datetime(2022, 4, 21, tzinfo=UTC).timestamp()) * 1_000_000
    eight = 8 * 3_600_000_000
    assert one(where, schema, value)[3:] == (instant, 19103, instant - eight)
    with pytest.raises(UnfitError, match="declares no zone"):
        one(source(columns=columns), schema, value)


def test_a_decimal_is_exact():
    """As text all of its digits, also beyond the precision that the schema declares; as a number the nearest double."""
    type_ = logical("bytes", "decimal", precision=38, scale=10)
    fixed = {"type": "fixed", "name": "F", "size": 8, "logicalType": "decimal", "precision": 12, "scale": 2}
    schema = record("E", user_id="string", event="string", ts="long", amount=type_, fixed=fixed)
    where = source(columns={"text": ("string", ("amount",)), "amount": "money", "fixed": "money"})
    amount = Decimal("1234567890123456789012345678.0123456789")
    value = {"user_id": "u", "event": "e", "ts": 1, "amount": amount, "fixed": Decimal("-0.07")}
    assert one(where, schema, value)[4:] == (str(amount), float(amount), -0.07)
    narrow = record("E", amount=logical("bytes", "decimal", precision=4, scale=2))
    wide = record("E", amount=logical("bytes", "decimal", precision=9, scale=2))
    data = written(wide, {"amount": Decimal("123456.78")})
    assert avro_read(json.dumps(narrow), [])(data) == {"amount": Decimal("123456.78")}


def test_other_types_of_avro_are_what_json_has_for_them():
    """Ids, times of day and bytes as text; what stands inside of lists, maps and objects too."""
    id_ = uuid.UUID("12345678-1234-5678-1234-567812345678")
    inner = record("I", at=logical("long", "timestamp-millis"), cost=logical("bytes", "decimal", precision=4, scale=2))
    schema = record(
        "E", user_id=logical("string", "uuid"), event="bytes", ts="long", other="string",
        opens=logical("int", "time-millis"), item=inner, seen={"type": "array", "items": logical("int", "date")},
        more={"type": "map", "values": ["null", "long", "boolean"]}, shop=["null", "string"],
    )  # fmt: skip
    where = source(
        columns={
            "opens": "string", "at": ("string", ("item", "at")), "item": "object", "seen": "list", "more": "object",
            "shop": "string", "missing": "string",
        }
    )  # fmt: skip
    value = {
        "user_id": id_, "event": b"view", "ts": 5, "other": "x", "opens": time(9, 30),
        "item": {"at": AT.replace(microsecond=0), "cost": Decimal("1.50")}, "seen": [date(2022, 4, 21)],
        "more": {"a": 1, "b": None}, "shop": None,
    }  # fmt: skip
    assert one(where, schema, value) == (
        str(id_), "view", None, 5, "09:30:00", "2022-04-21T10:00:00Z", {"at": "2022-04-21T10:00:00Z", "cost": "1.50"},
        ["2022-04-21"], {"a": 1, "b": None}, None, None,
    )  # fmt: skip


def test_a_null_deletes_an_attribute_and_a_field_that_the_schema_lacks_leaves_it_alone():
    """Profiles, as in JSON."""
    where = source(kind="profiles", columns={"tier": "string", "city": "string"})
    schema = record("P", user_id="string", ts="long", tier=["null", "string"])
    from_avro = one(where, schema, {"user_id": "u", "ts": 1, "tier": None})
    rows = Decoder(where).block([b'{"user_id": "u", "ts": 1, "tier": null}'])
    assert from_avro == as_tuple(rows[0], where)


@pytest.mark.parametrize(("field", "number"), [("float", math.nan), ("double", math.inf), ("double", -math.inf)])
def test_a_number_that_is_not_finite_is_none(field, number):
    """NaN is a null, as in a column of Parquet; also once a block of such has been seen."""
    where = source(columns={"price": "money"})
    decoder = RecordDecoder(where)
    read = avro_read(json.dumps(record("E", user_id="string", event="string", ts="long", price=field)), [])
    value = {"user_id": "u", "event": "e", "ts": 1, "price": number}
    values = [read(written(record("E", user_id="string", event="string", ts="long", price=field), value))] * 100
    for _ in range(2):
        rows, bad = rows_of(where, decoder, values)
        if math.isnan(number):
            assert {row[4] for row in rows} == {None}
        else:
            assert {reason for _, reason in bad} == {"bad_type"}


def test_a_time_beyond_the_calendar_matters_only_where_it_is_used():
    """S3."""
    written_as = record("E", user_id="string", event="string", ts="long", until="long", day="int")
    data = written(written_as, {"user_id": "u", "event": "e", "ts": 7, "until": 2**62, "day": 2**31 - 1})
    read_as = record(
        "E", user_id="string", event="string", ts="long", until=logical("long", "timestamp-millis"),
        day=logical("int", "date"),
    )  # fmt: skip
    value = avro_read(json.dumps(read_as), [])(data)
    rows, bad = rows_of(source(), RecordDecoder(source()), [value])
    assert (rows, bad) == ([("u", "e", None, 7)], [])
    for name, kind in (("until", "time"), ("day", "date")):
        where = source(columns={name: kind})
        assert rows_of(where, RecordDecoder(where), [value]) == ([None], [(0, "bad_time")])


NESTED = record("N", value="string", next=["null", "N"])


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ("{", "no schema of Avro"),
        ('"nothing"', "no schema of Avro"),
        (json.dumps(NESTED), "has a `N` inside a `N`"),
        (json.dumps(record("A", b=record("B", a={"type": "map", "values": "A"}))), "has a `A` inside a `A`"),
        (json.dumps(record("A", none={"type": "array", "items": "null"})), "a list of nulls"),
    ],
)
def test_a_schema_that_is_none_or_could_not_be_read_safely_is_refused(schema, what):
    """A few bytes of a schema that contains itself make the reader go as deep as they say, until the process dies."""
    with pytest.raises(UnusableError, match=what):
        avro_read(schema, [])


@pytest.mark.parametrize("data", [b"", b"\x04a", b"\x02a\x00more", b"\xff" * 12, b"\x01", b"\x02\xff\x00"])
def test_bytes_that_do_not_fit_the_schema_are_refused(data):
    """S3: cut off, too many, or others."""
    read = avro_read(json.dumps(record("E", user_id="string", sku=["null", "string"])), [])
    with pytest.raises(UnfitError, match="does not fit its schema") as error:
        read(PREFIX + data)
    assert error.value.reason == "schema_mismatch"


@given(st.binary(max_size=40))
def test_no_bytes_do_anything_but_fit_or_be_refused(data):
    """S3: never a crash."""
    rich = record(
        "E", a=["null", "string", logical("bytes", "decimal", precision=9, scale=2)], b=logical("int", "date"),
        c={"type": "map", "values": "double"}, d=logical("long", "timestamp-micros"),
        e={"type": "enum", "name": "K", "symbols": ["x", "y"]}, f=logical("int", "time-millis"),
    )  # fmt: skip
    with contextlib.suppress(UnfitError):
        assert set(avro_read(json.dumps(rich), [])(PREFIX + data)) == set("abcdef")
