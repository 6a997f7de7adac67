"""What a live run says about itself: one line per event on standard error, as `key=value` pairs (logfmt).

Everything in the engine says it through `say`. A worker writes to the supervisor's standard error, whole lines at a
time, since its own belongs to the runtime. In a replay nothing is said. No setting of a connector is ever given to
`say`, hence no secret.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime
from typing import Final

_LOGGER: Final = logging.getLogger("flowops")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False

DEBUG: Final = logging.DEBUG
INFO: Final = logging.INFO
WARNING: Final = logging.WARNING
ERROR: Final = logging.ERROR

_BARE = re.compile(r"[^\s\"=]+")


def say(event: str, level: int = INFO, **fields: object) -> None:
    """Say that `event` has happened, with what is worth knowing of it; None is left out."""
    _LOGGER.log(level, event, extra={"fields": fields})


def write_to(handle: int, *, verbose: bool) -> None:
    """Write what is said to this file descriptor from now on; `verbose`: also what is of `DEBUG` level."""
    _LOGGER.handlers[:] = [_Lines(handle)]
    _LOGGER.setLevel(DEBUG if verbose else INFO)


def line(when: datetime, level: str, event: str, fields: dict[str, object]) -> str:
    """One line: time, level, event, and the fields in the order in which they were given."""
    time = when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pairs = {"time": time, "level": level, "event": event, **fields}
    return " ".join(f"{key}={_value(value)}" for key, value in pairs.items() if value is not None)


def _value(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class _Lines(logging.Handler):
    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle

    def emit(self, record: logging.LogRecord) -> None:
        when = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, object] = getattr(record, "fields", {})
        text = line(when, record.levelname.lower(), record.getMessage(), fields)
        try:
            os.write(self._handle, f"{text}\n".encode())  # one call, so that lines of several processes do not mix
        except OSError:
            self.handleError(record)
