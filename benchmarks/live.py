"""The live parts of `make bench`: Kafka to Kafka beside a bare loop, latency, restoring, stalls, and a long run.

Each starts a broker of its own and `flowops run` as a process, watches both from outside, and stops them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import measure
from generator import Log, make
from measure import CommandError, Run
from projects import write_project
from tables import Bar

if TYPE_CHECKING:
    from run import Bench
    from servers.kafka import Broker

HERE = Path(__file__).resolve().parent
FLOWOPS = Path(sys.executable).with_name("flowops")
PARTITIONS = 4
BOUND_MS = 1_000  # `out_of_orderness` where latency is measured
PATIENCE = 600.0


@contextmanager
def kafka_broker() -> Iterator[Broker]:
    """A broker, as the tests start it."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from servers.kafka import Broker  # noqa: PLC0415 - of the tests, which must be importable first

    with Broker() as broker:
        yield broker


class Engine:
    """`flowops run` on a project, from start to stop. What it says goes to a file."""

    def __init__(self, project: Path, processes: int = 1) -> None:
        self.project = project
        self._command = [FLOWOPS, "run", "--project", project, "--processes", processes]
        self._samples: list[tuple[float, int]] = []
        self._done = threading.Event()

    def __enter__(self) -> Self:
        (self.project / ".flowops" / "pace").unlink(missing_ok=True)
        self._said = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(word) for word in self._command],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env=measure.environment(),
        )
        arguments = (self._process.pid, self.started, self._samples, self._done)
        self._watcher = threading.Thread(target=measure.sample, args=arguments)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def pace(self) -> Mapping[str, int]:
        """What the engine's shared table says: records read, messages dispatched, users remembered; zeros before."""
        from flowops.streaming.pace import Pace  # noqa: PLC0415 - flowops may be run elsewhere

        path = self.project / ".flowops" / "pace"
        if not path.exists() or not path.stat().st_size:
            return {"read": 0, "dispatched": 0, "live": 0}
        table = Pace(path)
        return {"read": table.read(), "dispatched": table.dispatched(), "live": table.live_users()}

    def wait(self, what: Callable[[], bool], every: float = 0.02) -> float:
        """Wait until it holds; seconds since the start. CommandError when the engine ends, or never gets there."""
        while not what():
            if self._process.poll() is not None:
                raise CommandError(f"flowops run ended: {self.words()}")
            if time.perf_counter() - self.started > PATIENCE:
                raise CommandError(f"flowops run did not get there: {self.words()}")
            time.sleep(every)
        return time.perf_counter() - self.started

    def stop(self) -> Run:
        """End it as an operator would; its figures from the start to now."""
        self._process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self._process.pid, 0)
        wall = time.perf_counter() - self.started
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._done.set()
        self._watcher.join()
        if self._process.returncode:
            raise CommandError(f"flowops run exited with {self._process.returncode}: {self.words()}")
        peak = max((size for _, size in self._samples), default=usage.ru_maxrss * 1024)
        return Run(wall, usage.ru_utime + usage.ru_stime, peak, "", list(self._samples))

    def resident(self) -> int:
        """Bytes resident now, of all its processes."""
        return measure.resident(self._process.pid)

    def words(self) -> str:
        """The end of what it said."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-2000:]


@dataclass
class Output:
    """A topic of messages, read by a thread of this process: who got what, and when it was appended."""

    bootstrap: str
    topic: str

    def __post_init__(self) -> None:
        self.appended: dict[str, int] = {}
        self.repeated = 0
        self.evidence: dict[str, str] = {}  # dispatch id -> the event that it answers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        for message in consume(self.bootstrap, self.topic, self._stop):
            value = message.value()
            if value is None:
                continue
            command = json.loads(value)
            dispatch_id = command["dispatch_id"]
            self.repeated += dispatch_id in self.appended
            self.appended[dispatch_id] = message.timestamp()[1]
            self.evidence[dispatch_id] = command["evidence"][-1]


def consume(bootstrap: str, topic: str, stop: threading.Event) -> Iterator[Any]:
    """The committed messages of a topic from its beginning, until told to stop."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415

    options = {
        "bootstrap.servers": bootstrap,
        "group.id": "bench",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(options)
    numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    while not stop.is_set():
        yield from (message for message in consumer.consume(5_000, timeout=0.1) if message.error() is None)
    consumer.close()


def live_project(folder: Path, job: str, bootstrap: str, source: str, sink: str | None) -> Path:
    """A job over topics instead of files; without `sink` its messages go to a file still.

    Messages of a log of years ago are not to be taken for expired.
    """
    write_project(folder, job, [])
    for plan in (folder / "rules").iterdir():
        text = plan.read_text(encoding="utf-8")
        plan.write_text(text.replace("  channel: push\n", "  channel: push\n  expires: 3600d\n"), encoding="utf-8")
    settings = folder / "flowops.yaml"
    text = settings.read_text(encoding="utf-8")
    file, kafka = "    file: data/*.jsonl\n", f"    kafka: {{topic: {source}, brokers: ['{bootstrap}']}}\n"
    push = "  push: {type: file, path: out/push.jsonl, receipts: assumed}\n"
    topic = f"  push: {{type: kafka, topic: {sink}, brokers: ['{bootstrap}'], receipts: assumed}}\n"
    if file not in text or push not in text:
        raise CommandError("benchmarks/projects.py no longer writes what live.py replaces")
    text = text.replace(file, kafka) if sink is None else text.replace(file, kafka).replace(push, topic)
    settings.write_text(text, encoding="utf-8")
    return folder


def kafka(bench: Bench) -> None:
    """J1s from a topic of four partitions to a topic, one process and two, beside a bare consume-and-decode loop."""
    events, users = bench.sizes.large
    (log,) = make(Log("day", events, users))
    with kafka_broker() as broker:
        topic = broker.create_topic("web", partitions=PARTITIONS)
        feed = [sys.executable, HERE / "feed.py", broker.bootstrap, topic, "--partitions", PARTITIONS, "--log", log]
        bench.say(f"kafka: {measure.run([str(word) for word in feed]).stdout.strip()} events in the topic")
        expected = json.loads(measure.run(bench.loop("J1s", log)).stdout)["dispatches"]
        bare: list[str | Path] = [sys.executable, HERE / "bare_kafka.py", broker.bootstrap, topic, str(events)]
        runs: dict[str, list[Run]] = {"bare loop": [], "flowops, 1 process(es)": [], "flowops, 2 process(es)": []}
        for turn in range(bench.sizes.repeat):
            runs["bare loop"].append(measure.run(bare))
            for processes in (1, 2):
                sink = broker.create_topic(f"push-{turn}-{processes}", partitions=PARTITIONS)
                folder = live_project(bench.work / sink, "J1s", broker.bootstrap, topic, sink)
                with Output(broker.bootstrap, sink) as output, Engine(folder, processes) as engine:
                    seen = output.appended
                    wall = engine.wait(lambda seen=seen: len(seen) >= expected)  # type: ignore[misc]
                    stopped = engine.stop()
                if output.repeated:
                    raise CommandError(f"kafka J1s: {output.repeated} messages stand in the topic twice")
                runs[f"flowops, {processes} process(es)"].append(Run(wall, stopped.cpu, stopped.peak, ""))
            for name, found in runs.items():
                bench.say(f"kafka J1s {turn + 1}/{bench.sizes.repeat} {name}: {found[-1].wall:.2f} s")
        bench.keep("kafka", "J1s", events, runs)
    walls = {name: median(run.wall for run in found) for name, found in runs.items()}
    cpus = {name: median(run.cpu for run in found) for name, found in runs.items()}
    loop, one, two = walls
    bench.bars.append(Bar("Kafka to Kafka, J1s: of the bare loop", walls[loop] / walls[one], 0.4))
    bench.bars.append(
        Bar("Kafka to Kafka, J1s: CPU of two processes, of one's", cpus[two] / cpus[one], 1.4, at_most=True)
    )
    bench.notes.append(f"Kafka to Kafka: two processes {walls[one] / walls[two]:.2f} times as fast as one.")


LATENCY_PLAN = """\
plan: thanks
trigger: {event: order, where: category = 'c5'}
send: {channel: push, content: {title: Thank you, body: "{{ order.sku }} is on its way."}}
"""


def latency(bench: Bench) -> None:
    """From the append of an order to the append of the message that answers it, at a rate, as they happen."""
    log_time = {"message.timestamp.type": "LogAppendTime"}
    rate, seconds = bench.sizes.rate, bench.sizes.seconds
    with kafka_broker() as broker:
        source = broker.create_topic("web", partitions=PARTITIONS, config=log_time)
        sink = broker.create_topic("push", partitions=PARTITIONS, config=log_time)
        folder = live_project(bench.work / "latency", "J1", broker.bootstrap, source, sink)
        settings = folder / "flowops.yaml"
        text = settings.read_text(encoding="utf-8").replace("out_of_orderness: 5s", f"out_of_orderness: {BOUND_MS}ms")
        settings.write_text(text.replace("amount: money}", "amount: money, category: string}"), encoding="utf-8")
        (folder / "rules" / "unfinished-order.yaml").write_text(LATENCY_PLAN, encoding="utf-8")
        with Output(broker.bootstrap, sink) as output, Engine(folder) as engine:
            time.sleep(5)
            words = [sys.executable, HERE / "feed.py", broker.bootstrap, source, "--partitions", PARTITIONS]
            options = ["--rate", rate, "--seconds", seconds]
            sent = int(measure.run([str(word) for word in [*words, *options]]).stdout)
            heard = _appended(broker.bootstrap, source, sent)
            engine.wait(lambda: len(output.appended) >= len(heard))
            engine.stop()
    waits = sorted(at - heard[output.evidence[dispatch_id]] for dispatch_id, at in output.appended.items())
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    bench.bars.append(
        Bar(f"append to append, p99 at {rate:,} events/s", float(p99), BOUND_MS + 500, at_most=True, unit="ms")
    )
    bench.notes.append(
        f"Append to append at {rate:,} events/s for {seconds:g} s with a bound of {BOUND_MS} ms:"
        f" p50 {p50:,} ms, p99 {p99:,} ms, most {waits[-1]:,} ms over {len(waits):,} messages."
    )


def _appended(bootstrap: str, topic: str, count: int) -> dict[str, int]:
    """When each event that the plan hears was appended, by event id; reads `count` messages."""
    found: dict[str, int] = {}
    stop = threading.Event()
    for number, message in enumerate(consume(bootstrap, topic, stop), 1):
        event = json.loads(message.value())
        if event["category"] == "c5":
            found[event["event_id"]] = message.timestamp()[1]
        if number >= count:
            stop.set()
    return found


def restore(bench: Bench) -> None:
    """How long a stopped engine with a wait pending for each of very many users takes to be at work again."""
    live = bench.sizes.live
    folder = write_project(bench.work / "restore", "J1", make(Log("pending", 100_000, live)))
    (folder / "rules" / "unfinished-order.yaml").write_text(
        (folder / "rules" / "unfinished-order.yaml").read_text(encoding="utf-8").replace("within: 1h", "within: 3600d"),
        encoding="utf-8",
    )
    with Engine(folder) as engine:
        engine.wait(lambda: engine.pace()["live"] >= live)
        engine.wait(lambda: engine.pace()["read"] >= live + 100_000)
        time.sleep(3)
        engine.stop()
    took = []
    for turn in range(bench.sizes.repeat):
        with Engine(folder) as engine:
            took.append(engine.wait(lambda engine=engine: engine.pace()["live"] >= live))  # type: ignore[misc]
            engine.stop()
        bench.say(f"restore {turn + 1}/{bench.sizes.repeat}: {took[-1]:.2f} s")
    bench.bars.append(Bar(f"restore of {live:,} live users", median(took), 10, at_most=True, unit="s"))


def stalls(bench: Bench) -> None:
    """The longest time in which nothing is read while a backlog is there, state being saved every second."""
    live, touching = bench.sizes.live, bench.sizes.touching
    folder = write_project(bench.work / "stalls", "touched", make(Log("touched", touching, live, heard=0.2)))
    plan = folder / "rules" / "unfinished-order.yaml"
    plan.write_text(plan.read_text(encoding="utf-8").replace("within: 6h", "within: 3600d"), encoding="utf-8")
    with Engine(folder) as engine:
        engine.wait(lambda: engine.pace()["live"] >= live)
        longest, last, since = 0.0, engine.pace()["read"], time.perf_counter()
        while last < live + touching:
            time.sleep(0.002)
            read, now = engine.pace()["read"], time.perf_counter()
            if read > last:
                longest, last, since = max(longest, now - since), read, now
            elif now - since > PATIENCE:
                raise CommandError(f"stalls: nothing is read any more: {engine.words()}")
        engine.stop()
    bar = f"longest stall with {live:,} live users, saved every second"
    bench.bars.append(Bar(bar, 1000 * longest, 500, at_most=True, unit="ms"))


def soak(bench: Bench) -> None:
    """Memory and state folder over a long run at full speed: the last part of it against its middle.

    Its messages go to a file: of one to a network channel something is remembered until it expires, and for a week
    more, so in a log of years ago, which would have expired at once, for ever.
    """
    events = bench.sizes.soak
    users = events // 200
    (log,) = make(Log("day", events, users, hours=240))
    with kafka_broker() as broker:
        topic = broker.create_topic("web", partitions=PARTITIONS)
        feed = [sys.executable, HERE / "feed.py", broker.bootstrap, topic, "--partitions", PARTITIONS, "--log", log]
        bench.say(f"soak: {measure.run([str(word) for word in feed]).stdout.strip()} events in the topic")
        folder = live_project(bench.work / "soak", "day", broker.bootstrap, topic, None)
        samples: list[tuple[int, int, int]] = []
        with Engine(folder) as engine:
            while not samples or samples[-1][0] < events:
                engine.wait(lambda: True)
                time.sleep(0.5)
                samples.append((engine.pace()["read"], engine.resident(), _size(folder / ".flowops")))
            run = engine.stop()

    def level(sample: int, begin: float, end: float) -> float:
        return median(each[sample] for each in samples if begin * events <= each[0] <= end * events)

    for sample, what in ((1, "memory"), (2, "state folder")):
        growth = level(sample, 0.8, 1.0) / level(sample, 0.4, 0.6)
        bench.bars.append(Bar(f"{events:,} events at speed: {what}, end against middle", growth, 1.1, at_most=True))
    bench.notes.append(
        f"The long run: {events / run.wall:,.0f} events/s, {level(1, 0.8, 1.0) / 1e6:,.0f} MB resident,"
        f" state folder {level(2, 0.8, 1.0) / 1e6:,.0f} MB."
    )


def _size(folder: Path) -> int:
    """Bytes of all files in a folder that changes meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
