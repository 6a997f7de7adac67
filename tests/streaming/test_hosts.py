"""An engine on several hosts, here all on the loopback: each a supervisor with one process, on one state folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from endpoint import Endpoint, free_port
from project import copy_of, events_of, flowops, outcomes, refused, replay, started, wait_for, workers_of

from flowops.core.records import NO_WATERMARK
from flowops.streaming import peers
from flowops.streaming.pace import Pace
from flowops.streaming.peers import Message, Mirror, Peers
from flowops.streaming.settings import Settings
from flowops.streaming.statelog import StateLog

READ = 'flowops_records_read_total{kind="events",source="web"}'
UNTIL = "2026-01-01"


class Host:
    """One of the hosts of a cluster."""

    def __init__(self, folder: Path, hosts: str, number: int) -> None:
        self.folder = folder
        self.endpoint = Endpoint()
        self.options = ("--hosts", hosts, "--process", str(number), "--listen", self.endpoint.address)

    def start(self, slow: float = 0.0, epoch: float = 0.2) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        return started(self.folder, *self.options, "--epoch", str(epoch), verb="run", slow=slow)

    def has_read(self, records: int) -> Callable[[], bool]:
        return self.endpoint.has(READ, records)

    def has_caught_up(self) -> bool:
        """Event time has come to now."""
        return self.endpoint.metrics().get("flowops_event_time_delay_seconds", 1e9) < 3600


def cluster(folder: Path, count: int) -> list[Host]:
    hosts = ",".join(f"127.0.0.1:{free_port()}" for _ in range(count))
    return [Host(folder, hosts, number) for number in range(count)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and log."""
    _, log = process.communicate(timeout=60)
    return process.returncode, log


def test_two_hosts_survive_each_others_deaths(shop: Path, tmp_path: Path) -> None:
    """A worker is killed, then a whole host, which comes back; one host is stopped and started: equal outcomes."""
    undisturbed = copy_of(shop, tmp_path / "undisturbed")
    replay(undisturbed, "--until", UNTIL)
    folder = copy_of(shop, tmp_path / "shop")
    first, second = cluster(folder, 2)
    with first.start(slow=0.1) as one:
        assert wait_for(first.endpoint.is_well, one)
        assert not first.endpoint.is_ready(), "it waits for the other"
        with second.start(slow=0.1) as two:
            assert wait_for(lambda: first.endpoint.is_ready() and second.endpoint.is_ready(), one)
            assert wait_for(first.has_read(1_000), one)
            os.kill(workers_of(two)[0], signal.SIGKILL)
            assert wait_for(second.endpoint.has("flowops_worker_restarts_total", 1), two)
            assert wait_for(first.endpoint.has("flowops_worker_restarts_total", 1), one), "nobody goes on alone"
            assert wait_for(lambda: first.endpoint.is_ready() and second.endpoint.is_ready(), one)
            said = refused(2, "run", "--project", folder)
            assert "another engine works on" in said
            assert "on several hosts" in said
            assert "another engine works on" in refused(2, "run", "--project", folder, *second.options)
            os.killpg(two.pid, signal.SIGKILL)
        assert wait_for(lambda: not first.endpoint.is_ready(), one)
        with second.start(slow=0.1) as two:
            assert wait_for(lambda: first.endpoint.is_ready() and second.endpoint.is_ready(), one)
            two.terminate()
            code, log = ended(two)
            assert (code, events_of(log)[-2:]) == (0, ["stopping", "stopped"]), log
        assert wait_for(lambda: first.endpoint.get("/readyz")[1] == "bad: waiting\n", one)
        assert first.endpoint.is_well()
        with second.start() as two:
            assert wait_for(lambda: first.has_caught_up() and second.has_caught_up(), one, seconds=120)
            one.terminate()
            two.terminate()
            for process in (one, two):
                code, log = ended(process)
                assert (code, events_of(log)[-2:]) == (0, ["stopping", "stopped"]), log
    assert outcomes(folder) == outcomes(undisturbed)


