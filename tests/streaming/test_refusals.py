"""What the engine refuses or survives: each with what, what was got, what to try, and the exit code of its kind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from project import (
    FLOWOPS,
    copy_of,
    flowops,
    has_read,
    last_segment,
    outcomes,
    refused,
    replay,
    resumed_from,
    rows_of,
    slowly,
    started,
    wait_for,
    workers_of,
)


@pytest.fixture(scope="module")
def interrupted(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after some epochs."""
    folder = copy_of(shop, tmp_path_factory.mktemp("interrupted") / "shop")
    with started(folder, "--epoch", "0.1", slow=0.02) as process:
        assert wait_for(lambda: last_segment(folder) >= 4, process)
    return folder


@pytest.fixture
def broken_off(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    folder = tmp_path / "shop"
    shutil.copytree(interrupted, folder)
    return folder


# --- one engine at a time


def test_a_second_engine_is_refused_while_the_first_lives(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, slow=0.5) as process:
        assert wait_for(has_read(folder, 1), process)
        for options in (("replay",), ("run", "--fresh")):
            said = refused(2, *options, "--project", folder)
            assert f"another engine works on {folder}/.flowops (process {process.pid}" in said
            assert "wait until it ends or stop it" in said
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


def test_a_second_engine_is_refused_while_a_worker_outlives_its_parent(shop: Path, tmp_path: Path) -> None:
    """The lock is every worker's. A stopped worker cannot even notice that its parent has died."""
    folder = copy_of(shop, tmp_path / "shop")
    with started(folder, "--processes", "2", slow=0.5) as process:
        assert wait_for(has_read(folder, 1), process)
        workers = workers_of(process)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.wait()
        said = refused(2, "replay", "--project", folder)
        assert f"another engine works on {folder}/.flowops (process {process.pid}, or a worker of it)" in said
        os.kill(workers[0], signal.SIGKILL)
        assert "another engine works on" in refused(2, "replay", "--project", folder), "one is enough"
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)


# --- the state of another run


def test_changed_rules_are_refused_with_the_difference_and_resumed_when_put_back(broken_off: Path, shop: Path) -> None:
    plan = broken_off / "rules" / "reminder.yaml"
    before = plan.read_text()
    plan.write_text(before.replace("within: 1h", "within: 2h"))
    (broken_off / "rules" / "second.yaml").write_text(before.replace("plan: reminder", "plan: second"))
    said = refused(2, "replay", "--project", broken_off)
    assert "rule file rules/reminder.yaml changed" in said
    assert "rule file rules/second.yaml is new" in said
    assert "Undo the change to go on with it, or begin anew with `flowops replay --fresh`" in said
    plan.write_text(before)
    (broken_off / "rules" / "second.yaml").unlink()
    assert replay(broken_off)["resumed"]
    assert outcomes(broken_off) == outcomes(shop)


def test_changed_inputs_are_refused_with_the_difference_and_resumed_when_put_back(broken_off: Path, shop: Path) -> None:
    """By size, beginning and end: a line more, a file more, a file less."""
    first, second = broken_off / "data" / "web-0.jsonl", broken_off / "data" / "web-1.jsonl"
    before = first.read_bytes()
    first.write_bytes(before + b"{}\n")
    second.rename(broken_off / "data" / "web-9.jsonl")
    said = refused(2, "replay", "--project", broken_off)
    assert "input web/data/web-0.jsonl changed" in said
    assert "input web/data/web-1.jsonl is gone" in said
    assert "input web/data/web-9.jsonl is new" in said
    first.write_bytes(before)
    (broken_off / "data" / "web-9.jsonl").rename(second)
    assert replay(broken_off)["resumed"]
    assert outcomes(broken_off) == outcomes(shop)


def test_another_until_is_another_run(broken_off: Path) -> None:
    assert "--until differs" in refused(2, "replay", "--project", broken_off, "--until", "2022-05-01")


