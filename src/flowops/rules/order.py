"""What comparisons of terms with each other lead to: `a < b` and `b <= c` make `a < c`, for any values in a line.

All that can be compared lies in a line: numbers (NaN above all of them), texts by code point, times, dates, booleans.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import product
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
_MOST = 30
"""Terms that are looked at, at most."""


@dataclass(frozen=True, slots=True)
class Way(Generic[T]):
    """How one term leads up to another: the signs and terms behind the first; `strict`: some sign is `<`."""

    strict: bool
    steps: tuple[tuple[str, T], ...]

    def then(self, other: Way[T]) -> Way[T]:
        """This way, and on from where it ends."""
        return Way(self.strict or other.strict, self.steps + other.steps)


@dataclass(slots=True)
class Order(Generic[T]):
    """Comparisons that must all hold."""

    terms: dict[T, None] = field(default_factory=dict)  # in the order in which they were named
    edges: dict[tuple[T, T], Way[T]] = field(default_factory=dict)
    unequal: list[tuple[T, T]] = field(default_factory=list)

    def copy(self) -> Order[T]:
        """One to which more may be added."""
        return Order(dict(self.terms), dict(self.edges), list(self.unequal))

    def add(self, first: T, op: str, second: T) -> None:
        """Take in a comparison."""
        self.terms |= {first: None, second: None}
        if op == "!=":
            self.unequal.append((first, second))
        if op in ("<", "<=", "=="):
            self._edge(first, op, second)
        if op in (">", ">=", "=="):
            self._edge(second, op.replace(">", "<"), first)

    def _edge(self, low: T, op: str, high: T) -> None:
        known = self.edges.get((low, high))
        if known is None or (op == "<" and not known.strict):
            self.edges[low, high] = Way(op == "<", (("=" if op == "==" else op, high),))

    def ways(self) -> dict[tuple[T, T], Way[T]]:
        """All that follows; nothing where there are too many terms to look at."""
        found = dict(self.edges)
        if len(self.terms) > _MOST:
            return {}
        for between, low, high in product(self.terms, repeat=3):
            first, second, known = found.get((low, between)), found.get((between, high)), found.get((low, high))
            if first is None or second is None or between in (low, high):
                continue
            if known is None or (not known.strict and (first.strict or second.strict)):
                found[low, high] = first.then(second)
        return found
