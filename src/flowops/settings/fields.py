"""The types that a text of the language may have: durations, times, shares, names. Each refuses, none clamps (S11)."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, NoReturn
from zoneinfo import available_timezones

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from flowops.core.records import Micros
from flowops.core.time import DAY, HOUR, MINUTE, SECOND, Zone, local_micros, to_micros
from flowops.settings import shapes
from flowops.settings.guess import did_you_mean
from flowops.settings.shapes import Shaped

MILLISECOND = SECOND // 1000
WEEK = 7 * DAY
LONGEST = 3660 * DAY
"""No duration of the language is longer than ten years."""

_UNITS = {"w": WEEK, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND}
_UNIT_NAMES = {
    "w": "w", "wk": "w", "week": "w", "d": "d", "day": "d", "h": "h", "hr": "h", "hour": "h",
    "m": "m", "min": "m", "minute": "m", "s": "s", "sec": "s", "second": "s",
    "ms": "ms", "msec": "ms", "millisecond": "ms",
}  # fmt: skip
"""How units are also called, without the `s` of several."""

_PARTS = re.compile(r"(\d+)(ms|[smhdw])", re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)
_NAME = re.compile(r"\w[\w.-]*")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def refuse(code: str, what: str, hint: str | None = None, *, secret: bool = False) -> NoReturn:
    """Make pydantic report a finding of ours; `secret`: without what was got, which may be one."""
    raise PydanticCustomError(code, "{what}", {"what": what, "hint": hint, "secret": secret})


def as_text(value: Any, wanted: str = "a text") -> str:
    """The text that stands there, or a finding that something else does."""
    if value is None:
        refuse("FO103", f"nothing stands here; {wanted} is needed")
    if not isinstance(value, str):
        refuse("FO105", f"{wanted} is needed here, not a {'list' if isinstance(value, list) else 'mapping'}")
    return value


def parse_duration(value: Any) -> Micros:
    """`1h30m` -> microseconds."""
    text = as_text(value, "a duration")
    if not _DURATION.fullmatch(text):
        hint = f"say the unit: `{text}m`, `{text}h` or `{text}d`" if _INTEGER.fullmatch(text) else None
        loose = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text, re.ASCII)
        word = loose[2].lower() if loose else ""
        unit = _UNIT_NAMES.get(word) or _UNIT_NAMES.get(word.removesuffix("s"))
        if loose and loose[2] == "M":
            hint = f"`{loose[1]}m` is minutes; months differ in length: say days, as `30d`"
        elif loose and unit:
            hint = f"write `{show_duration(round(float(loose[1]) * _UNITS[unit]), unit)}`"
        elif word[:1] in ("m", "q", "y"):
            hint = "months and years differ in length: say days, as `30d`"
        refuse("FO201", f"`{text}` is not a duration", hint or "units are ms, s, m, h, d, w; combined: `1h30m`")
    parts = _PARTS.findall(text)
    sizes = [_UNITS[unit] for _, unit in parts]
    if sizes != sorted(set(sizes), reverse=True):
        refuse("FO201", f"`{text}` names its units out of order or twice", "from large to small: `1d12h`")
    total = sum(int(count) * _UNITS[unit] for count, unit in parts)
    if total > LONGEST:
        refuse("FO202", f"`{text}` is longer than ten years", "use `ever` where a window may be without end")
    return total


def parse_offset(value: Any) -> Micros:
    """`-1d`, `2h` -> microseconds, before or after."""
    text = as_text(value, "a duration")
    micros = parse_duration(text.removeprefix("-").removeprefix("+") if text[1:2].isdigit() else text)
    return -micros if text.startswith("-") else micros


def show_duration(micros: Micros, largest: str = "d") -> str:
    """Microseconds -> `1h30m`."""
    parts = []
    units = tuple(_UNITS)
    for unit in units[units.index(largest) :]:
        count, micros = divmod(micros, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def within(low: Micros, high: Micros) -> Callable[[Any], Micros]:
    """A reader of durations from `low` to `high`, both included."""

    def parse(value: Any) -> Micros:
        micros = parse_duration(value)
        if not low <= micros <= high:
            refuse(
                "FO202", f"`{value}` is out of range", f"from {show_duration(low)} to {show_duration(high)} is allowed"
            )
        return micros

    return parse


def parse_number(value: Any) -> float:
    """`0.05`."""
    text = as_text(value, "a number")
    if not _NUMBER.fullmatch(text):
        refuse("FO203", f"`{text}` is not a number", "write it as `10` or `0.5`, without unit or thousands separator")
    return float(text)


def integer(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole numbers from `low` to `high`."""

    def parse(value: Any) -> int:
        text = as_text(value, "a whole number")
        if not _INTEGER.fullmatch(text):
            refuse("FO203", f"`{text}` is not a whole number", f"from {low} to {high}")
        if not low <= int(text) <= high:
            refuse("FO202", f"`{text}` is out of range", f"from {low} to {high} is allowed")
        return int(text)

    return parse


