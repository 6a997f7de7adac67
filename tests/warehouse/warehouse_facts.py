"""Facts for the warehouse's tests: complete, with only what a test speaks of given."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowops.core.effects import Decision, GoalEvent, Receipt, StageChange, dispatch_id
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.schema import PlanGoal, PlanVersion
from flowops.warehouse.segments import Segments

DAY = 19_103  # 2022-04-21
NOON = DAY * 86_400_000_000 + 12 * 3_600_000_000
MINUTE = 60_000_000


def decision(**given: Any) -> Decision:
    fields: dict[str, Any] = {
        "trigger_id": "t1",
        "attempt": 0,
        "plan": "reminder",
        "version": "00000001",
        "day": DAY,
        "clock": None,
        "user_id": "u1",
        "key": None,
        "triggered_at": NOON,
        "evidence": ("e1",),
        "arm": None,
        "variant": None,
        "layer": None,
        "step": "main",
        "channel": "push",
        "stage": "delivered",
        "detail": None,
        "decided_at": NOON + MINUTE,
        "expires_at": NOON + 60 * MINUTE,
        "cost": 0.05,
        "content": '{"body": "Hi"}',
    }
    return Decision(**(fields | given))


def goal_event(**given: Any) -> GoalEvent:
    fields: dict[str, Any] = {
        "plan": "reminder",
        "version": "00000001",
        "day": DAY,
        "clock": None,
        "user_id": "u1",
        "goal": "ordered",
        "trigger_id": "t1",
        "arm": None,
        "variant": None,
        "event_id": "o1",
        "attained_at": NOON + 10 * MINUTE,
        "value": 60.0,
        "credited": True,
    }
    fields |= given
    fields.setdefault("dispatch_id", dispatch_id(fields["trigger_id"], "main", "push"))
    return GoalEvent(**fields)


def change(**given: Any) -> StageChange:
    fields: dict[str, Any] = {
        "trigger_id": "t1",
        "step": "main",
        "channel": "push",
        "change": 1,
        "stage": "delivered",
        "changed_at": NOON + 5 * MINUTE,
        "detail": None,
    }
    return StageChange(**(fields | given))


def receipt(**given: Any) -> Receipt:
    fields: dict[str, Any] = {
        "dispatch_id": dispatch_id("t1", "main", "push"),
        "receipt": "clicked",
        "received_at": NOON + 5 * MINUTE,
        "user_id": None,
        "event_id": "back/0:0",
        "detail": None,
    }
    return Receipt(**(fields | given))


def plan_version(**given: Any) -> PlanVersion:
    fields: dict[str, Any] = {
        "plan": "reminder",
        "version": "00000001",
        "name": "A reminder",
        "plan_group": "Default",
        "owner": None,
        "tags": ("cart",),
        "zone": "Asia/Shanghai",
        "compares": True,
        "published_at": None,
    }
    return PlanVersion(**(fields | given))


def plan_goal(**given: Any) -> PlanGoal:
    fields: dict[str, Any] = {
        "plan": "reminder",
        "version": "00000001",
        "goal": "ordered",
        "goal_window": 60 * MINUTE,
        "credit": "every",
        "target": 0.15,
        "receipt": None,
    }
    return PlanGoal(**(fields | given))


def columns(rows: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return list(zip(*rows, strict=True))


def land(folder: Path, **relations: Iterable[tuple[object, ...]]) -> None:
    """Seal and publish one segment with these facts, in a new warehouse."""
    segments = Segments(folder)
    for relation, rows in relations.items():
        segments.add(relation, columns(rows))
    publish(folder, segments.seal())


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(folder) as connection:
        return connection.execute(sql).fetchall()
