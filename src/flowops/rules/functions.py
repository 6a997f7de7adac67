"""What generated code calls: the operations of filters that Python's own operators do not give as DuckDB does.

Every function here agrees with DuckDB for every argument that can occur and raises nothing. Numbers are doubles
(finite in a column; what arithmetic makes of them may be infinite or NaN), a `time` is microseconds since the epoch,
a `date` days since the epoch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache

from flowops.core.records import Micros
from flowops.core.time import DAY, HOUR, MINUTE, SECOND, Zone


def divide(left: float, right: float) -> float:
    """IEEE division: by zero it is infinite, or NaN for 0 / 0."""
    if right:
        return left / right
    if not left or left != left:  # noqa: PLR0124 - NaN is the value that differs from itself
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def modulo(left: float, right: float) -> float:
    """The remainder with the sign of the dividend, NaN by zero."""
    if not right or left - left != 0:  # by zero, or of what is not finite
        return math.nan
    return math.fmod(left, right)


def equal(left: float, right: float) -> bool:
    """SQL's equality of doubles: NaN equals NaN."""
    return left == right or (left != left and right != right)  # noqa: PLR0124


def less(left: float, right: float) -> bool:
    """SQL's order of doubles: NaN is above everything."""
    return left < right or (right != right and left == left)  # noqa: PLR0124


def round_to(number: float, digits: int) -> float:
    """To so many decimals (negative: to tens, hundreds, ...), halves away from zero."""
    if digits < 0:
        scale = 10.0**-digits
        return _round(number / scale) * scale
    scale = 10.0**digits
    rounded = _round(number * scale) / scale
    return rounded if math.isfinite(rounded) else number


def _round(number: float) -> float:
    fraction, whole = math.modf(number)
    return whole + math.copysign(1.0, fraction) if abs(fraction) >= 0.5 else whole


def finite(number: float | None) -> float | None:
    """NULL for what is infinite or NaN, which no amount of money is."""
    return number if number is not None and math.isfinite(number) else None


class _Simple(dict[int, str]):
    """One character for one, as in `str.translate`: Unicode's simple mapping, not Python's full one (`ß` to `SS`)."""

    def __init__(self, known: dict[str, str], *mappings: Callable[[str], str]) -> None:
        super().__init__((ord(char), other) for char, other in known.items())
        self._mappings = mappings

    def __missing__(self, code: int) -> str:
        char = chr(code)
        found = next((to for mapping in self._mappings if len(to := mapping(char)) == 1), char)
        self[code] = found
        return found


_LOWER = _Simple({"İ": "i"}, str.lower)
_UPPER = _Simple({"ß": "ẞ"}, str.upper, str.title)


def lower(text: str) -> str:
    """Lower case, character by character."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def upper(text: str) -> str:
    """Upper case, character by character."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


def between(value: float | str, low: float | str | None, high: float | str | None) -> bool | None:
    """`value between low and high`: false as soon as one side fails, whatever the other."""
    if value is None:
        return None
    above = None if low is None else not less(value, low)  # type: ignore[arg-type]
    if above is False:
        return False
    below = None if high is None else not less(high, value)  # type: ignore[arg-type]
    return below if below is False else (None if above is None or below is None else True)


def kleene_and(*conditions: bool | None) -> bool | None:
    """SQL's three-valued `and`."""
    return False if False in conditions else None if None in conditions else True


def kleene_or(*conditions: bool | None) -> bool | None:
    """SQL's three-valued `or`."""
    return True if True in conditions else None if None in conditions else False


def like_pattern(pattern: str, escape: str) -> list[str]:
    """The literal pieces between the `%` of a pattern, each as a regular expression.

    Raises:
        ValueError: the pattern ends with its escape character.
    """
    pieces = [""]
    characters = iter(pattern)
    for char in characters:
        if escape and char == escape:
            literal = next(characters, None)
            if literal is None:
                raise ValueError("the pattern ends with its escape character")
            pieces[-1] += re.escape(literal)
        elif char == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if char == "_" else re.escape(char)
    return pieces


