"""Whether a live run is well, and what it has counted, over HTTP: /healthz, /readyz, /metrics.

Served by the supervisor of a host from the tables in shared memory, so that it answers also when a worker does not.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from flowops import __version__
from flowops.core.plan import Project
from flowops.core.records import ENDED, NO_WATERMARK
from flowops.errors import ConfigError
from flowops.streaming import log
from flowops.streaming.log import say
from flowops.streaming.metrics import (
    COUNTED,
    EPOCH_AGE,
    EVENT_TIME,
    INFO,
    LAG,
    NO_MORE,
    PARTITIONS,
    READY,
    RESTARTS,
    UNREACHABLE,
    WATERMARK_DELAY,
    WORKERS,
    Family,
    Table,
)
from flowops.streaming.pace import Pace
from flowops.streaming.settings import split_address

STARTING: Final = 600.0
"""Seconds that workers may take from their start to the end of their first epoch: a large state is read first."""

State = Literal["starting", "waiting", "running", "restarting", "stopping"]


class Status:
    """How the workers of this host are. Written by the supervisor, read by whoever asks.

    `stalled`: seconds without the end of an epoch after which workers that run count as hanging.
    """

    def __init__(self, project: Project, table: Table, stalled: float) -> None:
        self.project = project
        self.table = table
        self.stalled = stalled
        self.pace: Pace | None = None
        self.workers = 0
        self.restarts = 0
        self.state: State = "starting"
        self._since = time.monotonic()

    def turn(self, state: State) -> None:
        """From now on this is what the supervisor does."""
        self._since = time.monotonic()
        self.state = state

    def epoch_age(self) -> float | None:
        """Seconds since the reader that is furthest behind ended an epoch; None where none did, or none reads."""
        beat = min((beat for beat in self.table.beats() if beat != NO_MORE), default=None)
        return None if beat is None or self.state != "running" else max(0.0, time.monotonic() - beat / 1_000_000)

    def health(self) -> tuple[bool, str]:
        """Whether the engine is alive, and why not. An engine that waits for input still ends its epochs."""
        if self.state != "running":
            return True, self.state
        age = self.epoch_age()
        if age is None and self.table.beats():
            return True, "nothing is read on this host; those that read notice when the engine hangs"
        if age is None:
            taken = time.monotonic() - self._since
            return taken <= STARTING, f"no epoch has ended in {taken:.1f} s since the workers were started"
        return age <= self.stalled, f"the last epoch ended {age:.1f} s ago"

    def readiness(self) -> tuple[bool, str]:
        """Whether events are being acted on, and why not."""
        alive, why = self.health()
        if not alive or self.state != "running":
            return False, why
        if self.watermark() is None:
            return False, "some reader has not announced a watermark yet"
        gone = [labels[0] for labels, values in self.table.series(UNREACHABLE) if values[0]]
        if gone:
            return False, f"cannot reach: {', '.join(gone)}"
        return True, why

    def watermark(self) -> int | None:
        """Of all readers; None until each has announced one."""
        pace = self.pace
        watermark = NO_WATERMARK if pace is None else pace.watermark()
        return watermark if NO_WATERMARK < watermark < ENDED else None


class EngineCollector(Collector):
    """All metrics of this host."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Asked for at every scrape."""
        status = self._status
        for family in COUNTED:
            yield _counted(family, status.table)
        now = time.time()
        project = status.project
        lag, delay, partitions = _empty(LAG), _empty(WATERMARK_DELAY), _empty(PARTITIONS)
        watermarks: dict[int, list[int]] = {}
        for one in status.table.partitions():
            watermarks.setdefault(one.source, []).append(one.watermark)
            if one.lag is not None:
                lag.add_metric((project.sources[one.source].name, one.name), one.lag)
        for source, found in sorted(watermarks.items()):
            name = project.sources[source].name
            partitions.add_metric((name,), len(found))
            if min(found) > NO_WATERMARK // 4:
                delay.add_metric((name,), now - min(found) / 1_000_000)
        yield from (lag, delay, partitions)
        watermark = status.watermark()
        yield _gauge(EVENT_TIME, None if watermark is None else now - watermark / 1_000_000)
        yield _gauge(EPOCH_AGE, status.epoch_age())
        restarts = CounterMetricFamily(RESTARTS.name, RESTARTS.help)
        restarts.add_metric((), status.restarts)
        yield restarts
        yield _gauge(WORKERS, status.workers)
        yield _gauge(READY, status.readiness()[0])
        info = _empty(INFO)
        info.add_metric((__version__, project.name), 1)
        yield info


def _counted(family: Family, table: Table) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (*counts, micros) in table.series(family):
            edges = [*(str(edge) for edge in family.buckets), "+Inf"]
            sums = [sum(counts[: place + 1]) for place in range(len(counts))]
            histogram.add_metric(labels, list(zip(edges, sums, strict=True)), micros / 1_000_000)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, (value,) in table.series(family):
        metric.add_metric(labels, value)
    return metric


def _empty(family: Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _gauge(family: Family, value: float | None) -> GaugeMetricFamily:
    gauge = _empty(family)
    if value is not None:
        gauge.add_metric((), value)
    return gauge


class Monitor:
    """The HTTP server, from its making until `close`. Raises ConfigError when the address cannot be listened on."""

    def __init__(self, address: str, status: Status) -> None:
        host, port = split_address(address)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(EngineCollector(status))

        class Handler(_Handler):
            pass

        Handler.status, Handler.registry = status, registry
        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address} ({error.strerror or error}): choose another with --listen"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Who asks and goes away before the answer is no event; anything else is one line of the log."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            say("no answer over HTTP", log.WARNING, reason=f"{type(error).__name__}: {error}")


_TEXT: Final = "text/plain; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    status: Status
    registry: CollectorRegistry
    timeout = 10
    server_version = "flowops"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(self.registry))
        elif path in ("/healthz", "/readyz"):
            well, why = self.status.health() if path == "/healthz" else self.status.readiness()
            self._answer(
                200 if well else 503, "text/plain; charset=utf-8", f"{'ok' if well else 'bad'}: {why}\n".encode()
            )
        else:
            self._answer(404, _TEXT, b"there is /healthz, /readyz and /metrics\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """A probe every few seconds is no event."""
