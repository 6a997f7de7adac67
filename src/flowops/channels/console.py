"""The console channel: a JSON line per command on standard output, for trying things out.

What was printed cannot be taken back: after a crash the commands since the last committed epoch are printed again,
with the same `dispatch_id`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flowops.channels.command import to_json

encode = to_json


class ConsoleOutlet:
    """Prints; the position counts lines."""

    def __init__(self, path: Path | None, position: int) -> None:  # noqa: ARG002 - an outlet is built from a path
        self._printed = position

    def write(self, lines: list[bytes]) -> None:
        """Print a line per command."""
        sys.stdout.write("".join(f"{line.decode()}\n" for line in lines))
        self._printed += len(lines)

    def position(self) -> int:
        """How many lines have been printed."""
        sys.stdout.flush()
        return self._printed

    def close(self) -> None:
        """Flush."""
        sys.stdout.flush()
