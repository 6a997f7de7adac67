"""A dispatch command as JSON (S31): the line of the file and console channels."""

from __future__ import annotations

import orjson

from flowops.core.effects import Dispatch, task_id
from flowops.core.time import isoformat


def to_json(dispatch: Dispatch) -> bytes:
    """One JSON object, without a line end. Times are ISO 8601 in UTC; `content` holds the rendered fields."""
    decision = dispatch.decision
    triggered_at = isoformat(decision.triggered_at)
    decided_at = triggered_at if decision.decided_at == decision.triggered_at else isoformat(decision.decided_at)
    return orjson.dumps(
        {
            "dispatch_id": dispatch.dispatch_id,
            "plan": decision.plan,
            "version": decision.version,
            "task": task_id(decision.plan, decision.day),
            "user_id": decision.user_id,
            "channel": decision.channel,
            "address": dispatch.address,
            "content": orjson.Fragment(decision.content or "{}"),
            "step": decision.step,
            "variant": decision.variant,
            "evidence": decision.evidence,
            "triggered_at": triggered_at,
            "decided_at": decided_at,
            "expires_at": None if decision.expires_at is None else isoformat(decision.expires_at),
        }
    )
