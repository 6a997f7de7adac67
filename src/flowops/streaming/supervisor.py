"""A live run, watched: workers that die are started again from the last epoch, after a while, but not for ever."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flowops import __version__
from flowops.core.time import isoformat
from flowops.errors import ConfigError, RunError
from flowops.streaming import cluster, log
from flowops.streaming.cluster import Shared, Stop, WorkerError
from flowops.streaming.failures import disk_error
from flowops.streaming.job import Job
from flowops.streaming.log import say
from flowops.streaming.metrics import Layout, Table
from flowops.streaming.monitor import Monitor, Status
from flowops.streaming.pace import Pace
from flowops.streaming.peers import Peers
from flowops.streaming.progress import OnProgress, Progress, nothing_done, progress_of
from flowops.streaming.settings import Settings, Watch
from flowops.streaming.statefolder import StateFolder

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0
"""Seconds before a restart: doubled from one to the other."""

CALM: Final = 60.0
"""Seconds after which workers that still run count as well: the next delay is the first again."""

WINDOW: Final = 600.0
"""Seconds within which restarts are counted against their limit (`Watch.restarts`)."""

_TELL_EVERY = 10.0


class LostPeerError(RunError):
    """Another host of the cluster began anew or is gone: no fault of this one's worker."""


class Supervisor:
    """Runs the workers of this host, as a context: it gives back what it took when the body ends."""

    def __init__(
        self, job: Job, settings: Settings, state: StateFolder, watch: Watch, stop: Stop, on_progress: OnProgress
    ) -> None:
        self._job = job
        self._settings = settings
        self._state = state
        self._watch = watch
        self._stop = stop
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._before = nothing_done()
        self.all_saved = False
        """Whether the last thing that the workers did was to end well: all that was landed is committed then."""
        self._resources = contextlib.ExitStack()
        self._peers: Peers | None = None
        self._ready = self._told_to_stop = False
        self._tell_at = 0.0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            settings, state = self._settings, self._state
            self._words = os.dup(sys.stderr.fileno())
            stack.callback(os.close, self._words)
            log.write_to(self._words, verbose=self._watch.verbose)
            if settings.hosts:
                own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowops-")))
                state.pace, state.metrics = own / "pace", own / "metrics"
                state.link_recovery(own / "recovery", settings.process, len(settings.hosts))
                cluster_of = f"{self._job.project.name} {__version__}"  # versions are not mixed
                self._peers = Peers(settings.hosts, settings.process, cluster_of)
                stack.callback(self._peers.close)
            layout = Layout(self._job.project)
            rows = 1 if settings.hosts else settings.processes
            state.metrics.unlink(missing_ok=True)
            Table.create(state.metrics, layout, rows)
            table = Table(state.metrics, layout, rows)
            self._status = Status(self._job.project, table, self._watch.stalled)
            if self._watch.listen is not None:
                monitor = Monitor(self._watch.listen, self._status)
                stack.callback(monitor.close)
                say("listening", address=self._watch.listen)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something that another host does, or until this one is asked to stop."""
        said = False
        while not done():
            if not said:
                say("waiting", until=what)
                said = True
            if self._stop.wait(0.5):
                return

    def run(self, *, resumed: bool) -> Progress:
        """Run until asked to stop. Raises RunError when it is given up, ConfigError when it cannot be begun."""
        settings = self._settings
        delay = FIRST_DELAY
        failures: deque[float] = deque()
        say(
            "started",
            project=self._job.project.name,
            processes=settings.workers,
            process=settings.process if settings.hosts else None,
            state=self._state.path,
            resumed=resumed,
        )
        while not self._stop.asked:
            began = time.monotonic()
            try:
                with _failing_as_a_run():
                    self._attempt()
            except LostPeerError as error:
                if self._stop.asked:
                    raise
                say("workers stopped", log.WARNING, reason=error)
                self._status.restarts += 1
            except RunError as error:
                now = time.monotonic()
                if self._stop.asked:
                    raise
                if now - began > CALM:
                    delay = FIRST_DELAY
                failures.append(now)
                while failures[0] < now - WINDOW:
                    failures.popleft()
                if len(failures) > self._watch.restarts:
                    raise self._given_up(error, len(failures) - 1) from error
                self._mourn(error, delay, len(failures))
                self._status.turn("restarting")
                if self._stop.wait(delay):
                    break
                delay = min(2 * delay, LONGEST_DELAY)
                self._status.restarts += 1
            except ConfigError as error:
                if self._status.restarts:  # it ran before: no wrong use, but something that must not be gone on with
                    raise RunError(str(error)) from error
                raise
        say("stopped", records=self._before.read)
        return self._before

    def _attempt(self) -> None:
        """One life of the workers."""
        state, status, peers = self._state, self._status, self._peers
        self._ready = self._told_to_stop = False
        state.begin_pace(writers=bool(self._job.networked))
        status.pace = pace = Pace(state.pace)
        status.table.forget_readers()
        if peers is not None:
            status.turn("waiting")
            if not peers.gather(self._stop.wait, lambda missing: say("waiting", hosts=missing)):
                return
            peers.began(state.pace)
        status.turn("running")
        self.all_saved = False
        shared = Shared(state.pace, state.recovery, state.metrics, self._words, self._watch.verbose)
        try:
            cluster.run(self._settings, state, shared, self._stop, self._tick)
        finally:
            if peers is not None:
                peers.ended()
            status.workers = 0
            self._before = progress_of(pace, self._began, self._before)
        if not self._stop.asked and not self._told_to_stop:
            raise RunError("the workers ended by themselves, though nobody asked them to")
        self.all_saved = True

    def _tick(self, workers: Sequence[int]) -> None:
        status, peers = self._status, self._peers
        status.workers = len(workers)
        if self._stop.asked and status.state != "stopping":
            say("stopping")
            status.turn("stopping")
            if peers is not None:
                peers.stop()
        if peers is not None:
            self._heed(peers)
        self._tell()

    def _heed(self, peers: Peers) -> None:
        """Do as the other hosts do: stop with them, well or at once."""
        ending = self._stop.asked or self._told_to_stop
        if peers.is_stopping() and not ending:
            say("stopping", reason="another host stops; this one waits for it to come back")
            self._told_to_stop = ending = True
            self._stop.hand_on()
        if trouble := peers.trouble(ending=ending):
            raise LostPeerError(f"{trouble}; the state is kept: all hosts go on from the last epoch")

    def _tell(self) -> None:
        pace = self._status.pace
        if pace is None:
            return
        progress = progress_of(pace, self._began, self._before)
        self._on_progress(progress)
        watermark = self._status.watermark()
        if watermark is None or self._status.state != "running":
            return
        if not self._ready:
            self._ready = True
            say("ready", watermark=isoformat(watermark))
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_EVERY
            say(
                "progress",
                log.DEBUG,
                records=progress.read,
                watermark=isoformat(watermark),
                dispatched=progress.dispatched,
                live_users=progress.live_users,
            )

    def _mourn(self, error: RunError, delay: float, failures: int) -> None:
        worker = error.worker if isinstance(error, WorkerError) else None
        cause = error.cause if isinstance(error, WorkerError) else str(error)
        say("worker died", log.WARNING, worker=worker, reason=cause, restart_in=f"{delay:g}s", failures=failures)
        for note in getattr(error, "__notes__", ()):
            say("worker's last words", log.DEBUG, worker=worker, words=note)

    def _given_up(self, error: RunError, restarts: int) -> RunError:
        minutes = WINDOW / 60
        given_up = RunError(f"{error}\nGiven up after {restarts} restarts within {minutes:.0f} minutes (--restarts).")
        for note in getattr(error, "__notes__", ()):
            given_up.add_note(note)
        return given_up


@contextlib.contextmanager
def _failing_as_a_run() -> Iterator[None]:
    """What the operating system refuses here, a full disk for one, may pass, too."""
    try:
        yield
    except OSError as error:
        raise disk_error(error) from error
