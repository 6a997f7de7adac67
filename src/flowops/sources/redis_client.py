"""What asks Redis beside the readers: a thread, so that a server that does not answer holds nobody up."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from flowops.errors import FlowopsError, RunError

if TYPE_CHECKING:  # the client is loaded by those who connect
    from redis import Redis

TIMEOUT: Final = 2.0
"""Seconds for an answer, while a run is under way."""

_RETRY = 0.5

_log = logging.getLogger(__name__)


class LostError(Exception):
    """The server answers, but has lost what it had: as good as one that does not answer."""


class Beside(ABC):
    """Asks in a thread of its own, again and again; says once when nobody answers, and when somebody does again."""

    def __init__(self, client: Redis, source: str, pause: float) -> None:
        self._client = client
        self._source = source
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"redis-{source}", daemon=True)
        self.is_lost = False
        """Whether nobody answers."""
        self.failure: FlowopsError | None = None
        """Why it asks no more."""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(TIMEOUT)
        self._client.close()

    @abstractmethod
    def _ask(self) -> bool:
        """Ask once; whether to ask again at once. Raises RedisError, or InputError where going on makes no sense."""

    def _run(self) -> None:
        import redis  # noqa: PLC0415
        from redis.exceptions import ClusterDownError, TryAgainError  # noqa: PLC0415 - as while it fails over

        passing = (redis.ConnectionError, redis.TimeoutError, ClusterDownError, TryAgainError, LostError)
        while not self._over.is_set():
            try:
                at_once = self._ask()
            except passing as error:
                self._waits(error)
                continue
            except redis.RedisError as error:
                if str(error).startswith("BUSY "):  # a script runs for long
                    self._waits(error)
                    continue
                self.failure = RunError(
                    f"source `{self._source}`: Redis refuses to be read: {error}. The state is kept: the same command"
                    " goes on from the last epoch."
                )
                return
            except FlowopsError as error:
                self.failure = error
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the reader must hear that nothing follows
                self.failure = RunError(f"source `{self._source}`: {type(error).__name__}: {error}")
                return
            if self.is_lost:
                self.is_lost = False
                _log.warning("source goes on", extra={"fields": {"source": self._source}})
            if not at_once:
                self._over.wait(self._pause)

    def _waits(self, error: Exception) -> None:
        if not self.is_lost:
            self.is_lost = True
            fields = {"source": self._source, "reason": error}
            _log.warning("source waits for Redis", extra={"fields": fields})
        self._over.wait(_RETRY)


def as_text(value: bytes | str) -> str:
    """An answer of the server, in either protocol."""
    return value.decode() if isinstance(value, bytes) else value