def like_regex(pieces: list[str]) -> Callable[[str], object]:
    """A matcher in time proportional to text times pattern: a piece, once found, is never sought again further on."""
    if len(pieces) == 1:
        return re.compile(pieces[0], re.DOTALL).fullmatch
    first, *middle, last = pieces
    found = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL).fullmatch


def regex(pattern: str) -> Callable[[str], bool | None]:
    """Whether the pattern (RE2, as in DuckDB) matches somewhere in a text; linear time, remembered per text.

    Raises:
        ValueError: not a regular expression of RE2.
    """
    import pyarrow as pa  # noqa: PLC0415 - rarely needed, and slow to import
    import pyarrow.compute as pc  # noqa: PLC0415

    def matches(text: str) -> bool:
        subject = pa.scalar(text.encode(errors="replace"), pa.string())  # half of a surrogate pair must not raise
        return bool(pc.match_substring_regex(subject, pattern=pattern).as_py())

    matches("")
    return lru_cache(maxsize=4096)(matches)


def civil(days: int) -> tuple[int, int, int]:
    """Year, month, day of a date in the proleptic Gregorian calendar, for any number of days."""
    shifted = days + 719_468  # eras of 400 years from 0000-03-01: no date is out of range
    era, of_era = divmod(shifted, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    return year + era * 400 + (month >= 10), month + 3 if month < 10 else month - 9, day


def _of_year(days: int) -> int:
    year, _, _ = civil(days)
    before = year - 1
    return days - (before * 365 + before // 4 - before // 100 + before // 400 - 719_162)


_DATE_PARTS: dict[str, Callable[[int], int]] = {
    "year": lambda days: civil(days)[0],
    "quarter": lambda days: (civil(days)[1] + 2) // 3,
    "month": lambda days: civil(days)[1],
    "day": lambda days: civil(days)[2],
    "week": lambda days: _of_year(days - (days + 3) % 7 + 3) // 7 + 1,
    "dow": lambda days: (days + 4) % 7,
    "isodow": lambda days: (days + 3) % 7 + 1,
    "doy": lambda days: _of_year(days) + 1,
}
_TIME_PARTS: dict[str, Callable[[Micros], int]] = {
    "hour": lambda local: local % DAY // HOUR,
    "minute": lambda local: local % HOUR // MINUTE,
}
_PERIODS: dict[str, Callable[[int], int]] = {
    "day": lambda days: days,
    "month": lambda days: civil(days)[0] * 12 + civil(days)[1],
    "year": lambda days: civil(days)[0],
}
_SPANS: dict[str, Micros] = {"second": SECOND, "minute": MINUTE, "hour": HOUR}

DATE_PARTS = tuple(_DATE_PARTS)
TIME_PARTS = (*_DATE_PARTS, *_TIME_PARTS)
PERIODS = tuple(_PERIODS)
SPANS = tuple(_SPANS)


def date_part(part: str) -> Callable[[int], int]:
    """The part of a date; `part` is one of `DATE_PARTS`."""
    return _DATE_PARTS[part]


def time_part(part: str, zone: Zone) -> Callable[[Micros], int]:
    """The part of the local time of an instant; `part` is one of `TIME_PARTS`."""
    if part in _TIME_PARTS:
        of_local = _TIME_PARTS[part]
        return lambda ts: of_local(zone.local(ts))
    of_day = _DATE_PARTS[part]
    return lambda ts: of_day(zone.day(ts))


def periods_between(unit: str) -> Callable[[int, int], int]:
    """How many boundaries of the unit (one of `PERIODS`) lie between two dates."""
    period = _PERIODS[unit]
    return lambda start, end: period(end) - period(start)


def spans_between(unit: str) -> Callable[[Micros, Micros], int]:
    """How many whole units (one of `SPANS`) of elapsed time lie between two instants."""
    span = _SPANS[unit]
    return lambda start, end: (end - start) // span if end >= start else -((start - end) // span)


RUNTIME: dict[str, object] = {
    function.__name__: function
    for function in (divide, modulo, equal, less, round_to, lower, upper, between, kleene_and, kleene_or, finite)
}
"""What generated code finds by name."""
