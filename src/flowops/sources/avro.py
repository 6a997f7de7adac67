"""Records of Avro: fastavro reads them, by the schema with which they were written, and what they hold becomes rows.

A record is decoded as one of JSON is (`decode`): the same paths, the same types, the same refusals. Avro's own types of
times, days and decimals are taken as what they are. They are read by functions of ours: fastavro rounds a decimal to
its precision, and fails where a time lies beyond Python's calendar, also in a field that nobody uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import partial
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

import fastavro
import msgspec
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException, UnknownType
from msgspec import Meta

from flowops.sources.decode import Decoder
from flowops.sources.schemas import PREFIX, Read, References, UnusableError
from flowops.sources.values import Convert, UnfitError

_OURS = "flowops-"  # before the names of the logical types that we read
_BAD = (EOFError, ValueError, LookupError, ArithmeticError, TypeError)
"""What fastavro raises for bytes that do not fit a schema."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock's, of whichever zone
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EXACT = Context(prec=1000)
_MOST_DIGITS = 256  # bytes of a decimal
_FINITE = Annotated[float, Meta(ge=-math.nextafter(math.inf, 0), le=math.nextafter(math.inf, 0))] | None


def _since(epoch: datetime, unit: int, divisor: int = 1) -> Callable[..., Any]:
    def read(number: int, *_: Any) -> datetime | int:
        try:
            return epoch + timedelta(microseconds=number * unit // divisor)
        except OverflowError:
            return number  # refused where it is used

    return read


def _day(number: int, *_: Any) -> date | int:
    try:
        return date.fromordinal(number + _EPOCH_DAY)
    except (ValueError, OverflowError):
        return number


def _time_of_day(unit: int) -> Callable[..., Any]:
    def read(number: int, *_: Any) -> time | int:
        micros = number * unit
        return (_LOCAL_EPOCH + timedelta(microseconds=micros)).time() if 0 <= micros < 86_400_000_000 else number

    return read


def _decimal(data: bytes, schema: Mapping[str, Any], *_: Any) -> Decimal:
    if len(data) > _MOST_DIGITS:
        raise ValueError(f"a decimal of {len(data)} bytes")
    return Decimal(int.from_bytes(data, signed=True)).scaleb(-schema.get("scale", 0), _EXACT)


def _uuid(data: bytes, *_: Any) -> str:
    return str(UUID(bytes=bytes(data)))


_READERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("long", "timestamp-millis"): _since(_EPOCH, 1000),
    ("long", "timestamp-micros"): _since(_EPOCH, 1),
    ("long", "timestamp-nanos"): _since(_EPOCH, 1, 1000),  # finer parts are cut off
    ("long", "local-timestamp-millis"): _since(_LOCAL_EPOCH, 1000),
    ("long", "local-timestamp-micros"): _since(_LOCAL_EPOCH, 1),
    ("long", "local-timestamp-nanos"): _since(_LOCAL_EPOCH, 1, 1000),
    ("int", "date"): _day,
    ("int", "time-millis"): _time_of_day(1000),
    ("long", "time-micros"): _time_of_day(1),
    ("bytes", "decimal"): _decimal,
    ("fixed", "decimal"): _decimal,
    ("fixed", "uuid"): _uuid,
}
LOGICAL_READERS.update({f"{kind}-{_OURS}{logical}": read for (kind, logical), read in _READERS.items()})


def avro_read(schema: str, references: References) -> Read:
    """What reads by a schema. Raises `UnusableError` for one that is none, or could not be read safely."""
    names: dict[str, Any] = {}
    try:
        for _, text in references:
            fastavro.parse_schema(_as_ours(msgspec.json.decode(text)), names)
        parsed = fastavro.parse_schema(_as_ours(msgspec.json.decode(schema)), names)
        _check(parsed, names, (), set())
    except (SchemaParseException, UnknownType, AttributeError, RecursionError, *_BAD) as error:
        raise UnusableError(f"is no schema of Avro: {error}") from None

    def read(value: bytes) -> Any:
        data = BytesIO(value)
        data.seek(PREFIX)
        try:
            record = fastavro.schemaless_reader(data, parsed, None)
        except _BAD as error:
            told = str(error) or "it ends too early"
            raise UnfitError("schema_mismatch", f"the value does not fit its schema: {told}") from None
        if data.tell() != len(value):
            rest = len(value) - data.tell()
            raise UnfitError("schema_mismatch", f"the value does not fit its schema: {rest} bytes are left over")
        return record

    return read


def _as_ours(schema: Any) -> Any:
    """The schema with our names of logical types, and without those of which nothing has to be made."""
    if isinstance(schema, list):
        return [_as_ours(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _as_ours(each) if name in ("type", "items", "values") else each for name, each in schema.items()}
    if isinstance(found.get("fields"), list):
        found["fields"] = [_as_ours(each) for each in found["fields"]]
    logical = found.pop("logicalType", None)
    kind = found.get("type")
    if isinstance(kind, str) and isinstance(logical, str) and (kind, logical) in _READERS:
        found["logicalType"] = _OURS + logical
    return found


def _check(schema: Any, names: Mapping[str, Any], inside: tuple[str, ...], done: set[str]) -> None:
    """Refuse a schema by which a few bytes could end the process: fastavro goes as deep, and as far, as they say."""
    if isinstance(schema, list):
        for each in schema:
            _check(each, names, inside, done)
    elif isinstance(schema, str):
        if schema in inside:
            raise UnusableError(f"has a `{schema}` inside a `{schema}`, which is not supported")
        if schema in names and schema not in done:
            _check(names[schema], names, inside, done)
    elif not isinstance(schema["type"], str):
        _check(schema["type"], names, inside, done)
    elif schema["type"] in ("record", "error"):
        for field in schema["fields"]:
            _check(field["type"], names, (*inside, schema["name"]), done)
        done.add(schema["name"])
    elif schema["type"] in ("array", "map"):
        below = schema.get("items", schema.get("values"))
        if below == "null":
            raise UnusableError("has a list of nulls, which is not supported")
        _check(below, names, inside, done)


class RecordDecoder(Decoder):
    """Makes the rows of one source of records that are decoded already: dicts, with times and decimals in them."""

    def _reader(self, struct: type[Any]) -> Callable[[Any], Any]:
        return partial(msgspec.convert, type=struct)

    def _strict_type(self, kind: str) -> Any:
        if kind in ("list", "object"):
            return Any  # what is in there may be none of JSON
        return _FINITE if kind in ("number", "money") else super()._strict_type(kind)

    def _convert(self, kind: str) -> Convert:
        convert = super()._convert(kind)
        if kind in ("time", "ts"):
            return _moments(self, convert)
        return convert if kind in ("date", "number", "money", "boolean") else _plainly(convert)


def _moments(decoder: Decoder, convert: Convert) -> Convert:
    """A time of Avro's is what it is, whatever the source's unit; a day is its first instant in the source's zone."""

    def moment(value: Any) -> Any:
        if isinstance(value, datetime):
            return decoder.clock.moment(value)
        if isinstance(value, date):
            return decoder.clock.moment(datetime.combine(value, time()))
        return convert(value)

    return moment


def _plainly(convert: Convert) -> Convert:
    """Times and decimals as the text that JSON would have."""

    def plain(value: Any) -> Any:
        if isinstance(value, (dict, list, datetime, date, time)):
            value = msgspec.to_builtins(value)
        return convert(value)

    return plain
