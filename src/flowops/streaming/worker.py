"""One process of a cluster; started by `cluster.run`, not by hand."""

from __future__ import annotations

import sys

import msgspec

from flowops.errors import FlowopsError
from flowops.rules.load import load_project
from flowops.streaming.engine import run_worker
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder


def main(order: str) -> int:
    """Run the worker that `order`, (settings, number, addresses) as JSON, describes; the exit code."""
    settings, number, addresses = msgspec.json.decode(order, type=tuple[Settings, int, list[str]])
    try:
        loaded = load_project(settings.folder)
        state = StateFolder(loaded.state)
        state.read()
        run_worker(loaded, settings, state, number, addresses)
    except FlowopsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
