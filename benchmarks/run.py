"""The harness behind `make bench`: every contestant as a whole process, in turns, in one run; medians, ratios, bars.

docs/performance.md says how to read what this prints.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from rich.console import Console

import live
import measure
from generator import Log, cache, make
from measure import CommandError, Run
from projects import write_project
from tables import Bar, Figures, bars_sheet, figures_sheet, fill_in, on_screen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FLOWOPS = Path(sys.executable).with_name("flowops")
EPOCH = 10.0  # seconds of an epoch of `flowops replay`
TOUCHED = 0.2  # the share of live users that an epoch touches, in the bar about snapshots

ENGINE, LOOP, PEER = "flowops", "loop", "Bytewax by user"
SECTIONS = (
    "start", "lint", "speed", "plans", "backtest", "processes", "memory", "snapshots",
    "kafka", "latency", "restore", "stalls", "soak",
)  # fmt: skip

Command: TypeAlias = Sequence[str | Path]


@dataclass(frozen=True)
class Sizes:
    """How large each part is. `small` and `large` are (events, users)."""

    small: tuple[int, int]
    large: tuple[int, int]
    live: int  # users with a wait pending, for memory and snapshots
    unheard: int  # lines after these users' views, for memory
    touching: int  # the same, for snapshots
    repeat: int
    rate: int = 20_000  # events a second, for latency
    seconds: float = 60
    soak: int = 20_000_000


FULL = Sizes((1_000_000, 100_000), (5_000_000, 500_000), 1_000_000, 2_000_000, 6_000_000, 3)
QUICK = Sizes((50_000, 5_000), (200_000, 20_000), 100_000, 300_000, 300_000, 1, 5_000, 5, 400_000)


class Bench:
    """One run of the harness: where it works, and what it has found."""

    def __init__(self, work: Path, sizes: Sizes) -> None:
        self.work = work
        self.sizes = sizes
        self.figures: list[Figures] = []
        self.bars: list[Bar] = []
        self.notes: list[str] = []
        self.start_up: dict[str, float] = {}
        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """Progress, for whoever waits."""
        self._console.print(text, markup=False, highlight=False)

    def replay(self, job: str, files: list[Path], processes: int = 1) -> Command:
        """The engine's command for a job over these files; writes its project."""
        folder = write_project(self.work / f"{job}-{files[0].parent.name}-{processes}", job, files)
        command: list[str | Path] = [FLOWOPS, "replay", "--project", folder, "--fresh", "--json"]
        return command if processes == 1 else [*command, "--processes", str(processes)]

    def loop(self, job: str, log: Path) -> Command:
        """The command of the hand-written loop."""
        return [sys.executable, HERE / "loops.py", job, log, self.work / f"loop-{job}.jsonl"]

    def peer(self, job: str, log: Path) -> Command:
        """The command of the flow keyed by user."""
        return [sys.executable, HERE / "per_user_bytewax.py", job, log, self.work / f"peer-{job}.jsonl"]

    def race(
        self, part: str, job: str, events: int, contestants: Mapping[str, Command], *, watch: bool = False
    ) -> dict[str, list[Run]]:
        """Run the contestants in turns, A B A B, and keep their figures."""
        runs: dict[str, list[Run]] = {name: [] for name in contestants}
        for turn in range(self.sizes.repeat):
            for name, command in contestants.items():
                result = measure.run(command, watch=watch)
                runs[name].append(result)
                self.say(f"{part} {job} {turn + 1}/{self.sizes.repeat} {name}: {result.wall:.2f} s")
        self.keep(part, job, events, runs)
        return runs

    def keep(self, part: str, job: str, events: int, runs: Mapping[str, list[Run]]) -> None:
        """Keep the medians of contestants."""
        for name, results in runs.items():
            walls = [result.wall for result in results]
            self.figures.append(
                Figures(
                    part, job, name, events, len(results), median(walls), min(walls), max(walls),
                    median(result.cpu for result in results), int(median(result.peak for result in results)),
                )
            )  # fmt: skip

    def rate(self, part: str, job: str, contestant: str) -> float:
        """Events per second found before."""
        return self._find(part, job, contestant).rate

    def net_rate(self, part: str, job: str) -> float:
        """Events per second of the engine without its start-up."""
        found = self._find(part, job, ENGINE)
        return found.events / (found.wall - self.start_up[job])

    def _find(self, part: str, job: str, contestant: str) -> Figures:
        return next(f for f in self.figures if (f.part, f.job, f.contestant) == (part, job, contestant))