def parse_boolean(value: Any) -> bool:
    """`true` or `false`; nothing else, so that `no` stays the text that it is elsewhere."""
    text = as_text(value, "`true` or `false`")
    if text not in ("true", "false"):
        refuse("FO203", f"`{text}` is not a boolean", "write `true` or `false`")
    return text == "true"


def parse_share(value: Any) -> Decimal:
    """`10%` -> 0.1, exactly."""
    text = as_text(value, "a share")
    if not text.endswith("%") or not _NUMBER.fullmatch(text[:-1]):
        hint = "in per cent, as `10%`"
        if _NUMBER.fullmatch(text):
            hint = f"`{text}%`?" if float(text) >= 1 else f"`{float(text) * 100:g}%`?"
        refuse("FO207", f"`{text}` is not a share", hint)
    share = Decimal(text[:-1]) / 100
    if not 0 <= share <= 1:
        refuse("FO202", f"`{text}` is out of range", "from 0% to 100% is allowed")
    return share


def parse_cost(value: Any) -> float:
    """What a message costs: a number not below 0."""
    number = parse_number(value)
    if not 0 <= number < 1e9:
        refuse("FO202", f"`{value}` is out of range", "a cost is 0 or more")
    return number


def parse_clock(value: Any) -> int:
    """`22:00` -> minutes of the day, to 1440."""
    text = as_text(value, "a time of day")
    match = _CLOCK.fullmatch(text)
    minutes = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else 9999
    if minutes > 1440:
        hint = "write it as `22:00`; the day ends at `24:00`"
        if half := re.fullmatch(r"(1[0-2]|0?[1-9])(?::([0-5]\d))?\s*([ap])\.?m\.?", text, re.ASCII | re.IGNORECASE):
            hour = int(half[1]) % 12 + (12 if half[3].lower() == "p" else 0)
            hint = f"write `{hour:02}:{half[2] or '00'}`"
        refuse("FO206", f"`{text}` is not a time of day", hint)
    return minutes


@cache
def _zones() -> set[str]:
    return available_timezones()  # walks the data base: 20 ms


