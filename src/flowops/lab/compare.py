"""What came of a case beside what was expected of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowops.core.effects import LOSSES, Decision, GoalEvent, StageChange, dispatch_id, task_id
from flowops.lab.rehearsal import Outcome
from flowops.rules.check_test import CheckedCase, Wish
from flowops.rules.schema_test import Contains

Row: TypeAlias = Mapping[str, Any]
"""Something that came of a case, by the keys of `rules.schema_test`; texts of a message as `content.FIELD`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one key: what was expected and did not come, what came and was not expected; nearest first, side by side."""

    key: str
    missing: list[Wish]
    unexpected: list[Row]


def differences(case: CheckedCase, outcome: Outcome) -> list[Difference]:
    """Everything that is not as expected. Each expected entry stands for one thing that came, in whatever order."""
    came = rows_of(outcome)
    found = []
    for key, wishes in case.expect.items():
        fits = [[place for place, row in enumerate(came[key]) if fits_all(wish, row)] for wish in wishes]
        taken = _pairs(fits)
        missing = [wish for place, wish in enumerate(wishes) if place not in taken.values()]
        unexpected = [row for place, row in enumerate(came[key]) if place not in taken]
        if missing or unexpected:
            found.append(Difference(key, *_side_by_side(missing, unexpected)))
    return found


def rows_of(outcome: Outcome) -> dict[str, list[Row]]:
    """What came, by the keys of `expect`, in the order of time."""
    rows: dict[str, list[Row]] = {
        "triggers": _triggers(outcome.decisions),
        "dispatches": [_dispatch(each, outcome) for each in outcome.decisions if each.content is not None],
        "losses": _losses(outcome),
        "goals": _goals(outcome.goals),
        "pending": [
            {"kind": each.kind, "at": each.due, "user": each.user_id, "plan": each.plan} for each in outcome.pending
        ],
    }
    return {key: sorted(those, key=lambda row: (row["at"], row["user"], row["plan"])) for key, those in rows.items()}


def fits_all(wish: Wish, row: Row) -> bool:
    """Whether all that was said of it is so."""
    return all(fits(value, row.get(key)) for key, value in wish.keys.items())


def fits(wanted: Any, got: Any) -> bool:
    """Whether one value is as expected."""
    if isinstance(wanted, Contains):
        return isinstance(got, str) and wanted.contains in got
    if isinstance(wanted, float) and isinstance(got, float):
        return abs(wanted - got) < 5e-5  # what the outcomes keep of money
    return bool(wanted == got)


def _triggers(decisions: Sequence[Decision]) -> list[Row]:
    first = {each.trigger_id: each for each in reversed(decisions)}
    return [
        {
            "at": each.triggered_at,
            "user": each.user_id,
            "plan": each.plan,
            "key": each.key,
            "evidence": list(each.evidence),
            "variant": each.variant,
        }
        for each in first.values()
    ]


def _dispatch(decision: Decision, outcome: Outcome) -> Row:
    name = dispatch_id(decision.trigger_id, decision.step or "", decision.channel or "")
    content: dict[str, str] = json.loads(decision.content or "{}")
    return {
        "at": decision.decided_at,
        "user": decision.user_id,
        "plan": decision.plan,
        "key": decision.key,
        "step": decision.step,
        "channel": decision.channel,
        "variant": decision.variant,
        "address": outcome.addresses.get(name),
        **{f"content.{field}": text for field, text in content.items()},
    }


def _losses(outcome: Outcome) -> list[Row]:
    """Of each attempt what stands at the end, where that is a loss."""
    standing = {_attempt(each): each for each in outcome.decisions}  # of several, the last
    lost = {each.trigger_id for each in outcome.decisions if each.step is None}  # whatever was held before
    changes = {_attempt(each): each for each in outcome.stages}
    rows: list[Row] = []
    for attempt, decision in standing.items():
        change = changes.get(attempt)
        if decision.trigger_id in lost and decision.step is not None:
            continue
        stage, at, detail = decision.stage, decision.decided_at, decision.detail
        if change is not None:
            stage, at, detail = change.stage, change.changed_at, change.detail
        if stage in LOSSES:
            own = {"user": decision.user_id, "plan": decision.plan, "key": decision.key}
            way = {"step": decision.step, "channel": decision.channel}
            rows.append({"loss": stage, "at": at, **own, **way, "detail": detail})
    return rows


def _attempt(of: Decision | StageChange) -> tuple[str, str | None, str | None]:
    return of.trigger_id, of.step, of.channel


def _goals(events: Sequence[GoalEvent]) -> list[Row]:
    """A user attains a goal once for each task; the values of credited events add up, each event once (S41, S42)."""
    tasks: dict[tuple[str, str, str, str, bool], list[GoalEvent]] = {}
    for each in events:
        task = each.plan, task_id(each.plan, each.day, each.clock), each.user_id, each.goal, each.dispatch_id is None
        tasks.setdefault(task, []).append(each)
    rows: list[Row] = []
    for (plan, _, user, goal, held_out), those in tasks.items():
        values: dict[str, float] = {}
        for each in those:
            if each.credited and each.value is not None:
                values[each.event_id] = max(each.value, values.get(each.event_id, each.value))
        first = min(each.attained_at for each in those)
        value = float(sum(values.values())) if values else None
        rows.append({"goal": goal, "at": first, "user": user, "plan": plan, "value": value, "held_out": held_out})
    return rows


def _pairs(fits: Sequence[Sequence[int]]) -> dict[int, int]:
    """Row -> wish: as many as can be, each once (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(wish: int, tried: set[int]) -> bool:
        for row in fits[wish]:
            if row not in tried:
                tried.add(row)
                if row not in taken or place(taken[row], tried):
                    taken[row] = wish
                    return True
        return False

    for wish in range(len(fits)):
        place(wish, set())
    return taken


def _side_by_side(missing: list[Wish], unexpected: list[Row]) -> tuple[list[Wish], list[Row]]:
    """Put beside each that is missing what came that is most like it."""
    left = list(unexpected)
    beside: list[Row] = []
    order: list[Wish] = []
    alone: list[Wish] = []
    for wish in missing:
        scores = [sum(fits(value, row.get(key)) for key, value in wish.keys.items()) for row in left]
        best = max(scores, default=0)
        if best:
            order.append(wish)
            beside.append(left.pop(scores.index(best)))
        else:
            alone.append(wish)
    return order + alone, beside + left
