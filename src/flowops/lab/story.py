"""What happened to one user, in order, with the reasons: from the facts of an observed shard to words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowops.core.admission import HELD
from flowops.core.effects import dispatch_id
from flowops.core.matchers.keys import key_of
from flowops.core.observed import (
    Attained,
    Began,
    Came,
    Changed,
    Decided,
    Ended,
    Fact,
    Fired,
    Moved,
    Outside,
    Unmoved,
)
from flowops.core.plan import ANY_EVENT, Cancel, CountTrigger, Project
from flowops.core.receipts import UNDELIVERED
from flowops.core.records import BEFORE_ALL, LEAVE, Micros
from flowops.core.state import Instance
from flowops.lab.checks import Check, Reader, Values, checks
from flowops.lab.rehearsal import Told
from flowops.rules.check import CheckedPlan
from flowops.rules.compile import Listening, listening
from flowops.rules.expressions import Checked, predicate
from flowops.rules.nodes import Type
from flowops.rules.preview import shower
from flowops.rules.triggers import Part

Line: TypeAlias = "str | Check"


@dataclass(slots=True)
class Scene:
    """A record, or a moment at which something fell due, with what followed from it."""

    at: Micros
    what: str
    then: list[Line] = field(default_factory=list)
    is_profile: bool = False  # it tells of the user, whatever followed


@dataclass(slots=True)
class Teller:
    """Tells stories of one project's plans."""

    project: Project
    plans: Sequence[CheckedPlan]  # in the order of the project's
    types: Mapping[str, Type]  # of the profile's attributes
    properties: Mapping[str, Mapping[str, Type]]  # of events
    sensitive: Collection[str] = ()
    readers: list[Reader] = field(init=False)
    heard: list[Listening] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = [
            Reader(self.project, plan, checked, self.types, self.sensitive)
            for plan, checked in zip(self.project.plans, self.plans, strict=True)
        ]
        self.heard = listening(self.plans)

    def story(
        self, user: str, facts: Iterable[Fact], told: Mapping[int, Told], plans: Collection[int] | None = None
    ) -> list[Scene]:
        """Everything of one user, as far as it concerns `plans` (left out: all)."""
        shown = range(len(self.project.plans)) if plans is None else plans
        return _Telling(self, user, told, shown).run(fact for fact in facts if fact.user_id == user)

    def words(self, story: Sequence[Scene]) -> list[str]:
        """The story as lines of text."""
        zone = self.readers[0]
        lines = []
        for scene in story:
            when = "before all" if scene.at <= BEFORE_ALL else zone.time(scene.at)
            lines.append(f"{when}  {scene.what}")
            width = max((len(line.name) for line in scene.then if isinstance(line, Check)), default=0)
            for line in scene.then:
                if isinstance(line, Check):
                    verdict = {True: "passes", False: "fails ", None: "holds "}[line.passed]
                    lines.append(f"    {verdict} {line.name:<{width}}  {line.saw}".rstrip())
                else:
                    lines.append(f"    {line}")
        return lines

    def iso(self, at: Micros) -> str:
        """A time for programs: local to the plan, with its offset."""
        return shower(self.readers[0].plan.zone)(at, "time").replace(" ", "T")

    def data(self, story: Sequence[Scene]) -> list[dict[str, Any]]:
        """The story as data."""
        return [
            {
                "at": None if scene.at <= BEFORE_ALL else self.iso(scene.at),
                "what": scene.what,
                "then": [
                    {"check": line.name, "passed": line.passed, "saw": line.saw} if isinstance(line, Check) else line
                    for line in scene.then
                ],
            }
            for scene in story
        ]


