"""/healthz, /readyz and /metrics of a live run: S22 in figures, and whether somebody should be woken."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint
from project import FLOWOPS, copy_of, refused, rows_of, started, wait_for, workers_of, write_project

from channels.desk import write_channel
from channels.endpoint import Endpoint as Provider
from flowops.core.shard.base import no_effects
from flowops.rules.load import load_project
from flowops.streaming.measure import ShardMeter
from flowops.streaming.metrics import FAMILIES, TRIGGERS, Layout, Meter, Table
from flowops.streaming.monitor import Monitor
from flowops.streaming.settings import split_address
from warehouse.warehouse_facts import decision

PLANS = {
    "all": "plan: all\nname: Everybody\ntrigger: {event: product_view}\nsend: {channel: push, content: {title: T}}\n",
    "some": (
        "plan: some\nname: Once a day\ntrigger: {event: product_view}\ncaps: [{at_most: 1, per: 24h}]\n"
        "send: {channel: push, content: {title: T}}\n"
    ),
    "later": "plan: later\nname: L\ntrigger: {event: order, delay: 300d}\nsend: {channel: push, content: {title: T}}\n",
}


def test_metrics_tell_what_was_put_in(tmp_path: Path) -> None:
    """Two files, one bad line, one late record, one order that waits: by source, plan, reason and channel."""
    folder = write_project(tmp_path / "shop", PLANS)
    now = time.time_ns() // 1_000_000

    def view(number: int, user: str, ts: int, event: str = "product_view") -> str:
        return json.dumps({"event_id": f"e{number}", "user_id": user, "event": event, "ts": ts, "sku": "A"}) + "\n"

    lines = [view(number, f"u{number % 3}", now - 60_000 + 1000 * number) for number in range(6)]
    lines += ["this is no record\n", view(6, "u9", now - 120_000), view(7, "u1", now - 50_000, "order")]
    (folder / "data" / "web-1.jsonl").write_text("".join(lines))
    (folder / "data" / "web-2.jsonl").write_text(view(8, "u8", now - 55_000, "page"))
    endpoint = Endpoint()
    options = ("--listen", endpoint.address, "--processes", "2", "--epoch", "0.3")
    with started(folder, *options, verb="run") as process:
        assert wait_for(endpoint.is_ready, process)
        assert wait_for(endpoint.has('flowops_dispatches_total{channel="push",result="accepted"}', 9), process)
        assert wait_for(endpoint.has('flowops_pending_instances{kind="delay"}', 1), process)
        assert wait_for(endpoint.has("flowops_epoch_seconds_count", 6), process)
        assert endpoint.is_well()
        found = endpoint.metrics()
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert found['flowops_records_read_total{kind="events",source="web"}'] == 10
    assert found['flowops_late_records_total{source="web"}'] == 1
    assert found['flowops_dead_letters_total{reason="unparseable",source="web"}'] == 1
    assert not [name for name in found if 'reason="bad_time"' in name], "what did not happen is left out"
    assert found['flowops_triggers_total{plan="all"}'] == 6
    assert found['flowops_triggers_total{plan="some"}'] == 6
    assert found['flowops_triggers_total{plan="later"}'] == 0
    assert found['flowops_losses_total{plan="some",reason="frequency_cap"}'] == 3
    assert found['flowops_dispatches_total{channel="push",result="accepted"}'] == 9
    assert found['flowops_dispatches_total{channel="push",result="failed"}'] == 0
    assert found["flowops_live_users"] >= 1
    assert found['flowops_partitions{source="web"}'] == 2
    assert 4 < found['flowops_watermark_delay_seconds{source="web"}'] < 30, "it follows the clock, less the bound"
    assert 4 < found["flowops_event_time_delay_seconds"] < 30
    assert found["flowops_epoch_age_seconds"] < 10
    assert found["flowops_snapshot_seconds_count"] >= 64
    assert found['flowops_snapshot_seconds_bucket{le="+Inf"}'] == found["flowops_snapshot_seconds_count"]
    assert 0.2 < found["flowops_epoch_seconds_sum"] / found["flowops_epoch_seconds_count"] < 5
    assert (found["flowops_workers"], found["flowops_ready"], found["flowops_worker_restarts_total"]) == (2, 1, 0), said
    assert found['flowops_info{project="shop",version="0.1.0"}'] == 1
    known = {family.name for family in FAMILIES}
    shown = {name.partition("{")[0] for name in found}
    assert {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in shown} <= known
    assert rows_of(folder, "select count(*) from losses where stage = 'frequency_cap'") == [(3,)], "as in the outcomes"


def test_what_a_provider_answers_is_no_source(tmp_path: Path) -> None:
    """Its answers come back into the engine as records (S40); the metrics tell of the project's sources alone."""
    provider = Provider()
    folder = write_channel(tmp_path, {"type": "webhook", "url": provider.url, "receipts": {"undelivered_after": "1d"}})
    view = {"event_id": "e1", "user_id": "u1", "event": "product_view", "ts": time.time_ns() // 1_000_000, "sku": "A"}
    (folder / "data" / "web.jsonl").write_text(json.dumps(view) + "\n")
    endpoint = Endpoint()
    with started(folder, "--listen", endpoint.address, "--epoch", "0.2", verb="run") as process:
        assert wait_for(endpoint.has('flowops_dispatches_total{channel="push",result="accepted"}', 1), process)
        answered = "select count(*) from receipts"
        assert wait_for((folder / "warehouse" / "outcomes.duckdb").exists, process)
        assert wait_for(lambda: rows_of(folder, answered) == [(1,)], process)
        code, _ = endpoint.get("/metrics")
        found = endpoint.metrics()
        process.terminate()
        said, _ = process.communicate(timeout=30)
    provider.stop()
    assert code == 200
    assert found['flowops_records_read_total{kind="events",source="web"}'] == 1
    assert {name for name in found if "source=" in name and 'source="web"' not in name} == set()
    assert "read 1 record" in said


def test_counts_go_on_over_a_restart(shop: Path, tmp_path: Path) -> None:
    """A counter never falls while its supervisor lives; what is done again is counted again."""
    folder = copy_of(shop, tmp_path / "shop")
    endpoint = Endpoint()
    read = 'flowops_records_read_total{kind="events",source="web"}'
    with started(folder, "--listen", endpoint.address, "--epoch", "0.1", verb="run", slow=0.05) as process:
        assert wait_for(endpoint.has(read, 3_000), process)
        before = endpoint.metrics()[read]
        os.kill(workers_of(process)[0], signal.SIGKILL)
        assert wait_for(endpoint.has("flowops_worker_restarts_total", 1), process)
        assert endpoint.metrics()[read] >= before
        assert wait_for(endpoint.has(read, 20_000), process)


def test_health_is_bad_while_a_worker_hangs_and_good_again_after(tmp_path: Path) -> None:
    """One stopped worker of two holds every epoch up. An engine without input is well."""
    folder = write_project(tmp_path / "shop", PLANS)
    (folder / "data" / "web.jsonl").touch()
    endpoint = Endpoint()
    options = ("--listen", endpoint.address, "--processes", "2", "--epoch", "0.2", "--stalled", "2")
    with started(folder, *options, verb="run") as process:
        assert wait_for(endpoint.is_ready, process)
        time.sleep(3)
        assert endpoint.is_well(), "nothing to do is no reason"
        for worker in workers_of(process):
            os.kill(worker, signal.SIGSTOP)
            assert wait_for(lambda: not endpoint.is_well(), process)
            code, why = endpoint.get("/healthz")
            assert code == 503
            assert why.startswith("bad: the last epoch ended ")
            assert endpoint.get("/readyz")[0] == 503
            assert endpoint.metrics()["flowops_ready"] == 0
            os.kill(worker, signal.SIGCONT)
            assert wait_for(endpoint.is_ready, process)
        assert endpoint.get("/elsewhere")[0] == 404


def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "shop", PLANS)
    (folder / "data" / "web.jsonl").touch()
    endpoint = Endpoint()
    with started(folder, "--listen", endpoint.address, verb="run") as process:
        assert wait_for(endpoint.is_well, process)
        other = write_project(tmp_path / "other", PLANS)
        (other / "data" / "web.jsonl").touch()
        said = refused(2, "run", "--project", other, "--listen", endpoint.address)
    assert said.startswith(f"cannot listen on {endpoint.address}")
    assert "--listen" in said


