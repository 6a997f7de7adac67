"""An engine of several processes on one machine: started together, watched, stopped together."""

from __future__ import annotations

import contextlib
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

from flowops.errors import RunError
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder

_TICK = 0.1
_LAST_WORDS = 2000


def run(settings: Settings, state: StateFolder, tick: Callable[[], None]) -> bool:
    """Run `settings.processes` workers to their end; whether they were told to stop.

    Raises RunError when a worker dies; the others are killed and reaped first, because peers of a dead worker may hang
    and would keep the state folder busy.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(settings.processes)]
    with contextlib.ExitStack() as stack:
        words = [stack.enter_context(tempfile.TemporaryFile()) for _ in addresses]
        workers: list[subprocess.Popen[bytes]] = []
        stack.callback(_kill_all, workers)
        stop = stack.enter_context(_forward_signals(workers))
        for number in range(settings.processes):
            order = msgspec.json.encode((settings, number, addresses), enc_hook=str).decode()
            command = [sys.executable, "-m", "flowops.streaming.worker", order]
            workers.append(subprocess.Popen(command, stderr=words[number], pass_fds=[state.lock_handle]))  # noqa: S603
        _wait(workers, words, tick)
        return bool(stop)


def _wait(workers: list[subprocess.Popen[bytes]], words: Sequence[IO[bytes]], tick: Callable[[], None]) -> None:
    while True:
        codes = [worker.poll() for worker in workers]
        for number, code in enumerate(codes):
            if code:
                _kill_all(workers)
                raise RunError(
                    f"worker {number} of {len(workers)} ended with {_reason(code)}; all were stopped. The state is kept:"
                    f" the same command goes on from the last epoch.{_last_words(words)}"
                )
        tick()
        if all(code == 0 for code in codes):
            return
        time.sleep(_TICK)


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

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_words(words: Sequence[IO[bytes]]) -> str:
    said = []
    for number, file in enumerate(words):
        size = file.seek(0, 2)
        file.seek(max(0, size - _LAST_WORDS))
        text = file.read().decode(errors="replace").strip()
        if text:
            said.append(f"\nworker {number} said: {text}")
    return "".join(said)
