"""The state folder: whose state it is, and that one engine at a time works on it.

::

    .flowops/
      lock            held while any process of an engine lives
      manifest.json   what this state is of: format, mode, rules, inputs, and whether the run has finished
      recovery/       Bytewax's recovery store: positions and lengths
      shards/         the logs of the shards
      flight/         the commands in flight to network channels, a log for each writer
      journal/        what the providers said, a file for each writer
      ledger/         which commands were answered, for a while; also a run that begins anew asks it (S32)
      pace            shared by the processes of a run; begun anew at every start
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from zlib import crc32

import msgspec
from bytewax.recovery import init_db_dir

from flowops.core.state import FORMAT
from flowops.errors import RunError, StateError
from flowops.streaming.failures import panicked
from flowops.streaming.pace import Pace

_RECOVERY_PARTITIONS = 4
_SAMPLE = 64 * 1024


class InputMark(msgspec.Struct, frozen=True):
    """By what an input file is known again: its size, and a checksum of its beginning and end."""

    size: int
    check: int


class _Versioned(msgspec.Struct):
    """Of a manifest of any version."""

    format: int


class Manifest(msgspec.Struct):
    """What a state is of. A run goes on only where this is the same."""

    format: int
    mode: str
    until: int | None
    rules: dict[str, str]  # file -> hash
    inputs: dict[str, InputMark]
    published_at: int | None
    finished: bool = False


class StateFolder:
    """The folder `path`, locked by this process and, through inheritance, by its workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recovery = path / "recovery"
        self.shards = path / "shards"
        self.flight = path / "flight"
        self.journal = path / "journal"
        self.ledger = path / "ledger"
        self.pace = path / "pace"
        self.published_at: int | None = None
        self._lock: int | None = None

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    def lock(self) -> None:
        """Take the folder. Raises StateError while another engine has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateError(
                f"the state folder {self.path} cannot be used: {error.strerror}; give access, or name another"
                " (`state:` in flowops.yaml)"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StateError(
                f"another engine works on {self.path} (process {owner}, or a worker of it): wait until it ends or stop"
                " it; for a second one give it a state folder of its own (`state:` in flowops.yaml)"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        os.set_inheritable(handle, True)  # workers hold it too: a worker that outlives its parent still works here
        self._lock = handle

    @property
    def lock_handle(self) -> int:
        """The file descriptor of the lock, for workers to inherit."""
        if self._lock is None:
            raise StateError(f"{self.path} is not locked")
        return self._lock

    def unlock(self) -> None:
        """Let go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self) -> Manifest | None:
        """The manifest, or None for a folder without a run. Raises StateError for one that cannot be read."""
        try:
            data = self._manifest.read_bytes()
        except FileNotFoundError:
            return None
        try:
            found = msgspec.json.decode(data, type=_Versioned).format
            if found != FORMAT:
                raise StateError(
                    f"{self.path} holds state of format {found}, this version works with format {FORMAT}: finish"
                    " that run with the version that began it, or begin anew with --fresh"
                )
            manifest = msgspec.json.decode(data, type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(f"{self._manifest} cannot be read ({error}): begin anew with --fresh") from error
        self._check_recovery()
        self.published_at = manifest.published_at
        return manifest

    def _check_recovery(self) -> None:
        """Raises StateError for a recovery store that is not whole: the runtime would only panic."""
        for part in range(_RECOVERY_PARTITIONS):
            path = self.recovery / f"part-{part}.sqlite3"
            try:
                with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
                    found = connection.execute("pragma quick_check(1)").fetchone()[0]
            except sqlite3.Error as error:
                found = str(error)
            if found != "ok":
                raise StateError(f"{path} is damaged ({found}): put it back, or begin anew with --fresh")

    def begin(self, manifest: Manifest) -> None:
        """Lay out the folder for a new run."""
        self.clear()
        for folder in (self.shards, self.flight, self.journal):
            folder.mkdir(parents=True)
        self.recovery.mkdir()
        try:
            init_db_dir(self.recovery, _RECOVERY_PARTITIONS)
        except BaseException as error:
            if panicked(error):
                raise RunError(f"the recovery store {self.recovery} cannot be made: {error}") from error
            raise
        self.published_at = manifest.published_at
        self.write(manifest)

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest, at once and whole."""
        beside = self._manifest.with_suffix(".new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        beside.replace(self._manifest)

    def clear(self) -> None:
        """Remove the state; the lock stays. The manifest goes first: without it there is no state."""
        self._manifest.unlink(missing_ok=True)
        for folder in (self.recovery, self.shards, self.flight, self.journal):
            shutil.rmtree(folder, ignore_errors=True)

    def begin_pace(self, *, writers: bool) -> None:
        """Begin the shared table anew; `writers`: some plan sends by a network channel."""
        Pace.create(self.pace, writers=writers)


def mark_of(path: Path) -> InputMark:
    """The mark of an input file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        check = crc32(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        return InputMark(size, crc32(file.read(_SAMPLE), check))


def differences(before: Manifest, now: Manifest) -> list[str]:
    """What changed since the run began, a line each; empty when it can go on."""
    found = []
    if before.mode != now.mode:
        found.append(f"the state is of `flowops {before.mode}`, this is `flowops {now.mode}`")
    if before.until != now.until:
        found.append("--until differs")
    for what, old, new in (("rule file", before.rules, now.rules), ("input", before.inputs, now.inputs)):
        found.extend(f"{what} {name} is new" for name in sorted(new.keys() - old.keys()))
        found.extend(f"{what} {name} is gone" for name in sorted(old.keys() - new.keys()))
        found.extend(f"{what} {name} changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name])
    return found


def wall_clock() -> int:
    """Now, in microseconds: when a live run published its plans."""
    return time.time_ns() // 1000
