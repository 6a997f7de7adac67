"""One process of a cluster; started by `cluster.run`, not by hand."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import msgspec

from flowops.errors import FlowopsError
from flowops.streaming import log
from flowops.streaming.cluster import PANICKED, Order, await_listeners
from flowops.streaming.engine import run_worker
from flowops.streaming.failures import RuntimePanicError, own_streams
from flowops.streaming.job import load_job
from flowops.streaming.metrics import Meter
from flowops.streaming.statefolder import StateFolder


def main(text: str) -> None:
    """Run the worker that an order, as JSON, describes."""
    order = msgspec.json.decode(text, type=Order, dec_hook=_path)
    if order.words is not None:
        log.write_to(order.words, verbose=order.verbose)
    threading.Thread(target=_stop_without, args=(order.parent,), name="parent", daemon=True).start()
    try:
        with own_streams():
            job = load_job(order.settings.folder)
            state = StateFolder(job.config.state, pace=order.pace, recovery=order.recovery)
            state.read()
            meter = None if order.metrics is None else Meter(order.metrics, job.project, order.row, order.rows)
            await_listeners(order.addresses[: order.process])
            run_worker(job, order.settings, state, order.process, order.addresses, meter)
    except RuntimePanicError as error:
        _leave(PANICKED, f"{error}\n{''.join(error.__notes__)}")
    except FlowopsError as error:
        _leave(error.exit_code, str(error))


def _leave(code: int, words: str) -> NoReturn:
    """End at once: what is left of a runtime that failed may abort a process that ends in good order."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
    os._exit(code)


def _stop_without(parent: int) -> None:
    """Stop, state saved, when the parent has died: nobody would publish what this worker does, or stop it."""
    os.read(parent, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _path(kind: type, value: str) -> Path:  # noqa: ARG001 - the only type that JSON does not know
    return Path(value)


if __name__ == "__main__":
    main(sys.argv[1])
