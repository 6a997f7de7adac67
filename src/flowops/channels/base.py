"""What a channel is: how a command is written, and an outlet that takes what was written.

To add a channel: one file with its settings, its encoder and its outlet, and one line in `channels/__init__.py`.
"""

from __future__ import annotations

from typing import Protocol

from flowops.core.effects import Dispatch


class Encoder(Protocol):
    """Turns a command into what the outlet takes. Called once per command, in the process of its shard."""

    def __call__(self, dispatch: Dispatch) -> bytes:
        """The encoded command."""


class Outlet(Protocol):
    """Takes encoded commands, in one process, and can go back to where it stood.

    `write` is called any number of times in an epoch; `position` once at its end, when everything written must have
    reached the operating system. A run that resumes builds the outlet with the position of the last committed epoch,
    and what was written after it must be gone.
    """

    def write(self, lines: list[bytes]) -> None:
        """Take the commands, in order."""

    def position(self) -> int:
        """Flush, and say where the outlet stands."""

    def close(self) -> None:
        """Flush and give everything back."""
