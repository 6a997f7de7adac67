"""A case of a test, run: the production core on a clock that only its lines move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from msgspec import UNSET

from flowops.core.effects import Decision, GoalEvent, Pending, StageChange, dispatch_id
from flowops.core.links import same_person
from flowops.core.observed import Fact, ObservedShard
from flowops.core.plan import SEGMENT, Column, Project, Source, SourceKind, TimeField
from flowops.core.records import BEFORE_ALL, ENTER, LEAVE, POSITION_BITS, Chunk, Micros, shard_of
from flowops.lab.machine import Machine
from flowops.rules.check_test import CheckedCase, CheckedTest, Happening


@dataclass(frozen=True, slots=True)
class Told:
    """A row as it was read: for people, who want to see also what no plan listens to."""

    at: Micros
    user: str
    name: str  # the event, the receipt, `profile`, or a segment
    kind: SourceKind
    event_id: str
    values: Mapping[str, Any]
    source: Source
    row: Any
    line: int = 0  # of the test file
    action: str = ""  # of a segment


@dataclass(slots=True)
class Outcome:
    """All that came of a case."""

    decisions: list[Decision] = field(default_factory=list)
    stages: list[StageChange] = field(default_factory=list)
    goals: list[GoalEvent] = field(default_factory=list)
    addresses: dict[str, str | None] = field(default_factory=dict)  # by dispatch id
    pending: list[Pending] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    told: dict[int, Told] = field(default_factory=dict)  # by the sequence of its record
    unanswered: list[Happening] = field(default_factory=list)  # receipts before which there is no message


def rehearse(test: CheckedTest, case: CheckedCase) -> Outcome:
    """Run a case.

    A receipt is for the user's latest message at its time, so everything before it is run first, to see which that is.
    """
    named: dict[int, str] = {}  # by the place of a line: the dispatch that its receipt is for
    for place, line in enumerate(case.happenings):
        if line.kind == "receipt":
            before = [each for each in enumerate(case.happenings[:place]) if each[1].at <= line.at]
            outcome = _run(test, case, before, named, line.at)
            links = [(each.at, each.name, each.user) for _, each in before if each.kind == "link"]
            names = same_person(links, line.user)
            sent = [each for each in outcome.decisions if each.user_id in names and each.content is not None]
            sent = [each for each in sent if line.of in (None, each.step, each.channel)]
            if sent:
                last = max(sent, key=lambda decision: decision.decided_at)
                named[place] = dispatch_id(last.trigger_id, last.step or "", last.channel or "")
    return _run(test, case, list(enumerate(case.happenings)), named, case.until)


def _run(
    test: CheckedTest,
    case: CheckedCase,
    lines: Sequence[tuple[int, Happening]],
    named: Mapping[int, str],
    until: Micros | None,
) -> Outcome:
    outcome = Outcome()
    project = test.project
    if case.start is not None:  # it is the case that says what is known
        history = [replace(source, since=case.start) for source in project.sources]
        project = replace(project, sources=tuple(history))
    if any(line.kind == "link" for _, line in lines):  # whatever source may tell of it
        project = replace(project, shards=1)
    sources = _sources(project, [line for _, line in lines])
    inputs: list[list[Told]] = [[] for _ in sources]
    number = {source.index: place for place, source in enumerate(sources)}
    kinds: dict[SourceKind, Source] = {source.kind: source for source in sources if source.kind != "events"}

    def put(told: Told) -> None:
        inputs[number[told.source.index]].append(told)

    for user, values in case.profiles.items():
        put(_profile(kinds["profiles"], BEFORE_ALL, user, values, "", 0))
    for segment, members in test.segments.items():
        for user in members:
            put(_segment(kinds["segments"], BEFORE_ALL, user, segment, ENTER, "", 0))
    for place, line in lines:
        told = _read(project, kinds, line, line.event_id or f"e{place + 1}", named.get(place))
        if told is None:
            outcome.unanswered.append(line)
        else:
            put(told)
    users = {told.user for rows in inputs for told in rows}
    shards = sorted({shard_of(user, project.shards) for user in {*users, ""}})
    first = case.start or min((line.at for line in case.happenings), default=None)
    began = {} if first is None else {source.index: first for source in project.sources if source.kind == "events"}
    names = [source.name for source in sources]
    machine = Machine(project, sources, names, ObservedShard, shards=shards, began=began)
    if until is not None:
        machine.until(until)
    for place, rows in enumerate(inputs):
        for position, told in enumerate(rows):
            outcome.told[(place << POSITION_BITS) + position] = told
        if rows:
            machine.feed(place, Chunk(0, [told.row for told in rows], []))
        machine.feed(place, None)
    for effects in machine.advance():
        outcome.decisions += effects.decisions
        outcome.stages += effects.stages
        outcome.goals += effects.goals
        outcome.addresses |= {dispatch.dispatch_id: dispatch.address for dispatch in effects.dispatches}
    outcome.pending = machine.pending()
    outcome.facts = [fact for shard in machine.at_work.values() for fact in shard.seen]
    return outcome


def _sources(project: Project, lines: Sequence[Happening]) -> list[Source]:
    """The sources that a case needs, in the order of the project's, which breaks ties (S7).

    An event comes from the first source that gives it. Profiles, segments, receipts and links come from a source of
    their kind, or from one that is made up: who tells them is no matter of a plan.
    """
    wanted = {_giver(project, line.name).index for line in lines if line.kind == "event"}
    found = [source for source in project.sources if source.kind == "events" and source.index in wanted]
    kinds: tuple[SourceKind, ...] = ("profiles", "segments", "receipts", "identities")
    for kind in kinds:
        own = next((source for source in project.sources if source.kind == kind), None)
        found.append(own or _made_up(project, kind))
    return sorted(found, key=lambda source: source.index)


def _giver(project: Project, event: str) -> Source:
    """The first source that gives the event."""
    return next(source for source in project.sources if source.kind == "events" and source.event in (None, event))


def _made_up(project: Project, kind: SourceKind) -> Source:
    columns = [name for name in project.attributes if not name.startswith(SEGMENT)] if kind == "profiles" else []
    return Source(
        index={"identities": -3, "profiles": -2, "segments": -1}.get(kind, len(project.sources)),
        name=kind,
        kind=kind,
        files=(),
        user_id=(),
        event=None,
        event_path=(),
        event_id=(),
        time=TimeField(None, None, None),
        properties_path=None,
        columns=tuple(Column(f"p{number}", name, (name,), "") for number, name in enumerate(columns)),
        out_of_orderness=0,
        routes={},
        any_route=None,
    )


def _read(
    project: Project, kinds: Mapping[SourceKind, Source], line: Happening, event_id: str, dispatch: str | None
) -> Told | None:
    """The row of a line; None for a receipt of no message."""
    if line.kind == "event":
        source = _giver(project, line.name)
        own = {column.attribute: line.values.get(column.name) for column in source.columns}
        row = SimpleNamespace(user_id=line.user, event=line.name, event_id=event_id, ts=line.at, **own)
        return Told(line.at, line.user, line.name, "events", event_id, line.values, source, row, line.line)
    if line.kind == "profile":
        return _profile(kinds["profiles"], line.at, line.user, line.values, event_id, line.line)
    if line.kind == "link":
        row = SimpleNamespace(user_id=line.user, event=line.name, event_id=event_id, ts=line.at)
        source = kinds["identities"]
        return Told(line.at, line.user, line.name, "identities", event_id, {}, source, row, line.line)
    if line.kind == "segment":
        action = ENTER if line.enters else LEAVE
        return _segment(kinds["segments"], line.at, line.user, line.name, action, event_id, line.line)
    if dispatch is None:
        return None
    row = SimpleNamespace(user_id=line.user, event=line.name, event_id=event_id, ts=line.at, p0=dispatch, p1=None)
    return Told(line.at, line.user, line.name, "receipts", event_id, {}, kinds["receipts"], row, line.line)


def _profile(source: Source, at: Micros, user: str, values: Mapping[str, Any], event_id: str, line: int) -> Told:
    own = {column.attribute: values.get(column.name, UNSET) for column in source.columns}
    row = SimpleNamespace(user_id=user, event="profile", event_id=event_id, ts=at, **own)
    return Told(at, user, "profile", "profiles", event_id, values, source, row, line)


def _segment(source: Source, at: Micros, user: str, segment: str, action: str, event_id: str, line: int) -> Told:
    row = SimpleNamespace(user_id=user, event=segment, event_id=event_id, ts=at, p0=action)
    return Told(at, user, segment, "segments", event_id, {}, source, row, line, action)