def test_a_wrong_address_is_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "shop", {"all": PLANS["all"]}, FLOWOPS)
    (folder / "data" / "web.jsonl").touch()
    assert "an address is written as name:port, got '9464x'" in refused(
        2, "run", "--project", folder, "--listen", "9464x"
    )


def test_a_trigger_of_a_journey_counts_once(tmp_path: Path) -> None:
    """As in the warehouse: at its first decision, however many follow."""
    folder = write_project(tmp_path / "shop", PLANS)
    (folder / "data" / "web-1.jsonl").write_text("")
    project = load_project(folder).project
    assert project is not None
    layout = Layout(project)
    Table.create(tmp_path / "metrics", layout, 1)
    effects = no_effects()
    for step, attempt in (("opener", 0), ("reminder", 0), ("reminder", 1)):
        effects.decisions.append(decision(plan="all", step=step, attempt=attempt))
    effects.further.append("all")
    ShardMeter(Meter(tmp_path / "metrics", project, 0, 1)).count(effects)
    found = dict(Table(tmp_path / "metrics", layout, 1).series(TRIGGERS))
    assert found == {("all",): [1], ("later",): [0], ("some",): [0]}


def test_who_asks_and_goes_away_is_no_event(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A probe that loses patience puts no traceback into the log; what is wrong here is a line of it."""
    endpoint = Endpoint()
    host, port = split_address(endpoint.address)

    class Slow:
        wrong = False
        asked = 0

        def health(self) -> tuple[bool, str]:
            Slow.asked += 1
            if self.wrong:
                raise ValueError("what nobody thought of")
            time.sleep(0.2)
            return True, "x" * 1_000_000

    status: Any = Slow()
    monitor = Monitor(endpoint.address, status)
    try:
        for Slow.wrong in (False, True):
            with socket.create_connection((host, port)) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                assert wait_for(lambda: Slow.asked > Slow.wrong)
                if Slow.wrong:
                    assert connection.recv(1) == b""
        assert wait_for(lambda: not any("process_request" in each.name for each in threading.enumerate()))
    finally:
        monitor.close()
    assert "Traceback" not in capfd.readouterr().err
    assert [(each.message, vars(each)["fields"]) for each in caplog.records if each.levelname == "WARNING"] == [
        ("no answer over HTTP", {"reason": "ValueError: what nobody thought of"})
    ]
