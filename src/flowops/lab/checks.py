"""The decision list in words: each check with the values that it saw. What it decided is the shard's word, not ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flowops.core.admission import HELD, cap_values, quiet_until, quiets_of, standing
from flowops.core.observed import Decided
from flowops.core.plan import SEGMENT, Attributes, Plan, Project, Quiet
from flowops.core.receipts import DELIVERED, SENT
from flowops.core.records import BEFORE_ALL, ENDED, Micros
from flowops.core.shard.returns import group_of
from flowops.core.time import Zone
from flowops.core.timers import NEVER
from flowops.rules.check import CheckedPlan
from flowops.rules.expressions import Checked
from flowops.rules.lookbacks import ANSWER
from flowops.rules.nodes import Type, refs
from flowops.rules.preview import shower
from flowops.settings.fields import show_duration

Values = Mapping[tuple[str, str, str], Any]
"""(kind, step, name), as a `Ref` has them -> what stands there."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the list; `passed` None: it held the message back for now."""

    name: str
    passed: bool | None
    saw: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns what a plan saw into words. Values of `sensitive` attributes are told to be there, not shown."""

    project: Project
    plan: Plan
    checked: CheckedPlan
    types: Mapping[str, Type]
    sensitive: Collection[str]

    def time(self, at: Micros, zone: Zone | None = None) -> str:
        """A time in the plan's zone, or another."""
        text = shower(zone or self.plan.zone)(at, "time")
        return text[:-6].removesuffix(":00") if text[-6:-5] in "+-" else text

    def attribute(self, name: str, profile: Attributes) -> str:
        """`tier is gold`."""
        if name.startswith(ANSWER):  # behind the attributes, in their order
            number = int(name.removeprefix(ANSWER))
            answer = profile[len(self.project.attributes) + number]
            held = {True: "yes", False: "no", None: "unknown, the history does not reach back so far"}[answer]
            return f"did {self.checked.looks[number].did.text}: {held}"
        value = profile[self.project.attributes.index(name)] if name in self.project.attributes else None
        if name.startswith(SEGMENT):
            return f"{'in' if value is True else 'not in'} {name.removeprefix(SEGMENT)}"
        if value is None and name in {self.project.attributes[each.attribute] for each in self.project.layerings}:
            return f"{name} is none, or hangs on what was before the history"
        if value is None:
            return f"{name} is missing"
        if name in self.sensitive:
            return f"{name} is there (sensitive)"
        return f"{name} is {shower(self.plan.zone)(value, self.types[name])}"

    def attributes(self, parts: Collection[Checked], profile: Attributes) -> str:
        """What conditions saw of the profile."""
        names = dict.fromkeys(name for part in parts for name in sorted(part.attributes))
        return ", ".join(self.attribute(name, profile) for name in names)

    def saw(self, part: Checked, event: Mapping[str, Any], steps: Values, profile: Attributes) -> str:
        """What one condition saw: of the event at hand, of earlier steps, of the profile."""
        words: dict[str, None] = {}
        for ref in refs(part.node):
            if ref.kind == "user":
                words[f"user.{self.attribute(ref.name, profile)}"] = None
            elif ref.kind in ("event", "step"):
                value = event.get(ref.name) if ref.kind == "event" else steps.get((ref.kind, ref.step, ref.name))
                shown = "missing" if value is None else shower(self.plan.zone)(value, ref.type)
                words[f"{ref.step}.{ref.name} is {shown}" if ref.step else f"{ref.name} is {shown}"] = None
        return ", ".join(words)

    def dates(self) -> str | None:
        """From when to when the plan is in force."""
        start, end = self.plan.starts_at, self.plan.ends_at
        if start == BEFORE_ALL and end == ENDED:
            return None
        begin = "" if start == BEFORE_ALL else f" from {self.time(start)}"
        return f"the plan runs{begin}" + ("" if end == ENDED else f" to before {self.time(end)}")


def checks(reader: Reader, fact: Decided) -> list[Check]:
    """Those that the plan has, up to the one that did not pass."""
    decision = fact.decision
    if decision is None:
        return []
    failed = {DELIVERED: None, SENT: None, HELD: "quiet_hours"}.get(decision.stage, decision.stage)
    found: list[Check] = []
    for name, words in CHECKS.items():
        saw = words(reader, fact)
        if name == failed:
            return [*found, Check(name, None if decision.stage == HELD else False, saw or decision.detail or "")]
        if saw is not None:
            found.append(Check(name, True, saw))
    if failed is not None:  # a check that is not of this list
        found.append(Check(failed, False, decision.detail or ""))
    return found


