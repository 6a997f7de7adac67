"""One value at a time: what an input may hold for each type of the language, and what a plan gets for it (S1).

| type | a plan gets | taken for it |
|---|---|---|
| string, zone | `str` | text; a whole number becomes its digits |
| number, money | `float` | a finite number, or text that is one |
| boolean | `bool` | true, false, 1, 0, or one of them as text |
| time | `int`, microseconds since the epoch | ISO 8601 |
| date | `int`, days since the epoch | `2022-04-21`, or the day of a time as it is written |
| list, object | `list`, `dict` | such, or JSON text of such |

Null stays None. Every refusal is an `UnfitError`, which becomes a dead letter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NoReturn, TypeAlias
from uuid import UUID

import msgspec

from flowops.core.receipts import RECEIPTS
from flowops.core.records import ACTIONS, Micros
from flowops.core.time import MINUTE, Zone, local_micros, to_micros

Reason = Literal[
    "unparseable",
    "missing_field",
    "bad_type",
    "bad_time",
    "in_future",
    "field_count",
    "too_large",
    "truncated",
    "corrupt",
    "unknown_schema",
    "schema_mismatch",
]
Convert: TypeAlias = Callable[[Any], Any]

FIRST: Micros = to_micros(datetime.fromisoformat("0001-01-02T00:00:00Z"))
LAST: Micros = to_micros(datetime.fromisoformat("9999-12-31T00:00:00Z"))
"""What a time may be: a day off the ends of the calendar, so that no zone leads out of it."""

UNITS: dict[str, Micros] = {"s": 1_000_000, "ms": 1_000, "us": 1}

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_QUARTER = 15 * MINUTE
_SAFE = 2**53  # whole numbers up to here are exact as a float
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class UnfitError(Exception):
    """A value, or a whole record, that is not what was declared."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def show(value: Any) -> str:
    """A value as a message shows it: JSON where it can be, at most 60 characters."""
    if value is msgspec.UNSET:
        return "nothing"
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def unfit(reason: Reason, expected: str, value: Any) -> NoReturn:
    """Refuse a value."""
    raise UnfitError(reason, f"expected {expected}, got {show(value)}")


def as_text(value: Any) -> str | None:
    """`string`, `zone`."""
    if value is None or type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):  # how data frames write a null among numbers
            return None
        if value.is_integer() and abs(value) <= _SAFE:
            return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == int(value) else format(value, "f")
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UnfitError("unparseable", "expected text as UTF-8, got other bytes") from None
    if isinstance(value, UUID):
        return str(value)
    unfit("bad_type", "text", value)


def as_id(value: Any) -> str:
    """A key field: text that is there."""
    text = as_text(value) if value is not msgspec.UNSET else None
    if not text:
        unfit("missing_field", "a value", value)
    return text


def as_optional_id(value: Any) -> str | None:
    """An event's id, or the user of a receipt; None where there is none."""
    return as_text(value) or None


def as_receipt(value: Any) -> str:
    """What a receipt says."""
    text = as_id(value)
    if text not in RECEIPTS:
        unfit("bad_type", f"one of {', '.join(RECEIPTS)}", value)
    return text


def as_action(value: Any) -> str | None:
    """Whether a user enters a segment or leaves it; None where that is left out, which means that it enters."""
    text = as_text(value) or None
    if text is not None and text not in ACTIONS:
        unfit("bad_type", f"one of {', '.join(ACTIONS)}", value)
    return text


