"""Faults in a process of the engine, put there from outside: Python loads this file when its folder is on PYTHONPATH.

`FLOWOPS_TEST_FAULT=point:n` kills the process (SIGKILL) when it comes to `point` for the nth time. Publications, merges
and rewrites then come so often that a small run meets each of them many times. `FLOWOPS_TEST_SLOW` is how many seconds
a reader takes for a chunk, `FLOWOPS_TEST_CHUNK` how many bytes that is. `FLOWOPS_TEST_BREAK=n` raises a ValueError in
the landing after n batches. `FLOWOPS_TEST_CLOCK=seconds` is how much the wall clock is ahead. `FLOWOPS_TEST_SEGMENT` is
how many bytes of a journal are enough for a segment; publications then come often, too.
"""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any

from flowops.channels.courier import Courier
from flowops.channels.file import FileOutlet
from flowops.channels.ledger.sqlite import SqliteLedger
from flowops.streaming import journal, readers, sinks, statefolder, statelog
from flowops.streaming.statelog import StateLog
from flowops.warehouse import outcomes


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def install(point: str, nth: int) -> None:
    statelog._SMALL = 1024
    sinks._PUBLISH_EVERY = 0.0
    sinks.compact = functools.partial(sinks.compact, many=4, grace=0.0)

    calls = 0

    def at(owner: Any, name: str, fault: Callable[..., Any], wanted: Callable[..., bool] = lambda *_: True) -> None:
        """Replace a call by one that, the nth time, does `fault` and dies."""
        original = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            if wanted(*arguments):
                calls += 1
                if calls == nth:
                    fault(original, *arguments)
                    die()
            return original(*arguments, **named)

        setattr(owner, name, call)

    def before(original: Callable[..., Any], *arguments: Any) -> None:
        """Die instead."""

    def after(original: Callable[..., Any], *arguments: Any) -> None:
        """Do it, and die."""
        original(*arguments)

    def torn_append(_: Any, log: Any, frame: bytes) -> None:
        log._file.write(statelog._HEAD.pack(len(frame), 0) + frame[: len(frame) // 2])
        log._file.flush()

    def emptied(original: Any, log: Any, frame: bytes) -> None:
        log.append = lambda _: die()
        original(log, frame)

    def torn_write(_: Any, outlet: Any, lines: list[bytes]) -> None:
        outlet._file.write(b"\n".join(lines)[:-20])
        outlet._file.flush()

    def renamed(what: str) -> Callable[..., bool]:
        return lambda path, _: path.name == what

    def replaced(what: str) -> Callable[..., bool]:
        return lambda _, target: pathlib.Path(target).name == what

    path = pathlib.Path
    points: dict[str, tuple[Any, ...]] = {
        "append-torn": (StateLog, "append", torn_append),
        "append-after": (StateLog, "append", after),
        "rewrite-emptied": (StateLog, "rewrite", emptied),
        "rewrite-after": (StateLog, "rewrite", after),
        "reader-snapshot": (readers._Reader, "snapshot", before),
        "deliver-torn": (FileOutlet, "write", torn_write),
        "deliver-snapshot": (FileOutlet, "position", before),
        "sent-unrecorded": (SqliteLedger, "record", before, lambda _, answers: bool(answers)),
        "recorded-uncollected": (SqliteLedger, "record", after, lambda _, answers: bool(answers)),
        "collected-unsaved": (Courier, "collect", after, lambda courier: bool(courier._outbox)),
        "seal-before": (path, "rename", before, renamed(".open")),
        "seal-after": (path, "rename", after, renamed(".open")),
        "merge-before": (path, "rename", before, renamed(".merging")),
        "merge-after": (path, "rename", after, renamed(".merging")),
        "publish-views": (outcomes, "_create_views", before),
        "publish-before": (path, "replace", before, replaced("outcomes.duckdb")),
        "publish-after": (path, "replace", after, replaced("outcomes.duckdb")),
        "begin": (statefolder, "init_db_dir", after),
        "manifest-before": (path, "replace", before, replaced("manifest.json")),
        "manifest-after": (path, "replace", after, replaced("manifest.json")),
    }
    at(*points[point])


def slow_down(seconds: float) -> None:
    readers.CHUNKS = 1
    next_batch = readers._Reader.next_batch

    def slow(reader: Any) -> Any:
        time.sleep(seconds)
        return next_batch(reader)

    readers._Reader.next_batch = slow


def break_after(batches: int) -> None:
    add = sinks.Segments.add
    added = 0

    def broken(segments: Any, relation: Any, columns: Any) -> None:
        nonlocal added
        added += 1
        if added > batches:
            raise ValueError("broken for a test")
        add(segments, relation, columns)

    sinks.Segments.add = broken


def shift_clock(seconds: float) -> None:
    real = time.time_ns
    time.time_ns = lambda: real() + int(seconds * 1e9)


if "FLOWOPS_TEST_CLOCK" in os.environ:
    shift_clock(float(os.environ["FLOWOPS_TEST_CLOCK"]))
if "FLOWOPS_TEST_BREAK" in os.environ:
    break_after(int(os.environ["FLOWOPS_TEST_BREAK"]))
if "FLOWOPS_TEST_CHUNK" in os.environ:
    readers.CHUNK, readers.CHUNKS = int(os.environ["FLOWOPS_TEST_CHUNK"]), 1
if "FLOWOPS_TEST_SEGMENT" in os.environ:
    journal._LARGE = int(os.environ["FLOWOPS_TEST_SEGMENT"])
    sinks._PUBLISH_EVERY = 0.0
if "FLOWOPS_TEST_FAULT" in os.environ:
    name, _, number = os.environ["FLOWOPS_TEST_FAULT"].partition(":")
    install(name, int(number))
if "FLOWOPS_TEST_SLOW" in os.environ:
    slow_down(float(os.environ["FLOWOPS_TEST_SLOW"]))