def test_a_finished_replay_says_so_and_fresh_begins_anew(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    replay(folder)
    done = flowops("replay", "--project", folder)
    assert done.returncode == 0
    assert done.stdout.startswith("This replay has already finished; nothing was done.")
    assert "--fresh" in done.stdout
    found = replay(folder, "--fresh")
    assert (found["status"], found["resumed"], found["records"]) == ("finished", False, 20_000)
    assert outcomes(folder) == outcomes(shop)


def test_output_without_a_state_is_not_written_over(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    replay(folder)
    shutil.rmtree(folder / ".flowops")
    said = refused(2, "replay", "--project", folder)
    assert "there is output of an earlier run, but no state that belongs to it" in said
    assert f"{folder}/out/push.jsonl" in said
    assert "--fresh" in said
    assert outcomes(folder) == outcomes(shop)


# --- a damaged state


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def overwrite_store(path: Path) -> None:
    """With its write-ahead log, from which SQLite would take what is missing."""
    overwrite(path, 0, b"no database at all")
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)


def log_of(folder: Path) -> Path:
    return next((folder / ".flowops" / "shards").glob("05-*.log"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another version": (
        lambda folder: (folder / ".flowops" / "manifest.json").write_text('{"format": 99, "shape": "unknown"}'),
        "holds state of format 99, this version works with format 9: finish that run with the version that began it",
    ),
    "cut manifest": (
        lambda folder: os.truncate(folder / ".flowops" / "manifest.json", 100),
        "manifest.json cannot be read (",
    ),
    "binary manifest": (
        lambda folder: (folder / ".flowops" / "manifest.json").write_bytes(b"\xff\xfe\x00"),
        "manifest.json cannot be read (",
    ),
    "cut log": (lambda folder: os.truncate(log_of(folder), 10), "has 10 bytes where "),
    "overwritten log": (lambda folder: overwrite(log_of(folder), 30, b"junk"), "is damaged at byte 0"),
    "missing log": (lambda folder: log_of(folder).unlink(), "is missing: the state cannot be resumed"),
    "missing segment": (
        lambda folder: shutil.rmtree(folder / "warehouse" / "segments" / "00000001"),
        "segment 1 of ",
    ),
    "cut output": (
        lambda folder: os.truncate(folder / "out" / "push.jsonl", 1),
        "push.jsonl has 1 bytes where ",
    ),
    "missing recovery": (
        lambda folder: (folder / ".flowops" / "recovery" / "part-2.sqlite3").unlink(),
        "part-2.sqlite3 is damaged (",
    ),
    "overwritten recovery": (
        lambda folder: overwrite_store(folder / ".flowops" / "recovery" / "part-1.sqlite3"),
        "part-1.sqlite3 is damaged (",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_refused_and_fresh_helps(broken_off: Path, kind: str) -> None:
    """What is wrong with which file; never a run on half a state."""
    damage, expected = DAMAGE[kind]
    damage(broken_off)
    said = refused(2, "replay", "--project", broken_off)
    assert expected in said
    assert str(broken_off) in said
    assert "--fresh" in said


def test_fresh_begins_anew_over_any_damage_also_in_several_processes(broken_off: Path, shop: Path) -> None:
    """A worker's refusal is the engine's, word for word."""
    os.truncate(log_of(broken_off), 10)
    said = refused(2, "replay", "--project", broken_off, "--processes", "2")
    assert "has 10 bytes where " in said
    assert "worker" not in said
    (broken_off / ".flowops" / "manifest.json").write_text("{")
    assert not replay(broken_off, "--fresh")["resumed"]
    assert outcomes(broken_off) == outcomes(shop)


# --- a disk that refuses


@pytest.mark.parametrize(
    ("make", "expected", "code"),
    [
        (lambda folder: (folder / "out").touch(), "cannot write {}/out/push.jsonl: File exists", 2),
        (lambda folder: (folder / "out" / "push.jsonl").mkdir(parents=True), "push.jsonl is no regular file", 2),
        (lambda folder: (folder / "warehouse").touch(), "cannot write the outcomes to {}/warehouse", 3),
        (lambda folder: (folder / ".flowops").touch(), "the state folder {}/.flowops cannot be used", 2),
    ],
    ids=["a file for a folder", "a folder for a file", "warehouse", "state"],
)
def test_a_place_that_cannot_be_written_is_named(
    shop: Path, tmp_path: Path, make: Callable[[Path], None], expected: str, code: int
) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    make(folder)
    assert expected.format(folder) in refused(code, "replay", "--project", folder)


@pytest.mark.parametrize(
    ("processes", "kilobytes", "expected"),
    [
        ("1", 1, "the recovery store"),
        ("1", 64, "out/push.jsonl: File too large; make room"),
        ("2", 64, "out/push.jsonl: File too large; make room"),
    ],
)
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    shop: Path, tmp_path: Path, processes: str, kilobytes: int, expected: str
) -> None:
    """As far as one can be made without a disk: no file may grow larger."""
    folder = copy_of(shop, tmp_path / "shop")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    said = refused(3, "replay", "--project", folder, "--processes", processes, "--epoch", "0.1", preexec_fn=full)
    assert expected in said
    replay(folder)
    assert outcomes(folder) == outcomes(shop)


# --- time beyond the input


def test_until_moves_time_on_and_what_is_due_fires(shop: Path, tmp_path: Path) -> None:
    """S6: nothing is flushed because an input ended; asked to, time moves on to a local instant, and not beyond."""
    folder = copy_of(shop, tmp_path / "shop")
    plain = rows_of(shop, "select user_id, kind, due from pending")
    until = "2022-04-22T09:00"  # in Shanghai: held messages go out at 08:00
    found = replay(folder, "--until", until)
    assert found["status"] == "finished"
    assert found["event_time"] == "2022-04-22T01:00:00Z"
    assert rows_of(folder, "select * from pending where due <= timestamptz '2022-04-22 01:00:00+00'") == []
    assert len(rows_of(folder, "select * from pending")) < len(plain)
    assert {kind for _, kind, _ in plain} == {"wait", "held"}
    assert outcomes(folder)["dispatches"][0] > outcomes(shop)["dispatches"][0]


# --- the console


def test_the_console_channel_prints_a_line_per_message_and_leaves_json_alone(shop: Path, tmp_path: Path) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    (folder / "flowops.yaml").write_text(FLOWOPS.replace("type: file, path: out/push.jsonl", "type: console"))
    done = flowops("replay", "--project", folder)
    assert done.stdout.count('"dispatch_id"') == outcomes(shop)["dispatches"][0]
    found = replay(folder, "--fresh", "--processes", "2")
    assert found["totals"]["dispatches"] == outcomes(shop)["dispatches"][0]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_console_that_nobody_reads_any_more_ends_the_run_in_a_sentence(
    shop: Path, tmp_path: Path, processes: str
) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    (folder / "flowops.yaml").write_text(FLOWOPS.replace("type: file, path: out/push.jsonl", "type: console"))
    with started(folder, "--processes", processes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "dispatch_id" in process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=30) == 3
    assert said.startswith("flowops: nothing can be printed any more (Broken pipe)")
    assert said.count("\n") == 1


# --- a run that breaks


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_error_of_our_own_is_named_and_its_traceback_is_for_those_who_ask(
    shop: Path, tmp_path: Path, processes: str
) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    options = ("replay", "--project", folder, "--processes", processes)
    said = refused(3, *options, env={**slowly(0.001), "FLOWOPS_TEST_BREAK": "5"})
    assert said == (
        "the run failed: ValueError: broken for a test. Its state is kept: the same command goes on from the last"
        " epoch.\n"
    )
    assert replay(folder)["resumed"]
    assert outcomes(folder) == outcomes(shop)
    assert len(resumed_from(folder)) == 2