def as_number(value: Any) -> float | None:
    """`number`, `money`."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            number = float(value) if "_" not in value else math.nan
        except ValueError:
            number = math.nan
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isnan(number):
            return None
    else:
        number = math.nan
    if not math.isfinite(number):
        unfit("bad_type", "a number", value)
    return number


def as_boolean(value: Any) -> bool | None:
    """`boolean`."""
    if value is None or isinstance(value, bool):
        return value
    known = _BOOLEANS.get(str(value).strip().lower()) if isinstance(value, (str, int)) else None
    if known is None:
        unfit("bad_type", "true or false", value)
    return known


def as_list(value: Any) -> list[Any] | None:
    """`list`."""
    found = _json(value)
    if found is not None and not isinstance(found, list):
        unfit("bad_type", "a list", value)
    return found


def as_object(value: Any) -> dict[str, Any] | None:
    """`object`."""
    found = _json(value)
    if found is not None and not isinstance(found, dict):
        unfit("bad_type", "an object", value)
    return found


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


def day_number(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - _EPOCH_DAY


class Clock:
    """Times of one source. A time without an offset is of `zone`; without a zone it is refused, never guessed (S1)."""

    def __init__(self, zone: Zone | None) -> None:
        self._zone = zone
        self._shifts: dict[int, Micros] = {}

    def instant(self, local: Micros) -> Micros:
        """When the source's wall clock reads `local`: the first time of two, after the gap for a skipped one."""
        quarter = local // _QUARTER
        shift = self._shifts.get(quarter)
        if shift is not None:
            return local + shift
        if self._zone is None:
            raise UnfitError(
                "bad_time", "a time without an offset, and the source declares no zone (`ts: {path: ..., zone: ...}`)"
            )
        at = self._zone.instant(local)
        begin, end = quarter * _QUARTER, (quarter + 1) * _QUARTER - 1
        if begin >= FIRST and end <= LAST and self._zone.instant(end) - self._zone.instant(begin) == end - begin:
            if len(self._shifts) > 100_000:
                self._shifts.clear()
            self._shifts[quarter] = at - local
        return at

    def moment(self, at: datetime) -> Micros:
        """A date and time, with an offset or in the source's zone."""
        if at.tzinfo is not None:
            micros = to_micros(at)
        else:
            micros = local_micros(at)
            if FIRST <= micros <= LAST:
                micros = self.instant(micros)
        if not FIRST <= micros <= LAST:
            unfit("bad_time", "a time of the years 1 to 9999", at.isoformat())
        return micros

    def as_time(self, value: Any) -> Micros | None:
        """`time`."""
        if value is None:
            return None
        at = _read_time(value)
        if at is None:
            unfit("bad_time", "a time as ISO 8601", value)
        return self.moment(at)

    def as_date(self, value: Any) -> int | None:
        """`date`."""
        if value is None:
            return None
        at = value if isinstance(value, date) else _read_time(value)
        if at is None:
            unfit("bad_time", "a date as 2022-04-21", value)
        return day_number(at)

    def as_iso(self, value: Any) -> Micros:
        """The time of a record, as ISO 8601."""
        if value is None or value is msgspec.UNSET or value == "":
            unfit("missing_field", "a time as ISO 8601", value)
        at = _read_time(value)
        if at is None:
            is_number = isinstance(value, (int, float)) or _NUMBER.fullmatch(str(value))
            hint = " (a number of seconds or milliseconds needs `unit: s` or `unit: ms`)" if is_number else ""
            unfit("bad_time", f"a time as ISO 8601{hint}", value)
        return self.moment(at)


def _read_time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return value if isinstance(value, datetime) else None
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        text = value.strip()
        try:
            return datetime.fromisoformat(text) if _DATED.match(text) else None
        except ValueError:
            return None


def numeric_time(unit: Literal["s", "ms", "us"]) -> Convert:
    """The reader of a record's time as a number of `unit`."""
    size = UNITS[unit]
    expected = f"a time in {unit} since 1970"

    def as_micros(value: Any) -> Micros:
        if value is None or value is msgspec.UNSET or value == "":
            unfit("missing_field", expected, value)
        if type(value) is int:
            micros = value * size
        elif isinstance(value, str) and value.isdecimal() and len(value) < 30:
            micros = int(value) * size
        else:
            try:
                number = as_number(value)
                micros = round((math.nan if number is None else number) * size)
            except (UnfitError, ValueError, OverflowError):
                unfit("bad_time", expected, value)
        if not FIRST <= micros <= LAST:
            unfit("bad_time", f"{expected}, of the years 1 to 9999", value)
        return micros

    return as_micros


def converters(unit: Literal["s", "ms", "us"] | None, clock: Clock) -> dict[str, Convert]:
    """The conversion of every type, and of the key fields' own: `id` to `ts`."""
    return {
        "id": as_id,
        "event_id": as_optional_id,
        "optional_id": as_optional_id,
        "receipt": as_receipt,
        "action": as_action,
        "ts": clock.as_iso if unit is None else numeric_time(unit),
        "string": as_text,
        "zone": as_text,
        "number": as_number,
        "money": as_number,
        "boolean": as_boolean,
        "time": clock.as_time,
        "date": clock.as_date,
        "list": as_list,
        "object": as_object,
    }
