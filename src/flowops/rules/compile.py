"""Checked plans -> `core.plan.Project`: everything gets its number, every text its function.

The order of things is the engine's order (S7, S17a): plans by priority, then id; goals listen first, then each plan's
counts and cancels before its start. Only what is asked for after routing travels: a property that the route alone
decides on is a column of the source, but no value of the event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowops.channels import Settings
from flowops.core import plan as core
from flowops.core.journey import FACTS, OF_JOURNEY
from flowops.core.plan import KNOWN, SEGMENT
from flowops.core.records import BEFORE_ALL, ENDED, SHARDS
from flowops.core.time import DAY, Zone
from flowops.rules.check import CheckedPlan, shown
from flowops.rules.check_send import Choice, Message
from flowops.rules.expressions import Checked, expression, predicate, slot_of
from flowops.rules.layers import CheckedLayering, Measure
from flowops.rules.lookbacks import Look
from flowops.rules.mapping import SourceLayout, columns_of, events_of
from flowops.rules.names import ANY
from flowops.rules.routing import build_route
from flowops.rules.schema_plan import Reached
from flowops.rules.schema_project import MAX_FUTURE, Cap, ProjectFile, Scope
from flowops.rules.templates import renderer
from flowops.rules.texts import held_to
from flowops.rules.triggers import Given, Heard, Part
from flowops.rules.triggers.calendar import ScheduleTrigger
from flowops.settings.fields import parse_clock, show_duration

ALL_DAYS = frozenset(range(7))
ROLES = ("count", "see", "cancel", "exit", "resume", "take", "start")
"""In this order an event meets the listeners of a plan (S17a)."""

ENDS = {"cancel": "without ", "exit": "exit ", "resume": "until "}
"""Before the name of an event that ends something, where it is spoken of."""

NOBODY = -1

CLICK = core.Goal("clicked", 7 * DAY, None, "every", None, "clicked")
"""The goal of a plan that declares none, on a channel that has receipts (S41)."""


@dataclass(frozen=True, slots=True)
class Listening:
    """One listener before it is numbered: what the route decides, and what it is made of.

    What is counted for layers is of no plan: `NOBODY`.
    """

    heard: Heard
    plan: int
    what: int | Part | Look | Measure  # the goal's number, an event of the trigger, what is asked of the past
    counter: int = 0  # of a `Look` or a `Measure`


def ordered_plans(plans: Iterable[CheckedPlan]) -> list[CheckedPlan]:
    """By priority, higher first, then id (S7)."""
    return sorted(plans, key=lambda plan: (-plan.file.priority, plan.file.plan))


def compile_project(
    project: ProjectFile, plans: Sequence[CheckedPlan], layouts: Sequence[SourceLayout]
) -> core.Project:
    """Build the one argument of the engine. Everything in it has been checked; raises for nothing that a user wrote."""
    return _Compiler(project, ordered_plans(plans), layouts).run()


def used_attributes(project: ProjectFile, plans: Iterable[CheckedPlan]) -> list[str]:
    """The attributes that plans use, by name: also addresses, consents and the user's zone."""
    used = {name for name, attribute in project.profile.items() if attribute.type == "zone"}
    for plan in plans:
        used |= plan.attributes()
        for name in {message.channel for message in plan.send.messages}:
            channel, consent = project.channels[name], project.channels[name].consent
            used |= {
                each for each in (channel.address, consent and consent.opt_in, consent and consent.opt_out) if each
            }
    return sorted(used)


def used_properties(plans: Sequence[CheckedPlan]) -> dict[str, set[str]]:
    """Event -> the properties that plans use of it, in routes, filters, keys, values and content."""
    used: dict[str, set[str]] = {}
    for heard, names in _all_needs(plans):
        own = {name for part in heard.own for name in part.properties}
        used.setdefault(heard.event, set()).update(own | names)
    return used


def _all_needs(plans: Sequence[CheckedPlan]) -> Iterable[tuple[Heard, set[str]]]:
    for plan in plans:
        yield from _needs(plan)
    for each in layerings_of(plans):
        yield each.heard, {measure.value for measure in each.measures() if measure.value is not None}


