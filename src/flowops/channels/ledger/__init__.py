"""The ledger (S32): which commands were answered, and how, so that nothing goes out twice. One file per store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

from pydantic import BeforeValidator

from flowops.channels.base import Answer, Place
from flowops.channels.ledger.redis import RedisLedger
from flowops.channels.ledger.sqlite import SqliteLedger
from flowops.core.records import Micros
from flowops.core.time import DAY, HOUR
from flowops.settings.fields import within
from flowops.settings.model import Model
from flowops.settings.redis import RedisConnection
from flowops.settings.shapes import DURATION, Shaped, says

__all__ = ["Ledger", "LedgerSettings", "open_ledger"]


class LedgerSettings(Model):
    """`ledger:` of flowops.yaml. Without `redis` it is SQLite in the state folder; `keep`: how long it remembers."""

    reach: ClassVar[frozenset[str]] = frozenset({"keep"})

    redis: Annotated[
        RedisConnection | None,
        says(
            "A server that several machines share; left out: SQLite in the state folder.",
            {"url": "redis://redis:6379/1"},
        ),
    ] = None
    keep: Annotated[
        Micros,
        BeforeValidator(within(HOUR, 366 * DAY)),
        Shaped(DURATION),
        says("How long it is remembered what was sent; left out: 7d.", "30d"),
    ] = 7 * DAY


class Ledger(Protocol):
    """What one writer remembers of one channel. Used in one thread. Each method raises Unavailable, or RunError."""

    def known(self, dispatch_ids: Sequence[str]) -> dict[str, Answer]:
        """Those of the commands that were answered, with their answers."""

    def record(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Remember final answers; one that is there stays as it is."""

    def close(self) -> None:
        """Give everything back."""


def open_ledger(settings: LedgerSettings, folder: Path, place: Place, *, durable: bool = False) -> Ledger:
    """The ledger of a writer for a channel; `folder` is where the state folder keeps those of SQLite.

    `durable`: an answer is on the disk before it counts.
    """
    if settings.redis is not None:
        return RedisLedger(settings.redis, place.project, place.keep)
    return SqliteLedger(folder / f"{place.channel}-{place.writer}.sqlite3", place.keep, durable=durable)