class _Telling:
    def __init__(self, teller: Teller, user: str, told: Mapping[int, Told], plans: Collection[int]) -> None:
        self.teller = teller
        self.project = teller.project
        self.plans = plans
        self.user = user
        self.told = {sequence: row for sequence, row in told.items() if row.user == user}
        self.scenes: list[Scene] = []
        self.under_way: list[Instance] = []
        self.sent: set[int] = set()  # plans that sent something, so that goals may be meant
        self.met: set[int] = set()
        self.came: Came | None = None

    def run(self, facts: Iterable[Fact]) -> list[Scene]:
        groups = _groups(facts)
        heard = {came.record[1] for _, came, _ in groups if came is not None}
        unheard = sorted(
            (row.at, sequence) for sequence, row in self.told.items() if sequence not in heard and row.kind == "events"
        )
        for at, came, those in groups:
            while unheard and unheard[0][0] < at:
                self._unheard(unheard.pop(0)[1])
            self._scene(came, those, at)
        for _, sequence in unheard:
            self._unheard(sequence)
        return self.scenes

    def _unheard(self, sequence: int) -> None:
        row = self.told[sequence]
        misses: list[Line] = list(self._misses(row, ()))
        if misses or any(self._listens(row)):
            self.scenes.append(Scene(row.at, self._row(row), misses))

    def _scene(self, came: Came | None, facts: list[Fact], at: Micros) -> None:
        if came is None:
            self.scenes.append(Scene(at, "what was waited for is due", list(self._follows(facts))))
            return
        row = self.told.get(came.record[1])
        if row is None:
            return
        what = self._row(row)
        if row.at < came.at:
            what += f", late: of {self.teller.readers[0].time(row.at)}"
        then: list[Line] = []
        if row.kind == "events":
            then += self._misses(row, came.record[6])
            then += self._unended(row, came, facts)
        then += self._follows(facts)
        self.scenes.append(Scene(at, what, then, row.kind in ("profiles", "segments")))

    def _row(self, row: Told) -> str:
        if row.kind == "segments":
            what = f"{'leaves' if row.action == LEAVE else 'enters'} {row.name}"
        elif row.kind == "receipts":
            what = f"receipt {row.name}"
        else:
            shown = [f"{name}={self._value(name, value, row)}" for name, value in row.values.items()]
            what = " ".join([row.name, *shown]) if row.kind == "events" else f"profile {' '.join(shown)}".rstrip()
        named = f"line {row.line}" if row.line else row.event_id
        return f"{what} ({named})" if named else what

    def _value(self, name: str, value: Any, row: Told) -> str:
        if row.kind == "profiles" and name in self.teller.sensitive and value is not None:
            return "(sensitive)"
        if value is None:
            return "null"
        known = self.teller.types if row.kind == "profiles" else self.teller.properties.get(row.name, {})
        return shower(self.teller.readers[0].plan.zone)(value, known.get(name, "string"))

    # --- what an event did not do

    def _listens(self, row: Told) -> Iterator[int]:
        """The listeners of this kind of event."""
        for number, each in enumerate(self.teller.heard):
            if each.plan in self.plans and each.heard.change is None and each.heard.event in (row.name, "any"):
                is_goal = isinstance(each.what, int) and each.plan in self.sent
                if is_goal or (isinstance(each.what, Part) and each.what.number != ANY_EVENT):
                    yield number

    def _misses(self, row: Told, hits: Sequence[int]) -> Iterator[str]:
        """Conditions on the event alone that it does not meet."""
        said: dict[str, None] = {}
        for number in self._listens(row):
            each = self.teller.heard[number]
            if number in hits or not each.heard.own:
                continue
            names = sorted({name for part in each.heard.own for name in part.properties})
            event = {
                column.name: getattr(row.row, column.attribute) for column in row.source.columns if column.name in names
            }
            values = tuple(event.get(name) for name in names)
            for part in each.heard.own:
                if not predicate([part], event=names, steps={}, user=())(values, (), (), row.at, None):
                    reader = self.teller.readers[each.plan]
                    saw = reader.saw(part, event, {}, ())
                    said[f"{self._of(each.plan)}does not fit {self._what(each)}: {saw}"] = None
                    break
        yield from said

    def _what(self, each: Listening) -> str:
        texts = dict.fromkeys(part.text for part in (*each.heard.own, *each.heard.rest))
        where = f" where {' and '.join(texts)}" if texts else ""
        if isinstance(each.what, int):
            goal = self.project.plans[each.plan].goals[each.what].name
            return f"the goal `{goal}` ({each.heard.event}{where})"
        role = "without " if isinstance(each.what, Part) and each.what.role == "cancel" else ""
        return f"`{role}{each.heard.event}{where}`"

    def _unended(self, row: Told, came: Came, facts: Sequence[Fact]) -> Iterator[str]:
        """Waits that the event might have ended, and did not."""
        ended = [fact.instance for fact in facts if isinstance(fact, Ended)]
        values = came.record[5]
        for hit in came.record[6]:
            listener = self.project.listeners[hit]
            if not isinstance(listener, Cancel) or listener.plan not in self.plans:
                continue
            each = self.teller.heard[hit]
            reader = self.teller.readers[listener.plan]
            waiting = [each for each in self.under_way if each.plan == listener.plan]
            if not waiting:
                yield f"{self._of(listener.plan)}nothing is under way that it could end"
            for instance in waiting:
                if any(_same(instance, other) for other in ended):
                    continue
                key = key_of(listener.key, values) if listener.key else None
                if listener.key and key != instance.key:
                    why = f"its key is {key or 'missing'}, not {instance.key}"
                else:
                    event = {column.name: getattr(row.row, column.attribute, None) for column in row.source.columns}
                    steps = self._steps(instance)
                    saw = [reader.saw(part, event, steps, ()) for part in each.heard.rest]
                    texts = " and ".join(dict.fromkeys(part.text for part in each.heard.rest))
                    why = f"{texts}: {', '.join(saw)}" if saw else "it is not within its time"
                yield f"{self._of(listener.plan)}does not end what began {reader.time(instance.since)}: {why}"

    def _steps(self, instance: Instance) -> Values:
        captured = self.teller.plans[instance.plan].captured()
        return {
            ("step", step, name): value
            for (step, names), values in zip(captured.items(), instance.steps, strict=False)
            for name, value in zip(names, values, strict=False)
        }

    # --- what followed

    def _follows(self, facts: Iterable[Fact]) -> Iterator[Line]:
        for fact in facts:
            if isinstance(fact, Came) or fact.plan not in self.plans:
                continue
            of, reader = self._of(fact.plan), self.teller.readers[fact.plan]
            if isinstance(fact, Began):
                self.under_way.append(fact.instance)
                yield f"{of}begins to wait{_key(fact.instance)}, until {reader.time(fact.instance.due)}"
            elif isinstance(fact, Moved):
                self._gone(fact.before)
                self.under_way.append(fact.instance)
                taken = len(fact.instance.evidence) > len(fact.before.evidence)
                did = "is taken by what began" if taken else "moves what began"
                yield f"{of}{did} {reader.time(fact.instance.since)}; that waits until {reader.time(fact.instance.due)}"
            elif isinstance(fact, Ended):
                self._gone(fact.instance)
                how = "is over, nothing came of it" if fact.ran_out else "is ended by this"
                yield f"{of}what began {reader.time(fact.instance.since)}{_key(fact.instance)} {how}"
            elif isinstance(fact, Fired):
                self._gone(fact.instance)
                yield f"{of}triggers{_key(fact.instance)}{self._later(fact, reader)}"
            elif isinstance(fact, Unmoved):
                yield f"{of}begins nothing: {self._unmoved(fact, reader)}"
            elif isinstance(fact, Outside):
                yield f"{of}does not trigger: {self._outside(fact, reader)}"
            elif isinstance(fact, Decided):
                yield from self._decided(fact, reader)
            elif isinstance(fact, Changed):
                yield f"{of}the message counts as {fact.stage}" + (f": {fact.detail}" if fact.detail else "")
            else:
                goal = fact.goal
                worth = (
                    ""
                    if goal.value is None
                    else f", worth {goal.value:g}" + ("" if goal.credited else ", credited elsewhere")
                )
                yield f"{of}attains the goal `{goal.goal}`{worth}" + (" (held out)" if goal.dispatch_id is None else "")

    def _later(self, fact: Fired, reader: Reader) -> str:
        if fact.acts_at is None:
            return ", and is too late for the time that it carries"
        return "" if fact.acts_at == fact.at else f", to be acted on {reader.time(fact.acts_at)}"

    def _unmoved(self, fact: Unmoved, reader: Reader) -> str:
        if fact.reason == "late":
            return "it came late"
        if fact.reason == "key":
            return "it has no value of the key"
        if fact.reason in ("dates", "audience"):
            return self._outside(fact, reader)
        if fact.reason == "profile":
            parts: dict[Checked, None] = dict.fromkeys(
                part for hit in fact.unmet for part in self.teller.heard[hit].heard.rest
            )
            texts = " and ".join(dict.fromkeys(part.text for part in parts))
            return f"{texts}: {reader.attributes(list(parts), fact.profile)}"
        if isinstance(reader.plan.trigger, CountTrigger):
            return "it is counted, and does not reach what is wanted, or that was reached before"
        key = "" if fact.key is None else f" of {fact.key}"
        return f"one{key} is under way, or was begun by this event before"

    def _outside(self, fact: Unmoved | Outside, reader: Reader) -> str:
        if fact.reason == "dates":
            return reader.dates() or ""
        seen = reader.attributes(reader.checked.audience, fact.profile)
        return f"not in the audience ({reader.plan.who}): {seen}"

    def _decided(self, fact: Decided, reader: Reader) -> Iterator[Line]:
        of, decision = self._of(fact.plan), fact.decision
        if decision is None:
            yield f"{of}is not decided again: this trigger was before"
            return
        yield f"{of}is decided, triggered {reader.time(decision.triggered_at)}{_key(fact.instance)}"
        yield from checks(reader, fact)
        if decision.content is not None:
            self.sent.add(fact.plan)
            fields: Mapping[str, str] = json.loads(decision.content)
            shown = ", ".join(f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in fields.items())
            name = dispatch_id(decision.trigger_id, decision.step or "", decision.channel or "")
            yield f"{of}sent on {decision.channel} as {name}: {shown}"
        elif decision.stage == HELD:
            yield f"{of}held back; then it is decided anew"
        else:
            if decision.arm == "holdout":
                self.sent.add(fact.plan)
            yield f"{of}lost: {decision.stage}"

    def _of(self, plan: int) -> str:
        return f"{self.project.plans[plan].id}: " if len(self.plans) > 1 else ""

    def _gone(self, instance: Instance) -> None:
        self.under_way = [other for other in self.under_way if not _same(instance, other)]


def _same(one: Instance, other: Instance) -> bool:
    first = (one.plan, one.since, one.key, one.evidence[:1])
    return first == (other.plan, other.since, other.key, other.evidence[:1])


def _key(instance: Instance) -> str:
    return "" if instance.key is None else f", key {instance.key}"


def _groups(facts: Iterable[Fact]) -> list[tuple[Micros, Came | None, list[Fact]]]:
    """(time, the record, what followed from it); no record where something fell due."""
    groups: list[tuple[Micros, Came | None, list[Fact]]] = []
    for fact in facts:
        at, came, follows = groups[-1] if groups else (BEFORE_ALL, None, [])
        if isinstance(fact, Came):
            if came is None or came.record[1] != fact.record[1]:  # else a change that an update makes
                groups.append((fact.at, fact, []))
        elif not groups or (_is_timed(fact) and fact.at > at):
            groups.append((fact.at, None, [fact]))
        else:
            follows.append(fact)
    return groups


def _is_timed(fact: Fact) -> bool:
    """Whether it can only be that something fell due, if it comes later than the record before."""
    if isinstance(fact, Changed):
        return fact.stage == UNDELIVERED
    return not isinstance(fact, Attained)
