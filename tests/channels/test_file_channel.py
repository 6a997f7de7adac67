"""The file channel where the disk refuses."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowops.channels.file import FileOutlet
from flowops.errors import RunError


@contextmanager
def full(size: int) -> Iterator[None]:
    """No file may grow larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("at", ["position", "close"])
def test_a_full_disk_is_told_of_the_file_also_when_it_shows_only_as_it_is_closed(tmp_path: Path, at: str) -> None:
    """Lines are buffered: a worker that is stopped by another's failure may find out then."""
    outlet = FileOutlet(tmp_path / "push.jsonl", 0)
    outlet.write([b"x" * 100])
    with full(50), pytest.raises(RunError, match=r"cannot write .*push\.jsonl: File too large; make room"):
        getattr(outlet, at)()
    if at == "position":
        outlet.close()  # there is room again
        assert (tmp_path / "push.jsonl").read_bytes() == b"x" * 100 + b"\n"
