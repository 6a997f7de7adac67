"""The words of the language that this version does not have yet: the one table of them.

A word that becomes supported is deleted here and appears in the model of its place.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Place: TypeAlias = Literal["project", "cap", "plan", "audience", "trigger", "event", "schedule", "did", "step", "goal"]

KEYS: Final[dict[Place, frozenset[str]]] = {
    "project": frozenset({"funnel", "coupons"}),
    "cap": frozenset({"key"}),
    "plan": frozenset({"skip_if_reached", "exit", "limits", "pace", "transactional", "canary", "monitor"}),
    "step": frozenset(
        {"first", "each", "fallback_after", "coupon", "after", "until", "at_most", "when", "then", "else", "policy"}
    ),
    "goal": frozenset({"label"}),
}  # fmt: skip
"""Keys, by the place where they stand."""


def not_yet(place: str | None) -> frozenset[str]:
    """The keys of a place that are refused by name."""
    return next((keys for known, keys in KEYS.items() if known == place), frozenset())
