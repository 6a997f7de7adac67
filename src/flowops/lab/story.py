"""What happened to one user, in order, with the reasons: from the facts of an observed shard to words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowops.core.admission import HELD
from flowops.core.effects import dispatch_id
from flowops.core.journey import FACTS, OF_JOURNEY
from flowops.core.links import same_person
from flowops.core.matchers.keys import key_of
from flowops.core.observed import (
    Asked,
    Attained,
    Began,
    Came,
    Changed,
    Decided,
    Ended,
    Fact,
    Fired,
    Joined,
    LeftOut,
    Moved,
    Outside,
    Paused,
    Resumed,
    Unmoved,
)
from flowops.core.plan import ANY_EVENT, SEGMENT, Branch, Cancel, CountTrigger, Exit, Pause, Project, UntilCarried
from flowops.core.receipts import UNDELIVERED
from flowops.core.records import BEFORE_ALL, LEAVE, Micros
from flowops.core.state import Instance
from flowops.lab.checks import Check, Reader, Values, checks
from flowops.lab.rehearsal import Told
from flowops.rules.check import CheckedPlan
from flowops.rules.check_send import Choice
from flowops.rules.compile import ENDS, Listening, listening
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
    event_id: str | None = None  # of the record
    of_outcomes: bool = False  # not of the inputs: a run's outcomes have it, or lack it


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
        """Everything of one user, by whatever id, as far as it concerns `plans` (left out: all)."""
        shown = range(len(self.project.plans)) if plans is None else plans
        names = self.names(user, told)
        return _Telling(self, names, told, shown).run(fact for fact in facts if fact.user_id in names)

    @staticmethod
    def names(user: str, told: Mapping[int, Told]) -> frozenset[str]:
        """All ids that lead to the user, by what was told."""
        return same_person(((row.at, row.name, row.user) for row in told.values() if row.kind == "identities"), user)

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
                "of": "outcomes" if scene.of_outcomes else "inputs",
                "then": [
                    {"check": line.name, "passed": line.passed, "saw": line.saw} if isinstance(line, Check) else line
                    for line in scene.then
                ],
            }
            for scene in story
        ]


class _Telling:
    def __init__(
        self, teller: Teller, names: Collection[str], told: Mapping[int, Told], plans: Collection[int]
    ) -> None:
        self.teller = teller
        self.project = teller.project
        self.plans = plans
        self.names = names
        self.told = {sequence: row for sequence, row in told.items() if row.user in names}
        self.scenes: list[Scene] = []
        self.under_way: list[Instance] = []
        self.acting: list[tuple[Instance, Micros | None]] = []  # what has fired and waits, held without an end
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
            self.scenes.append(Scene(row.at, self._row(row), misses, event_id=row.event_id))

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
        self.scenes.append(Scene(at, what, then, row.kind in ("profiles", "segments", "identities"), row.event_id))

    def _row(self, row: Told) -> str:
        if row.kind == "segments":
            what = f"{'leaves' if row.action == LEAVE else 'enters'} {row.name}"
        elif row.kind == "receipts":
            what = f"receipt {row.name}"
        elif row.kind == "identities":
            what = f"{row.name} is {row.user} from here on"
        else:
            shown = [f"{name}={self._value(name, value, row)}" for name, value in row.values.items()]
            what = " ".join([row.name, *shown]) if row.kind == "events" else f"profile {' '.join(shown)}".rstrip()
        if len(self.names) > 1 and row.kind != "identities":
            what += f", as {row.user}" if row.user else ""
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
        role = ENDS.get(each.what.role, "") if isinstance(each.what, Part) else ""
        return f"`{role}{each.heard.event}{where}`"

    def _unended(self, row: Told, came: Came, facts: Sequence[Fact]) -> Iterator[str]:
        """What is under way that the event might have ended, and did not."""
        ended = [fact.instance for fact in facts if isinstance(fact, Ended | Decided | LeftOut)]
        values = came.record[5]
        for hit in came.record[6]:
            listener = self.project.listeners[hit]
            if not isinstance(listener, Cancel | Exit) or listener.plan not in self.plans:
                continue
            each = self.teller.heard[hit]
            reader = self.teller.readers[listener.plan]
            waiting = [each for each in self.under_way if each.plan == listener.plan]
            if isinstance(listener, Exit):
                acting = [each for each, due in self.acting if due is None or due > came.at]
                waiting += [each for each in acting if each.plan == listener.plan]
            if not waiting and not any(each.plan == listener.plan for each in ended):
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
            if isinstance(fact, Joined):
                if fact.is_known:
                    yield f"what is known of {fact.identity} joins what is known of {fact.user_id}"
                continue
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
                self._done(fact.instance, over=True)
                how = "is over, nothing came of it" if fact.ran_out else "is ended by this"
                yield f"{of}what began {reader.time(fact.instance.since)}{_key(fact.instance)} {how}"
            elif isinstance(fact, Fired):
                self._gone(fact.instance)
                if fact.acts_at is not None and fact.acts_at > fact.at:
                    self.acting.append((fact.instance, fact.acts_at))
                yield f"{of}triggers{_key(fact.instance)}{self._later(fact, reader)}"
            elif isinstance(fact, Unmoved):
                yield f"{of}begins nothing: {self._unmoved(fact, reader)}"
            elif isinstance(fact, Outside):
                yield f"{of}does not trigger: {self._outside(fact, reader)}"
            elif isinstance(fact, Decided):
                yield from self._decided(fact, reader)
            elif isinstance(fact, LeftOut):
                self._done(fact.instance, over=True)
                yield f"{of}the journey is over, all its steps were left out"
            elif isinstance(fact, Paused):
                self.acting.append((fact.instance, fact.due))
                yield f"{of}waits{_key(fact.instance)} {self._what_for(fact, reader)}"
            elif isinstance(fact, Resumed):
                self._done(fact.instance, over=True)
                yield f"{of}what was waited for{_key(fact.instance)} has come"
            elif isinstance(fact, Asked):
                yield f"{of}{self._asked(fact, reader)}"
            elif isinstance(fact, Changed):
                plan = self.project.plans[fact.plan]
                step = plan.messages[fact.message]
                which = "" if plan.journey is None else f" of {step.name} on {step.channel.name}"
                yield f"{of}the message{which} counts as {fact.stage}" + (f": {fact.detail}" if fact.detail else "")
            elif isinstance(fact, Attained):
                goal = fact.goal
                worth = (
                    ""
                    if goal.value is None
                    else f", worth {goal.value:g}" + ("" if goal.credited else ", credited elsewhere")
                )
                whose = window_of(goal.dispatch_id, goal.trigger_id)
                yield f"{of}attains the goal `{goal.goal}`, of {whose}{worth}{self._labelled(fact)}"

    def _what_for(self, fact: Paused, reader: Reader) -> str:
        journey, until = reader.plan.journey, f"until {reader.time(fact.due)}"
        if journey is None or not isinstance(journey.nodes[fact.node], Pause):
            return f"{until}, as the step before is held"
        heard = [self._what(each) for each in self.teller.heard if _ends(each, fact.plan, fact.node)]
        return f"for {' or '.join(heard)}, at most {until}" if heard else f"{until} before the next step"

    def _asked(self, fact: Asked, reader: Reader) -> str:
        """A condition with what it saw."""
        send, journey = reader.checked.send, self.project.plans[fact.plan].journey
        if isinstance(fact.of, Branch):
            number = next((n for n, node in enumerate(journey.nodes if journey else ()) if node is fact.of), 0)
            node = send.nodes[number]
            parts, said = node.when if isinstance(node, Choice) else (), f"asks whether {fact.of.text}"
        else:
            number = self.project.plans[fact.plan].messages.index(fact.of)
            parts, said = send.messages[number].where, f"asks for {fact.of.name} on {fact.of.channel.name}"
        layout = [*reader.checked.captured().items(), *((step, FACTS) for step in send.steps)]
        steps = {
            ("step", step, name): value
            for (step, names), values in zip(layout, fact.steps, strict=False)
            for name, value in zip(names, values, strict=False)
        }
        event = dict(zip(OF_JOURNEY, fact.values, strict=False))
        saw = dict.fromkeys(word for part in parts if (word := reader.saw(part, event, steps, fact.profile)))
        answer = "yes" if fact.met else "no"
        return f"{said}: {answer}" + (f" ({', '.join(saw)})" if saw else "")

    def _labelled(self, fact: Attained) -> str:
        goals = self.project.plans[fact.plan].goals
        label = next((goal.label for goal in goals if goal.name == fact.goal.goal), ())
        return f", and is in {self.project.attributes[label[0][0]].removeprefix(SEGMENT)} from now on" if label else ""

    def _later(self, fact: Fired, reader: Reader) -> str:
        if fact.acts_at is None:
            carried = isinstance(reader.plan.trigger.delay, UntilCarried)
            return ", and is too late for the time that it carries" if carried else ", which is known, or one too many"
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
        if decision is not None and decision.stage == HELD:
            self.acting.append((fact.instance, None))
        else:
            over = reader.plan.journey is None or (decision is not None and decision.stage == "exited")
            self._done(fact.instance, over=over)
        if decision is None:
            yield f"{of}is not decided again: this trigger was before"
            return
        step = "" if reader.plan.journey is None or decision.step is None else f"the step {decision.step} "
        step += f"on {decision.channel} " if step and decision.channel else ""
        yield f"{of}{step}is decided, triggered {reader.time(decision.triggered_at)}{_key(fact.instance)}"
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

    def _done(self, instance: Instance, *, over: bool) -> None:
        """What was held is decided; `over`: nothing else of it is to come, either."""
        self.acting = [
            (other, due) for other, due in self.acting if not _same(instance, other) or (due is not None and not over)
        ]


def window_of(dispatch: str | None, trigger: str) -> str:
    """Whose window a goal was attained in: of a message, or of a trigger that was held out."""
    return f"trigger {trigger}, held out" if dispatch is None else dispatch


def _ends(each: Listening, plan: int, node: int) -> bool:
    """Whether it ends the wait of this node."""
    return each.plan == plan and isinstance(each.what, Part) and each.what.role == "resume" and each.what.number == node


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
