"""What the figures of the benchmarks rest on: the same log for everybody, and contestants that give the same answer."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bytewax.testing import run_main

import generator
import loops
import measure
import per_user_bytewax
import projects
import run
from flowops.core.plan import AbsenceTrigger, SequenceTrigger
from flowops.rules.load import load_project
from generator import Log
from tables import Bar, bars_sheet, fill_in

HOUR = 3_600_000

LOG = Log("day", 12_000, 600, hours=4)
"""Dense enough that delayed events overtake others, as in the logs that are measured."""

DIGEST = "ec48a74c9a47754a6248fc66e96024e534cc57dd59f6a49f10301ab58869d4d2"

Events = list[dict[str, object]]
Answer = Counter[tuple[str, int]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = generator.make(LOG, tmp_path_factory.mktemp("logs"))
    return path


@pytest.fixture(scope="module")
def events(log: Path) -> Events:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_log_is_a_function_of_its_arguments(log: Path) -> None:
    """Figures of two machines are of the same bytes. If this digest changes, `generator.VERSION` must be raised."""
    assert hashlib.sha256(log.read_bytes()).hexdigest() == DIGEST
    assert "".join(LOG.lines()) == log.read_text()
    assert "".join(replace(LOG, seed=1).lines()) != log.read_text()


def test_a_log_is_what_the_bars_speak_of(events: Events, log: Path) -> None:
    """About 190 bytes a line, five event names, 24 categories, a few delayed by less than the bound (S6)."""
    assert 180 <= log.stat().st_size / len(events) <= 200
    assert {e["event"] for e in events} == set(generator.MIX)
    assert {e["category"] for e in events} == {f"c{number}" for number in range(24)}
    highest = delayed = 0
    for e in events:
        highest = max(highest, e["ts"])
        delayed += e["ts"] < highest
        assert e["ts"] > highest - 5_000
    assert 0.03 < delayed / len(events) < 0.07
    assert highest - min(e["ts"] for e in events) == pytest.approx(4 * HOUR, rel=0.001)


def test_parts_hold_the_same_lines(log: Path, tmp_path: Path) -> None:
    """The four files of the figure for two processes are the one file, dealt out in turn."""
    parts = generator.make(replace(LOG, parts=4), tmp_path)
    dealt = [part.read_text().splitlines() for part in parts]
    assert [line for four in zip(*dealt, strict=True) for line in four] == log.read_text().splitlines()


def test_a_cached_log_is_not_made_again(tmp_path: Path) -> None:
    """A log is written once, and one whose making broke off is none."""
    (path,) = generator.make(Log("day", 10, 3), tmp_path)
    before = path.stat().st_mtime_ns
    assert generator.make(Log("day", 10, 3), tmp_path) == [path]
    assert path.stat().st_mtime_ns == before
    with pytest.raises(IndexError):
        generator.make(Log("day", 10, 0), tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == [Log("day", 10, 3).folder]


def test_the_pending_log_leaves_every_user_waiting(tmp_path: Path) -> None:
    """Memory per live user divides by the number of users: each has one wait, and none falls due."""
    (path,) = generator.make(Log("pending", 400, 300), tmp_path)
    assert loops.j1(path, io.BytesIO()) == {"dispatches": 0, "pending": 300}


def test_the_touched_log_goes_round_the_users() -> None:
    """The load for snapshots touches another user with each line that is heard."""
    lines = [json.loads(line) for line in Log("touched", 400, 50, heard=0.25).lines()][50:]
    touched = [e["user_id"] for e in lines if e["event"] == "product_view"]
    assert touched[:50] == [f"u{(number + 1) % 50:07d}" for number in range(50)]
    assert 60 < len(touched) < 140


def plainly(events: Events, starts: Callable[[dict[str, object]], bool]) -> Answer:
    """View without an order in 1 h, user by user, as one would write it down: S6, S10, S13 and nothing else."""
    end = max(e["ts"] for e in events)
    by_user = defaultdict(list)
    for e in sorted(events, key=lambda e: e["ts"]):
        by_user[e["user_id"]].append(e)
    found: Answer = Counter()
    for user, own in by_user.items():
        orders = [e["ts"] for e in own if e["event"] == "order"]
        free_from = 0
        for e in own:
            at = e["ts"]
            if e["event"] != "product_view" or not starts(e) or at < free_from:
                continue
            order = next((ts for ts in orders if at <= ts < at + HOUR), None)
            free_from = at + HOUR if order is None else order
            if order is None and at + HOUR <= end:
                found[user, at + HOUR] += 1
    return found


def answer(job: str, log: Path) -> tuple[Answer, dict[str, int]]:
    out = io.BytesIO()
    counts = loops.JOBS[job](log, out)
    sent = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(sent) == counts["dispatches"]
    return Counter((e["user_id"], e["triggered_at"]) for e in sent), counts


def test_j1_and_j1s_are_exact(events: Events, log: Path) -> None:
    """The loops are the limit for a right answer, so their answer is right, the disorder of the log included."""
    assert answer("J1", log)[0] == plainly(events, lambda _: True)
    assert answer("J1s", log)[0] == plainly(events, lambda e: e["category"] == projects.CATEGORY)


def test_j100_is_a_hundred_times_one_plan(events: Events, log: Path) -> None:
    """Plans do not disturb each other."""
    expected: Answer = Counter()
    for category, least in projects.PLANS:
        expected += plainly(events, lambda e, c=category, p=least: e["category"] == c and e["price"] >= p)
    assert answer("J100", log)[0] == expected


def test_j3_is_exact(events: Events, log: Path) -> None:
    """One sequence at a time for each user, the next begins after its last event (S14)."""
    expected: Answer = Counter()
    by_user = defaultdict(list)
    for e in sorted(events, key=lambda e: e["ts"]):
        by_user[e["user_id"]].append(e)
    for user, own in by_user.items():
        at = 0
        while at < len(own):
            first, at = own[at], at + 1
            if first["event"] != "product_view" or first["price"] < 50:
                continue
            in_time = [(i, e) for i, e in enumerate(own[at:], at) if e["ts"] < first["ts"] + 12 * HOUR]
            carts = [(i, e) for i, e in in_time if e["event"] == "add_to_cart" and e["price"] <= first["price"]]
            bought = [(i, e) for i, e in in_time if e["event"] == "order" and carts and i > carts[0][0]]
            order = next(((i, e) for i, e in bought if e["amount"] >= carts[0][1]["price"]), None)
            if order:
                expected[user, order[1]["ts"]] += 1
            at = order[0] + 1 if order else in_time[-1][0] + 1 if in_time else at
    assert expected.total() > 10
    assert answer("J3", log)[0] == expected


def test_j2_is_j1_with_caps_and_a_goal(events: Events, log: Path) -> None:
    """In a log of 24 h each user gets the first message; the rest are losses; an order within 1 h of it counts."""
    every = answer("J1", log)[0]
    sent, counts = answer("J2", log)
    first: dict[str, int] = {}
    for user, at in sorted(every, key=lambda found: found[1]):
        first.setdefault(user, at)
    assert sent == Counter(first.items())
    assert counts["capped"] == every.total() - len(first)
    orders = [e for e in events if e["event"] == "order" and e["user_id"] in first]
    assert counts["attained"] == len(
        {e["user_id"] for e in orders if first[e["user_id"]] <= e["ts"] < first[e["user_id"]] + HOUR}
    )


def test_a_fifth_of_the_events_ends_in_a_dispatch(tmp_path: Path) -> None:
    """J1 is the dense job; J1s is one category of 24 of it."""
    events = generator.CHUNK + 5_000
    (path,) = generator.make(Log("day", events, events // 10), tmp_path)
    assert len(path.read_text().splitlines()) == events
    assert 0.18 < answer("J1", path)[1]["dispatches"] / events < 0.22
    assert answer("J1s", path)[1]["dispatches"] < events / 24 / 2


@pytest.mark.parametrize("job", ["J1", "J1s"])
def test_the_flow_keyed_by_user_agrees_where_the_log_is_in_order(job: str, events: Events, tmp_path: Path) -> None:
    """The peer does the same job; it only does not restore order, as its docstring says."""
    path, out = tmp_path / "log.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in sorted(events, key=lambda e: e["ts"])))
    run_main(per_user_bytewax.build(job, path, out))
    sent = Counter((e["user_id"], e["triggered_at"]) for e in map(json.loads, out.read_text().splitlines()))
    assert sent == answer(job, path)[0]


def test_the_project_of_j3_is_what_an_operator_would_write(log: Path, tmp_path: Path) -> None:
    (plan,) = load_project(projects.write_project(tmp_path / "J3", "J3", [log])).project.plans
    assert isinstance(plan.trigger, SequenceTrigger)
    assert (len(plan.trigger.steps), plan.trigger.within) == (3, 12 * 3_600_000_000)


@pytest.mark.parametrize("job", ["J1", "J1s", "J2", "J100", "touched"])
def test_the_projects_are_what_operators_would_write(job: str, log: Path, tmp_path: Path) -> None:
    """The engine's side of a benchmark is plain YAML: it loads, and says what the loop does."""
    compiled = load_project(projects.write_project(tmp_path / job, job, [log])).project
    assert len(compiled.plans) == (100 if job == "J100" else 1)
    for plan in compiled.plans:
        assert isinstance(plan.trigger, AbsenceTrigger)
        assert plan.trigger.within == (6 if job == "touched" else 1) * 3_600_000_000
    assert len(compiled.plans[0].caps) == (2 if job == "J2" else 0)


