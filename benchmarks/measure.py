"""Processes measured as the operating system sees them: wall time, CPU time, memory, of the whole process."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.05


class CommandError(Exception):
    """A measured command failed; the message has the end of what it said."""


@dataclass(frozen=True)
class Run:
    """One run: seconds, bytes, and what it printed. `resident` is (seconds since the start, bytes), if watched."""

    wall: float
    cpu: float
    peak: int
    stdout: str
    resident: list[tuple[float, int]] = field(default_factory=list)

    def settled(self) -> float:
        """Resident memory when the load is in: the median over the last half of the run but for its final tenth."""
        inside = [size for at, size in self.resident if 0.5 * self.wall <= at <= 0.9 * self.wall]
        if not inside:
            raise CommandError(f"a run of {self.wall:.2f} s is too short for its memory to be watched")
        return median(inside)


def run(command: Sequence[str | Path], *, watch: bool = False) -> Run:
    """Run the command to its end. CPU time counts the processes that it waited for.

    With `watch`, memory is sampled twenty times a second over the process and all its descendants, and `peak` is the
    highest sum; else `peak` is the greatest of any one process, as the kernel counted it. Raises CommandError when
    the command fails.
    """
    samples: list[tuple[float, int]] = []
    done = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        words = [str(word) for word in command]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment())
        watcher = threading.Thread(target=sample, args=(process.pid, start, samples, done))
        if watch:
            watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if watch:
            done.set()
            watcher.join()
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = (out.read() + err.read()).decode(errors="replace")[-2000:]
            raise CommandError(f"{' '.join(map(str, command))}\nexited with {process.returncode}: {said}")
        peak = max((size for _, size in samples), default=usage.ru_maxrss * 1024)
        return Run(wall, usage.ru_utime + usage.ru_stime, peak, out.read().decode(), samples)


def environment() -> dict[str, str]:
    """As wherever a program is used twice: its modules are compiled once."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def sample(pid: int, start: float, samples: list[tuple[float, int]], done: threading.Event) -> None:
    """Note the resident memory of a process and its descendants, as (seconds since `start`, bytes), until `done`."""
    while not done.wait(_EVERY):
        size = resident(pid)
        if size:
            samples.append((time.perf_counter() - start, size))


def resident(pid: int) -> int:
    """Resident bytes of the process and its descendants; 0 for one that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * _PAGE + sum(resident(int(child)) for child in children)
