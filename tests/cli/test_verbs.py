"""The command line as a whole: help, options, exit codes, JSON, and what is imported when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from project import SIMPLE, flowops, refused, replay, write_project

VERBS = ("init", "new", "lint", "schema", "graph", "preview", "replay", "run", "report", "sql")
HEAVY = ("bytewax", "duckdb", "pyarrow", "pydantic", "sqlglot", "yaml", "liquid", "orjson")


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `flowops init` makes, replayed."""
    folder = tmp_path_factory.mktemp("starter") / "shop"
    done = flowops("init", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert replay(folder)["status"] == "finished"
    return folder


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    """So it answers at once."""
    script = (
        "import sys\nfrom flowops.cli.main import main\nsys.argv = ['flowops', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = flowops(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: flowops {verb} ")
    assert all(option in done.stdout for option in (() if verb == "init" else ("--project", "--json")))


def test_without_a_verb_there_is_help() -> None:
    done = flowops()
    assert "Usage: flowops [OPTIONS] COMMAND" in done.stdout + done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("new",),
        ("lint",),
        ("schema",),
        ("graph", "unfinished-order"),
        ("preview", "unfinished-order", "--user", "u0001"),
        ("replay",),
        ("report",),
        ("sql", "select * from attainment"),
        ("sql", "select 1 where false"),
    ],
    ids=" ".join,
)
def test_json_is_json(starter: Path, arguments: tuple[str, ...]) -> None:
    """Of every verb that prints data, and nothing beside it."""
    done = flowops(*arguments, "--project", starter, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    json.loads(done.stdout)


def test_the_summary_is_complete(starter: Path) -> None:
    found = replay(starter, "--fresh")
    assert (found["status"], found["resumed"]) == ("finished", False)
    assert found["records"] > 1_000
    assert Path(found["warehouse"]) == starter / "warehouse" / "outcomes.duckdb"
    totals = found["totals"]
    assert totals["triggers"] == totals["dispatches"] + totals["losses"]
    assert set(totals) == {"triggers", "dispatches", "losses", "pending", "goal_events", "late", "dead_letters"}


def test_a_project_is_found_from_below(starter: Path) -> None:
    done = flowops("lint", cwd=starter / "rules")
    assert (done.returncode, done.stdout) == (0, "1 plan and 1 test fine\n")
    assert flowops("replay", cwd=starter / "data").stdout.startswith("This replay has already finished")


@pytest.mark.parametrize("verb", ["lint", "replay", "run", "report"])
def test_without_a_project_each_verb_says_what_to_do(tmp_path: Path, verb: str) -> None:
    said = refused(2, verb, "--project", tmp_path)
    assert "flowops.yaml" in said
    assert str(tmp_path) in said
    assert "flowops init" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("replay", "--untill", "2022-04-30"), "No such option: --untill"),
        (("replay", "--processes", "0"), "--processes"),
        (("replay", "--processes", "two"), "--processes"),
        (("replay", "--epoch", "0"), "--epoch"),
        (("reply",), "No such command 'reply'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_exits_with_2_and_names_the_option(arguments: tuple[str, ...], expected: str) -> None:
    done = flowops(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr


@pytest.mark.parametrize("until", ["nonsense", "2022-04-31", "2022-04-30T25:00", "tomorrow", ""])
def test_an_until_that_is_no_time_is_refused_with_an_example(starter: Path, until: str) -> None:
    said = refused(2, "replay", "--project", starter, "--until", until)
    assert f"--until takes a date or a local time, got {until!r}" in said
    assert "2022-04-30T12:00" in said


def test_a_traceback_is_for_those_who_ask(tmp_path: Path) -> None:
    """-v shows it, and the message after it."""
    command = [sys.executable, "-m", "flowops.cli.main", "replay", "--project", str(tmp_path)]
    quiet = subprocess.run(command, capture_output=True, text=True, check=False)
    loud = subprocess.run([*command, "-v"], capture_output=True, text=True, check=False)
    assert quiet.returncode == loud.returncode == 2
    assert "Traceback" not in quiet.stderr
    assert loud.stderr.startswith("Traceback (most recent call last)")
    assert loud.stderr.endswith(quiet.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "--json"),
        ("report",),
        ("sql", "select * from range(100000)", "--format", "csv"),
        ("lint",),
    ],
    ids=" ".join,
)
def test_output_that_nobody_reads_is_no_failure_to_speak_of(starter: Path, arguments: tuple[str, ...]) -> None:
    """`flowops ... | head -1`: no traceback, no message."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowops.cli.main", *arguments, "--project", str(starter)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) in (0, 1)
    process.stderr.close()


@pytest.mark.parametrize("arguments", [("replay",), ("report",), ("lint", "--json")], ids=" ".join)
def test_output_that_cannot_be_written_is_said_in_a_sentence(starter: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flowops.cli.main", *arguments, "--project", str(starter)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr == "flowops: [Errno 28] No space left on device\n"


def test_the_progress_of_a_run_goes_to_the_terminal_only(starter: Path) -> None:
    """Where standard error is no terminal there is none; on one, records, event time and messages are shown."""
    assert flowops("replay", "--project", starter, "--fresh").stderr == ""
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flowops.cli.main", "replay", "--project", str(starter), "--fresh"],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side has gone
        pass
    os.close(main)
    assert process.wait(timeout=60) == 0
    assert b"records" in shown
    assert b"dispatched" in shown


def test_init_writes_nothing_over(tmp_path: Path) -> None:
    write_project(tmp_path, {"simple": SIMPLE})
    said = refused(2, "init", tmp_path)
    assert "already has flowops.yaml, data, rules; nothing was written" in said


def test_lint_of_some_files_shows_theirs_and_counts_the_others(tmp_path: Path) -> None:
    wrong = SIMPLE.replace("event: product_view", "event: product_viev")
    shop = write_project(tmp_path / "shop", {"one": wrong, "two": wrong.replace("plan: ", "plan: other-")})
    (shop / "data" / "web-1.jsonl").write_text("")
    one, two = shop / "rules" / "one.yaml", shop / "rules" / "two.yaml"
    done = flowops("lint", one)
    assert done.returncode == 1
    assert "rules/one.yaml" in done.stdout
    assert "rules/two.yaml" not in done.stdout
    assert "in other files of the project" in done.stdout
    both = flowops("lint", one, two, "--json")
    assert {each["path"] for each in json.loads(both.stdout)["findings"]} == {"rules/one.yaml", "rules/two.yaml"}
    assert "other files" not in flowops("lint", shop / "rules").stdout
    done = flowops("lint", shop / "flowops.yaml")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"{shop / 'flowops.yaml'}: fine")


def test_lint_of_what_is_no_rule_file_says_what_is(tmp_path: Path) -> None:
    shop = write_project(tmp_path / "shop", {"one": SIMPLE})
    other = write_project(tmp_path / "other", {"one": SIMPLE})
    (tmp_path / "alone.yaml").write_text(SIMPLE)
    (shop / "data" / "web-1.jsonl").write_text("")
    one = shop / "rules" / "one.yaml"
    assert "there is no such file" in refused(2, "lint", shop / "rules" / "none.yaml")
    assert f"no flowops.yaml in {tmp_path}" in refused(2, "lint", tmp_path / "alone.yaml")
    assert "is no rule file: these are flowops.yaml and rules/**/*.yaml" in refused(
        2, "lint", shop / "data" / "web-1.jsonl"
    )
    assert "one.yaml is not in the project" in refused(2, "lint", one, other / "rules" / "one.yaml")
    assert "is a file\n  try: the folder in which flowops.yaml is" in refused(2, "lint", "--project", one)


def test_what_is_counted_has_an_s_unless_it_is_one(tmp_path: Path) -> None:
    """One of each: a record, a message, one that is late, one that cannot be read, a day, a user."""
    push = "plan: simple\ntrigger: {event: product_view}\nsend: {channel: push, content: {title: T}}\n"
    push += "goals: [{goal: bought, event: order, within: 1h}]\n"
    folder = write_project(tmp_path / "shop", {"simple.yaml": push})
    line = '{{"event_id": "{0}", "user_id": "u1", "event": "{1}", "ts": 16504{2}00000, "sku": "A"}}\n'
    log = folder / "data" / "web-0.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join([line.format("e1", "product_view", 51), line.format("e2", "order", 50), "no JSON\n"]))
    assert "1 plan fine" in flowops("lint", "--project", folder).stdout
    told = flowops("replay", "--project", folder).stdout
    assert "1 trigger, 1 message dispatched, 0 lost, 0 pending; 1 late record, 1 dead letter." in told
    told = flowops("backtest", "--project", folder).stdout
    assert "on 1 day" in told
    assert "of 1 user and task" in told
    assert "3 records, 1 late, 1 dead letter" in told
    said = flowops("explain", "--user", "u1", "--plan", "simple", "--project", folder).stdout
    assert "2 records" in said
    assert "the outcomes have 1 decision" in said
