"""A server as a process of its own: started on ports and data that it keeps, stopped, killed, frozen, started again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"

# A server must not outlive a test run that was itself killed. The kernel sees to that (PR_SET_PDEATHSIG, Linux only),
# with no second process to watch. A few lines of Python ask for it and then become the server, under the same process
# id: a preexec_fn would run them between fork and exec, which may deadlock beside threads, and clients have threads.
_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it died before it was asked
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class StartError(Exception):
    """A server that did not come to answer; the message has the last lines of its output."""


class Server(ABC):
    """A server that is not running yet; ports and folder stay the same from its first start to `close`.

    As a context manager it runs inside the block. It dies with the thread that started it.
    """

    def __init__(self, name: str, ports: int = 1) -> None:
        self.ports = free_ports(ports)
        self._name = name
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What to run, the first being a path. Called for each start; raises `Missing` where it cannot be run."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves clients. Called once its first port is open."""

    @property
    def folder(self) -> Path:
        """Its data and its output, temporary."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"flowops-{self._name}-"))
        return self._folder

    @property
    def pid(self) -> int:
        """Of the running server."""
        return self._running().pid

    def start(self, timeout_s: float = 60) -> Self:
        """Run it and wait until it answers; does nothing if it runs. Raises `Missing` or `StartError`."""
        if self._process is not None:
            return self
        if taken := [port for port in self.ports if _is_open(port)]:
            raise StartError(f"{self._name} cannot start: something else listens on port {taken[0]}")
        tied = (sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()))
        command = self._command()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*tied, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in a terminal is for who started it, who then stops it
            )
        deadline = time.monotonic() + timeout_s
        while not (_is_open(self.ports[0]) and self._answers()):
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                why = f"does not answer after {timeout_s:g} s" if code is None else f"ended with status {code}"
                lines = self._output.read_text(errors="replace").splitlines()[-30:]
                raise StartError("\n    ".join([f"{self._name} {why}; it said last:", *(lines or ["(nothing)"])]))
            time.sleep(0.05)
        return self

    def stop(self, timeout_s: float = 20) -> None:
        """End it as an operator would (SIGTERM), by SIGKILL if that takes too long; its data stay."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL); its data stay as they are."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # until it has stopped

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _output(self) -> Path:
        return self.folder / "output.log"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self._name} is not running: start it first")
        return self._process


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now.

    They lie below those that the system gives to clients: one of these could be taken while a server is down, even by
    the client that keeps trying to reach it.
    """
    draw = random.SystemRandom()  # the tests of one run, and of two, must not draw alike
    ports: list[int] = []
    while len(ports) < count:
        port = draw.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def _is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
