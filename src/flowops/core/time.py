"""Local time: zones with cheap look-ups, calendar days, quiet windows (S10, S26).

Everything takes and gives microseconds since the epoch (`Micros`). Nothing in here asks what time it is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from flowops.core.records import Micros

SECOND: Micros = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_LOCAL = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock's reading has no zone
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_QUARTER = 15 * MINUTE
_MINUTES = tuple(f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440))
_DIGITS = tuple(f"{number:02}" for number in range(60))
_THOUSANDS = tuple(f"{number:03}" for number in range(1000))
_ONE_MICRO = timedelta(microseconds=1)
_FIRST = -62_135_510_400 * SECOND  # 0001-01-02: datetime's range with a day to spare for the offset
_LAST = 253_402_214_400 * SECOND  # 9999-12-31


_OFFSETS: dict[str, dict[int, Micros]] = {}
"""By zone and quarter of an hour since the epoch, unless the clocks change within it: what is ahead of UTC."""


class Zone:
    """A time zone. Its offsets are remembered, for all of its name."""

    __slots__ = ("_offsets", "_tz", "name")

    def __init__(self, name: str) -> None:
        """Raises ValueError for a name that is none."""
        try:
            self._tz = ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:  # a folder of the database is an OSError
            raise ValueError(f"no time zone is called {name!r}") from error
        self.name = name
        self._offsets = _OFFSETS.setdefault(name, {})

    def __repr__(self) -> str:
        return f"Zone({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Zone) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def offset(self, ts: Micros) -> Micros:
        """What local time is ahead of UTC at `ts`."""
        quarter = ts // _QUARTER
        known = self._offsets.get(quarter)
        if known is None:
            known = self._look_up(ts)
            begin = quarter * _QUARTER
            if self._look_up(begin) == self._look_up(begin + _QUARTER - 1):
                if len(self._offsets) > 100_000:
                    self._offsets.clear()
                self._offsets[quarter] = known
        return known

    def _look_up(self, ts: Micros) -> Micros:
        at = min(max(ts, _FIRST), _LAST)
        shift = (_EPOCH + timedelta(microseconds=at)).astimezone(self._tz).utcoffset()
        return (shift or timedelta()) // _ONE_MICRO

    def local(self, ts: Micros) -> Micros:
        """The wall clock's reading at `ts`, as microseconds since 1970-01-01 00:00 of that clock."""
        return ts + self.offset(ts)

    def day(self, ts: Micros) -> int:
        """The local day of `ts`, in days since 1970-01-01."""
        return (ts + self.offset(ts)) // DAY

    def clock(self, ts: Micros) -> str:
        """What the wall clock shows at `ts`: `09:00`."""
        return _MINUTES[self.local(ts) % DAY // MINUTE][1:6]

    def minute(self, ts: Micros) -> str:
        """What calendar and wall clock show at `ts`: `2022-04-21 09:00`."""
        return f"{isodate(self.day(ts))} {self.clock(ts)}"

    def instant(self, local: Micros) -> Micros:
        """When the wall clock reads `local`: the first time if it does so twice, after the gap if never (S10)."""
        wall = (_EPOCH_LOCAL + timedelta(microseconds=local)).replace(tzinfo=self._tz)
        shift = (wall.utcoffset() or timedelta()) // _ONE_MICRO  # fold=0: the first of two, and in a gap the earlier
        at = local - shift
        if self.offset(at) == shift:
            return at
        low, high = at - DAY, at  # in a gap: the first instant after it is when the offset changes
        before = self.offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle) == before:
                low = middle
            else:
                high = middle
        return high

    def midnight(self, day: int) -> Micros:
        """When the local day `day` begins."""
        return self.instant(day * DAY)


def period(zone: Zone, ts: Micros, unit: Literal["day", "week", "month"]) -> int:
    """Which calendar day, week (from Monday) or month `ts` falls into: equal numbers, same period."""
    day = zone.day(ts)
    if unit == "day":
        return day
    if unit == "week":
        return (day + 3) // 7  # 1970-01-01 was a Thursday
    at = date.fromordinal(_EPOCH_ORDINAL + day)
    return at.year * 12 + at.month


def to_micros(moment: datetime) -> Micros:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // _ONE_MICRO


def local_micros(moment: datetime) -> Micros:
    """A naive datetime as microseconds of the wall clock; `Zone.instant` turns it into an instant."""
    return (moment - _EPOCH_LOCAL) // _ONE_MICRO


def to_datetime(ts: Micros) -> datetime:
    """The instant as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=ts)


def isoformat(ts: Micros) -> str:
    """`2022-04-21T10:00:00Z`, with a fraction of six digits only where there is one."""
    fraction = ts % SECOND
    second = ts // SECOND
    minute = second // 60
    start = f"{isodate(minute // 1440)}{_MINUTES[minute % 1440]}{_DIGITS[second % 60]}"
    if fraction:
        return f"{start}.{_THOUSANDS[fraction // 1000]}{_THOUSANDS[fraction % 1000]}Z"
    return f"{start}Z"


@lru_cache(maxsize=4096)
def isodate(day: int) -> str:
    """A day, in days since 1970-01-01, as `2022-04-21`."""
    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()


_ZONES: dict[str, Zone | None] = {}


def zone_named(name: str) -> Zone | None:
    """The zone, made once per name; None when there is none of that name."""
    if name not in _ZONES:
        if len(_ZONES) > 1_000:  # there are some 600 zones: the rest is noise from data
            _ZONES.clear()
        try:
            _ZONES[name] = Zone(name)
        except ValueError:
            _ZONES[name] = None
    return _ZONES[name]
