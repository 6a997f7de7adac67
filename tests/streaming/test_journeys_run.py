"""A live run that is killed in the middle of journeys: their waits, conditions and fallbacks go on (S8, S30, S32)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from random import Random

from project import FLOWOPS, has_read, replay, resumed_from, started, wait_for, workers_of, write_project
from test_chaos import outcomes

MINUTE = 60_000
EVENTS = 3_000
SPAN = 120 * MINUTE
"""The events are of so long; the last of them of an hour ago, when all journeys have ended."""

KILLS = 2

JOURNEY = """\
plan: onboarding
trigger: {event: product_view, where: price > 20}
reentry: 30m
exit: {event: order, where: amount > 80}
send:
  - step: opener
    first: [push, sms]
    fallback_after: 5m
    content: {push: {title: T, body: "{{ product_view.sku }}"}, sms: {body: "{{ product_view.sku }}"}}
  - step: second
    after: 3m
    when: not opener.clicked
    channel: sms
    content: {body: second}
  - step: third
    until: {event: order}
    at_most: 4m
    when: timed_out
    each: [push, sms]
    content: {push: {title: third}, sms: {body: third}}
goals: [{goal: ordered, event: order, within: 10m, value: amount}]
"""

CHANNELS = """\
channels:
  push: {type: file, path: out/push.jsonl, receipts: {undelivered_after: 20m}}
  sms: {type: file, path: out/sms.jsonl, receipts: assumed}
"""


def project(folder: Path) -> Path:
    head, _, _ = FLOWOPS.partition("channels:\n")
    head = head.replace("data/*.jsonl", "data/web-*.jsonl")
    back = "  back: {kind: receipts, file: data/back.jsonl, fields: {ts: {path: ts, unit: ms}}}\n"
    return write_project(folder, {"onboarding": JOURNEY}, head.replace("events:\n", f"{back}events:\n") + CHANNELS)


def write_data(folder: Path, end: int) -> None:
    """Two hours of events in two files."""
    draw = Random(3)
    names = ["product_view"] * 6 + ["order"] * 2 + ["page"] * 2
    with (folder / "data" / "web-0.jsonl").open("w") as one, (folder / "data" / "web-1.jsonl").open("w") as two:
        for number in range(EVENTS):
            event = {
                "event_id": f"e{number}", "user_id": f"u{draw.randrange(340)}", "event": draw.choice(names),
                "ts": end - SPAN + number * SPAN // EVENTS - draw.randrange(3000), "sku": f"s{number % 97}",
                "price": draw.randrange(40), "amount": draw.randrange(100),
            }  # fmt: skip
            draw.choice([one, two]).write(json.dumps(event) + "\n")
    (folder / "data" / "back.jsonl").touch()


def write_receipts(folder: Path, commands: list[dict[str, str]]) -> None:
    """Some messages are clicked, some only delivered, of some nothing comes back; in any order, and twice."""
    draw = Random(4)
    said = []
    for command in commands:
        sent = int(1000 * datetime.fromisoformat(command["decided_at"]).timestamp())
        for receipt in draw.choice([(), ("delivered",), ("clicked", "accepted"), ("failed",)]):
            line = {"dispatch_id": command["dispatch_id"], "receipt": receipt, "ts": sent + draw.randrange(4 * MINUTE)}
            said += [line] * draw.choice([1, 1, 2])
    said.sort(key=lambda line: int(line["ts"]))
    (folder / "data" / "back.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))


def test_a_run_that_is_killed_in_the_middle_of_journeys_sends_what_one_without_faults_does(tmp_path: Path) -> None:
    end = time.time_ns() // 1_000_000 - 60 * MINUTE
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end / 1000 + 3000))
    calm = project(tmp_path / "calm")
    write_data(calm, end)
    replay(calm, "--until", until)
    write_receipts(calm, [json.loads(line) for line in (calm / "out" / "push.jsonl").read_text().splitlines()])
    replay(calm, "--until", until, "--fresh")
    expected = outcomes(calm)
    assert min(len(rows) for rows in expected.values()) > 100
    killed = project(tmp_path / "killed")
    (killed / "data").rmdir()
    (killed / "data").symlink_to(calm / "data")
    draw = Random(5)
    kills = 0
    while kills < KILLS:
        with started(killed, "--processes", "2", "--epoch", "0.1", verb="run", slow=0.02, chunk=4000) as process:
            assert wait_for(has_read(killed, draw.randrange(300, 900)), process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(workers_of(process)), signal.SIGKILL)
            (killed / ".flowops" / "pace").unlink(missing_ok=True)
            assert wait_for(has_read(killed, draw.randrange(300, 900)), process)
        kills += 2  # the end of the block kills the supervisor and all that is left
    with started(killed, "--processes", "1", "--epoch", "0.2", verb="run") as process:
        wanted = sum(expected["dispatches"].values())
        files = [killed / "out" / f"{name}.jsonl" for name in ("push", "sms")]
        assert wait_for(lambda: sum(file.read_bytes().count(b"\n") for file in files) >= wanted, process)
        process.terminate()
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    assert sum(epoch > 1 for epoch in resumed_from(killed)) >= KILLS // 2, "the kills came before anything was saved"
    found = outcomes(killed)
    for name, rows in expected.items():
        assert found[name] - rows == rows - found[name], name
