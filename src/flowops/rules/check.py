"""A plan against its project: do the names lead anywhere, do the types fit, can filters and content be read.

What was checked is kept beside the plan, so that `flowops.rules.compile` never reads a text again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from flowops.core.plan import KNOWN, SEGMENT
from flowops.core.time import Zone
from flowops.rules.check_send import CheckedSend, Message, Policies, SendChecker
from flowops.rules.document import Document, Loc
from flowops.rules.doubts import Doubts
from flowops.rules.expressions import Checked, ExpressionError, Scope, Type, check_condition, slot_of
from flowops.rules.layers import CheckedLayering, misspelt
from flowops.rules.lookbacks import ANSWER, Look, looks_of, read
from flowops.rules.names import Names
from flowops.rules.schedules import occurrences
from flowops.rules.schema_plan import Audience, PlanFile
from flowops.rules.schema_project import ProjectFile
from flowops.rules.triggers import CheckedTrigger, Heard, Part
from flowops.rules.triggers.base import scope_of
from flowops.rules.triggers.calendar import ScheduleTrigger
from flowops.settings.guess import one_of


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
    declared: Mapping[str, CheckedLayering] = field(default_factory=dict)
    """All layerings of the project."""
    aims: list[Aim] = field(default_factory=list)
    audience: tuple[Checked, ...] = ()
    looks: list[Look] = field(default_factory=list)
    send: CheckedSend = field(default_factory=CheckedSend)
    cap_keys: frozenset[str] = frozenset()
    """The properties by whose values some cap of the project counts."""

    def carries(self, name: str) -> bool:
        """Whether some event of the trigger carries the property."""
        return any(name in types for types in self.trigger.steps.values())

    def heard(self) -> list[Heard]:
        """All events that the plan listens to."""
        aims = (aim.heard for aim in self.aims if aim.heard is not None)
        return [*(look.heard for look in self.looks), *(part.heard for part in self.trigger.parts), *aims]

    def conditions(self) -> list[Checked]:
        """All expressions of the plan that the shard evaluates."""
        parts = [part for each in self.heard() for part in each.rest]
        values = [self.trigger.until, *(aim.value for aim in self.aims)]
        return [*parts, *self.audience, *self.send.conditions(), *(each for each in values if each is not None)]

    def references(self) -> set[tuple[str, ...]]:
        """What the content reads: ("step", step, property), ("user", attribute), ("now",), ("variant",)."""
        return {reference for text in self.send.texts() for reference in text.references}

    def captured(self) -> dict[str, list[str]]:
        """Of each named step, and of its takings, the properties that later filters, values and the content name."""
        read = {pair for part in self.conditions() for pair in part.step_properties}
        read |= {(reference[1], reference[2]) for reference in self.references() if reference[0] == "step"}
        read |= {(step, name) for step, types in self.trigger.steps.items() for name in self.cap_keys if name in types}
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

    def asked(self) -> set[str]:
        """The attributes of the profile that the trigger, filters and values name."""
        read = {name for part in self.conditions() for name in part.attributes}
        read |= {*self.trigger.attributes}
        return read | {each.change.attribute for each in self.heard() if each.change is not None}

    def attributes(self) -> set[str]:
        """The attributes of the profile that are needed: also what the content names, and figures are split by."""
        read = self.asked()
        read |= {name for name, layering in self.declared.items() if layering.file.figures}
        read |= {reference[1] for reference in self.references() if reference[0] == "user"}
        read |= {SEGMENT + goal.label for goal in self.file.goals if goal.label}
        return {name for name in read if not name.startswith(ANSWER)}

    def layerings(self) -> list[CheckedLayering]:
        """The layerings that it needs, as they are declared."""
        named = self.attributes()
        return [layering for name, layering in self.declared.items() if name in named]

    def answers(self) -> list[str]:
        """The names under which the audience asks for the answers of the lookbacks, in their order."""
        return [f"{ANSWER}{number}" for number, _ in enumerate(self.looks)]


class PlanChecker(Names):
    """Checks one plan. `templates` are the documents of rules/templates by name."""

    def __init__(
        self,
        project: ProjectFile,
        templates: Mapping[str, Document],
        layerings: Mapping[str, CheckedLayering],
        policies: Policies,
        document: Document,
        plan: PlanFile,
    ) -> None:
        super().__init__(project, document, Zone(plan.zone or project.zone))
        self.policies = policies
        self.templates = templates
        self.layerings = layerings
        self.plan = plan
        self.user |= dict.fromkeys(layerings, "string")
        self.derived = frozenset(layerings)
        self.doubts = Doubts(project, document, plan, self.zone)

    def run(self) -> CheckedPlan:
        """Check everything; what is wrong is added to the documents that it stands in."""
        plan = self.plan
        trigger = plan.trigger.check(self)
        checked = CheckedPlan(self.document, plan, self.zone, trigger, self.layerings)
        steps = trigger.steps
        self.exits(trigger)
        if plan.audience is not None:
            checked.looks = read(self, plan.audience, ("audience",))
            self.audience(("audience",), plan.audience)
            checked.audience = self.condition_of(plan.audience)
        if trigger.everyone:
            checked.audience = (*self.everyone(checked), *checked.audience)
        self.dates()
        self.occurs()
        checked.send = SendChecker(self, checked, self.policies).run()
        self.goals(checked, steps)
        self.doubts.lifetime(checked.send.least())
        self.transactional()
        self.doubts.quiet(checked.send.messages)
        self.doubts.together(trigger.parts, checked.audience)
        self.doubts.unknown(checked.asked())
        self.doubts.labels(
            [*checked.audience, *(part for each in trigger.parts for part in each.heard.rest)],
            [aim.heard.rest if aim.heard else () for aim in checked.aims],
        )
        self.undeclared()
        return checked

    def understood(self, loc: Loc, text: str, checked: Checked, *, condition: bool) -> None:
        """Whether it compares a layer with one that there is, and whether it can be true."""
        for name, wrong in misspelt(checked, self.layerings):
            what = f"`{name}` has no layer `{wrong}`"
            hint = one_of(wrong, self.layerings[name].file.layers)
            self.document.report("FO408", loc, what, text, hint, offset=max(text.find(f"'{wrong}'"), 0))
        if condition:
            self.doubts.reach(loc, text, checked)

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
        """The condition that is true of all of whom a profile or a segment was told, or who did what is asked (S18).

        Who may have done it never (`times: 0..3`) need not be remembered, so that does not make anybody known.
        """
        names: dict[str, Type] = {KNOWN: "boolean", **dict.fromkeys(checked.answers(), "boolean")}
        scope = dataclasses.replace(self._audience_scope, user=names)
        looks = enumerate(checked.looks)
        did = [number for number, look in looks if "did" in look.loc and (look.did.reaches or look.did.range[0])]
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

    def exits(self, trigger: CheckedTrigger) -> None:
        """What ends journeys: events like those of the trigger, bound by its key; they may speak of its steps."""
        scope = scope_of(self, trigger.steps, trigger.times)
        for number, each in enumerate(self.plan.exit):
            loc = ("exit", number)
            if each.touches is not None:
                continue
            trigger.parts.append(Part(each.hear(self, loc, scope, trigger.key), loc, "exit"))

    def transactional(self) -> None:
        """What the user waits for is not put off."""
        plan = self.plan
        own = {"caps": plan.caps, "skip_if_reached": plan.skip_if_reached, "quiet": plan.quiet != "none" and plan.quiet}
        for key in [key for key, value in own.items() if value and plan.transactional]:
            what = f"a plan that is `transactional` has no `{key}`: what the user waits for is sent at once"
            self.document.report_key("FO107", (key,), what, hint="leave the one or the other out")

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
                self.receipts(loc, checked.send.messages)
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
                    numbers = [name for name, kind in scope.names.items() if kind in ("number", "money")]
                    hint = f"of `{goal.event}`: {one_of('', numbers)}" if numbers else "leave it out to count only"
                    self.document.report("FO405", (*loc, "value"), what, goal.value, hint)
            checked.aims.append(Aim(heard, value))

    def receipts(self, loc: Loc, messages: Sequence[Message]) -> None:
        """A goal by a receipt needs a channel from which receipts come."""
        names = {message.channel for message in messages}
        channels = [self.project.channels[name] for name in names if name in self.project.channels]
        if channels and len(channels) == len(names) and not any(channel.confirms for channel in channels):
            shown = " or ".join(f"`{name}`" for name in sorted(names))
            what = f"no receipt comes back from the channel {shown}, so this goal is never attained"
            hint = "`receipts: {undelivered_after: 1h}` on the channel, or a goal by an event"
            self.document.report("FO313", (*loc, "receipt"), what, hint=hint)


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
