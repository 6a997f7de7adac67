"""What the files of a project say of one user: for tools that show a message as this user would get it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UNSET

from flowops.core.links import same_person, told_by
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
    user_id: str = ""
    """The user whom the id leads to."""
    names: frozenset[str] = frozenset()
    """All ids that lead there."""


def look_up(folder: Path, sources: Iterable[Source], user_id: str) -> Person:
    """Read the profiles and segments sources for a user, by whatever id. Raises InputError for unreadable files."""
    sources = list(sources)
    links = links_of(folder, sources)
    person = Person(user_id=told_by(links).user_of(user_id), names=same_person(links, user_id))
    told: dict[str, tuple[Micros, bool]] = {}  # of each attribute: when, and whether of the user
    for source in sources:
        if source.kind not in ("profiles", "segments", "identities"):
            continue
        if not source.files:
            person.not_read.append(source.name)
            continue
        if source.kind == "identities":
            continue
        for name in expand(folder, source):
            if _read(folder, source, name, person, told):
                person.found_in.append(name)
    return person


def links_of(folder: Path, sources: Iterable[Source]) -> list[tuple[Micros, str, str]]:
    """(time, identity, user) of each link that files of identities hold. Raises InputError."""
    return [
        (ts, row.event, row.user_id)
        for source in sources
        if source.kind == "identities" and source.files
        for name in expand(folder, source)
        for ts, row in _rows(folder, source, name)
    ]


def _read(folder: Path, source: Source, name: str, person: Person, told: dict[str, tuple[Micros, bool]]) -> bool:
    """Take over what one file says, by time; whether it knows the user."""
    known = False
    for ts, row in _rows(folder, source, name):
        if row.user_id in person.names:
            known = True
            for attribute, value in _said(source, row):
                at = ts, row.user_id == person.user_id  # of one time counts what is told of the user
                if at >= told.get(attribute, at):
                    told[attribute], person.attributes[attribute] = at, value
    return known


def _rows(folder: Path, source: Source, name: str) -> Iterator[tuple[Micros, Any]]:
    partition = open_partition(folder, source, name)
    try:
        while (chunk := partition.read(_AT_A_TIME)) is not None:
            yield from ((row.ts * chunk.unit, row) for row in chunk.rows if row is not None)
    finally:
        partition.close()


def _said(source: Source, row: Any) -> list[tuple[str, Any]]:
    if source.kind == "segments":
        return [(SEGMENT + row.event, row.p0 != LEAVE)]
    values = ((column.name, getattr(row, column.attribute)) for column in source.columns)
    return [(name, value) for name, value in values if value is not UNSET]
