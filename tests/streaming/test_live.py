"""`flowops run` follows files as they grow: what is due fires by the wall clock, and a restart repeats nothing (S6)."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from project import FLOWOPS, SIMPLE, events_of, has_read, outcomes, refused, rows_of, started, wait_for, write_project

LIVE = FLOWOPS.replace("out_of_orderness: 5s", "out_of_orderness: 1s")


class Shop:
    """A live project: a log that grows, and the messages that have gone out."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_project(folder, {"simple": SIMPLE}, LIVE)
        self.log = folder / "data" / "web.jsonl"
        self.log.touch()

    def append(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def view(self, user: str, event: str = "product_view") -> str:
        """A line for an event that happens now."""
        ts = time.time_ns() // 1_000_000
        return json.dumps({"event_id": f"{user}-{event}", "user_id": user, "event": event, "ts": ts, "sku": "A"}) + "\n"

    def messages(self) -> list[str]:
        """To whom messages have gone out."""
        path = self.folder / "out" / "push.jsonl"
        return [json.loads(line)["user_id"] for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, *users: str, process: subprocess.Popen[str] | None = None) -> None:
        assert wait_for(lambda: set(users) <= set(self.messages()), process)


@pytest.fixture
def live(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_an_absence_fires_by_the_wall_clock_and_a_restart_repeats_nothing(live: Shop) -> None:
    """Lines are taken when their end is written; an idle log holds nobody back; an order in time cancels, also one
    that came during the downtime."""
    with started(live.folder, "--epoch", "0.3", verb="run") as process:
        assert wait_for(has_read(live.folder, 0), process)
        half = live.view("u3")
        live.append(live.view("u1") + live.view("u2") + half[:30])
        time.sleep(0.5)
        live.append(half[30:])
        live.wait("u1", "u2", "u3", process=process)
        live.append(live.view("u4") + live.view("u5"))
        assert wait_for(has_read(live.folder, 5), process)
        order = live.view("u5", "order")  # in time, however long the stop takes
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=30)
    assert (process.returncode, events_of(complaint)) == (0, ["started", "ready", "stopping", "stopped"])
    assert said.startswith("Stopped: read 5 records")
    assert "The same command goes on from here: flowops run" in said
    assert outcomes(live.folder)["dispatches"][0] == 3
    live.append(order)
    with started(live.folder, "--epoch", "0.3", verb="run") as process:
        live.wait("u4", process=process)
        live.append(live.view("u6"))
        live.wait("u6", process=process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert sorted(live.messages()) == ["u1", "u2", "u3", "u4", "u6"]
    assert outcomes(live.folder)["dispatches"][0] == 5
    assert rows_of(live.folder, "select * from pending") == []


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_was_killed_repeats_nothing(live: Shop, processes: str) -> None:
    """Kill -9 at any moment, again and again, while events come in: everybody gets one message."""
    users = []
    for kill in range(3):
        with started(live.folder, "--epoch", "0.2", "--processes", processes, verb="run") as process:
            users.append(f"u{kill}")
            live.append(live.view(users[-1]))
            live.wait(*users[:-1], process=process)
            time.sleep(0.4 + 0.4 * kill)
    with started(live.folder, "--epoch", "0.2", "--processes", processes, verb="run") as process:
        live.append(live.view("last"))
        live.wait(*users, "last", process=process)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    users.insert(0, "last")
    assert sorted(live.messages()) == users
    assert outcomes(live.folder)["dispatches"][0] == len(users)


def test_a_file_that_is_added_between_two_starts_is_read_and_no_other_again(live: Shop) -> None:
    """Names may sort before those that are known: each partition keeps its own position."""
    live.append(live.view("u5"))
    with started(live.folder, "--epoch", "0.2", verb="run") as process:
        live.wait("u5", process=process)
        process.terminate()
        process.communicate(timeout=30)
    for number in range(5):
        (live.folder / "data" / f"a-{number}.jsonl").write_text(live.view(f"u{number}"))
    with started(live.folder, "--epoch", "0.2", verb="run") as process:
        live.wait(*(f"u{number}" for number in range(5)), process=process)
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert said.startswith("Stopped (went on where it was): read 5 records")
    assert sorted(live.messages()) == [f"u{number}" for number in range(6)]


def test_replay_and_run_do_not_go_on_with_each_other(live: Shop) -> None:
    """A replay's time is the log's, a run's moves on with the wall clock."""
    live.append(live.view("u1"))
    with started(live.folder, verb="run") as process:
        live.wait("u1", process=process)
        process.terminate()
        process.communicate(timeout=30)
    said = refused(2, "replay", "--project", live.folder)
    assert "the state is of `flowops run`, this is `flowops replay`" in said
    assert "--fresh" in said
