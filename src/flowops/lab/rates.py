"""How sure a rate is: intervals (95 %) of shares, and of the difference between two."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

_Z = 1.959963984540054
"""The normal distribution's two-sided 95 %."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share, 0 to 1, or a difference of shares, -1 to 1; `low` to `high` is its interval."""

    value: float
    low: float
    high: float


def rate(count: int, of: int) -> Rate | None:
    """The share of `count`, with Wilson's score interval; None of nothing."""
    if not of:
        return None
    share, square = count / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z / (1 + square / of) * sqrt(share * (1 - share) / of + square / (4 * of * of))
    return Rate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def difference(one: Rate, other: Rate) -> Rate:
    """How much larger `one` is, with Newcombe's interval of two independent shares."""
    value = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Rate(value, value - below, value + above)
