"""A plan against its project: do the names lead anywhere, do the types fit, can filters and content be read.

What was checked is kept beside the plan, so that `flowops.rules.compile` never reads a text again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from flowops.core.plan import KNOWN, SEGMENT
from flowops.core.time import Zone
from flowops.rules.document import Document, Loc, full_width
from flowops.rules.doubts import Doubts, Written
from flowops.rules.expressions import Checked, ExpressionError, Scope, Type, check, check_condition, slot_of
from flowops.rules.lookbacks import ANSWER, Look, looks_of, read
from flowops.rules.schedules import occurrences
from flowops.rules.schema_plan import Audience, PlanFile
from flowops.rules.schema_project import ProjectFile
from flowops.rules.templates import CheckedTemplate, TemplateProblem, check_template
from flowops.rules.triggers import CheckedTrigger, Heard
from flowops.rules.triggers.calendar import ScheduleTrigger
from flowops.settings.guess import one_of

ANY = "any"
"""Stands for whichever event happens; it has no properties that all events share."""

_EXPRESSION_CODES = {
    "filter-syntax": "FO401",
    "filter-unsupported": "FO401",
    "filter-name": "FO402",
    "filter-type": "FO403",
    "filter-function": "FO404",
}
_RESERVED = frozenset({"user", "variant", "now", "coupon"})


@dataclass(frozen=True, slots=True)
class Aim:
    """A goal's event, and what it is worth; no event where a receipt attains it."""

    heard: Heard | None
    value: Checked | None


@dataclass(slots=True)
class CheckedPlan:
    """A plan with every text in it read."""

    document: Document
    file: PlanFile
    zone: Zone
    trigger: CheckedTrigger
    aims: list[Aim] = field(default_factory=list)
    audience: tuple[Checked, ...] = ()
    looks: list[Look] = field(default_factory=list)
    content: dict[str | None, dict[str, CheckedTemplate]] = field(default_factory=dict)

    def heard(self) -> list[Heard]:
        """All events that the plan listens to."""
        aims = (aim.heard for aim in self.aims if aim.heard is not None)
        return [*(look.heard for look in self.looks), *(part.heard for part in self.trigger.parts), *aims]

    def conditions(self) -> list[Checked]:
        """All expressions of the plan that the shard evaluates."""
        parts = [part for each in self.heard() for part in each.rest]
        values = [self.trigger.until, *(aim.value for aim in self.aims)]
        return [*parts, *self.audience, *(each for each in values if each is not None)]

    def references(self) -> set[tuple[str, ...]]:
        """What the content reads: ("step", step, property), ("user", attribute), ("now",), ("variant",)."""
        texts = (template for fields in self.content.values() for template in fields.values())
        return {reference for text in texts for reference in text.references}

    def captured(self) -> dict[str, list[str]]:
        """Of each named step, and of its takings, the properties that later filters, values and the content name."""
        read = {pair for part in self.conditions() for pair in part.step_properties}
        read |= {(reference[1], reference[2]) for reference in self.references() if reference[0] == "step"}
        slots: dict[str, list[str]] = {}
        for step in self.trigger.steps:
            takings = [slot_of(step, nth) for nth in self.takings(step)]
            slots |= {slot: sorted(name for of, name in read if of == slot) for slot in (step, *takings)}
        return slots

    def takings(self, step: str) -> list[int]:
        """Of a step that is taken several times, which takings something names: `viewed[2].sku`."""
        if step not in self.trigger.times:
            return []
        read = {of for part in self.conditions() for of, _ in part.step_properties}
        found = (re.fullmatch(re.escape(step) + r"\[(\d+)\]", of) for of in read)
        return sorted(int(each[1]) for each in found if each)

    def attributes(self) -> set[str]:
        """The attributes of the profile that filters, values and the content name."""
        read = {name for part in self.conditions() for name in part.attributes}
        read |= {*self.trigger.attributes}
        read |= {each.change.attribute for each in self.heard() if each.change is not None}
        read |= {reference[1] for reference in self.references() if reference[0] == "user"}
        return {name for name in read if not name.startswith(ANSWER)}

    def answers(self) -> list[str]:
        """The names under which the audience asks for the answers of the lookbacks, in their order."""
        return [f"{ANSWER}{number}" for number, _ in enumerate(self.looks)]