def listening(plans: Sequence[CheckedPlan]) -> list[Listening]:
    """The listeners of the plans, which are in their order, as `core.plan.Project.listeners` numbers them."""
    goals = [
        Listening(aim.heard, index, number)
        for index, plan in enumerate(plans)
        for number, aim in enumerate(plan.aims)
        if aim.heard is not None
    ]
    looks = [(look, index) for index, plan in enumerate(plans) for look in plan.looks]
    first = len(plans)  # a plan's own counter has its number
    goals += [Listening(look.heard, index, look, first + n) for n, (look, index) in enumerate(looks)]
    rest = [
        Listening(part.heard, index, part)
        for index, plan in enumerate(plans)
        for role in ROLES
        for part in plan.trigger.parts
        if part.role == role
    ]
    first += len(looks)
    measures = [(each, measure) for each in layerings_of(plans) for measure in each.measures()]
    return goals + rest + [Listening(each.heard, NOBODY, of, first + n) for n, (each, of) in enumerate(measures)]


def layerings_of(plans: Iterable[CheckedPlan]) -> list[CheckedLayering]:
    """Those that some plan needs."""
    return list({each.name: each for plan in plans for each in plan.layerings()}.values())


def _needs(plan: CheckedPlan) -> Iterable[tuple[Heard, set[str]]]:
    """Each event that the plan hears, with the properties that must travel to the shard."""
    captured = plan.captured()
    for look in plan.looks:
        yield look.heard, {*([look.value] if look.value else []), *_names(look.heard.rest)}
    for part in plan.trigger.parts:
        if part.heard.change is not None:
            continue
        slots = (slot for step in part.steps for slot in (step, *(slot_of(step, nth) for nth in plan.takings(step))))
        kept = {name for slot in slots for name in captured[slot]}
        value = [part.value] if part.value is not None else []
        key = plan.trigger.key if part.number != core.ANY_EVENT else ()
        yield part.heard, {*kept, *value, *key, *_names(part.heard.rest)}
    for aim in plan.aims:
        if aim.heard is None:
            continue
        yield aim.heard, {*_names(aim.heard.rest), *(aim.value.properties if aim.value else ())}


def _names(parts: Iterable[Checked]) -> set[str]:
    return {name for part in parts for name in part.properties}


