"""The words of the language that this version does not have yet: the one table of them.

A word that becomes supported is deleted here and appears in the model of its place.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Place: TypeAlias = Literal[
    "project",
    "cap",
    "plan",
    "audience",
    "trigger",
    "event",
    "schedule",
    "did",
    "step",
    "way",
    "goal",
    "exit",
    "layering",
    "layer",
]

KEYS: Final[dict[Place, frozenset[str]]] = {
    "project": frozenset({"funnel", "coupons"}),
    "plan": frozenset({"limits", "pace", "canary", "monitor"}),
    "step": frozenset({"coupon"}),
}  # fmt: skip
"""Keys, by the place where they stand."""


def not_yet(place: str | None) -> frozenset[str]:
    """The keys of a place that are refused by name."""
    return next((keys for known, keys in KEYS.items() if known == place), frozenset())