def test_answers_are_compared_whatever_their_order_and_way_of_writing_time(tmp_path: Path) -> None:
    """The engine writes ISO 8601, the loops milliseconds; one message to another user, or twice, is a difference."""

    def told(*messages: tuple[str, object]) -> tuple[int, int]:
        path = tmp_path / "sent.jsonl"
        path.write_text("".join(json.dumps({"user_id": u, "triggered_at": at}) + "\n" for u, at in messages))
        return run.fingerprint(path)

    both = told(("u1", 1_650_499_200_500), ("u2", 1_650_499_201_000))
    assert told(("u2", "2022-04-21T00:00:01Z"), ("u1", "2022-04-21T00:00:00.500000Z")) == both
    assert told(("u2", 1_650_499_200_500), ("u1", 1_650_499_201_000)) != both
    assert told(("u1", 1), ("u1", 1), ("u2", 2)) != told(("u1", 1), ("u2", 2), ("u2", 2))


def test_a_contestant_that_fails_is_no_figure() -> None:
    """What a failed command said reaches whoever reads the benchmark."""
    assert measure.run([sys.executable, "-c", "print('done')"]).stdout == "done\n"
    with pytest.raises(measure.CommandError, match="exited with 3: no such log"):
        measure.run([sys.executable, "-c", "import sys; print('no such log'); sys.exit(3)"])


