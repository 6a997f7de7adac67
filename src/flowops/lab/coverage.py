"""What of a plan its tests have reached: the events it listens to, the losses it can have, its messages, its goals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flowops.core.admission import HELD, HOLDOUT, quiets_of
from flowops.core.observed import Came, Decided, Fired, Joined, Moved, Outside, Unmoved
from flowops.core.plan import ANY_EVENT, DateTrigger, Plan, Project, ScheduleTrigger
from flowops.core.records import BEFORE_ALL, ENDED
from flowops.lab.rehearsal import Outcome
from flowops.rules.check import CheckedPlan
from flowops.rules.compile import ENDS, Listening, listening
from flowops.rules.templates import CheckedTemplate, Output
from flowops.rules.triggers import Part


@dataclass(slots=True)
class Coverage:
    """Of one plan: everything that a case could reach, and what was."""

    plan: str
    all: list[str]
    reached: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """What no case reached."""
        return [each for each in self.all if each not in self.reached]


def coverage_of(project: Project, plans: Sequence[CheckedPlan]) -> list[Coverage]:
    """What there is to reach, by plan."""
    heard = listening(plans)
    return [
        Coverage(plan.id, [*_steps(plan, heard), *_losses(plan, checked), *_messages(plan), *_goals(plan)])
        for plan, checked in zip(project.plans, plans, strict=True)
    ]


def cover(project: Project, plans: Sequence[CheckedPlan], coverages: Sequence[Coverage], outcome: Outcome) -> None:
    """Add what a case reached."""
    heard = listening(plans)
    own = {coverage.plan: coverage.reached for coverage in coverages}
    for fact in outcome.facts:
        if isinstance(fact, Came):
            for hit in fact.record[6]:
                if hit >= 0 and isinstance(heard[hit].what, Part):
                    own[project.plans[heard[hit].plan].id].add(_step(heard[hit]))
            continue
        if isinstance(fact, Joined):
            continue
        plan = project.plans[fact.plan]
        reached = own[plan.id]
        if isinstance(fact, (Fired, Moved)) and isinstance(plan.trigger, (ScheduleTrigger, DateTrigger)):
            reached.add(_calendar(plan))
        elif isinstance(fact, (Outside, Unmoved)):
            reached.update({"dates": {"plan_ended"}, "audience": {"not_in_audience"}}.get(fact.reason, set()))
        elif isinstance(fact, Decided) and fact.decision is not None:
            row = fact.decision
            sent = _message(plan, row.step, row.channel, row.variant)
            reached.add(sent if row.content is not None else row.stage)
    reached_goals = {(goal.plan, goal.goal) for goal in outcome.goals}
    for name, goal in reached_goals:
        own[name].add(f"goal {goal}")
    by_trigger = {each.trigger_id: each.plan for each in outcome.decisions}
    for change in outcome.stages:
        own[by_trigger[change.trigger_id]].add(change.stage)


def merged(coverages: Iterable[Coverage]) -> list[Coverage]:
    """One for each plan, of several test files together."""
    found: dict[str, Coverage] = {}
    for each in coverages:
        known = found.setdefault(each.plan, Coverage(each.plan, each.all))
        known.reached |= each.reached
    return list(found.values())


def _steps(plan: Plan, heard: Sequence[Listening]) -> list[str]:
    if isinstance(plan.trigger, (ScheduleTrigger, DateTrigger)):
        return [_calendar(plan)]
    parts = [
        each
        for each in heard
        if each.plan == plan.index and isinstance(each.what, Part) and each.what.number != ANY_EVENT
    ]
    return list(dict.fromkeys(_step(each) for each in parts))


def _calendar(plan: Plan) -> str:
    return f"schedule {plan.trigger.text}" if isinstance(plan.trigger, ScheduleTrigger) else "date"


def _step(each: Listening) -> str:
    change = each.heard.change
    texts = dict.fromkeys(part.text for part in (*each.heard.own, *each.heard.rest))
    where = f" where {' and '.join(texts)}" if texts else ""
    ends = ENDS.get(each.what.role, "") if isinstance(each.what, Part) else ""
    return f"{ends}{each.heard.event if change is None else change.text}{where}"


def _losses(plan: Plan, checked: CheckedPlan) -> list[str]:
    channels = {step.channel.index: step.channel for step in plan.messages}.values()
    quiets = [quiet for channel in channels for quiet in quiets_of(plan, channel)]
    waits = plan.trigger.delay != 0 or any(quiet.hold for quiet in quiets) or plan.journey is not None
    possible = {
        "plan_ended": plan.starts_at > BEFORE_ALL or plan.ends_at < ENDED,
        "not_in_audience": plan.audience is not None,
        "exited": bool(checked.file.exit) and waits,
        "reentry": not plan.reentry.always,
        "no_consent": any(channel.opt_in is not None or channel.opt_out is not None for channel in channels),
        "no_address": any(channel.address is not None for channel in channels),
        HELD: any(quiet.hold for quiet in quiets),
        "quiet_hours": any(not quiet.hold for quiet in quiets),
        "harassment_window": plan.skip_if_reached is not None,
        "frequency_cap": any(cap.channel in (None, channel.index) for cap in plan.caps for channel in channels),
        HOLDOUT: plan.experiment is not None and plan.experiment.holdout > 0,
        "content_invalid": any(_may_fail(text) for text in checked.send.texts()),
        "send_failed": any(channel.confirms for channel in channels),
        "undelivered": any(channel.undelivered_after is not None for channel in channels),
    }
    return [name for name, is_possible in possible.items() if is_possible]


def _may_fail(text: CheckedTemplate) -> bool:
    """Whether a value that is missing would keep the text from being rendered, as far as that can be known."""
    if text.parts is None:
        return False
    return any(isinstance(part, Output) and part.default is None for part in text.parts)


def _messages(plan: Plan) -> list[str]:
    return [_message(plan, step.name, step.channel.name, each) for step in plan.messages for each in step.content]


def _message(plan: Plan, step: str | None, channel: str | None, variant: str | None) -> str:
    of = "" if plan.journey is None else f" {step} on {channel}"
    return f"message{of}" if variant is None else f"message{of} {variant}"


def _goals(plan: Plan) -> list[str]:
    return [f"goal {goal.name}" for goal in plan.goals]
