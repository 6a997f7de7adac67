"""Keys: an instance per value of a property (S17a)."""

from __future__ import annotations

from typing import Any

import msgspec

from flowops.core.records import Values

_to_json = msgspec.json.Encoder().encode


def key_of(places: tuple[int, ...], values: Values) -> str | None:
    """The text of an instance's key (S17a), several parts as a JSON array; None when the event lacks one: no match."""
    parts: list[str] = []
    for place in places:
        value = values[place]
        if value is None:
            return None
        parts.append(text_of(value))
    return _to_json(parts).decode() if len(parts) > 1 else parts[0]


def text_of(value: Any) -> str:
    """A value as it stands in a key: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