def test_memory_is_that_of_the_process_and_its_children() -> None:
    """Two processes of an engine count together."""
    hold = "import subprocess, sys, time; x = bytearray(60_000_000); {}time.sleep(0.6)"
    child = f"p = subprocess.Popen([sys.executable, '-c', {hold.format('')!r}]); "
    alone = measure.run([sys.executable, "-c", hold.format("")], watch=True)
    both = measure.run([sys.executable, "-c", hold.format(child) + "; p.wait()"], watch=True)
    assert alone.peak > 60_000_000
    assert both.peak > 120_000_000


def test_settled_memory_leaves_out_loading_and_leaving() -> None:
    """Neither the way up nor what the end needs is memory of live users; a run too short to tell is refused."""
    sizes = [(0.1, 5), (0.4, 50), (0.6, 100), (0.7, 102), (0.8, 104), (0.95, 900)]
    assert measure.Run(1.0, 1.0, 900, "", sizes).settled() == 102
    with pytest.raises(measure.CommandError, match="too short"):
        measure.Run(0.01, 0.01, 900, "").settled()


def test_figures_stand_between_the_marks_of_the_page(tmp_path: Path) -> None:
    """The page is filled in by the run that measured; what people wrote around the figures stays."""
    page = tmp_path / "performance.md"
    marks = "<!-- figures: begin -->\n{}<!-- figures: end -->"
    page.write_text(f"before\n{marks.format('old')}\nafter\n")
    bars = [Bar("fast", 0.5, 0.4), Bar("small", 500, 400, at_most=True, unit="B")]
    fill_in(page, [bars_sheet(bars)], "On a machine.")
    rows = "| fast | 0.50 x | >= 0.40 x | pass |\n| small | 500 B | <= 400 B | FAIL |\n"
    table = f"| what | measured | bar | kept |\n| --- | ---: | ---: | --- |\n{rows}"
    filled = marks.format(f"\nOn a machine.\n\n{table}\n")
    assert page.read_text() == f"before\n{filled}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="figures: begin"):
        fill_in(page, [], "")
