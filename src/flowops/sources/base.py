"""What a source is while it is read: a connector, which knows its partitions, and each of these, opened.

To add a connector: one file with its settings, its `Connector` and its `Partition`, and one line in
`sources/__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from flowops.core.records import Chunk, Micros

Position: TypeAlias = Sequence[Any]
"""Where a partition goes on: builtin values, opaque, for `msgpack` or `pickle`; a list is as good as a tuple."""


class Partition(ABC):
    """One file, Kafka partition, Redis stream or set, while it is being read. Used by one thread.

    What is not abstract has a default, for inputs that have nothing to say to it.
    """

    name: str
    """As the connector lists it."""

    nap: float = 0.05
    """Seconds after which it is worth looking again when there was nothing."""

    @abstractmethod
    def read(self, limit: int) -> Chunk | None:
        """The next records, at least one: about `limit` bytes of input; None: there is nothing for now (see `ended`).

        However the reads fall, a record has the same position. Never waits for more than some milliseconds. Raises
        `InputError` or `RunError` when what was read before has gone or changed.
        """

    @abstractmethod
    def ended(self) -> bool:
        """Whether nothing will ever follow, asked after a `read` that gave None."""

    @abstractmethod
    def position(self) -> tuple[Any, ...]:
        """Just after the last record of the last chunk; `Connector.open` goes on there."""

    @abstractmethod
    def caught_up_at(self) -> Micros | None:
        """An instant of the wall clock before which everything that was appended is known to have been read (S6).

        None: nothing is known yet, as long as nobody answers.
        """

    def decide(self) -> None:  # noqa: B027 - most have nothing to do
        """Called at the end of an epoch, before `position`: what the outside decides is taken into the position here.

        So a restart finds it decided, and what came of it can be told only once it has been saved.
        """

    def saved(self, position: Position) -> None:  # noqa: B027 - most have nothing to do
        """`position` has been committed: the engine never goes on before it.

        Called at the end of an epoch with what was saved at the end of the one before, which is committed by then.
        """

    def lag(self) -> int | None:
        """How many records there are behind the position, as far as is known; None: not known. For monitoring only."""
        return None

    def is_reachable(self) -> bool:
        """Whether the input can be reached, as far as is known. For monitoring only."""
        return True

    def release(self) -> None:  # noqa: B027 - most have nothing to do
        """Give handles and what was read ahead back; the next `read` opens it again where it was."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Called once, when nothing more is read."""


class Connector(Protocol):
    """One source of the project, connected. Used by the readers of one process."""

    def partitions(self) -> Mapping[str, int]:
        """The partitions known by now: by name, its number within the source. Does not wait once it has answered.

        Raises `ConfigError` when it is asked for the first time and the input is not there or cannot be reached.
        """

    def ends(self) -> Mapping[str, Position]:
        """Where each partition ends now, for a bounded run; {} where the input itself is bounded."""

    def open(self, name: str, position: Position | None) -> Partition:
        """The partition, from `position` on, or from its beginning."""
