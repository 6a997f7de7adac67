"""The log of a live run: one line per event, that a machine can take apart and nobody can break up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from flowops.streaming import log
from flowops.streaming.log import line, say


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Two ends; what is said afterwards goes nowhere again."""
    ours, theirs = os.pipe()
    handlers = list(log._LOGGER.handlers)
    yield ours, theirs
    log._LOGGER.handlers[:] = handlers
    os.close(ours)
    os.close(theirs)


def test_a_line_is_logfmt() -> None:
    """Quotes where there must be, nothing for None, and no line of its own for a line break."""
    when = datetime(2022, 4, 21, 10, 0, 0, 123_456, UTC)
    fields: dict[str, object] = {"worker": 1, "none": None, "yes": True, "text": 'a "b"\nc=d\\e', "empty": ""}
    assert line(when, "info", "worker died", fields) == (
        'time=2022-04-21T10:00:00.123Z level=info event="worker died" worker=1 yes=true'
        ' text="a \\"b\\"\\nc=d\\\\e" empty=""'
    )


def test_debug_is_said_only_when_asked_for(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    say("nobody listens")
    log.write_to(theirs, verbose=False)
    say("progress", log.DEBUG, records=1)
    say("ready", records=2)
    log.write_to(theirs, verbose=True)
    say("progress", log.DEBUG, records=3)
    lines = os.read(ours, 10_000).decode().splitlines()
    assert [text.partition(" level=")[2] for text in lines] == [
        "info event=ready records=2",
        "debug event=progress records=3",
    ]
