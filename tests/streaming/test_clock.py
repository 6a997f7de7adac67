"""What the wall clock moved, on the disk: read again after a crash, and never half (S6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowops.errors import StateError
from flowops.streaming.clock import Clock, Place
from flowops.streaming.statelog import StateLog

MOVES = [("web/a", 0, 1_000), ("web/b", 7, 2_000), ("web/a", 3, 3_000)]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Place]:
    """A clock that died after two moves more than were saved; its file, and where it stood."""
    clock = Clock(tmp_path, 3, None)
    clock.write(MOVES[:1])
    place = clock.save()
    for move in MOVES[1:]:
        clock.write([move])
    clock.close()
    return tmp_path / "3-1.log", place


def test_what_followed_the_epoch_is_made_anew(written: tuple[Path, Place], tmp_path: Path) -> None:
    """What a reader was about to write when it died, nobody has been told."""
    path, place = written
    assert Clock(tmp_path, 3, place).since == MOVES[1:]
    path.write_bytes(path.read_bytes()[:-5])
    assert Clock(tmp_path, 3, place).since == MOVES[1:2]
    assert Clock(tmp_path, 4, None).since == []


@pytest.mark.parametrize(
    ("spoil", "how"),
    [
        (lambda _: b"", "has 0 bytes where "),
        (lambda data: data[:20], "has 20 bytes where "),
        (lambda data: bytes(len(data)) + b"\n", "is damaged at byte "),
        (lambda data: data.replace(b"2000", b"2001"), "is damaged at byte "),
        (lambda data: data.replace(b"web/b", b"\xff\xfe\x00"), "is damaged at byte "),
        (lambda data: data[:-40] + b"\n" + data[-40:], "is damaged at byte "),
    ],
    ids=["empty", "cut", "zeros", "another digit", "binary", "torn"],
)
def test_a_file_that_is_damaged_is_refused(
    written: tuple[Path, Place], tmp_path: Path, spoil: Callable[[bytes], bytes], how: str
) -> None:
    path, place = written
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StateError, match=rf"3-1\.log {how}.*put it back, or begin anew with --fresh"):
        Clock(tmp_path, 3, place)


def test_a_file_that_is_missing_is_refused(written: tuple[Path, Place], tmp_path: Path) -> None:
    path, place = written
    path.unlink()
    with pytest.raises(StateError, match=r"3-1\.log is missing"):
        Clock(tmp_path, 3, place)


def test_a_log_of_zeros_is_no_log_of_empty_frames(tmp_path: Path) -> None:
    """As a page is that a machine lost with its power: the checksum of nothing is zero."""
    log = StateLog(tmp_path, 5)
    place = log.append(b"a frame")
    log.close()
    path = tmp_path / "05-0.log"
    path.write_bytes(bytes(path.stat().st_size))
    again = StateLog(tmp_path, 5, place)
    with pytest.raises(StateError, match=r"05-0\.log is damaged at byte 0: put it back"):
        list(again.frames())
    again.close()