def parse_zone(value: Any) -> str:
    """A name of the IANA data base."""
    text = as_text(value, "a time zone")
    zones = _zones()
    if text not in zones:
        hint = None
        if not re.search(r"\d", text):  # GMT+8 is not Etc/GMT+8, which is behind by eight hours
            place = next((zone for zone in sorted(zones) if zone.rpartition("/")[2].lower() == text.lower()), None)
            hint = f"did you mean `{place}`?" if place else did_you_mean(text, zones)
        refuse("FO204", f"`{text}` is no time zone", hint or "zones are named by places: `Asia/Shanghai`")
    return text


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, or a time; local unless it carries an offset. What zone, its reader knows."""

    text: str
    at: datetime
    whole_day: bool

    def begins(self, zone: Zone) -> Micros:
        """The instant at which it begins."""
        return zone.instant(local_micros(self.at)) if self.at.tzinfo is None else to_micros(self.at)

    def ends(self, zone: Zone) -> Micros:
        """The instant at which it is over: the end of the local day, or the time itself (S20)."""
        if self.whole_day:
            return zone.instant(local_micros(self.at + timedelta(days=1)))
        return self.begins(zone)


def parse_moment(value: Any) -> Moment:
    """`2022-04-20`, `2022-04-20 10:00`, with seconds, fractions and an offset where wanted."""
    text = as_text(value, "a date or time")
    hint = "write `2022-04-20` or `2022-04-20 10:00`"
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            at = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local to the plan's zone
        elif re.match(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}", text, re.ASCII):
            at = datetime.fromisoformat(text)
        else:
            refuse("FO205", f"`{text}` is not a date or time", hint)
    except ValueError:
        refuse("FO205", f"`{text}` is not a date or time", _no_such_day(text) or hint)
    if not 1970 < at.year < 9998:
        refuse("FO202", f"`{text}` is out of range", "from the year 1971 to 9997 is allowed")
    return Moment(text, at, bool(_DATE.fullmatch(text)))


def _no_such_day(text: str) -> str | None:
    """What is wrong with `2022-02-30`."""
    if not _DATE.match(text):
        return None
    year, month, day = (int(part) for part in text[:10].split("-"))
    if not 1 <= month <= 12 or year < 1:
        return "the months are `01` to `12`" if year else None
    last = monthrange(year, month)[1]
    return None if 1 <= day <= last else f"{text[:7]} has the days 01 to {last}"


def parse_name(value: Any) -> str:
    """An id: of a plan, channel, source, goal, variant."""
    text = as_text(value, "a name")
    if not _NAME.fullmatch(text) or len(text) > 100:
        refuse("FO108", f"`{text}` is not a name", "use letters, digits, `_`, `-` and `.`, at most 100 characters")
    return text


def parse_identifier(value: Any) -> str:
    """A name that filters use: of a property, an attribute, a step."""
    text = as_text(value, "a name")
    if not _IDENTIFIER.fullmatch(text) or len(text) > 100:
        refuse("FO108", f"`{text}` is not a name that a filter could use", "use letters, digits and `_`")
    return text


def parse_label(value: Any) -> str:
    """A text of one line for people, or an event's name as the input has it."""
    text = as_text(value)
    if not text.strip() or not text.isprintable() or len(text) > 200:
        refuse("FO108", "an empty text, one of several lines or of more than 200 characters", "use one short line")
    return text


def parse_texts(value: Any) -> Any:
    """One text where a list may stand."""
    return [value] if isinstance(value, str) else value


def parse_weekday(value: Any) -> int:
    """`mon` -> 0."""
    text = as_text(value, "a day of the week")
    if text not in WEEKDAYS:
        hint = f"write `{text[:3].lower()}`" if text[:3].lower() in WEEKDAYS else f"one of {', '.join(WEEKDAYS)}"
        refuse("FO106", f"`{text}` is no day of the week", hint)
    return WEEKDAYS.index(text)


def _moment_text(moment: Moment) -> str:
    return moment.text


Duration = Annotated[Micros, BeforeValidator(parse_duration), Shaped(shapes.DURATION)]
Offset = Annotated[Micros, BeforeValidator(parse_offset), Shaped(shapes.OFFSET)]
Wait = Annotated[Micros, BeforeValidator(within(MILLISECOND, LONGEST)), Shaped(shapes.DURATION)]
GoalWindow = Annotated[Micros, BeforeValidator(within(5 * MINUTE, 90 * DAY)), Shaped(shapes.DURATION)]
Share = Annotated[Decimal, BeforeValidator(parse_share), Shaped(shapes.SHARE)]
Cost = Annotated[float, BeforeValidator(parse_cost), Shaped(shapes.NUMBER)]
Boolean = Annotated[bool, BeforeValidator(parse_boolean), Shaped(shapes.BOOLEAN)]
Clock = Annotated[int, BeforeValidator(parse_clock), Shaped(shapes.CLOCK)]
ZoneName = Annotated[str, BeforeValidator(parse_zone), Shaped({"type": "string"})]
When = Annotated[
    Moment, BeforeValidator(parse_moment), PlainSerializer(_moment_text, return_type=str), Shaped(shapes.MOMENT)
]
Name = Annotated[str, BeforeValidator(parse_name), Shaped(shapes.NAME)]
Identifier = Annotated[str, BeforeValidator(parse_identifier), Shaped(shapes.NAME)]
Label = Annotated[str, BeforeValidator(parse_label), Shaped(shapes.TEXT)]
Text = Annotated[str, BeforeValidator(as_text), Shaped(shapes.TEXT)]
Weekday = Annotated[int, BeforeValidator(parse_weekday), Shaped({"enum": list(WEEKDAYS)})]
Count = Annotated[int, BeforeValidator(integer(1, 1_000_000)), Shaped(shapes.INTEGER)]
Priority = Annotated[int, BeforeValidator(integer(-1_000_000, 1_000_000)), Shaped(shapes.INTEGER)]
