"""How many of what, in words, wherever people read a number and its noun."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 record`, `2,000 records`; the plural is the noun with an s, if none is given."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
