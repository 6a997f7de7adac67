"""Projects that were replayed once without a fault, for tests to compare with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import replay, write_events, write_project

EVENTS = int(os.environ.get("FLOWOPS_TEST_EVENTS", "1000000"))
"""Of the test with random kills; everything else runs on less."""


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty thousand events in four files, replayed once without a fault."""
    folder = write_project(tmp_path_factory.mktemp("shop"))
    write_events(folder, 20_000, 3_000, 4)
    assert replay(folder)["status"] == "finished"
    return folder


@pytest.fixture(scope="session")
def large_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A million events in four files, replayed once without a fault."""
    folder = write_project(tmp_path_factory.mktemp("large"))
    write_events(folder, EVENTS, 60_000, 4)
    assert replay(folder)["status"] == "finished"
    yield folder
    for path in (folder / "data").iterdir():
        path.unlink()