class _Compiler:
    def __init__(self, project: ProjectFile, plans: Sequence[CheckedPlan], layouts: Sequence[SourceLayout]) -> None:
        self.project = project
        self.plans = plans
        self.layouts = layouts
        self._scopes: dict[str, frozenset[int]] = {}
        self.attributes = used_attributes(project, plans)
        travelling: dict[str, set[str]] = {}
        for heard, names in _all_needs(plans):
            travelling.setdefault(heard.event, set()).update(names)
        self.tables = {event: tuple(sorted(travelling[event])) for event in sorted(travelling) if event != ANY}
        self.keys = sorted(cap_keys(project, plans))
        self.channels = self._channels()
        self.listening = listening(plans)
        self.looks: dict[int, list[tuple[Look, Listening]]] = {}
        for each in self.listening:
            if isinstance(each.what, Look):
                self.looks.setdefault(each.plan, []).append((each.what, each))

    def run(self) -> core.Project:
        plans = tuple(self._plan(index, plan) for index, plan in enumerate(self.plans))
        profile = self.project.profile
        zones = [name for name in self.attributes if name in profile and profile[name].type == "zone"]
        return core.Project(
            name=self.project.project,
            zone=Zone(self.project.zone),
            currency=self.project.currency,
            sources=tuple(self._source(number, each) for number, each in enumerate(self.layouts)),
            attributes=tuple(self.attributes),
            zone_attribute=self.attributes.index(zones[0]) if zones else None,
            channels=self.channels,
            events=tuple(core.EventTable(event, properties) for event, properties in self.tables.items()),
            listeners=tuple(self._listener(each) for each in self.listening),
            plans=plans,
            changes=self._changes(),
            counters=(
                *(getattr(plan.trigger, "counter", None) for plan in plans),
                *(each.what.counter for each in self.listening if isinstance(each.what, Look | Measure)),
            ),
            said=tuple(_said(each.heard) for each in self.listening),
            layerings=tuple(map(self._layering, layerings_of(self.plans))),
            figures=next(
                (self.attributes.index(each.name) for each in layerings_of(self.plans) if each.file.figures), None
            ),
            shards=1 if any(each.kind == "identities" for each in self.project.sources.values()) else SHARDS,
            fingerprint=self._fingerprint(plans),
        )

    def _attribute(self, name: str | None) -> int | None:
        return None if name is None else self.attributes.index(name)

    def _channels(self) -> tuple[core.Channel, ...]:
        used = {message.channel for plan in self.plans for message in plan.send.messages}
        channels = []
        for index, (name, channel) in enumerate(self.project.channels.items()):
            consent = channel.consent if name in used else None
            channels.append(
                core.Channel(
                    index=index,
                    name=name,
                    address=self._attribute(channel.address) if name in used else None,
                    opt_in=self._attribute(consent.opt_in) if consent else None,
                    opt_out=self._attribute(consent.opt_out) if consent else None,
                    cost=channel.cost,
                    undelivered_after=channel.undelivered_after,
                    quiet=channel.quiet.built() if channel.quiet else None,
                    confirms=channel.confirms,
                )
            )
        return tuple(channels)

    # Listeners and routes

    def _listener(self, listening: Listening) -> core.Listener:
        part, event = listening.what, self.tables.get(listening.heard.event, ())
        if isinstance(part, Measure):
            return core.Count(None, listening.counter, None, event.index(part.value) if part.value else None, ())
        plan = self.plans[listening.plan]
        captured, rest = plan.captured(), listening.heard.rest
        steps = (
            captured
            if isinstance(part, int) or getattr(part, "role", "") in ("cancel", "exit", "resume", "take")
            else {}
        )
        where = predicate(rest, event=event, steps=steps, user=self.attributes) if rest else None
        if isinstance(part, int):
            return core.Attain(listening.plan, part, where)
        if isinstance(part, Look):
            return core.Count(None, listening.counter, where, event.index(part.value) if part.value else None, ())
        key = tuple(map(event.index, plan.trigger.key if part.number != core.ANY_EVENT else ()))
        if part.role == "cancel":
            return core.Cancel(listening.plan, where, key)
        if part.role == "exit":
            return core.Exit(listening.plan, where, key)
        if part.role == "resume":
            return core.Resume(listening.plan, where, (), key, part.number)
        if part.role == "count":
            value = None if part.value is None else event.index(part.value)
            return core.Count(listening.plan, listening.plan, where, value, key, part.always)
        slots = list(captured)
        kept = [(step, nth) for step in part.steps for nth in (0, *plan.takings(step))]
        names = [slot_of(step, nth) if nth else step for step, nth in kept]
        nth = tuple(nth if step == part.steps[0] else -nth for step, nth in kept)  # the second name is the step's
        capture = tuple((slots.index(name), tuple(map(event.index, captured[name]))) for name in names)
        if part.role == "see":
            return core.See(listening.plan, where, capture, key)
        listener = core.Start if part.role == "start" else core.Take
        return listener(listening.plan, where, capture, key, part.number, nth)

    def _changes(self) -> dict[int, tuple[core.Change, ...]]:
        changes: dict[int, list[core.Change]] = {}
        for number, each in enumerate(self.listening):
            change = each.heard.change
            if change is not None:
                found = core.Change(number, change.old, change.new)
                changes.setdefault(self.attributes.index(change.attribute), []).append(found)
        return {attribute: tuple(those) for attribute, those in changes.items()}

    def _source(self, index: int, layout: SourceLayout) -> core.Source:
        source = self.project.sources[layout.name]
        routes: dict[str, core.Route] = {}
        any_route: core.Route | None = None
        columns = columns_of(self.project, layout, used_properties(self.plans), self.attributes)
        if source.kind == "events":
            attributes = {column.name: column.attribute for column in columns}
            for event in events_of(source, self.tables):
                routes[event] = self._route(event, attributes)
            if any(each.heard.event == ANY for each in self.listening):
                any_route = self._route(ANY, attributes)
        made = source.segment_parts
        return core.Source(
            index=index,
            name=layout.name,
            kind=source.kind,
            files=tuple(source.file),
            user_id=layout.user_id,
            event=source.event or (None if made else source.segment),
            event_path=layout.event_path,
            event_id=layout.event_id,
            time=layout.time,
            properties_path=layout.properties_path,
            columns=tuple(columns),
            out_of_orderness=source.out_of_orderness,
            routes=routes,
            any_route=any_route,
            since=source.since.begins(Zone(self.project.zone)) if source.since else None,
            around=(made[0], made[2]) if made else ("", ""),
            max_future=source.max_future if source.file else source.max_future or MAX_FUTURE,
        )

    def _route(self, event: str, columns: Mapping[str, str]) -> core.Route:
        listeners = [
            (number, each.heard.own) for number, each in enumerate(self.listening) if each.heard.event in (event, ANY)
        ]
        return build_route(columns=columns, properties=self.tables.get(event, ()), listeners=listeners)

    # Plans

    def _plan(self, index: int, plan: CheckedPlan) -> core.Plan:
        file, zone, trigger = plan.file, plan.zone, plan.trigger.model
        dates = file.dates
        quiet = None if file.quiet == "none" else file.quiet or self.project.quiet
        known = " with a profile or a segment" if plan.trigger.everyone else ""
        messages = self._messages(plan)
        return core.Plan(
            index=index,
            id=file.plan,
            version=self._version(plan),
            name=file.name or file.plan,
            group=file.group,
            owner=file.owner,
            tags=tuple(file.tags),
            zone=zone,
            starts_at=dates.start.begins(zone) if dates and dates.start else BEFORE_ALL,
            ends_at=dates.end.ends(zone) if dates and dates.end else ENDED,
            audience=self._audience(plan) if plan.audience else None,
            lookbacks=self._lookbacks(index),
            trigger=trigger.build(Given(self._delay(plan), zone, self.attributes)),
            reentry=_reentry(file.reentry),
            caps=() if file.transactional else (*self._caps(index, file.caps), *self._project_caps(index)),
            skip_if_reached=self._window(index, file.skip_if_reached) if file.skip_if_reached else None,
            transactional=file.transactional,
            cap_values=tuple(self._carried(plan, name) for name in self.keys),
            quiet=quiet.built() if quiet and not file.transactional else None,
            experiment=_experiment(plan),
            step=messages[0],
            journey=self._journey(plan, messages),
            goals=self._goals(plan),
            blank=tuple((None,) * len(names) for names in plan.captured().values()),
            several_a_day=isinstance(trigger, ScheduleTrigger) and trigger.schedule.several_a_day,
            who=shown(file.audience) if file.audience else f"everyone{known}",
        )

    def _audience(self, plan: CheckedPlan) -> core.Predicate:
        return predicate(plan.audience, event=(), steps={}, user=[*self.attributes, *plan.answers()])

    def _lookbacks(self, index: int) -> tuple[core.Lookback, ...]:
        found: list[core.Lookback] = []
        for look, each in self.looks.get(index, ()):
            did = look.did
            low, high = (did.reaches, None) if did.reaches is not None else did.range
            found.append(core.Lookback(each.counter, did.within, low, high, self._givers(each.heard.event)))
        return tuple(found)

    def _givers(self, event: str) -> tuple[int, ...]:
        """The sources that may give the event."""
        sources = [self.project.sources[layout.name] for layout in self.layouts]
        return tuple(
            number
            for number, source in enumerate(sources)
            if source.kind == "events" and (event == ANY or events_of(source, [event]))
        )

    def _layering(self, layering: CheckedLayering) -> core.Layering:
        own = [each for each in self.listening if isinstance(each.what, Measure) and each.heard is layering.heard]
        numbers = {str(each.what.counter.kind): each.counter for each in own if isinstance(each.what, Measure)}
        sources = self._givers(layering.heard.event)
        layers = layering.file.layers.items()
        asked = tuple((name, layering.asked(layer, numbers, sources)) for name, layer in layers)
        return core.Layering(self.attributes.index(layering.name), asked)

    def _caps(self, index: int, caps: Iterable[Cap]) -> list[core.Cap]:
        return [self._cap(cap, "plan", frozenset({index})) for cap in caps]

    def _project_caps(self, index: int) -> list[core.Cap]:
        caps = [self._cap(cap, "project", None) for cap in self.project.caps]
        return [cap for cap in caps if cap.plans is None or index in cap.plans]

    def _cap(self, cap: Cap, default: str, own: frozenset[int] | None) -> core.Cap:
        scope = cap.scope or default
        plans: frozenset[int] | None = own if scope == "plan" else None
        channel, shown = None, str(scope)
        if isinstance(scope, Scope):
            shown, channel, plans = scope.text, self._channel(scope), self._in_scope(scope)
        if cap.key is not None:  # whoever does not carry it is not concerned
            carry = frozenset(index for index, plan in enumerate(self.plans) if plan.carries(cap.key))
            plans = carry if plans is None else plans & carry
        return core.Cap(
            at_most=cap.at_most,
            rolling=cap.per.rolling,
            calendar=cap.per.calendar,
            plans=plans,
            channel=channel,
            text=f"{cap.at_most} per {cap.per.text} ({shown}{f', each {cap.key}' if cap.key else ''})",
            key=None if cap.key is None else self.keys.index(cap.key),
        )

    def _window(self, index: int, window: Reached) -> core.Cap:
        """S25 as a cap of one message of others."""
        scope = window.by
        plans = self._in_scope(scope) if scope else None
        others = (frozenset(range(len(self.plans))) if plans is None else plans) - {index}
        text = f"reached within {show_duration(window.within)} by {scope.text if scope else 'another plan'}"
        return core.Cap(1, window.within, None, others, self._channel(scope) if scope else None, text)

    def _channel(self, scope: Scope) -> int | None:
        return None if scope.channel is None else list(self.project.channels).index(scope.channel)

    def _carried(self, plan: CheckedPlan, name: str) -> tuple[tuple[int, int], ...]:
        """Where the property stands in what is kept of each step that carries it."""
        captured = plan.captured()
        return tuple(
            (slot, captured[step].index(name))
            for slot, step in enumerate(captured)
            if name in plan.trigger.steps.get(step, ())
        )

    def _in_scope(self, scope: Scope) -> frozenset[int] | None:
        """The plans that a scope names, None: all; asked by many caps with few scopes."""
        if not scope.model_dump(exclude_none=True, exclude={"channel"}):
            return None
        key = scope.model_dump_json(exclude={"channel"})
        if key not in self._scopes:
            self._scopes[key] = frozenset(index for index, plan in enumerate(self.plans) if in_scope(scope, plan))
        return self._scopes[key]

    def _delay(self, plan: CheckedPlan) -> core.Delay:
        delay, carried = plan.trigger.model.delay, plan.trigger.until
        if isinstance(delay, int):
            return delay
        if carried is None:
            return core.UntilLocal(parse_clock(delay.until), frozenset(delay.days) if delay.days else ALL_DAYS)
        time = expression(carried, event=(), steps=plan.captured(), user=self.attributes)
        return core.UntilCarried(time, carried.type == "date", delay.offset or 0, carried.text)

    def _messages(self, plan: CheckedPlan) -> tuple[core.Step, ...]:
        return tuple(self._message(plan, message) for message in plan.send.messages)

    def _message(self, plan: CheckedPlan, message: Message) -> core.Step:
        steps = plan.captured()
        made: dict[int, core.Renderer] = {}
        for fields in message.content.values():
            if id(fields) not in made:
                render = renderer(fields, steps=steps, user=self.attributes, zone=plan.zone)
                sms = self.project.channels[message.channel].limit == "sms"
                made[id(fields)] = held_to(render, sms=sms, banned=self.project.banned_words)
        content = {variant: made[id(fields)] for variant, fields in message.content.items()}
        channel = self.channels[list(self.project.channels).index(message.channel)]
        where = predicate(message.where, event=(), steps=steps, user=self.attributes) if message.where else None
        group = message.step if message.several else ""
        return core.Step(message.step, channel, content, message.expires, where, group)

    def _journey(self, plan: CheckedPlan, messages: tuple[core.Step, ...]) -> core.Journey | None:
        if not plan.send.nodes:
            return None
        steps = {**plan.captured(), **dict.fromkeys(plan.send.steps, FACTS)}
        nodes = [
            core.Branch(
                predicate(node.when, event=OF_JOURNEY, steps=steps, user=self.attributes),
                node.then,
                node.otherwise,
                node.text,
            )
            if isinstance(node, Choice)
            else node
            for node in plan.send.nodes
        ]
        touches = [each.touches for each in plan.file.exit if each.touches is not None]
        return core.Journey(tuple(nodes), messages, min(touches, default=None))

    def _goals(self, plan: CheckedPlan) -> tuple[core.Goal, ...]:
        waits = (self.project.channels[message.channel].undelivered_after for message in plan.send.messages)
        if not plan.aims and any(after is not None for after in waits):
            return (CLICK,)
        steps = plan.captured()
        goals = []
        for goal, aim in zip(plan.file.goals, plan.aims, strict=True):
            event = () if aim.heard is None else self.tables.get(aim.heard.event, ())
            value = expression(aim.value, event=event, steps=steps, user=self.attributes) if aim.value else None
            target = float(goal.target) if goal.target is not None else None
            label = self._label(goal.label) if goal.label else ()
            goals.append(core.Goal(goal.goal, goal.within, value, goal.credit, target, goal.receipt, label))
        return tuple(goals)

    def _label(self, label: str) -> tuple[tuple[int, bool], ...]:
        """In the segment, and so one of those of whom a segment is told."""
        names = [SEGMENT + label, KNOWN] if KNOWN in self.attributes else [SEGMENT + label]
        return tuple((self.attributes.index(name), True) for name in names)

    # Versions

    def _version(self, plan: CheckedPlan) -> str:
        project = self.project.model_dump(mode="json", include={"zone", "quiet", "caps", "profile", "banned_words"})
        common = set(Settings.model_fields)  # what a decision sees of a channel; how it connects is no matter of a plan
        project["channels"] = {
            name: channel.model_dump(mode="json", include=common) for name, channel in self.project.channels.items()
        }
        texts = [
            {str(variant): {name: template.text for name, template in fields.items()}}
            for message in plan.send.messages
            for variant, fields in message.content.items()
        ]
        policy = None if plan.send.policy is None else plan.send.policy.model_dump(mode="json")
        layers = {each.name: each.file.model_dump(mode="json") for each in plan.layerings()}
        if layers:
            project["layers"] = layers
        events = {each.event for each in (*plan.heard(), *(each.heard for each in plan.layerings()))}
        declared = {name: event.properties for name, event in self.project.events.items() if name in events}
        return _digest(plan.file.model_dump(mode="json", exclude={"notes"}), project, texts, policy, declared)[:8]

    def _fingerprint(self, plans: Iterable[core.Plan]) -> str:
        project = self.project.model_dump(mode="json", exclude={"state", "warehouse", "ledger"})
        return _digest(project, [(plan.id, plan.version) for plan in plans])


