"""The console channel: a JSON line per command on standard output, for trying things out.

What was printed cannot be taken back: after a crash the commands since the last committed epoch are printed again,
with the same `dispatch_id`. Under `--json` standard output is for the summary, and commands go to standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from flowops.channels.base import Local, Settings
from flowops.channels.command import to_json
from flowops.errors import RunError
from flowops.settings.model import Word
from flowops.settings.shapes import says


class ConsoleSettings(Settings):
    """`type: console`; it has no keys of its own."""

    type: Annotated[Literal["console"], Word, says("What kind of channel it is.", "console")]


class ConsoleOutlet:
    """Prints; the position counts lines."""

    def __init__(self, position: int) -> None:
        self._printed = position

    def write(self, lines: list[bytes]) -> None:
        """Print a line per command."""
        try:
            sys.stdout.write("".join(f"{line.decode()}\n" for line in lines))
            sys.stdout.flush()
        except OSError as error:
            raise RunError(
                f"nothing can be printed any more ({error.strerror}); the same command goes on from the last epoch"
            ) from error
        self._printed += len(lines)

    def position(self) -> int:
        """How many lines have been printed."""
        return self._printed

    def close(self) -> None:
        """Nothing to give back."""


def _open(settings: ConsoleSettings, folder: Path, position: int) -> ConsoleOutlet:  # noqa: ARG001
    return ConsoleOutlet(position)


CHANNEL = Local(ConsoleSettings, to_json, _open)
