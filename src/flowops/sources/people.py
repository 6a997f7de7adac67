"""What the files of a project say of one user: for tools that show a message as this user would get it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UNSET

from flowops.core.plan import SEGMENT, Source
from flowops.core.records import LEAVE, Micros
from flowops.sources import expand, open_partition

_AT_A_TIME = 1 << 20


@dataclass(slots=True)
class Person:
    """A user's attributes, the newest of each, and where they were found. Segments are attributes (`segment:vip`)."""

    attributes: dict[str, Any] = field(default_factory=dict)
    found_in: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    """Sources that are no files, and so were not looked at."""
    notes: list[str] = field(default_factory=list)
    """What else is to be told of the search."""


def look_up(folder: Path, sources: Iterable[Source], user_id: str) -> Person:
    """Read the profiles and segments sources for a user. Raises InputError for files that cannot be read."""
    person = Person()
    told: dict[str, Micros] = {}  # of each attribute: when
    for source in sources:
        if source.kind not in ("profiles", "segments"):
            continue
        if not source.files:
            person.not_read.append(source.name)
            continue
        for name in expand(folder, source):
            if _read(folder, source, name, user_id, person.attributes, told):
                person.found_in.append(name)
    return person


def _read(
    folder: Path, source: Source, name: str, user_id: str, attributes: dict[str, Any], told: dict[str, Micros]
) -> bool:
    """Take over what one file says, by time; whether it knows the user."""
    partition = open_partition(folder, source, name)
    known = False
    try:
        while (chunk := partition.read(_AT_A_TIME)) is not None:
            for row in chunk.rows:
                if row is None or row.user_id != user_id:
                    continue
                known = True
                for attribute, value in _said(source, row):
                    if row.ts * chunk.unit >= told.get(attribute, row.ts * chunk.unit):
                        told[attribute], attributes[attribute] = row.ts * chunk.unit, value
    finally:
        partition.close()
    return known


def _said(source: Source, row: Any) -> list[tuple[str, Any]]:
    if source.kind == "segments":
        return [(SEGMENT + row.event, row.p0 != LEAVE)]
    values = ((column.name, getattr(row, column.attribute)) for column in source.columns)
    return [(name, value) for name, value in values if value is not UNSET]