class PlanChecker:
    """Checks one plan. `templates` are the documents of rules/templates by name."""

    def __init__(
        self, project: ProjectFile, templates: Mapping[str, Document], document: Document, plan: PlanFile
    ) -> None:
        self.project = project
        self.templates = templates
        self.document = document
        self.plan = plan
        self.zone = Zone(plan.zone or project.zone)
        self.user: dict[str, Type] = {name: attribute.type for name, attribute in project.profile.items()}
        self.doubts = Doubts(project, document, plan, self.zone)

    def run(self) -> CheckedPlan:
        """Check everything; what is wrong is added to the documents that it stands in."""
        plan = self.plan
        trigger = plan.trigger.check(self)
        checked = CheckedPlan(self.document, plan, self.zone, trigger)
        steps = trigger.steps
        if plan.audience is not None:
            checked.looks = read(self, plan.audience, ("audience",))
            self.audience(("audience",), plan.audience)
            checked.audience = self.condition_of(plan.audience)
        if trigger.everyone:
            checked.audience = (*self.everyone(checked), *checked.audience)
        self.dates()
        self.occurs()
        self.goals(checked, steps)
        self.content(checked, steps)
        self.doubts.lifetime()
        self.doubts.quiet()
        self.doubts.together(trigger.parts, checked.audience)
        return checked

    def properties(self, event: str) -> dict[str, Type]:
        """The properties of an event with their types; none of one that is not declared."""
        declared = self.project.events.get(event)
        return dict(declared.properties) if declared else {}

    def declares(self, event: str) -> bool:
        """Whether there is such an event; `any` stands for all."""
        return event == ANY or event in self.project.events

    def heard(self, loc: Loc, event: str, where: str | None, scope: Scope) -> Heard:
        """Check an event and its filter."""
        if not self.declares(event):
            hint = one_of(event, self.project.events)
            place = (*loc, "event")
            self.document.report("FO302", place, f"the event `{event}` is not declared", hint=hint)
            return Heard(event, (), ())
        if where is None:
            return Heard(event, (), ())
        scope = dataclasses.replace(scope, names=self.properties(event), bare=event)
        checked = self.expression((*loc, "where"), where, scope, condition=True)
        parts = checked.conjuncts() if checked else ()
        return Heard(event, tuple(p for p in parts if p.own), tuple(p for p in parts if not p.own))

    def step_name(self, loc: Loc, name: str) -> None:
        """A step's name must be none of the language's words."""
        if name in _RESERVED:
            what = f"`{name}` is a word of the language"
            self.document.report("FO108", loc, what, hint="give the step another name: `as: viewed`")

    def keys(self, names: Sequence[str], event: str) -> None:
        """Each property of `key` must be one of the event."""
        if not self.declares(event):
            return
        for name in names:
            known = self.properties(event)
            if name not in known:
                what = f"`key: {name}`: the event `{event}` has no such property"
                hint = "the key is a property of every event concerned; " + one_of(name, known)
                self.document.report("FO303", ("trigger", "key"), what, hint=hint)

    def expression(self, loc: Loc, text: str, scope: Scope, *, condition: bool = False) -> Checked | None:
        """Check an expression; None, and a finding at its place, where it is wrong."""
        try:
            checked = check(text, scope)
        except ExpressionError as error:
            code = _EXPRESSION_CODES[error.code]
            wide = full_width(text)
            if wide is not None and wide[0] == error.offset:
                code = "FO003"
            self.document.report(code, loc, error.message, text, error.hint, offset=error.offset)
            return None
        if condition and checked.type != "boolean":
            what = f"a filter must be true or false, this is {checked.type}"
            self.document.report("FO405", loc, what, text, "compare it with something")
            return None
        if condition:
            self.doubts.reach(loc, text, checked)
        return checked

    def audience(self, loc: Loc, block: Audience) -> None:
        """Check each condition at its own place."""
        if block.where is not None:
            self.expression((*loc, "where"), block.where, self._audience_scope, condition=True)
        for number, each in enumerate(block.any or []):
            self.audience((*loc, "any", number), each)
        self.doubts.block(loc, self.condition_of(block))

    @property
    def _audience_scope(self) -> Scope:
        return Scope({}, user=self.user, zone=self.zone)

    def condition_of(self, block: Audience) -> tuple[Checked, ...]:
        """The whole audience as one condition; none where a part of it was wrong."""
        try:
            names: dict[str, Type] = {SEGMENT + name: "boolean" for _, name in segments_of(block, ())}
            names |= {f"{ANSWER}{number}": "boolean" for number, _ in enumerate(looks_of(block, ()))}
            scope = dataclasses.replace(self._audience_scope, user={**self.user, **names})
            return check_condition(_written(block, count()), scope).conjuncts()
        except ExpressionError:
            return ()

    def everyone(self, checked: CheckedPlan) -> tuple[Checked, ...]:
        """The condition that is true of all of whom a profile or a segment was told, or who did what is asked (S18)."""
        names: dict[str, Type] = {KNOWN: "boolean", **dict.fromkeys(checked.answers(), "boolean")}
        scope = dataclasses.replace(self._audience_scope, user=names)
        did = [number for number, look in enumerate(checked.looks) if "did" in look.loc]
        known = [f"{_attribute('')} is true", *(f'user."{ANSWER}{number}" is true' for number in did)]
        return (check_condition(" or ".join(known), scope),)

    def dates(self) -> None:
        """The end comes after the beginning."""
        dates = self.plan.dates
        if dates is None or dates.start is None or dates.end is None:
            return
        if dates.start.begins(self.zone) >= dates.end.ends(self.zone):
            what = f"the plan ends ({dates.end.text}) before it begins ({dates.start.text})"
            self.document.report("FO208", ("dates", "to"), what, hint="exchange `from` and `to`?")

    def occurs(self) -> None:
        """A schedule comes within the plan's dates."""
        trigger, dates = self.plan.trigger, self.plan.dates
        if not isinstance(trigger, ScheduleTrigger) or dates is None:
            return
        begins = dates.start.begins(self.zone) if dates.start else 0
        first = occurrences(trigger.schedule, self.zone)(begins - 1)
        if first is None or (dates.end is not None and first >= dates.end.ends(self.zone)):
            what = "the schedule has no occurrence within the plan's dates"
            self.document.report("FO214", ("trigger", "schedule"), what, hint="change the one or the other")

    def goals(self, checked: CheckedPlan, steps: Mapping[str, Mapping[str, Type]]) -> None:
        """Check each goal's event, filter and value."""
        names: set[str] = set()
        variant = bool(self.plan.experiment and self.plan.experiment.variants)
        for number, goal in enumerate(self.plan.goals):
            loc = ("goals", number)
            if goal.goal in names:
                self.document.report("FO309", (*loc, "goal"), f"the goal `{goal.goal}` is there twice")
            names.add(goal.goal)
            if goal.event is None:
                self.receipts(loc)
                checked.aims.append(Aim(None, None))
                continue
            times = checked.trigger.times
            scope = Scope({}, steps=steps, user=self.user, variant=variant, zone=self.zone, times=times)
            heard = self.heard(loc, goal.event, goal.where, scope)
            value = None
            if goal.value is not None and goal.event in self.project.events:
                scope = dataclasses.replace(scope, names=self.properties(goal.event), bare=goal.event)
                value = self.expression((*loc, "value"), goal.value, scope)
                if value is not None and value.type not in ("number", "money"):
                    what = f"a value must be a number, this is {value.type}"
                    self.document.report("FO405", (*loc, "value"), what, goal.value)
            checked.aims.append(Aim(heard, value))

    def receipts(self, loc: Loc) -> None:
        """A goal by a receipt needs a channel from which receipts come."""
        name = self.plan.send.channel
        channel = self.project.channels.get(name)
        if channel is not None and not channel.confirms:
            what = f"no receipt comes back from the channel `{name}`, so this goal is never attained"
            hint = "`receipts: {undelivered_after: 1h}` on the channel, or a goal by an event"
            self.document.report("FO313", (*loc, "receipt"), what, hint=hint)

    def content(self, checked: CheckedPlan, steps: Mapping[str, Mapping[str, Type]]) -> None:
        """Check the channel, the variants and each text of the content."""
        step = self.plan.send
        if step.channel not in self.project.channels:
            hint = one_of(step.channel, self.project.channels)
            self.document.report(
                "FO304", ("send", "channel"), f"the channel `{step.channel}` is not declared", hint=hint
            )
        variants = list(self.plan.experiment.variants) if self.plan.experiment else []
        scope = Scope({}, steps=steps, user=self.user, bare="content", variant=bool(variants), zone=self.zone)
        read: dict[int, dict[str, CheckedTemplate]] = {}  # one content may serve several variants
        for variant, texts in self._contents(variants).items():
            if id(texts) not in read:
                read[id(texts)] = self._templates(texts, scope)
            checked.content[variant] = read[id(texts)]

    def _templates(self, texts: Mapping[str, Written], scope: Scope) -> dict[str, CheckedTemplate]:
        made = {name: self._template(text, scope) for name, text in texts.items()}
        found = {name: template for name, template in made.items() if template is not None}
        if len(found) == len(texts):
            self.doubts.message(texts, found)
        return found

    def _contents(self, variants: Sequence[str]) -> dict[str | None, dict[str, Written]]:
        content, loc = self.plan.send.content, ("send", "content")
        if "variants" not in content:
            texts = self._fields(loc, content)
            return dict.fromkeys(variants, texts) if variants else {None: texts}
        given = content["variants"]
        if not isinstance(given, dict) or len(content) > 1:
            self.document.report("FO105", loc, "`variants` holds a content for each variant, and stands alone")
            return {}
        place = (*loc, "variants")
        for name in given:
            if name not in variants:
                hint = one_of(name, variants) if variants else "there is no `experiment` with `variants`"
                self.document.report_key("FO308", (*place, name), f"no variant is called `{name}`", hint=hint)
        for name in variants:
            if name not in given:
                self.document.report("FO308", place, f"the variant `{name}` has no content", hint=f"add `{name}:`")
        return {name: self._fields((*place, name), given[name]) for name in variants if name in given}

    def _fields(self, loc: Loc, value: Any) -> dict[str, Written]:
        if not isinstance(value, dict) or not value:
            self.document.report("FO105", loc, "the content is a mapping of fields", hint="{title: ..., body: ...}")
            return {}
        if set(value) == {"template"}:
            name = value["template"]
            found = self.templates.get(name) if isinstance(name, str) else None
            if found is None:
                hint = one_of(str(name), self.templates) if self.templates else f"write rules/templates/{name}.yaml"
                self.document.report("FO307", (*loc, "template"), f"there is no template `{name}`", hint=hint)
                return {}
            return _texts(found, (), found.data())
        return _texts(self.document, loc, value)

    def _template(self, text: Written, scope: Scope) -> CheckedTemplate | None:
        try:
            return check_template(text.text, scope)
        except TemplateProblem as problem:
            lines = text.text.split("\n")
            offset = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column - 1
            text.document.report(
                "FO411", text.loc, problem.message, lines[problem.line - 1], problem.hint, offset=offset
            )
            return None


