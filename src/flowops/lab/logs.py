"""Logs through the machine: files of the project's sources, or others in their stead, read in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from flowops.core.effects import Effects
from flowops.core.plan import Source
from flowops.core.records import Chunk
from flowops.errors import ConfigError
from flowops.lab.machine import Machine
from flowops.sources import expand, open_partition

_FIRST = 1 << 16
_AT_A_TIME = 1 << 20
"""Bytes that are read of a partition at a time; of each a little first, to know where in time it begins."""


def sources_of(sources: Sequence[Source], given: Sequence[str]) -> tuple[list[Source], list[str]]:
    """The sources to be read, and the names of those that are not, being no files.

    `given`: files instead of the sources' own, each `SOURCE=PATH`, or a path that goes to the only source of events, or
    to the one whose `file:` it matches by name. Sources of profiles, segments and receipts are read in any case.

    Raises ConfigError for a file that could be of several sources, or of none.
    """
    read = [source for source in sources if source.files]
    if not given:
        return read, [source.name for source in sources if not source.files]
    instead: dict[str, list[str]] = {}
    for text in given:
        name, path = _assigned(text, sources)
        instead.setdefault(name, []).append(str((Path.cwd() / path).absolute()))
    chosen = [
        replace(source, files=tuple(instead[source.name])) if source.name in instead else source
        for source in sources
        if source.name in instead or (source.files and source.kind != "events")
    ]
    names = {source.name for source in chosen}
    return chosen, [source.name for source in sources if source.name not in names and source.kind != "events"]


def _assigned(text: str, sources: Sequence[Source]) -> tuple[str, str]:
    """(source, path) of one `--input`."""
    name, equals, path = text.partition("=")
    if equals and any(source.name == name for source in sources):
        return name, path
    events = [source.name for source in sources if source.kind == "events"]
    alike = [
        source.name for source in sources if any(fnmatch(_plain(text), _plain(pattern)) for pattern in source.files)
    ]
    found = alike if len(alike) == 1 else events
    if len(found) != 1:
        raise ConfigError(
            f"--input {text}: of which source?\n  try: --input {(alike or events or ['SOURCE'])[0]}={text}"
        )
    return found[0], text


def _plain(path: str) -> str:
    """A file's name, be it compressed or not."""
    return Path(path).name.removesuffix(".gz").removesuffix(".zst")


def partitions_of(folder: Path, sources: Iterable[Source]) -> tuple[list[Source], list[str]]:
    """Of each file: its source and its name, in the order of S7. Raises InputError for files that are not there."""
    pairs = [(source, name) for source in sources for name in expand(folder, source)]
    return [source for source, _ in pairs], [name for _, name in pairs]


def drive(
    folder: Path,
    machine: Machine[Any],
    *,
    on_chunk: Callable[[int, Chunk], None] | None = None,
    on_effects: Callable[[Iterable[Effects]], None] | None = None,
) -> None:
    """Read every partition to its end, that which is furthest behind first."""
    opened = [open_partition(folder, source, name) for source, name in zip(machine.sources, machine.names, strict=True)]
    left, begun = set(range(len(opened))), set[int]()
    try:
        while left:
            place = min(left, key=lambda number: (machine.intakes[number].watermark, number))
            chunk = opened[place].read(_AT_A_TIME if place in begun else _FIRST)
            begun.add(place)
            if chunk is None:
                left.remove(place)
                opened[place].close()
            elif on_chunk is not None:
                on_chunk(place, chunk)
            machine.feed(place, chunk)
            effects = machine.advance()
            if on_effects is not None:
                on_effects(effects)
    finally:
        for place in left:
            opened[place].close()
