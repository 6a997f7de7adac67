"""One process of a cluster; started by `cluster.run`, not by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from flowops.errors import FlowopsError
from flowops.streaming.engine import run_worker
from flowops.streaming.job import load_job
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder


def main(order: str) -> int:
    """Run the worker that `order`, (settings, number, addresses) as JSON, describes; the exit code."""
    settings, number, addresses = msgspec.json.decode(order, type=tuple[Settings, int, list[str]], dec_hook=_path)
    try:
        job = load_job(settings.folder)
        state = StateFolder(job.config.state)
        state.read()
        run_worker(job, settings, state, number, addresses)
    except FlowopsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _path(kind: type, value: str) -> Path:  # noqa: ARG001 - the only type that JSON does not know
    return Path(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