def cap_keys(project: ProjectFile, plans: Iterable[CheckedPlan]) -> set[str]:
    """The properties by whose values some cap counts."""
    caps = [*project.caps, *(cap for plan in plans for cap in plan.file.caps)]
    return {cap.key for cap in caps if cap.key is not None}


def in_scope(scope: Scope, plan: CheckedPlan) -> bool:
    """Whether all that the scope names is so of the plan; its channel apart."""
    file = plan.file
    return (
        (scope.group is None or scope.group == file.group)
        and (scope.tag is None or scope.tag in file.tags)
        and (scope.plan is None or scope.plan == file.plan)
    )


def _said(heard: Heard) -> core.Said:
    texts = dict.fromkeys(part.text for part in (*heard.own, *heard.rest))
    return core.Said(heard.event if heard.change is None else heard.change.text, " and ".join(texts) or None)


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _reentry(reentry: int | str) -> core.Reentry:
    if isinstance(reentry, int):
        return core.Reentry(always=False, gap=reentry)
    return core.Reentry(always=reentry == "always", gap=None)


def _experiment(plan: CheckedPlan) -> core.Experiment | None:
    experiment = plan.file.experiment
    if experiment is None:
        return None
    variants = tuple((name, float(share)) for name, share in experiment.variants.items())
    return core.Experiment(experiment.name or plan.file.plan, float(experiment.holdout), variants)
