"""The engine for Bytewax's own runner, which brings the processes and takes the dataflow.

`build` does what `engine.execute` does before a run; what it does after is done when the process ends well.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from bytewax.dataflow import Dataflow

from flowops.errors import FlowopsError
from flowops.rules.load import find_project
from flowops.streaming.engine import finish, prepare
from flowops.streaming.flow import dataflow
from flowops.streaming.job import load_job
from flowops.streaming.settings import Settings
from flowops.streaming.statefolder import StateFolder


def build(settings: Settings | None = None) -> Dataflow:
    """The dataflow of a replay of the project in `FLOWOPS_PROJECT`, or the nearest one upwards.

    For recovery give the runner `-r` with the state folder's `recovery`, which this makes. Without it a run that is
    interrupted begins anew. Where nothing can be run, or nothing is left to do, the process says so and exits.
    """
    try:
        return _build(settings)
    except FlowopsError as error:
        sys.stderr.write(f"flowops: {error}\n")
        sys.exit(error.exit_code)


def _build(settings: Settings | None) -> Dataflow:
    if settings is None:
        settings = Settings(find_project(Path(os.environ.get("FLOWOPS_PROJECT", "."))))
    job = load_job(settings.folder)
    state = StateFolder(job.config.state)
    state.lock()
    manifest, _ = prepare(job, settings, state)
    if manifest.finished:
        sys.stdout.write("This replay has already finished; `flowops replay --fresh` begins anew.\n")
        sys.exit()
    state.begin_pace(writers=bool(job.networked))
    ended: list[bool] = []

    def leave() -> None:
        if ended and not hasattr(sys, "last_value"):  # on its way out after an exception the runtime closes sinks, too
            finish(job, state, manifest, stopped=False)
        state.unlock()

    atexit.register(leave)
    return dataflow(job, settings, state, _never, on_end=lambda: ended.append(True))


def _never() -> bool:
    return False
