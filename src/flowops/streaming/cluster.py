"""The workers of an engine on this machine: started together, watched, stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import FrameType
from typing import IO

import msgspec

from flowops.errors import ConfigError, RunError
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
PANICKED = 4
"""Exit code of a worker whose runtime failed: the first to fail, or one that lost the others."""

_UNSAID = (PANICKED, -signal.SIGABRT)
"""How a worker ends that gives no reason of its own; the runtime aborts where it fails again while it unwinds."""

_TICK = 0.1
_GRACE = 3.0
_PEERS = 10.0
_PORTS = 20_000, 32_000
_LAST_WORDS = 4000
_PROBE = 1 << 20


class WorkerError(RunError):
    """A worker died: which one, and of what, in a few words."""

    def __init__(self, message: str, worker: int, cause: str) -> None:
        super().__init__(message)
        self.worker = worker
        self.cause = cause


class UnsaidError(WorkerError):
    """A worker died of something that its runtime did not tell, as it does where it cannot save."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker is told: it is number `process` of those at `addresses`, and row `row` of the metrics table."""

    settings: Settings
    process: int
    row: int
    addresses: list[str]
    parent: int  # a pipe that ends when the supervisor dies
    pace: Path
    recovery: Path
    metrics: Path | None  # of a live run, as is what follows
    rows: int
    words: int | None  # where to write what there is to say
    verbose: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workers of one machine share, beside the state folder."""

    pace: Path
    recovery: Path
    metrics: Path | None = None
    words: int | None = None
    verbose: bool = False


class Stop:
    """Whether this process has been asked to stop; hands it on to the workers."""

    def __init__(self) -> None:
        self._asked = False  # no threading.Event: a signal that interrupts its `set` would wait for its lock for ever
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def asked(self) -> bool:
        """Whether somebody asked this process to stop."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Sleep, but not after having been asked to stop; whether it was."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
        return self._asked

    def attend(self, workers: list[subprocess.Popen[bytes]]) -> None:
        """These are the workers now."""
        self._workers = workers

    def hand_on(self) -> None:
        """Ask the workers to stop."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)

    @contextmanager
    def heeding_signals(self) -> Iterator[Stop]:
        """SIGTERM and SIGINT ask this process, and with it all workers, to stop."""

        def asked(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self._asked = True
            self.hand_on()

        before = {number: signal.signal(number, asked) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def local_addresses(count: int) -> list[str]:
    """Free ports of this machine for so many workers, below those that systems give to clients.

    One of these could be taken by any connection before its worker, which takes a second to start, listens there.
    """
    draw = SystemRandom()
    ports: set[int] = set()
    while len(ports) < count:
        port = draw.randrange(*_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.add(port)
    return [f"127.0.0.1:{port}" for port in sorted(ports)]


def run(
    settings: Settings,
    state: StateFolder,
    shared: Shared,
    stop: Stop,
    tick: Callable[[Sequence[int]], None],
) -> None:
    """Run the workers of this machine to their end: all of the cluster, or with `settings.hosts` one of it.

    `tick` is called several times a second with the process ids of those that live; what it raises ends them all.
    Raises WorkerError when a worker dies, ConfigError when it refuses to begin; the others are killed and reaped first,
    because peers of a dead worker may hang and would keep the state folder busy.
    """
    addresses = list(settings.hosts) or local_addresses(settings.processes)
    numbers = [settings.process] if settings.hosts else list(range(settings.processes))
    with contextlib.ExitStack() as stack:
        words = [stack.enter_context(tempfile.TemporaryFile()) for _ in numbers]
        theirs, ours = os.pipe()  # never written to: its end tells the workers that this process has died
        stack.callback(os.close, ours)
        workers: list[subprocess.Popen[bytes]] = []
        stack.callback(_kill_all, workers)
        stop.attend(workers)
        with _signals_blocked():
            for row, number in enumerate(numbers):
                order = Order(
                    settings,
                    number,
                    row,
                    addresses,
                    theirs,
                    shared.pace,
                    shared.recovery,
                    shared.metrics,
                    len(numbers),
                    shared.words,
                    shared.verbose,
                )
                text = msgspec.json.encode(order, enc_hook=str).decode()
                command = [sys.executable, "-m", "flowops.streaming.worker", text]
                handles = [*state.lock_handles, theirs, *([] if shared.words is None else [shared.words])]
                workers.append(
                    subprocess.Popen(command, stdout=sys.stdout, stderr=words[row], pass_fds=handles)  # noqa: S603
                )
            os.close(theirs)
        if stop.asked:
            stop.hand_on()
        try:
            _wait(workers, numbers, len(addresses), words, tick)
        except UnsaidError as error:
            _try_to_write(state.store, error.worker)
            raise


def await_listeners(addresses: Sequence[str]) -> None:
    """Wait until there is somebody at each address: a worker that connects too early sleeps for a second.

    Looked for by binding, since a connection would be taken for a worker's. With SO_REUSEADDR, as the runtime has it,
    this keeps nobody from listening. Nobody can bind to the address of another machine: it is not waited for.
    """
    end = time.monotonic() + _PEERS
    for address in addresses:
        host, _, port = address.rpartition(":")
        while time.monotonic() < end:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, int(port)))
                except OSError:
                    break
            time.sleep(_TICK / 20)


def _wait(
    workers: list[subprocess.Popen[bytes]],
    numbers: Sequence[int],
    count: int,
    words: Sequence[IO[bytes]],
    tick: Callable[[Sequence[int]], None],
) -> None:
    while True:
        codes = [worker.poll() for worker in workers]
        tick([worker.pid for worker, code in zip(workers, codes, strict=True) if code is None])
        if any(codes):
            raise _failure(workers, numbers, count, words)
        if all(code == 0 for code in codes):
            return
        time.sleep(_TICK)


def _failure(
    workers: list[subprocess.Popen[bytes]], numbers: Sequence[int], count: int, words: Sequence[IO[bytes]]
) -> RunError | ConfigError:
    """Why the workers ended: one that was killed or gave a reason, rather than one that only lost the others."""
    end = time.monotonic() + _GRACE
    while time.monotonic() < end:  # one that dies may be gone for the others before it is for us
        found = [worker.poll() for worker in workers]
        if None not in found or any(code not in (None, 0, *_UNSAID) for code in found):
            break
        time.sleep(_TICK / 10)
    codes = [worker.poll() for worker in workers]
    _kill_all(workers)
    row = max(range(len(codes)), key=lambda row: _blame(codes[row]))
    code, number = codes[row], numbers[row]
    said = _last_of(words[row])
    if code == ConfigError.exit_code:
        return ConfigError(said)
    if code == RunError.exit_code:
        return WorkerError(said, number, said)
    if code == PANICKED:
        first, _, rest = said.partition("\n")
        panic = UnsaidError(first, number, first)
        panic.add_note(rest)
        return panic
    if code is not None and code < 0:
        cause = f"was killed ({signal.Signals(-code).name})"
    else:
        cause = f"ended with exit code {code}"
    last = said.rpartition("\n")[2]  # of a traceback: what went wrong
    cause = f"{cause}{': ' if last else ''}{last}"
    error = WorkerError(
        f"worker {number} of {count} {cause}; all were stopped."
        " The state is kept: the same command goes on from the last epoch.",
        number,
        cause,
    )
    error.add_note(said)
    return error


def _try_to_write(store: Path, worker: int) -> None:
    """Raises WorkerError where nothing can be written to the recovery store: the disk is full, or lost."""
    try:
        with tempfile.TemporaryFile(dir=store) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        cause = (
            f"the recovery store {store} cannot be written: {error.strerror}. Make room or give access: the same"
            " command goes on from the last epoch."
        )
        raise WorkerError(cause, worker, cause) from error


def _blame(code: int | None) -> int:
    if not code:
        return 0
    return 1 if code in _UNSAID else 2


def _kill_all(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
    for worker in workers:
        worker.wait()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Children started in the body have the stop signals blocked until they are ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _last_of(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _LAST_WORDS))
    return words.read().decode(errors="replace").strip()
