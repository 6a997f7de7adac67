"""A dispatch command as JSON (S31): the line of the file and console channels."""

from __future__ import annotations

from functools import lru_cache

import orjson

from flowops.core.effects import Dispatch, task_id
from flowops.core.time import isoformat


def to_json(dispatch: Dispatch) -> bytes:
    """One JSON object, without a line end. Times are ISO 8601 in UTC; `content` holds the rendered fields.

    Put together by hand, because a fifth of all events may end here: what does not change from message to message is
    encoded once, and the rest is mostly ids, which need no escapes.
    """
    decision = dispatch.decision
    triggered_at = isoformat(decision.triggered_at)
    decided_at = triggered_at if decision.decided_at == decision.triggered_at else isoformat(decision.decided_at)
    expires_at = "null" if decision.expires_at is None else f'"{isoformat(decision.expires_at)}"'
    task = _of_task(decision.plan, decision.version, decision.day, decision.clock)
    return (
        f'{{"dispatch_id":"{dispatch.dispatch_id}",{task},'
        f'"user_id":{_text(decision.user_id)},{_of_step(decision.channel, decision.step, decision.variant)},'
        f'"address":{_text(dispatch.address)},"content":{decision.content},'
        f'"evidence":[{_texts(decision.evidence)}],'
        f'"triggered_at":"{triggered_at}","decided_at":"{decided_at}","expires_at":{expires_at}}}'
    ).encode()


def _text(value: str | None) -> str:
    """A JSON string, or null."""
    if value is None:
        return "null"
    if value.isalnum() and value.isascii():
        return f'"{value}"'
    return orjson.dumps(value).decode()


def _texts(values: tuple[str, ...]) -> str:
    return _text(values[0]) if len(values) == 1 else ",".join(map(_text, values))


@lru_cache(maxsize=4096)
def _of_task(plan: str, version: str, day: int, clock: str | None) -> str:
    return f'"plan":{_text(plan)},"version":{_text(version)},"task":{_text(task_id(plan, day, clock))}'


@lru_cache(maxsize=1024)
def _of_step(channel: str | None, step: str | None, variant: str | None) -> str:
    return f'"channel":{_text(channel)},"step":{_text(step)},"variant":{_text(variant)}'