def start(bench: Bench) -> None:
    """The time of `flowops --help`, and of each contestant on a log of ten lines."""
    runs = bench.race("start", "--help", 0, {ENGINE: [FLOWOPS, "--help"]})
    walls = [run.wall for run in runs[ENGINE]] + [measure.run([FLOWOPS, "--help"]).wall for _ in range(4)]
    bench.bars.append(Bar("`flowops --help`", median(walls), 0.3, at_most=True, unit="s"))
    (tiny,) = make(Log("day", 10, 3))
    for job in ("J1", "J1s", "J2"):
        contestants = {ENGINE: bench.replay(job, [tiny]), LOOP: bench.loop(job, tiny)}
        if job != "J2":
            contestants[PEER] = bench.peer(job, tiny)
        bench.race("start", job, 10, contestants)
        bench.start_up[job] = median(f.wall for f in bench.figures[-len(contestants) :] if f.contestant == ENGINE)


def lint(bench: Bench) -> None:
    """`flowops lint` over a thousand plans, which it finds nothing in."""
    (tiny,) = make(Log("day", 10, 3))
    folder = write_project(bench.work / "lint", "lint", [tiny])
    runs = bench.race("lint", "1,000 plans", 0, {ENGINE: [FLOWOPS, "lint", "--project", folder]})
    if any(run.stdout != "1000 plans fine\n" for run in runs[ENGINE]):
        raise CommandError(f"lint finds something in the plans of the benchmark: {runs[ENGINE][0].stdout[:500]}")
    walls = median(run.wall for run in runs[ENGINE])
    bench.bars.append(Bar("lint of 1,000 plans", walls, 5, at_most=True, unit="s"))


def speed(bench: Bench) -> None:
    """J1, J1s and J2 in both sizes beside their loops; in the smaller one beside Bytewax keyed by user too."""
    for part, (events, users) in (("small", bench.sizes.small), ("large", bench.sizes.large)):
        (log,) = make(Log("day", events, users))
        for job in ("J1", "J1s", "J2"):
            engine = bench.replay(job, [log])
            contestants = {ENGINE: engine, LOOP: bench.loop(job, log)}
            if part == "small" and job != "J2":
                contestants[PEER] = bench.peer(job, log)
            runs = bench.race(part, job, events, contestants)
            compare(bench, part, job, Path(engine[3]), runs[LOOP][0])
    for job, least in (("J1s", 0.4), ("J1", 0.2), ("J2", 0.2)):
        ratio = bench.rate("large", job, ENGINE) / bench.rate("large", job, LOOP)
        bench.bars.append(Bar(f"{job}, large: of its hand-written loop", ratio, least))
    for job in ("J1s", "J1", "J2"):
        if job in bench.start_up:
            flat = bench.net_rate("large", job) / bench.net_rate("small", job)
            bench.bars.append(Bar(f"{job}: large against small, less start-up", flat, 0.9))
    ratio = bench.rate("small", "J1s", ENGINE) / bench.rate("small", "J1s", PEER)
    bench.bars.append(Bar("J1s, small: of Bytewax keyed by user", ratio, 3.0))


def plans(bench: Bench) -> None:
    """J100: a hundred plans over the smaller log. J3: a sequence, beside J1 in turns."""
    events, users = bench.sizes.small
    (log,) = make(Log("day", events, users))
    engine = bench.replay("J100", [log])
    runs = bench.race("small", "J100", events, {ENGINE: engine, LOOP: bench.loop("J100", log)})
    compare(bench, "small", "J100", Path(engine[3]), runs[LOOP][0])
    bench.bars.append(Bar("J100, small", bench.rate("small", "J100", ENGINE), 100_000, unit="events/s"))
    engine = bench.replay("J3", [log])
    beside = f"{ENGINE}, J1"
    runs = bench.race(
        "small", "J3", events, {ENGINE: engine, beside: bench.replay("J1", [log]), LOOP: bench.loop("J3", log)}
    )
    compare(bench, "small", "J3", Path(engine[3]), runs[LOOP][0])
    ratio = bench.rate("small", "J3", ENGINE) / bench.rate("small", "J3", beside)
    bench.bars.append(Bar("J3, small: of J1 in turns with it", ratio, 0.5))


