"""Runs of the engine: state folder, processes, progress, stop, resume."""

from __future__ import annotations

import gc
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bytewax._bytewax import cli_main
from bytewax.recovery import RecoveryConfig

from flowops.core.state import FORMAT
from flowops.errors import ConfigError, InputError, StateError
from flowops.streaming import cluster
from flowops.streaming.cluster import STOP_SIGNALS, Shared, Stop
from flowops.streaming.failures import disk_error, explained, forget
from flowops.streaming.flow import dataflow
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import Job
from flowops.streaming.metrics import Meter
from flowops.streaming.pace import Pace
from flowops.streaming.progress import OnProgress, Progress, nothing_done, progress_of
from flowops.streaming.settings import Settings, Watch
from flowops.streaming.statefolder import Manifest, StateFolder, differences, mark_of, wall_clock
from flowops.warehouse.outcomes import FILE, publish
from flowops.warehouse.segments import found, root

_TICK = 0.2
_COLLECT_AFTER = 200_000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: `finished` (all input read), `stopped` (asked to), or `already finished` (nothing was done)."""

    status: str
    resumed: bool
    progress: Progress


def execute(
    job: Job,
    settings: Settings,
    *,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    watch: Watch | None = None,
) -> Ended:
    """Run the engine until its input ends (replay) or it is told to stop, and publish the outcomes.

    A run that was interrupted goes on where it was. A live run is supervised, as `watch` says: workers that die are
    started again. Raises StateError when the state folder belongs to another run, is locked or damaged; RunError when
    the run fails, with its state kept.
    """
    state = StateFolder(job.config.state)
    state.lock(settings.process if settings.hosts else None)
    try:
        return _execute(job, settings, state, fresh, on_progress or _ignore, watch or Watch())
    except OSError as error:
        raise disk_error(error) from error
    finally:
        state.unlock()


def _execute(
    job: Job, settings: Settings, state: StateFolder, fresh: bool, on_progress: OnProgress, watch: Watch
) -> Ended:
    if fresh:
        remove_run(job, state)
    if settings.follow:
        return _stay(job, settings, state, on_progress, watch)
    manifest, resumed = prepare(job, settings, state)
    if manifest.finished:
        return Ended("already finished", resumed, nothing_done())
    state.begin_pace(writers=bool(job.networked))
    pace = Pace(state.pace)
    began = time.monotonic()

    def report(_: object = None) -> None:
        on_progress(progress_of(pace, began))

    if settings.processes > 1:
        with Stop().heeding_signals() as stop:
            cluster.run(settings, state, Shared(state.pace, state.recovery), stop, report)
        stopped = stop.asked
    else:
        with _reporting(report):
            stopped = run_worker(job, settings, state)
    finish(job, state, manifest, stopped=stopped)
    return Ended("stopped" if stopped else "finished", resumed, progress_of(pace, began))


def _stay(job: Job, settings: Settings, state: StateFolder, on_progress: OnProgress, watch: Watch) -> Ended:
    """A live run ends only when it is told to. Of several hosts the first one makes the state ready and publishes."""
    from flowops.streaming.supervisor import Supervisor  # noqa: PLC0415 - a replay starts without an HTTP server

    first = settings.process == 0
    with Stop().heeding_signals() as stop, Supervisor(job, settings, state, watch, stop, on_progress) as supervisor:
        if first:
            manifest, resumed = prepare(job, settings, state)
        else:
            supervisor.wait_until(lambda: state.read() is not None, f"{state.path} to be made ready by process 0")
            if stop.asked:
                return Ended("stopped", False, nothing_done())
            manifest, resumed = prepare(job, settings, state)
        progress = supervisor.run(resumed=resumed)
        if first and supervisor.all_saved:
            finish(job, state, manifest, stopped=True)
        elif first and not (job.config.warehouse / FILE).exists():
            publish(job.config.warehouse, 0)
        return Ended("stopped", resumed, progress)


def prepare(job: Job, settings: Settings, state: StateFolder) -> tuple[Manifest, bool]:
    """Make the locked state folder ready; its manifest, and whether a run goes on.

    Raises StateError when the folder holds the state of another run: other rules, other inputs, another mode.
    """
    _refuse_network(job, settings)
    wanted = _manifest_of(job, settings)
    known = state.read()
    if known is None:
        _refuse_leftovers(job)
        wanted.bounds = _inputs(job, settings).bounds()
        state.begin(wanted)
        return wanted, False
    changed = differences(known, wanted)
    if changed:
        listed = "".join(f"\n  - {line}" for line in changed)
        raise StateError(
            f"{state.path} holds the state of another run:{listed}\nUndo the change to go on with it, or begin anew"
            f" with `flowops {settings.mode} --fresh`"
        )
    if known.rules != wanted.rules and settings.process == 0:
        known.rules = wanted.rules
        state.write(known)
    return known, True


def finish(job: Job, state: StateFolder, manifest: Manifest, *, stopped: bool) -> None:
    """After a run that ended well: all that it landed may be shown."""
    publish(job.config.warehouse, max((segment.last for segment in found(job.config.warehouse)), default=0))
    if not stopped:
        manifest.finished = True
        state.write(manifest)


def run_worker(
    job: Job,
    settings: Settings,
    state: StateFolder,
    process: int | None = None,
    addresses: list[str] | None = None,
    meter: Meter | None = None,
) -> bool:
    """Run the dataflow in this process, alone or as number `process` of a cluster; whether it was told to stop."""
    with _stop_signals() as stopping:
        flow = dataflow(job, settings, state, stopping, meter=meter)
        gc.set_threshold(_COLLECT_AFTER, 20, 100)  # what a run makes seldom has cycles
        forget()
        try:
            cli_main(
                flow,
                process_id=process,
                addresses=addresses,
                epoch_interval=settings.epoch_interval,
                recovery_config=RecoveryConfig(str(state.recovery)),
            )
        except BaseException as error:  # a panic of the runtime is not an Exception
            raise explained(error) from error
        return stopping()


def remove_run(job: Job, state: StateFolder) -> None:
    """Remove a run's state, outcomes and file-channel output."""
    state.clear()
    for path in _leftovers(job):
        path.unlink(missing_ok=True)
    shutil.rmtree(root(job.config.warehouse), ignore_errors=True)