def _dates(reader: Reader, _fact: Decided) -> str | None:
    return reader.dates()


def _audience(reader: Reader, fact: Decided) -> str | None:
    decision = fact.decision
    if decision is not None and decision.stage == "not_in_audience" and decision.detail is not None:
        return decision.detail  # it is the channel's filter
    if reader.plan.audience is None:
        return None
    seen = reader.attributes(reader.checked.audience, fact.profile)
    return f"{reader.plan.who}: {seen}" if seen else reader.plan.who


def _exited(_reader: Reader, _fact: Decided) -> str | None:
    return None


def _reentry(reader: Reader, fact: Decided) -> str | None:
    rule = reader.plan.reentry
    if rule.always:
        return None
    wanted = (reader.plan.index, fact.instance.key)
    before = [at for plan, key, at, _ in fact.entries if (plan, key) == wanted]
    said = "once" if rule.gap is None else f"once in {show_duration(rule.gap)}"
    own = [at for *_, at, by in fact.entries if fact.decision is not None and by == fact.decision.trigger_id]
    if own:
        return f"{said}; this journey entered {reader.time(max(own))}"
    return f"{said}; " + (f"entered {reader.time(max(before))}" if before else "never entered before")


def _consent(reader: Reader, fact: Decided) -> str | None:
    channel = reader.plan.messages[fact.message].channel
    asked = [reader.project.attributes[each] for each in (channel.opt_in, channel.opt_out) if each is not None]
    seen = [reader.attribute(name, fact.profile) for name in asked]
    seen += [f"unsubscribed {reader.time(at)}" for of, at in fact.withdrawn if of == channel.index]
    return ", ".join(seen) or None


def _address(reader: Reader, fact: Decided) -> str | None:
    number = reader.plan.messages[fact.message].channel.address
    return None if number is None else reader.attribute(reader.project.attributes[number], fact.profile)


def _quiet(reader: Reader, fact: Decided) -> str | None:
    quiets = quiets_of(reader.plan, reader.plan.messages[fact.message].channel)
    if not quiets:
        return None
    hours = " and ".join(_hours(quiet) for quiet in quiets)
    until = quiet_until(quiets, fact.zone, fact.at)
    said = f"quiet {hours}, here it is {reader.time(fact.at, fact.zone)}"
    if until is None:
        return said
    return f"{said}; quiet {f'until {reader.time(until, fact.zone)}' if until < NEVER else 'without end'}"


def _hours(quiet: Quiet) -> str:
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (quiet.start, quiet.end))
    return f"{'outside of ' if quiet.outside else ''}{start} to {end}"


def _reached(reader: Reader, fact: Decided) -> str | None:
    window = reader.plan.skip_if_reached
    if window is None:
        return None
    found = standing(window, fact.sends, (), fact.zone, fact.at)
    said = f"not to be {window.text}; "
    return said + (f"{reader.project.plans[found[-1][1]].id} did {reader.time(found[-1][0])}" if found else "none did")


def _caps(reader: Reader, fact: Decided) -> str | None:
    channel = reader.plan.messages[fact.message].channel.index
    values = cap_values(reader.plan, fact.instance.steps)
    caps = [cap for cap in reader.plan.caps if cap.channel in (None, channel)]
    group = "" if fact.decision is None else group_of(reader.plan.messages[fact.message], fact.decision.trigger_id)
    counted = []
    for cap in caps:
        of = "" if cap.key is None else f" of {values[cap.key] or 'no value'}"
        sent = len(standing(cap, fact.sends, values, fact.zone, fact.at, group))
        counted.append(f"{cap.text}: {sent} sent{of}")
    return "; ".join(counted) or None


def _holdout(reader: Reader, fact: Decided) -> str | None:
    if reader.plan.experiment is None or fact.decision is None:
        return None
    arm, variant = fact.decision.arm, fact.decision.variant
    return f"{reader.plan.experiment.name}: {arm}" + (f", {variant}" if variant else "")


def _content(_reader: Reader, _fact: Decided) -> str | None:
    return None


CHECKS: Mapping[str, Callable[[Reader, Decided], str | None]] = {
    "plan_ended": _dates,
    "not_in_audience": _audience,
    "exited": _exited,
    "reentry": _reentry,
    "no_consent": _consent,
    "no_address": _address,
    "quiet_hours": _quiet,
    "harassment_window": _reached,
    "frequency_cap": _caps,
    "holdout": _holdout,
    "content_invalid": _content,
}
"""By the loss that they lead to, in the order of `core.effects.LOSSES`; None: the plan has no such check."""
