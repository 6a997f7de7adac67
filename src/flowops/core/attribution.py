"""Goals: windows, after delivery and to compare arms; who attained them, and whose the value is (S23, S41, S42)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from flowops.core.admission import HOLDOUT, TREATMENT
from flowops.core.effects import GoalEvent
from flowops.core.plan import Attain, Attributes, Plan, Steps
from flowops.core.receipts import dispatch_of
from flowops.core.records import Micros, Record
from flowops.core.state import Sent, User, Window

_LARGEST = 1e14
"""Values that do not fit the warehouse's DECIMAL(18, 4) are unknown."""


def open_windows(
    plan: Plan,
    message: int,
    user: User,
    trigger: str,
    day: int,
    clock: str | None,
    variant: str | None,
    steps: Steps,
    opened: Micros,
    now: Micros,
    *,
    compares: bool = False,
    held_out: bool = False,
) -> None:
    """Open the window of each goal of `plan` at `opened`: the delivery, or the decision that drew the arm (S23).

    What is told late (`opened` before `now`) opens no window that has closed by now. Receipts compare nothing: who is
    held out has none.
    """
    user.windows += tuple(
        [
            Window(
                plan.index,
                number,
                message,
                opened,
                opened + goal.window,
                day,
                clock,
                trigger,
                compares,
                held_out,
                variant,
                steps,
                [],
            )
            for number, goal in enumerate(plan.goals)
            if opened + goal.window > now and not (compares and goal.receipt)
        ]
    )


def attain(
    plans: Sequence[Plan], listeners: Sequence[Attain], user: User, profile: Attributes, user_id: str, record: Record
) -> tuple[list[GoalEvent], list[GoalEvent]]:
    """The windows of `user` that the event of `record` satisfies, each as a fact; a repeated event counts once.

    First those that attain a goal; then those of who got, or should have got, a message, which only compare (S23).
    """
    _, _, _, ts, event_id, values, _ = record
    matched = [
        window
        for listener in listeners
        for window in user.windows
        if window.goal == listener.goal
        and window.plan == listener.plan
        and window.opened <= ts < window.closes
        and event_id not in window.seen
        and (listener.where is None or listener.where(values, window.steps, profile, ts, window.variant))
    ]
    attained: list[GoalEvent] = []
    compared: list[GoalEvent] = []
    for window in matched:
        window.seen.append(event_id)
        plan = plans[window.plan]
        goal = plan.goals[window.goal]
        value = None
        if goal.value is not None:
            value = goal.value(values, window.steps, profile, ts, window.variant)
            if value is not None and not abs(value) < _LARGEST:
                value = None
        credited = _is_credited(goal.credit, window, matched)
        facts = compared if window.compares and not window.held_out else attained
        facts.append(_fact(plans, window, user_id, event_id, ts, value, credited=credited))
    return attained, compared


def attain_by_receipt(
    plans: Sequence[Plan], user: User, sent: Sent, reached: AbstractSet[str], user_id: str, ts: Micros, event_id: str
) -> list[GoalEvent]:
    """The goals that a receipt of the message attains, which proves that it `reached` so far; each once (S40, S41)."""
    facts: list[GoalEvent] = []
    plan = plans[sent.plan]
    for window in user.windows:
        if (
            window.trigger_id == sent.trigger_id
            and window.message == sent.message
            and plan.goals[window.goal].receipt in reached
            and window.opened <= ts < window.closes
            and not window.seen
        ):
            window.seen.append(event_id)
            facts.append(_fact(plans, window, user_id, event_id, ts, None, credited=True))
    return facts


def _fact(
    plans: Sequence[Plan],
    window: Window,
    user_id: str,
    event_id: str,
    ts: Micros,
    value: float | None,
    *,
    credited: bool,
) -> GoalEvent:
    plan = plans[window.plan]
    dispatched = None if window.compares else dispatch_of(plans, window)
    arm = None if plan.experiment is None else HOLDOUT if window.held_out else TREATMENT
    return GoalEvent(
        plan.id,
        plan.version,
        window.day,
        window.clock,
        user_id,
        plan.goals[window.goal].name,
        window.trigger_id,
        dispatched,
        arm,
        window.variant,
        event_id,
        ts,
        value,
        credited,
    )


def _is_credited(credit: str, window: Window, matched: Sequence[Window]) -> bool:
    """Whether orders and value count for this window (S42).

    Only deliveries compete. A window that compares is measured as a delivery at its time would have been, and takes
    from nobody, so that both arms of an experiment are counted by the same rule.
    """
    if credit == "every":
        return True
    rank = (window.opened, window.plan, window.trigger_id, window.message)
    rivals = [(other.opened, other.plan, other.trigger_id, other.message) for other in matched if not other.compares]
    if credit == "last":
        return all(rank >= rival for rival in rivals)
    return all(rank <= rival for rival in rivals)