def _texts(document: Document, loc: Loc, value: Any) -> dict[str, Written]:
    """The fields of a content; a finding for each that is no text."""
    if not isinstance(value, dict):
        if document.root is not None:
            document.report("FO105", loc, "a template is a mapping of fields", hint="title: ...")
        return {}
    texts: dict[str, Written] = {}
    for name, text in value.items():
        place = (*loc, name)
        if text is None and getattr(document.node(loc), "flow", False) and texts:
            before = list(texts)[-1]
            got = f"{texts[before].text}, {name}"
            document.report_key(
                "FO004", place, f"comma in `{before}` inside {{ }}", got, f'quote it: {before}: "{got}"'
            )
        elif text is None and (wide := full_width(name)) is not None:
            document.report_key("FO003", place, f"full-width `{name[wide[0]]}`", name, f"write `{wide[1]}`")
        elif text is None:
            document.report_key("FO103", place, f"`{name}` has no value", hint="say one, or leave the key out")
        elif isinstance(text, str):
            texts[name] = Written(document, place, text)
        else:
            document.report("FO105", place, f"`{name}` must be a text", hint='quote it: "{{ ... }}"')
    return texts


def segments_of(block: Audience, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """The segments that an audience names, each at its place."""
    for key, names in (("segments", block.segments), ("not_segments", block.not_segments)):
        for number, name in enumerate(names or []):
            yield (*loc, key, number), name
    for number, each in enumerate(block.any or []):
        yield from segments_of(each, (*loc, "any", number))


def _written(block: Audience, numbers: Iterator[int]) -> str:
    """The audience as one condition. A segment is an attribute that is true, false where left, or unknown.

    So is the answer of a lookback, whose number is the next of `numbers`: `did_not` is so where it is false (S12a).
    """
    if block.any:
        return "(" + " or ".join(_written(each, numbers) for each in block.any) + ")"
    parts = [] if block.where is None else [f"({block.where})"]
    parts += [f"{_attribute(name)} is true" for name in block.segments or []]
    parts += [f"{_attribute(name)} is not true" for name in block.not_segments or []]
    parts += [f'user."{ANSWER}{next(numbers)}" is true' for _ in block.did or []]
    parts += [f'user."{ANSWER}{next(numbers)}" is false' for _ in block.did_not or []]
    return "(" + " and ".join(parts) + ")"


def shown(block: Audience) -> str:
    """The audience in words."""
    if block.any:
        return " or ".join(f"({shown(each)})" for each in block.any)
    parts = [] if block.where is None else [block.where]
    parts += [f"in {name}" for name in block.segments or []]
    parts += [f"not in {name}" for name in block.not_segments or []]
    parts += [f"did {did.text}" for did in block.did or []]
    parts += [f"did not {did.text}" for did in block.did_not or []]
    return ", ".join(parts)


def _attribute(segment: str) -> str:
    name = (SEGMENT + segment).replace('"', '""')
    return f'user."{name}"'