def backtest(bench: Bench) -> None:
    """`flowops backtest` beside `flowops replay` of the same plans and log, in turns."""
    events, users = bench.sizes.small
    (log,) = make(Log("day", events, users))
    for job in ("J1", "J2"):
        engine = bench.replay(job, [log])
        command: Command = [FLOWOPS, "backtest", "--project", engine[3], "--json"]
        name = f"{ENGINE}, backtest"
        runs = bench.race("backtest", job, events, {ENGINE: engine, name: command})
        told, done = json.loads(runs[name][0].stdout)["results"][0], json.loads(runs[ENGINE][0].stdout)["totals"]
        if (told["triggered"], told["dispatched"]) != (done["triggers"], done["dispatches"]):
            raise CommandError(f"backtest {job}: it tells of other messages than the replay sent: {told}")
        ratio = bench.rate("backtest", job, name) / bench.rate("backtest", job, ENGINE)
        bench.bars.append(Bar(f"backtest, {job}: of the replay's speed", ratio, 0.7))


def processes(bench: Bench) -> None:
    """One process and two on the larger log as four equal files."""
    events, users = bench.sizes.large
    files = make(Log("day", events, users, parts=4))
    (whole,) = make(Log("day", events, users))
    for job in ("J1", "J1s"):
        contestants = {f"{ENGINE}, {count} process(es)": bench.replay(job, files, count) for count in (1, 2)}
        bench.race("4 files", job, events, contestants, watch=True)
        one, two = bench.figures[-2:]
        bench.bars.append(Bar(f"{job}, 4 files: two processes against one", one.wall / two.wall, 1.25))
        counted = measure.run(bench.loop(job, whole))
        for command in contestants.values():
            compare(bench, "4 files", job, Path(command[3]), counted)


def memory(bench: Bench) -> None:
    """Resident memory with one wait pending per user, over the same engine with almost no users."""
    live, unheard = bench.sizes.live, bench.sizes.unheard
    contestants = {
        name: bench.replay("J1", make(Log("pending", unheard, users)))
        for name, users in ((f"{ENGINE}, {live:,} live", live), (f"{ENGINE}, 10 live", 10))
    }
    runs = bench.race("memory", "J1", live + unheard, contestants, watch=True)
    full, empty = runs.values()
    settled = (median(run.settled() for run in full) - median(run.settled() for run in empty)) / live
    peak = (median(run.peak for run in full) - median(run.peak for run in empty)) / live
    bench.bars.append(Bar("resident memory per live user", settled, 400, at_most=True, unit="B"))
    bench.notes.append(f"Memory per live user at the run's peak, which is its end: {peak:,.0f} B.")


def snapshots(bench: Bench) -> None:
    """The share of a run that its snapshots take, when an epoch touches a fifth of the live users.

    How many events an epoch sees depends on the engine, so the share of events that touch a user is raised until
    enough are touched.
    """
    live, touching = bench.sizes.live, bench.sizes.touching
    heard = 0.025
    touched = 0.0
    command: Command = ()
    while touched < TOUCHED and heard < 0.8:
        heard *= 2
        command = bench.replay("touched", make(Log("touched", touching, live, heard=heard)))
        touched = heard * (live + touching) / measure.run(command).wall * EPOCH / live
        bench.say(f"snapshots: {heard:.0%} of the events heard, {touched:.0%} of the users touched per epoch")
    never = [*command, "--epoch", "86400"]
    names = ENGINE, f"{ENGINE}, one epoch"
    runs = bench.race("snapshots", "touched", live + touching, dict(zip(names, (command, never), strict=True)))
    often, once = runs.values()
    told = [json.loads(run.stdout).get("snapshot_seconds") for run in often]
    if None in told:
        raise CommandError("`flowops replay --json` does not say how long its snapshots took (`snapshot_seconds`)")
    share = median(seconds / run.wall for seconds, run in zip(told, often, strict=True))
    bench.bars.append(Bar("snapshots, of the run", 100 * share, 10, at_most=True, unit="%"))
    more = median(run.wall for run in often) - median(run.wall for run in once)
    bench.notes.append(
        f"Snapshots: {live:,} live users, {min(touched, 1):.0%} of them touched per epoch of {EPOCH:.0f} s; the run"
        f" took {more:+.2f} s against one with a single epoch, which is saved at its end."
    )


