"""The ledger in Redis, where several machines share it: a key for each command, which expires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowops.channels.base import Answer, Unavailable, shortened
from flowops.core.records import Micros
from flowops.settings.redis import RedisConnection

if TYPE_CHECKING:
    from redis import Redis


class RedisLedger:
    """Keys `flowops:answer:PROJECT:DISPATCH_ID`, each the receipt and, behind a line end, its detail."""

    def __init__(self, connection: RedisConnection, project: str, keep: Micros) -> None:
        self._client: Redis = connection.connect()
        self._prefix = f"flowops:answer:{project}:"
        self._keep_ms = keep // 1000

    def known(self, dispatch_ids: Sequence[str]) -> dict[str, Answer]:
        """Those that were answered, with their answers."""
        pipeline = self._client.pipeline(transaction=False)
        for dispatch_id in dispatch_ids:
            pipeline.get(self._prefix + dispatch_id)
        with _errors():
            values = pipeline.execute()
        return {
            dispatch_id: _answer(value)
            for dispatch_id, value in zip(dispatch_ids, values, strict=True)
            if value is not None
        }

    def record(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Remember them, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for dispatch_id, answer in answers:
            value = f"{answer.receipt}\n{answer.detail or ''}"
            pipeline.set(self._prefix + dispatch_id, value, nx=True, px=self._keep_ms)
        with _errors():
            pipeline.execute()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _answer(value: bytes) -> Answer:
    receipt, _, detail = value.decode().partition("\n")
    return Answer("failed" if receipt == "failed" else "accepted", detail or None)


@contextmanager
def _errors() -> Iterator[None]:
    from redis.exceptions import RedisError  # noqa: PLC0415 - only a run needs it

    try:
        yield
    except RedisError as error:
        raise Unavailable(f"the ledger: {shortened(str(error)) or type(error).__name__}") from error
