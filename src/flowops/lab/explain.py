"""Why a user got a message, or did not: the user's records through the observed engine, told in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from flowops.core.effects import Pending
from flowops.core.observed import ObservedShard
from flowops.core.plan import Plan, Source
from flowops.core.records import POSITION_BITS, RECEIPT, Chunk, Micros, Record, shard_of
from flowops.lab.logs import drive, partitions_of, sources_of
from flowops.lab.machine import Machine
from flowops.lab.rehearsal import Told
from flowops.lab.story import Scene, Teller
from flowops.rules.load import Loaded


@dataclass(frozen=True, slots=True)
class Explanation:
    """The story of one user and one plan, and what of it still waits."""

    plan: Plan
    user: str
    story: list[Scene]
    pending: list[Pending]
    records: int  # of the user, of whatever kind
    not_read: list[str]  # sources that are no files
    teller: Teller


def explain(loaded: Loaded, plan: Plan, user: str, inputs: Sequence[str], until: Micros | None) -> Explanation:
    """Run the whole project, since plans share caps, on the records of this user, and tell what concerns the plan.

    Raises ConfigError for an input that fits no source, InputError for one that cannot be read.
    """
    if loaded.project is None or loaded.file is None or loaded.config is None:
        raise ValueError("a project that does not compile explains nothing")
    project = loaded.project
    chosen, not_read = sources_of(project.sources, inputs)
    sources, names = partitions_of(loaded.folder, chosen)
    told: dict[int, Told] = {}

    def keep(record: Record) -> bool:
        return record[2] == user or record[6] == RECEIPT

    machine = Machine(project, sources, names, ObservedShard, shards=[shard_of(user)], keep=keep)
    if until is not None:
        machine.until(until)
    properties = {name: event.properties for name, event in loaded.file.events.items()}

    def note(place: int, chunk: Chunk) -> None:
        source = sources[place]
        positions = range(chunk.first, chunk.end) if chunk.positions is None else chunk.positions
        for position, row in zip(positions, chunk.rows, strict=True):
            if row is not None and row.user_id == user:
                sequence = (place << POSITION_BITS) + position
                told[sequence] = _told(source, names[place], position, row, chunk, properties)

    drive(loaded.folder, machine, on_chunk=note)
    types = {name: attribute.type for name, attribute in loaded.file.profile.items()}
    by_id = {checked.file.plan: checked for checked in loaded.plans}
    checked = [by_id[each.id] for each in project.plans]
    teller = Teller(project, checked, types, properties, loaded.config.sensitive)
    facts = [fact for shard in machine.at_work.values() for fact in shard.seen]
    story = teller.story(user, facts, told, [plan.index])
    pending = [row for row in machine.pending() if row.user_id == user and row.plan == plan.id]
    return Explanation(plan, user, _concerning(story), pending, len(told), not_read, teller)


def _concerning(story: list[Scene]) -> list[Scene]:
    """Updates of the profile are told, and whatever else did something, or was expected to."""
    return [scene for scene in story if scene.then or scene.is_profile]


def _told(source: Source, name: str, position: int, row: Any, chunk: Chunk, properties: Any) -> Told:
    made = f"{source.name}/{name}:{position}"
    declared = properties.get(row.event, {}) if source.kind == "events" else None
    values = {
        column.name: value
        for column in source.columns
        if (declared is None or column.name in declared)
        and source.kind in ("events", "profiles")
        and _is_there(value := getattr(row, column.attribute), source)
    }
    event = "profile" if source.kind == "profiles" else row.event
    action = (row.p0 or "") if source.kind == "segments" else ""
    at = row.ts * chunk.unit
    return Told(at, row.user_id, event, source.kind, row.event_id or made, values, source, row, 0, action)


def _is_there(value: Any, source: Source) -> bool:
    """A profile's record carries what is set; of an event what is missing is not told."""
    return value is not UNSET if source.kind == "profiles" else value is not None