def _leftovers(job: Job) -> Iterator[Path]:
    for channel in job.config.channels.values():
        if channel.file is not None and (job.folder / channel.file).is_file():
            yield job.folder / channel.file
    outcomes = job.config.warehouse / FILE
    if outcomes.exists():
        yield outcomes


def _refuse_leftovers(job: Job) -> None:
    left = [path for path in _leftovers(job) if path.stat().st_size]
    if left:
        listed = ", ".join(str(path) for path in left)
        raise StateError(
            f"there is output of an earlier run, but no state that belongs to it: {listed}. Move it away, or remove it"
            " with --fresh"
        )


def _refuse_network(job: Job, settings: Settings) -> None:
    """A replay of an old log must not message real people (S31a)."""
    if settings.mode == "replay" and job.networked:
        channel, plan = next(iter(job.networked.items()))
        raise ConfigError(
            f"a replay delivers to files and the console only, but the plan `{plan}` sends by `{channel}`, a channel of"
            f" type `{job.config.channels[channel].type}`: give the channel `type: file` to try the plan on a log, or"
            " run it live with `flowops run`"
        )


def _manifest_of(job: Job, settings: Settings) -> Manifest:
    inputs = {}
    if not settings.follow:  # what grows is not the same twice
        for spec in _inputs(job, settings).files():
            try:
                inputs[spec.key] = mark_of(settings.folder / spec.name)
            except OSError as error:
                raise InputError(f"{settings.folder / spec.name} cannot be read: {error.strerror}") from error
    return Manifest(
        FORMAT,
        settings.mode,
        settings.until,
        dict(job.config.files),
        inputs,
        wall_clock() if settings.follow else None,
        declared=job.config.declared,
    )


def _inputs(job: Job, settings: Settings) -> Inputs:
    return Inputs(job.project, settings.folder, job.config.connections, follow=settings.follow)


@contextmanager
def _reporting(report: Callable[[], None]) -> Iterator[None]:
    """Call `report` now and then while the body runs, and once at its end."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(_TICK):
            report()

    thread = threading.Thread(target=loop, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        report()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask the run to stop: its readers end, the epoch is closed, the state is saved.

    What is given answers whether one came. It is no threading.Event: a signal that interrupts its `set` would wait for
    its lock for ever.

    A worker is born with both blocked (`cluster.run`), so that none is lost, and none kills it, before this.
    """
    came = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal came
        came = True

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(progress: Progress) -> None:
    """Nobody wants to know."""
