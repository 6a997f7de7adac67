"""What a shard says happened: facts for the warehouse and commands for channels.

A fact is a NamedTuple; its annotations are the only place where its columns are declared. The warehouse derives its
Arrow schema from them: the aliases below say how a column is stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple, TypeAlias

from flowops.core.records import DeadLetter, LateRecord
from flowops.core.time import isodate

Id: TypeAlias = Annotated[str, "id"]
"""High cardinality text: ids, user ids."""

Label: TypeAlias = Annotated[str, "label"]
"""Low cardinality text, stored as a dictionary: names of plans, channels, stages."""

Time: TypeAlias = Annotated[int, "time"]
"""Microseconds since the epoch; TIMESTAMPTZ in the warehouse."""

Day: TypeAlias = Annotated[int, "day"]
"""Days since the epoch in the plan's zone; DATE in the warehouse."""

Money: TypeAlias = Annotated[float, "money"]
"""DECIMAL(18, 4) in the warehouse."""

Text: TypeAlias = Annotated[str, "text"]
Ids: TypeAlias = Annotated[tuple[str, ...], "ids"]
"""VARCHAR[] in the warehouse."""
Flag: TypeAlias = Annotated[bool, "flag"]


class Decision(NamedTuple):
    """One decision about one trigger: the row from which triggers, outcomes and dispatches are all read.

    One wide row instead of three narrow ones: a dispatch costs one row, and the three relations cannot disagree.
    A trigger that was held (S26) is decided again, so it has several rows, numbered by `attempt` from 0.
    `step` and `channel` are None when the trigger was lost before a channel was considered (S22). A journey that is
    over and made no attempt has one row, of stage `left_out`, which tells of its trigger alone.
    """

    trigger_id: Id
    attempt: int
    plan: Label
    version: Label
    day: Day
    clock: Label | None  # the local time of its task, where a day has several (S18a)
    user_id: Id
    key: Label | None
    triggered_at: Time
    evidence: Ids
    arm: Label | None  # `treatment` or `holdout`; None without an experiment
    variant: Label | None
    layer: Label | None  # the user's, of the layering that figures are split by (S12b)
    step: Label | None
    channel: Label | None
    stage: Label  # `delivered`, `sent` (and its receipts awaited), `held`, `left_out`, or one of `LOSSES`
    detail: Text | None
    decided_at: Time
    expires_at: Time | None
    cost: Money | None
    content: Text | None  # JSON object of the rendered fields


class StageChange(NamedTuple):
    """What became of a message after it was sent (S40); of one dispatch, the one with the highest `change` stands."""

    trigger_id: Id
    step: Label
    channel: Label
    change: int  # 1, 2, ...
    stage: Label  # `delivered`, `send_failed`, `undelivered` or `expired`
    changed_at: Time
    detail: Text | None


class Receipt(NamedTuple):
    """A receipt as it came, whether or not its dispatch is known."""

    dispatch_id: Id
    receipt: Label
    received_at: Time
    user_id: Id | None  # as the receipt names it
    event_id: Id
    detail: Text | None


class GoalEvent(NamedTuple):
    """An event or a receipt in an open goal window (S41). `credited` says whether orders and value count here (S42)."""

    plan: Label
    version: Label
    day: Day
    clock: Label | None  # as in `Decision`
    user_id: Id
    goal: Label
    trigger_id: Id
    dispatch_id: Id | None  # None where arms are compared (S23): in the holdout, and in `Effects.compared`
    arm: Label | None
    variant: Label | None
    event_id: Id
    attained_at: Time
    value: Money | None
    credited: Flag


class Link(NamedTuple):
    """From then on the identity's records are the user's (S2a); None: from before the first record."""

    identity: Id
    user_id: Id  # as the link names it
    linked_at: Time | None


class Pending(NamedTuple):
    """What still waits when a run ends or stops (S6): kind is one of `state.KINDS`, or `sent` for its receipts."""

    plan: Label
    version: Label
    user_id: Id
    kind: Label
    since: Time
    due: Time


class Dispatch(NamedTuple):
    """A command to a channel (S31): the decision that it came from, and what only the provider may see."""

    dispatch_id: str
    channel: int  # index into `plan.Project.channels`
    address: str | None
    decision: Decision
    plan: int  # index into `plan.Project.plans`
    zone: str  # the user's, in which hours are quiet for them


class Effects(NamedTuple):
    """All that one step of a shard caused, in the order in which it happened."""

    decisions: list[Decision]
    goals: list[GoalEvent]
    dispatches: list[Dispatch]
    late: list[LateRecord]
    dead: list[DeadLetter]
    pending: list[Pending]
    outside_audience: int
    stages: list[StageChange]
    receipts: list[Receipt]
    links: list[Link]
    further: list[str]  # of each decision that is not the first of its trigger, with `attempt` 0: its plan
    compared: list[GoalEvent]  # of who was not held out, since the arm was drawn: for the lift alone (S23)


LOSSES = (
    "plan_not_running",
    "plan_ended",
    "not_in_audience",
    "exited",
    "reentry",
    "no_consent",
    "no_address",
    "quiet_hours",
    "harassment_window",
    "frequency_cap",
    "holdout",
    "audience_limit",
    "coupon_exhausted",
    "budget_exhausted",
    "content_invalid",
    "terminated",
    "withdrawn",
    "expired",
    "send_failed",
    "undelivered",
)
"""The closed set of loss reasons, in the order in which they are checked."""


ASSIGNED = ("delivered", "sent", *LOSSES[LOSSES.index("holdout") + 1 :])
"""The stages of attempts that were not held out, though they might have been: the experiment was asked (S23)."""


LEFT_OUT = "left_out"
"""The stage of a trigger of which no attempt was made: the conditions of its journey left all steps out (S30)."""


def dispatch_id(trigger_id: str, step: str, channel: str) -> str:
    """A function of plan, task, user, trigger instance, step and channel (S32): the same after a crash."""
    return f"{trigger_id}-{step}-{channel}"


@lru_cache(maxsize=4096)
def task_id(plan: str, day: int, clock: str | None) -> str:
    """A task: of a day, in the plan's zone, of the trigger; with its local time where a day has several (S18a)."""
    return f"{plan}@{isodate(day)}" if clock is None else f"{plan}@{isodate(day)}T{clock}"