def compare(bench: Bench, part: str, job: str, project: Path, counted: Run) -> None:
    """The engine's answer must be the loop's: the same messages at the same times; for J2 also losses and goals."""
    ours, loops = fingerprint(project / "out" / "push.jsonl"), fingerprint(bench.work / f"loop-{job}.jsonl")
    if ours != loops:
        raise CommandError(f"{part} {job}: the engine sent {ours[0]:,} messages, the loop {loops[0]:,}; or to others")
    if job == "J2":
        counts = json.loads(counted.stdout)
        for relation, expected in (("losses", counts["capped"]), ("goals", counts["attained"])):
            query = f"select count(*) as n from {relation}"
            asked = measure.run([FLOWOPS, "sql", "--project", project, "--format", "csv", query])
            found = int(asked.stdout.split()[-1])
            if found != expected:
                raise CommandError(f"{part} {job}: {found:,} {relation} where the loop counts {expected:,}")


def fingerprint(path: Path) -> tuple[int, int]:
    """How many messages, and a sum over (user, triggered_at) that does not depend on their order."""
    count = total = 0
    with path.open("rb") as file:
        for text in file:
            message = json.loads(text)
            at = message["triggered_at"]
            if isinstance(at, str):
                at = round(datetime.fromisoformat(at).timestamp() * 1000)
            digest = hashlib.blake2b(f"{message['user_id']} {at}".encode(), digest_size=8).digest()
            count, total = count + 1, (total + int.from_bytes(digest)) % 2**64
    return count, total


def machine() -> dict[str, Any]:
    """On what this was measured."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((text.partition(":")[2].strip() for text in info.splitlines() if text.startswith("model name")), "")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("flowops", "bytewax", "duckdb", "msgspec")},
    }


def chosen(text: str) -> Iterator[str]:
    """The sections that `--only` names. Raises argparse.ArgumentTypeError for one that is none."""
    for name in text.split(","):
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
        yield name


def main() -> None:
    """Measure, print, write the JSON. Exits with 1 when a contestant fails or the answers differ."""
    parser = argparse.ArgumentParser(description="The benchmarks of docs/performance.md.")
    parser.add_argument("--quick", action="store_true", help="small logs, one run each: does it work at all")
    parser.add_argument("--repeat", type=int, help="runs of each contestant")
    parser.add_argument("--only", type=lambda text: list(chosen(text)), default=list(SECTIONS), metavar="SECTION,...")
    parser.add_argument("--doc", type=Path, metavar="PAGE", help="fill the figures into docs/performance.md")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    if given.repeat is not None:
        sizes = Sizes(**{**asdict(sizes), "repeat": max(1, given.repeat)})
    work = cache() / f"work-{os.getpid()}"
    work.mkdir(parents=True)
    bench = Bench(work, sizes)
    where = machine()
    failed = ""
    try:
        for section in SECTIONS:
            if section in given.only:
                {"start": start, "lint": lint, "speed": speed, "plans": plans, "backtest": backtest,
                 "processes": processes, "memory": memory, "snapshots": snapshots, "kafka": live.kafka,
                 "latency": live.latency, "restore": live.restore, "stalls": live.stalls,
                 "soak": live.soak}[section](bench)  # fmt: skip
    except CommandError as error:
        failed = str(error)
    finally:
        shutil.rmtree(work)
    console = Console(width=None if sys.stdout.isatty() else 130)
    sheets = figures_sheet(bench.figures), bars_sheet(bench.bars)
    console.print(*map(on_screen, sheets), *bench.notes)
    if given.quick:
        console.print("Small logs: the bars are for the full size.")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": where,
        "sizes": asdict(sizes),
        "figures": [asdict(f) for f in bench.figures],
        "bars": [{**asdict(bar), "passed": bar.passed} for bar in bench.bars],
        "notes": bench.notes,
        "failed": failed,
    }
    given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if failed:
        sys.exit(failed)
    if given.doc:
        fill_in(
            given.doc,
            sheets,
            " ".join([", ".join(f"{name} {value}" for name, value in where.items()) + ".", *bench.notes]),
        )


if __name__ == "__main__":
    main()
