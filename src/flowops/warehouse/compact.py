"""Merging of small segments: a reader opens every listed file, so there should not be thousands of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from flowops.warehouse.schema import RELATIONS
from flowops.warehouse.segments import MERGING, Segment, discard, disk_errors, found, name, root, standing, sync
from flowops.warehouse.sql import file_list

MANY = 100
"""So many folders may stand before a merge is worth its while."""

GRACE = 3600.0
"""Seconds for which a merged folder's parts are kept for readers who have opened an older `outcomes.duckdb`."""

LARGEST = 32 << 20
"""Bytes: larger a merge does not make a folder, and so a merge never takes long."""


def compact(folder: Path, below: int, *, many: int = MANY, grace: float = GRACE, largest: int = LARGEST) -> bool:
    """Merge the smallest segments, if more than `many` stand; remove what merges replaced over `grace` seconds ago.

    Call it now and then from the process that writes; at most one merge per call. `below` is the last segment that may
    be merged: no recovery may ever resume from an earlier one. What was merged is read from the next `publish` on.
    Returns whether there was a merge. Raises RunError where the disk refuses.
    """
    with disk_errors(folder):
        segments = standing(folder, below)
        _remove_replaced(folder, segments, grace)
        run = _worth_merging(segments, many, largest)
        if run:
            _merge(folder, run)
    return bool(run)


def _remove_replaced(folder: Path, kept: Sequence[Segment], grace: float) -> None:
    """A merged folder's own time says since when its parts are no longer listed."""
    for segment in found(folder):
        replaced_by = next(
            (k for k in kept if k != segment and k.first <= segment.first and segment.last <= k.last), None
        )
        if replaced_by is not None and time.time() - replaced_by.path.stat().st_mtime > grace:
            discard(segment.path)


def _worth_merging(segments: Sequence[Segment], many: int, largest: int) -> list[Segment]:
    """The longest run of neighbours that together are not larger than `largest`; none if few or too large."""
    if len(segments) <= many:
        return []
    best: list[Segment] = []
    run: list[Segment] = []
    total = 0
    for segment in segments:
        size = sum(file.stat().st_size for file in segment.path.iterdir())
        if total + size > largest:
            run, total = [], 0
        if size <= largest // 2:
            run.append(segment)
            total += size
        else:
            run, total = [], 0
        if len(run) > len(best):
            best = list(run)
    return best if len(best) > 1 else []


def _merge(folder: Path, run: Sequence[Segment]) -> None:
    merging = root(folder) / MERGING
    if merging.exists():
        shutil.rmtree(merging)
    merging.mkdir()
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB", "temp_directory": ""}) as connection:
        for relation in RELATIONS:
            files = [path for segment in run if (path := segment.path / f"{relation}.parquet").exists()]
            if files:
                target = merging / f"{relation}.parquet"
                connection.execute(
                    f"copy (from read_parquet({file_list(files)})) to '{target}' (format parquet, compression zstd)"
                )
                sync(target)
    sync(merging)
    merging.rename(root(folder) / name(run[0].first, run[-1].last))
    sync(root(folder))
