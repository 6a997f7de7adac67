"""`flowops` in a process that is forked from one which has imported all of it.

Hundreds of tests run a command that does its work in a moment; to start Python and to import DuckDB and the rest takes
ten times as long. Everything else is as in a process of its own: its memory, its signals, its exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PROCESSES = multiprocessing.get_context("forkserver")
"""For all tests that fork: there is one such server, and what it imports is said once."""

PROCESSES.set_forkserver_preload(
    [
        "flowops.cli.main",
        "flowops.lab.backtest",
        "flowops.lab.diff",
        "flowops.lab.explain",
        "flowops.lab.rehearsal",
        "flowops.rules.parser",
        "flowops.streaming.engine",
        "flowops.warehouse.compact",
        "flowops.warehouse.reports",
    ]
)


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: str | Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """`flowops` with these arguments, to its end. Raises subprocess.TimeoutExpired, and it is killed then."""
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = PROCESSES.Process(target=_main, args=(list(arguments), dict(env), str(cwd or Path.cwd()), *said))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["flowops", *arguments], timeout)
        out, err = (path.read_text(encoding="utf-8") for path in said)
        return subprocess.CompletedProcess(["flowops", *arguments], process.exitcode, out, err)


def _main(arguments: list[str], env: dict[str, str], cwd: str, stdout: Path, stderr: Path) -> None:
    """In the process that was forked."""
    for number, path in enumerate((Path(os.devnull), stdout, stderr)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - they stay open to the end
        for number, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.argv = ["flowops", *arguments]

    from flowops.cli.main import main  # noqa: PLC0415 - it is there already

    main()
