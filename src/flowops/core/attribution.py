"""Goals after delivery: windows, who attained them, and whose the value is (S41, S42)."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.admission import HOLDOUT, TREATMENT
from flowops.core.effects import GoalEvent, dispatch_id
from flowops.core.plan import Attain, Attributes, Plan
from flowops.core.records import Record
from flowops.core.state import Instance, User, Window

_LARGEST = 1e14
"""Values that do not fit the warehouse's DECIMAL(18, 4) are unknown."""


def open_windows(
    plan: Plan, user: User, instance: Instance, trigger: str, variant: str | None, opened: int, *, held_out: bool
) -> None:
    """Open the window of each goal of `plan` at `opened`: the delivery, or a held-out user's decision (S23)."""
    day = plan.zone.day(instance.triggered_at)
    for number, goal in enumerate(plan.goals):
        user.windows.append(
            Window(
                plan.index,
                number,
                opened,
                opened + goal.window,
                day,
                trigger,
                held_out,
                variant,
                instance.captured,
                [],
            )
        )


def attain(
    plans: Sequence[Plan], listeners: Sequence[Attain], user: User, profile: Attributes, user_id: str, record: Record
) -> list[GoalEvent]:
    """The windows of `user` that the event of `record` satisfies, each as a fact; a repeated event counts once."""
    _, _, _, ts, event_id, values, _ = record
    matched = [
        window
        for listener in listeners
        for window in user.windows
        if window.goal == listener.goal
        and window.plan == listener.plan
        and window.opened <= ts < window.closes
        and event_id not in window.seen
        and (listener.where is None or listener.where(values, (window.captured,), profile, ts, window.variant))
    ]
    facts: list[GoalEvent] = []
    for window in matched:
        window.seen.append(event_id)
        plan = plans[window.plan]
        goal = plan.goals[window.goal]
        value = None
        if goal.value is not None:
            value = goal.value(values, (window.captured,), profile, ts, window.variant)
            if value is not None and not abs(value) < _LARGEST:
                value = None
        dispatched = None if window.held_out else dispatch_id(window.trigger_id, plan.step.name, plan.step.channel.name)
        arm = None if plan.experiment is None else HOLDOUT if window.held_out else TREATMENT
        facts.append(
            GoalEvent(
                plan.id,
                plan.version,
                window.day,
                user_id,
                goal.name,
                window.trigger_id,
                dispatched,
                arm,
                window.variant,
                event_id,
                ts,
                value,
                _is_credited(goal.credit, window, matched),
            )
        )
    return facts


def _is_credited(credit: str, window: Window, matched: Sequence[Window]) -> bool:
    """Whether orders and value count for this window (S42).

    Only deliveries compete. A held-out window is measured as its delivery would have been, and takes from nobody, so
    that both arms of an experiment are counted by the same rule.
    """
    if credit == "every":
        return True
    rank = (window.opened, window.plan, window.trigger_id)
    rivals = [(other.opened, other.plan, other.trigger_id) for other in matched if not other.held_out]
    if credit == "last":
        return all(rank >= rival for rival in rivals)
    return all(rank <= rival for rival in rivals)
