"""What was probably meant: the nearest of the names that would have been right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 20
"""So many names at most are told."""


def nearest(got: str, known: Iterable[str]) -> str | None:
    """The nearest name, if one is near."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    if got.lower() in folded:
        return folded[got.lower()]
    close = get_close_matches(got.lower(), list(folded), n=1, cutoff=0.65)
    return folded[close[0]] if close else None


def did_you_mean(got: str, known: Iterable[str]) -> str | None:
    """The hint that names the nearest name."""
    near = nearest(got, known)
    return f"did you mean `{near}`?" if near else None


def one_of(got: str, known: Iterable[str]) -> str:
    """The nearest name, else all of them."""
    names = list(known)
    if not names:
        return "none is declared"
    shown = ", ".join(f"`{name}`" for name in names[:MANY])
    return did_you_mean(got, names) or f"one of {shown}{', ...' if len(names) > MANY else ''}"
