"""Keys: an instance per value of a property (S17a)."""

from __future__ import annotations

from flowops.core.records import Values


def key_of(places: tuple[int, ...], values: Values) -> str | None:
    """The text of an instance's key (S17a); None when the event lacks a part of it, so that it does not match."""
    parts: list[str] = []
    for place in places:
        value = values[place]
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        parts.append(str(value))
    return "\x1f".join(parts) if len(parts) > 1 else parts[0]
