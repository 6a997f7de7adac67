"""Why a user got a message, or did not: the user's records through the observed engine, told in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import UNSET

from flowops.core.effects import Pending
from flowops.core.links import connected, same_person
from flowops.core.observed import Came, Fact, ObservedShard
from flowops.core.plan import Plan, Project, Source
from flowops.core.records import POSITION_BITS, RECEIPT, Chunk, Micros, Record, shard_of, shard_of_dispatch
from flowops.lab.logs import drive, partitions_of, sources_of
from flowops.lab.machine import Machine
from flowops.lab.rehearsal import Told
from flowops.lab.story import Scene, Teller
from flowops.rules.load import Loaded
from flowops.sources.people import links_of


@dataclass(frozen=True, slots=True)
class Explanation:
    """The story of one user and one plan, and what of it still waits."""

    plan: Plan
    user: str
    names: frozenset[str]  # all ids that lead to the user
    story: list[Scene]
    pending: list[Pending]
    records: int  # of the user, of whatever kind
    not_read: list[str]  # sources that are no files
    teller: Teller
    facts: list[Fact]  # of the user, of all plans
    told: Mapping[int, Told]  # the user's records

    def why(self, evidence: Sequence[str]) -> str | None:
        """What came of these events, where no trigger was decided on them; None: the story does not have them."""
        for place in range(len(self.story) - 1, -1, -1):
            scene = self.story[place]
            said = [line for line in scene.then if isinstance(line, str)]
            if scene.event_id in evidence and said:
                since = f"what began {self.teller.readers[0].time(scene.at)}"
                ends = (
                    f"{line} ({later.what})"
                    for later in self.story[place + 1 :]
                    for line in later.then
                    if isinstance(line, str) and line.startswith(since) and not line.endswith("due")
                )
                began = any(line.startswith("begins to wait") for line in said)
                return next(ends, None) or "; ".join(said) if began else "; ".join(said)
        return None


def explain(loaded: Loaded, plan: Plan, user: str, inputs: Sequence[str], until: Micros | None) -> Explanation:
    """Run the whole project, since plans share caps, on the records of this user, and tell what concerns the plan.

    Raises ConfigError for an input that fits no source, InputError for one that cannot be read.
    """
    if loaded.project is None:
        raise ValueError("a project that does not compile explains nothing")
    return stories(loaded, loaded.project, [(plan.id, user)], inputs, until)[plan.id, user]


def stories(
    loaded: Loaded, project: Project, asked: Sequence[tuple[str, str]], inputs: Sequence[str], until: Micros | None
) -> dict[tuple[str, str], Explanation]:
    """Of each plan and user that is asked for, by one run of `project`, which is `loaded` or a part of it."""
    if loaded.file is None or loaded.config is None:
        raise ValueError("a project that does not compile explains nothing")
    chosen, not_read = sources_of(project.sources, inputs)
    sources, names = partitions_of(loaded.folder, chosen)
    links = links_of(loaded.folder, chosen)
    told: dict[str, dict[int, Told]] = {user: {} for _, user in asked}
    receipts: dict[int, Told] = {}  # which name a message, and mostly no user
    shards = sorted({shard_of(user, project.shards) for user in told})
    whose: dict[str, list[str]] = {}  # by id: of those asked for, whom it may concern
    for user in told:
        for each in connected((link[1:] for link in links), user):
            whose.setdefault(each, []).append(user)

    def keep(record: Record) -> bool:
        return record[2] in whose or record[6] == RECEIPT

    machine = Machine(project, sources, names, ObservedShard, shards=shards, keep=keep)
    if until is not None:
        machine.until(until)
    properties = {name: event.properties for name, event in loaded.file.events.items()}

    def note(place: int, chunk: Chunk) -> None:
        source = sources[place]
        positions = range(chunk.first, chunk.end) if chunk.positions is None else chunk.positions
        row: Any
        for position, row in zip(positions, chunk.rows, strict=True):
            if row is None:
                continue
            sequence = (place << POSITION_BITS) + position
            if row.user_id in whose:
                for user in whose[row.user_id]:
                    told[user][sequence] = _told(source, names[place], position, row, chunk, properties)
            elif source.kind == "receipts" and shard_of_dispatch(row.p0, project.shards) in shards:
                receipts[sequence] = _told(source, names[place], position, row, chunk, properties)

    drive(loaded.folder, machine, on_chunk=note)
    types = loaded.file.attributes
    by_id = {checked.file.plan: checked for checked in loaded.plans}
    teller = Teller(project, [by_id[each.id] for each in project.plans], types, properties, loaded.config.sensitive)
    plans = {plan.id: plan for plan in project.plans}
    people = {user: same_person(links, user) for user in told}
    facts: dict[str, list[Fact]] = {user: [] for user in told}
    for shard in machine.at_work.values():
        for fact in shard.seen:
            for user in whose.get(fact.user_id, ()):
                facts[user].append(fact)
                if isinstance(fact, Came) and fact.record[1] in receipts:
                    told[user][fact.record[1]] = replace(receipts[fact.record[1]], user=fact.user_id)
    pending = machine.pending()
    return {
        (plan, user): Explanation(
            plan=plans[plan],
            user=user,
            names=people[user],
            story=_concerning(teller.story(user, facts[user], told[user], [plans[plan].index])),
            pending=[row for row in pending if row.user_id in people[user] and row.plan == plan],
            records=sum(row.user in people[user] for row in told[user].values()),
            not_read=not_read,
            teller=teller,
            facts=facts[user],
            told=told[user],
        )
        for plan, user in asked
    }


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
