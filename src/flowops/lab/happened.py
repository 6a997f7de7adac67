"""What a run did to a user, by its outcomes, put into the story that its inputs tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from flowops.core.observed import Attained as Reached
from flowops.core.observed import Changed, Decided
from flowops.core.receipts import DELIVERED, SENT
from flowops.core.records import Micros
from flowops.lab.explain import Explanation
from flowops.lab.story import Scene, window_of
from flowops.warehouse.history import Attained, History, Receipt, Stage

_Name: TypeAlias = tuple[str, Micros | str, str]
"""By which the same thing is known on both sides: a trigger or message, if there is one, when or by what, and what."""

_SAID = "in the outcomes"
_NOT = "not in the outcomes"


@dataclass(frozen=True, slots=True)
class Joined:
    """The story with what happened: where the outcomes say the same, once; what only one of both has, marked."""

    story: list[Scene]
    versions: list[str]  # of the plan, that decided
    decisions: int
    receipts: int
    goals: int
    only_there: int  # that only the outcomes have
    only_here: int  # that only the inputs lead to


def join(told: Explanation, happened: History) -> Joined:
    """Put both into one order of time."""
    here = _here(told)
    there: dict[_Name, Stage | Attained | Receipt] = {
        **{(stage.trigger_id, stage.at, _kind(stage.stage)): stage for stage in happened.stages if not stage.change},
        **{("", stage.at, stage.stage): stage for stage in happened.stages if stage.change},
        **{(goal.dispatch_id or goal.trigger_id, goal.event_id, goal.goal): goal for goal in happened.goals},
        **{("", receipt.event_id, receipt.receipt): receipt for receipt in happened.receipts},
    }
    known = {row.event_id for row in told.told.values() if row.kind == "receipts"}
    new = [fact for name, fact in there.items() if name not in here and not _is_read(fact, known)]
    missing = [(at, text) for name, (at, text) in here.items() if name not in there]
    scenes = [Scene(fact.at, _SAID, list(_words(told, fact)), of_outcomes=True) for fact in new]
    scenes += [
        Scene(at, _NOT + _how_far(told, happened.upto, at), [text], of_outcomes=True) for at, text in sorted(missing)
    ]
    return Joined(
        story=sorted([*told.story, *scenes], key=lambda scene: scene.at),
        versions=list(dict.fromkeys(stage.version for stage in happened.stages)),
        decisions=sum(not stage.change for stage in happened.stages),
        receipts=len(happened.receipts),
        goals=len(happened.goals),
        only_there=len(new),
        only_here=len(missing),
    )


def _here(told: Explanation) -> dict[_Name, tuple[Micros, str]]:
    """What the inputs lead to, under the names that the outcomes have for the same: (when, in words)."""
    found: dict[_Name, tuple[Micros, str]] = {}
    for fact in told.facts:
        if isinstance(fact, Decided) and fact.plan == told.plan.index and fact.decision is not None:
            decision = fact.decision
            name = decision.trigger_id, decision.decided_at, _kind(decision.stage)
            what = "sent" if _kind(decision.stage) == SENT else decision.stage
            found[name] = fact.at, f"{what}, trigger {decision.trigger_id}"
        elif isinstance(fact, Changed) and fact.plan == told.plan.index:
            found["", fact.at, fact.stage] = fact.at, f"the message counts as {fact.stage}"
        elif isinstance(fact, Reached) and fact.plan == told.plan.index:
            goal = fact.goal
            whose = window_of(goal.dispatch_id, goal.trigger_id)
            found[goal.dispatch_id or goal.trigger_id, goal.event_id, goal.goal] = (
                fact.at,
                f"the goal `{goal.goal}` by {goal.event_id}, of {whose}",
            )
    return found


def _kind(stage: str) -> str:
    """Whether delivery is assumed or waited for is the channel's, not the decision's."""
    return SENT if stage == DELIVERED else stage


def _is_read(fact: Stage | Attained | Receipt, known: set[str]) -> bool:
    return isinstance(fact, Receipt) and fact.event_id in known


def _words(told: Explanation, fact: Stage | Attained | Receipt) -> Iterator[str]:
    time = told.teller.readers[told.plan.index].time
    if isinstance(fact, Receipt):
        yield f"receipt {fact.receipt} of {fact.dispatch_id}" + (f": {fact.detail}" if fact.detail else "")
    elif isinstance(fact, Attained):
        worth = "" if fact.value is None else f", worth {fact.value:g}"
        credit = "" if fact.credited or fact.value is None else ", credited elsewhere"
        whose = window_of(fact.dispatch_id, fact.trigger_id)
        yield f"attains the goal `{fact.goal}` by {fact.event_id}, of {whose}{worth}{credit}"
    elif fact.change:
        yield f"the message {fact.dispatch_id} counts as {fact.stage}" + (f": {fact.detail}" if fact.detail else "")
    else:
        key = "" if fact.key is None else f", key {fact.key}"
        yield "is decided" + (f", triggered {time(fact.triggered_at)}{key}" if fact.triggered_at is not None else key)
        if fact.content is not None:
            fields: dict[str, str] = json.loads(fact.content)
            shown = ", ".join(f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in fields.items())
            yield f"sent on {fact.channel} as {fact.dispatch_id}: {shown}"
        elif fact.stage == "held":
            yield "held back" + (f", {fact.detail}" if fact.detail else "")
        else:
            yield f"lost: {fact.stage}" + (f", {fact.detail}" if fact.detail else "")


def _how_far(told: Explanation, upto: Micros | None, at: Micros) -> str:
    if upto is None:
        return ", which are empty"
    return f", whose last decision is of {told.teller.readers[told.plan.index].time(upto)}" if at > upto else ""
