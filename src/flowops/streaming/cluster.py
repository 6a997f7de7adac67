"""An engine of several processes on one machine: started together, watched, stopped together."""

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
from types import FrameType
from typing import IO

import msgspec

from flowops.errors import ConfigError, RunError
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
PANICKED = 4
"""Exit code of a worker whose runtime failed: the first to fail, or one that lost the others."""

_TICK = 0.1
_GRACE = 1.0
_PEERS = 10.0
_LAST_WORDS = 4000


def run(settings: Settings, state: StateFolder, tick: Callable[[], None]) -> bool:
    """Run `settings.processes` workers to their end; whether they were told to stop.

    Raises RunError when a worker dies, ConfigError when it refuses to begin; the others are killed and reaped first,
    because peers of a dead worker may hang and would keep the state folder busy.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(settings.processes)]
    with contextlib.ExitStack() as stack:
        words = [stack.enter_context(tempfile.TemporaryFile()) for _ in addresses]
        theirs, ours = os.pipe()  # never written to: its end tells the workers that this process has died
        stack.callback(os.close, ours)
        workers: list[subprocess.Popen[bytes]] = []
        stack.callback(_kill_all, workers)
        stop = stack.enter_context(_forward_signals(workers))
        with _signals_blocked():
            for number in range(settings.processes):
                order = msgspec.json.encode((settings, number, addresses, theirs), enc_hook=str).decode()
                command = [sys.executable, "-m", "flowops.streaming.worker", order]
                handles = [state.lock_handle, theirs]
                workers.append(
                    subprocess.Popen(command, stdout=sys.stdout, stderr=words[number], pass_fds=handles)  # noqa: S603
                )
            os.close(theirs)
        _wait(workers, words, tick)
        return bool(stop)


def await_listeners(addresses: Sequence[str]) -> None:
    """Wait until there is somebody at each address: a worker that connects too early sleeps for a second.

    Looked for by binding, since a connection would be taken for a worker's. With SO_REUSEADDR, as the runtime has it,
    this keeps nobody from listening.
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


def _wait(workers: list[subprocess.Popen[bytes]], words: Sequence[IO[bytes]], tick: Callable[[], None]) -> None:
    while True:
        codes = [worker.poll() for worker in workers]
        tick()
        if any(codes):
            raise _failure(workers, words)
        if all(code == 0 for code in codes):
            return
        time.sleep(_TICK)


def _failure(workers: list[subprocess.Popen[bytes]], words: Sequence[IO[bytes]]) -> RunError | ConfigError:
    """Why the workers ended: one that was killed or gave a reason, rather than one that only lost the others."""
    end = time.monotonic() + _GRACE
    while all(worker.poll() in (None, 0, PANICKED) for worker in workers) and time.monotonic() < end:
        time.sleep(_TICK / 10)
    codes = [worker.poll() for worker in workers]
    _kill_all(workers)
    number = max(range(len(codes)), key=lambda number: _blame(codes[number]))
    code = codes[number]
    said = _last_of(words[number])
    if code == ConfigError.exit_code:
        return ConfigError(said)
    if code == RunError.exit_code:
        return RunError(said)
    if code == PANICKED:
        first, _, rest = said.partition("\n")
        panic = RunError(first)
        panic.add_note(rest)
        return panic
    if code is not None and code < 0:
        reason = f"was killed ({signal.Signals(-code).name})"
    else:
        reason = f"ended with exit code {code}"
    last = said.rpartition("\n")[2]  # of a traceback: what went wrong
    error = RunError(
        f"worker {number} of {len(workers)} {reason}{': ' if last else ''}{last}; all were stopped."
        " The state is kept: the same command goes on from the last epoch."
    )
    error.add_note(said)
    return error


def _blame(code: int | None) -> int:
    if not code:
        return 0
    return 1 if code == PANICKED else 2


def _kill_all(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
    for worker in workers:
        worker.wait()


@contextmanager
def _forward_signals(workers: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Ask all workers to stop when this process is asked; the list fills with the signals that came."""
    came: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        came.append(number)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in STOP_SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Children started in the body have the stop signals blocked until they are ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _last_of(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _LAST_WORDS))
    return words.read().decode(errors="replace").strip()