def test_a_run_moves_from_one_machine_to_three_hosts_and_back(shop: Path, tmp_path: Path) -> None:
    """The state belongs to shards and readers; only who works on it changes."""
    undisturbed = copy_of(shop, tmp_path / "undisturbed")
    replay(undisturbed, "--until", UNTIL)
    folder = copy_of(shop, tmp_path / "shop")
    alone = Endpoint()
    with started(folder, "--epoch", "0.2", "--listen", alone.address, verb="run", slow=0.05) as process:
        assert wait_for(alone.has(READ, 2_000), process)
        process.terminate()
        assert ended(process)[0] == 0
    hosts = cluster(folder, 3)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(host.start(slow=0.1)) for host in hosts]
        assert wait_for(lambda: all(host.endpoint.is_ready() for host in hosts), processes[0], seconds=120)
        assert wait_for(lambda: sum(host.endpoint.metrics().get(READ, 0) for host in hosts) > 2_000, processes[0])
        for process in processes:
            process.terminate()
        assert [ended(process)[0] for process in processes] == [0, 0, 0]
    with started(folder, "--epoch", "0.2", "--listen", alone.address, "--processes", "2", verb="run") as process:
        caught_up = "flowops_event_time_delay_seconds"
        assert wait_for(lambda: alone.metrics().get(caught_up, 1e9) < 3600, process, seconds=120)
        process.terminate()
        assert ended(process)[0] == 0
    assert outcomes(folder) == outcomes(undisturbed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--process", "1"), "--process says which of --hosts this is: give --hosts too"),
        (("--hosts", "a"), "an address is written as name:port, got 'a'"),
        (("--hosts", ":9000"), "--hosts names every host, got ':9000'"),
        (("--hosts", "a:9000,a:9000"), "--hosts names a host twice: a:9000,a:9000"),
        (("--hosts", "a:1,b:1", "--processes", "3"), "--hosts names 2 hosts with one process each, got --processes 3"),
        (("--hosts", "a:1,b:1", "--process", "2"), "--hosts names the processes 0 to 1, this is 2"),
        (("--hosts", "a:1,b:1", "--process", "0", "--fresh"), "--fresh removes what all hosts work on"),
        (("--hosts", "192.0.2.1:9000,b:1", "--process", "0"), "192.0.2.1:9000 is no address of this machine"),
    ],
)
def test_wrong_hosts_are_refused(shop: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    folder = copy_of(shop, tmp_path / "shop")
    assert refused(2, "run", "--project", folder, *options).startswith(said)


def test_which_host_it_is_comes_from_the_environment(shop: Path, tmp_path: Path) -> None:
    """As a StatefulSet has it: the same environment for all, and the number in the name of the machine."""
    folder = copy_of(shop, tmp_path / "shop")
    done = flowops("run", "--project", folder, env={"FLOWOPS_HOSTS": "a:1,b:1", "FLOWOPS_PROCESS": "7"})
    assert (done.returncode, done.stderr.partition(":")[2].strip()[:44]) == (
        2,
        "--hosts names the processes 0 to 1, this is 7"[:44],
    )


# --- how they find each other


def patient(seconds: float) -> Callable[[float], bool]:
    """Gives up after so many seconds."""
    end = time.monotonic() + seconds

    def given_up(wait: float) -> bool:
        time.sleep(wait)
        return time.monotonic() > end

    return given_up


def test_a_mirror_shows_each_cell_as_its_own_host_wrote_it(tmp_path: Path) -> None:
    """What a peer says of a cell that is written here is not taken; what was never written is not told."""
    Pace.create(tmp_path / "pace")
    pace, mirror = Pace(tmp_path / "pace"), Mirror(tmp_path / "pace")
    assert mirror.ours() == {}
    pace.report_reader(0, 10, 11, 64, 5)
    assert mirror.ours() == {0: 10, 1: 11, 2: 64, 3: 5}
    mirror.take({0: 99, 4: 20, 5: 21, 10**6: 1})
    assert mirror.ours() == {0: 10, 1: 11, 2: 64, 3: 5}
    assert pace.cells[4] == 20
    assert pace.watermark() == NO_WATERMARK, "the other readers have not said anything"
    pace.report_reader(0, 12, 13, 128, 5)
    assert mirror.ours() == {0: 12, 1: 13, 2: 128, 3: 5}


def together(*those: Peers, seconds: float = 10) -> list[bool]:
    """All wait for each other at a time; who found the others."""
    with ThreadPoolExecutor(len(those)) as pool:
        return list(pool.map(lambda one: one.gather(patient(seconds), lambda _: None), those))


def test_workers_begin_only_when_all_are_ready_and_one_that_begins_anew_stops_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    waited: list[str] = []
    with contextlib.ExitStack() as stack:
        a, b = Peers(hosts, 0, "shop"), Peers(hosts, 1, "shop")
        stack.callback(a.close)
        stack.callback(b.close)
        assert not a.gather(patient(0.5), waited.append)
        assert f"2 ({hosts[2]})" in waited[-1]
        stranger = Peers([f"127.0.0.1:{free_port()}", *hosts[:2]], 0, "another")
        stack.callback(stranger.close)
        c = Peers(hosts, 2, "shop")
        assert together(a, b, stranger, seconds=1) == [False] * 3, "c is there, but not ready"
        assert together(a, b, c) == [True] * 3
        for name, one in zip("abc", (a, b, c), strict=True):
            Pace.create(tmp_path / name)
            one.began(tmp_path / name)
        Pace(tmp_path / "b").report_reader(3, 10, 11, 64, 5)
        assert wait_for(lambda: Pace(tmp_path / "a").read() == Pace(tmp_path / "c").read() == 5)
        assert [one.trouble() for one in (a, b, c)] == [None] * 3
        b.stop()
        assert wait_for(lambda: a.is_stopping() and c.is_stopping())
        c.close()
        monkeypatch.setattr(peers, "SILENCE", 1.0)
        assert wait_for(lambda: a.trouble() == f"process 2 ({hosts[2]}) has not been heard of for 1 s")
        monkeypatch.undo()
        assert a.trouble() is None
        c = Peers(hosts, 2, "shop")
        stack.callback(c.close)
        assert not c.gather(patient(1.0), waited.append), "the others' workers run, for another life of c"
        assert a.trouble() == b.trouble() == "another host began anew"
        a.ended()
        b.ended()
        assert together(a, b, c) == [True] * 3
        assert not a.is_stopping(), "that was in another life"


def test_a_message_fits_into_a_datagram_and_garbage_is_dropped() -> None:
    full = Message(2**32 - 1, 63, 2**63 - 1, True, True, dict.fromkeys(range(900, 1000), -(2**62)))
    assert len(msgspec.msgpack.encode(full)) < 1400
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with contextlib.ExitStack() as stack:
        a, b = Peers(hosts, 0, "shop"), Peers(hosts, 1, "shop")
        stack.callback(a.close)
        stack.callback(b.close)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            port = int(hosts[0].rpartition(":")[2])
            for data in (b"", b"\xc1", b"x" * 3000, msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode(full)):
                sender.sendto(data, ("127.0.0.1", port))
        assert together(a, b) == [True, True]


def test_what_several_hosts_save_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is lost takes nothing with it that others have committed; one machine leaves it to the system."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for durable, expected in ((False, 0), (True, 2)):
        with contextlib.closing(StateLog(tmp_path, 1, durable=durable)) as log:
            log.append(b"frame")
            log.rewrite(b"frame")
        assert len(synced) == expected
    assert not Settings(tmp_path, "run").durable
    assert Settings(tmp_path, "run", hosts=("a:1", "b:1")).durable
