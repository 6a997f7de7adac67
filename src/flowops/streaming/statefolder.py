"""The state folder: whose state it is, and that one engine at a time works on it.

::

    .flowops/
      lock            held while any process of an engine lives; shared by the hosts of one on several machines
      lock-0, ...     of such an engine: held while any process of that host lives
      manifest.json   what this state is of: format, mode, rules, inputs, and whether the run has finished
      recovery/       Bytewax's recovery store: positions and lengths
      shards/         the logs of the shards
      flight/         the commands in flight to network channels, a log for each writer
      journal/        what the providers said, a log for each writer, in segments (`journal`)
      ledger/         which commands were answered, for a while; also a run that begins anew asks it (S32)
      clock/          how far the wall clock moved the readers' partitions (S6)
      pace, metrics   shared by the processes of a run; begun anew at every start
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from zlib import crc32

import msgspec
from bytewax.recovery import init_db_dir

from flowops.core.state import FORMAT
from flowops.errors import RunError, StateError
from flowops.rules.load import PROJECT_FILE
from flowops.streaming.failures import panicked
from flowops.streaming.inputs import Bounds
from flowops.streaming.pace import Pace

_PARTS = tuple(f"part-{number}.sqlite3" for number in range(4))
_SAMPLE = 64 * 1024
_PAGE = 1024  # bytes


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
    bounds: Bounds = msgspec.field(default_factory=dict)
    finished: bool = False
    declared: str | None = None
    """Hash of what flowops.yaml says, but for how servers are reached and where things lie; None: not known."""


class StateFolder:
    """The folder `path`, locked by this process and, through inheritance, by its workers.

    `pace` and `recovery` are what this process works with: for a host of several a table of its own, and a folder with
    links to the parts of the recovery store that are its own, since SQLite does not work from two machines at a time.
    """

    def __init__(self, path: Path, *, pace: Path | None = None, recovery: Path | None = None) -> None:
        self.path = path
        self.shards = path / "shards"
        self.flight = path / "flight"
        self.journal = path / "journal"
        self.ledger = path / "ledger"
        self.clock = path / "clock"
        self.pace = pace or path / "pace"
        self.metrics = path / "metrics"
        self.store = path / "recovery"
        self.recovery = recovery or self.store
        self.published_at: int | None = None
        self.bounds: Bounds = {}
        self._locks: list[int] = []

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    def lock(self, host: int | None = None) -> None:
        """Take the folder, alone or together with the other hosts of an engine. Raises StateError while it is taken."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if host is None:
                self._take(self.path / "lock", fcntl.LOCK_EX, str(os.getpid()))
            else:
                self._take(self.path / "lock", fcntl.LOCK_SH, "on several hosts")
                self._take(self.path / f"lock-{host}", fcntl.LOCK_EX, f"{os.getpid()} on {socket.gethostname()}")
        except OSError as error:
            raise StateError(
                f"the state folder {self.path} cannot be used: {error.strerror}; give access, or name another"
                " (`state:` in flowops.yaml)"
            ) from error

    def _take(self, path: Path, kind: int, owner: str) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            self.unlock()
            raise StateError(
                f"another engine works on {self.path} (process {other}, or a worker of it): wait until it ends or stop"
                " it; for a second one give it a state folder of its own (`state:` in flowops.yaml)"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner.encode(), 0)
        os.set_inheritable(handle, True)  # workers hold it too: a worker that outlives its parent still works here
        self._locks.append(handle)

    @property
    def lock_handles(self) -> list[int]:
        """The file descriptors of the locks, for workers to inherit."""
        if not self._locks:
            raise StateError(f"{self.path} is not locked")
        return self._locks

    def unlock(self) -> None:
        """Let go."""
        while self._locks:
            os.close(self._locks.pop())

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
        self.bounds = manifest.bounds
        return manifest

    def _check_recovery(self) -> None:
        """Raises StateError for a recovery store that is not whole: the runtime would only panic."""
        for name in _PARTS:
            path = self.recovery / name
            if self.recovery != self.store and not path.is_symlink():
                continue  # another host's
            try:
                with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
                    found = connection.execute("pragma quick_check(1)").fetchone()[0]
            except sqlite3.Error as error:
                found = str(error)
            if found != "ok":
                found = found.replace("\n", " ")
                raise StateError(f"{path} is damaged ({found}): put it back, or begin anew with --fresh")

    def link_recovery(self, folder: Path, host: int, hosts: int) -> None:
        """Make `folder` this host's part of the recovery store: links to every so-many-th file of it."""
        folder.mkdir()
        for number, name in enumerate(_PARTS):
            if number % hosts == host:
                (folder / name).symlink_to((self.store / name).absolute())
        self.recovery = folder

    def begin(self, manifest: Manifest) -> None:
        """Lay out the folder for a new run."""
        self.clear()
        for folder in (self.shards, self.flight, self.journal, self.clock):
            folder.mkdir(parents=True)
        self.store.mkdir()
        try:
            init_db_dir(self.store, len(_PARTS))
            for name in _PARTS:
                _use_small_pages(self.store / name)
        except BaseException as error:
            if panicked(error) or isinstance(error, sqlite3.Error):
                raise RunError(f"the recovery store {self.store} cannot be made: {error}") from error
            raise
        self.published_at = manifest.published_at
        self.bounds = manifest.bounds
        self.write(manifest)

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest, at once and whole."""
        beside = self._manifest.with_suffix(".new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        beside.replace(self._manifest)

    def clear(self) -> None:
        """Remove the state; the lock stays. The manifest goes first: without it there is no state."""
        self._manifest.unlink(missing_ok=True)
        for folder in (self.store, self.shards, self.flight, self.journal, self.clock):
            shutil.rmtree(folder, ignore_errors=True)

    def begin_pace(self, *, writers: bool) -> None:
        """Begin the shared table anew, as another file: whoever still maps the old one would not survive its cut.

        `writers`: some plan sends by a network channel.
        """
        self.pace.unlink(missing_ok=True)
        Pace.create(self.pace, writers=writers)


def _use_small_pages(path: Path) -> None:
    """Let a part of the runtime's store keep small pages: it lets its write-ahead log grow to a thousand of them.

    It is left with a write-ahead log: workers that each made it one, at one time, would find it locked and panic.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for words in ("synchronous = off", "journal_mode = memory", f"page_size = {_PAGE}"):
            connection.execute(f"pragma {words}")
        for words in ("vacuum", "pragma synchronous = normal", "pragma journal_mode = wal"):
            connection.execute(words)


def mark_of(path: Path) -> InputMark:
    """The mark of an input file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        check = crc32(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        return InputMark(size, crc32(file.read(_SAMPLE), check))


def differences(before: Manifest, now: Manifest) -> list[str]:
    """What changed since the run began, a line each; empty when it can go on.

    In flowops.yaml it may say anew how a server is reached, and where things lie that were moved.
    """
    old_rules = before.rules
    if before.declared is not None and before.declared == now.declared:
        old_rules = before.rules | {name: now.rules[name] for name in (PROJECT_FILE,) if name in now.rules}
    found = []
    if before.mode != now.mode:
        found.append(f"the state is of `flowops {before.mode}`, this is `flowops {now.mode}`")
    if before.until != now.until:
        found.append("--until differs")
    for what, old, new in (("rule file", old_rules, now.rules), ("input", before.inputs, now.inputs)):
        found.extend(f"{what} {name} is new" for name in sorted(new.keys() - old.keys()))
        found.extend(f"{what} {name} is gone" for name in sorted(old.keys() - new.keys()))
        found.extend(f"{what} {name} changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name])
    return found


def wall_clock() -> int:
    """Now, in microseconds: when a live run published its plans."""
    return time.time_ns() // 1000
