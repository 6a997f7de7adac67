"""The ledger, whichever its store: what was answered is known, for a while (S32)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channels.desk import Desk, command, write_channel
from channels.endpoint import Endpoint
from flowops.channels.base import ACCEPTED, Answer, Place
from flowops.channels.ledger import Ledger, LedgerSettings, open_ledger
from flowops.core.time import SECOND
from flowops.errors import RunError, StateError
from flowops.settings.redis import RedisConnection
from flowops.settings.secrets import Filled
from servers.redis import RedisServer

FAILED = Answer("failed", "404 Not Found: no such device")

Open = Callable[[int], Ledger]


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the ledger with a time for which it remembers."""
    settings = LedgerSettings()
    name = request.getfixturevalue("unique_name")
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        settings = LedgerSettings(redis=RedisConnection(url=Filled(server.url)))
    made: list[Ledger] = []

    def opened(keep: int) -> Ledger:
        made.append(open_ledger(settings, tmp_path / "ledger", Place(name, "push", 0, 0, keep)))
        return made[-1]

    yield opened
    for each in made:
        each.close()


def test_what_was_answered_is_known_also_when_it_is_opened_again(ledger: Open) -> None:
    first = ledger(3600 * SECOND)
    many = [(f"d{number}", ACCEPTED) for number in range(1200)]
    assert first.known([name for name, _ in many]) == {}
    first.record([*many, ("bad", FAILED)])
    first.close()
    second = ledger(3600 * SECOND)
    assert second.known([*(name for name, _ in many), "bad", "other"]) == {**dict(many), "bad": FAILED}


def test_the_first_answer_stays(ledger: Open) -> None:
    opened = ledger(3600 * SECOND)
    opened.record([("d1", ACCEPTED)])
    opened.record([("d1", FAILED), ("d2", FAILED)])
    assert opened.known(["d1", "d2"]) == {"d1": ACCEPTED, "d2": FAILED}


def test_what_is_older_than_it_keeps_is_forgotten(ledger: Open) -> None:
    opened = ledger(SECOND // 5)
    opened.record([("d1", ACCEPTED)])
    opened.close()
    time.sleep(0.4)
    again = ledger(SECOND // 5)
    again.record([("d2", ACCEPTED)])
    assert again.known(["d1", "d2"]).keys() == {"d2"}


def opened_in(folder: Path) -> Ledger:
    return open_ledger(LedgerSettings(), folder, Place("shop", "push", 0, 0, 3600 * SECOND))


def test_a_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "push-0.sqlite3").mkdir()
    with pytest.raises(RunError, match=r"push-0\.sqlite3 cannot be used: .*\. Make room or give access"):
        opened_in(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "how"),
    [
        (lambda _: b"", "it is empty"),
        (lambda data: data[:10], "file is not a database"),
        (lambda data: data[: len(data) // 2], "database disk image is malformed"),
        (lambda data: b"no database at all" + data[18:], "file is not a database"),
        (lambda data: data[:20_000] + b"X" * 9000 + data[29_000:], r".*Page \d+"),
    ],
    ids=["empty", "beginning", "half", "head", "middle"],
)
def test_a_file_that_is_damaged_is_refused_and_moved_away_it_is_begun_anew(
    tmp_path: Path, spoil: Callable[[bytes], bytes], how: str
) -> None:
    """Never taken for one that knows of nothing."""
    path = tmp_path / "push-0.sqlite3"
    ledger = opened_in(tmp_path)
    ledger.record([(f"d{number:024}", ACCEPTED) for number in range(2000)])
    ledger.close()
    data = path.read_bytes()
    path.write_bytes(spoil(data))
    with pytest.raises(StateError, match=rf"push-0\.sqlite3 is damaged \({how}.*\): put it back, or move it away"):
        opened_in(tmp_path)
    path.unlink()
    anew = opened_in(tmp_path)
    assert anew.known([f"d{7:024}"]) == {}
    anew.close()
    path.write_bytes(data)
    back = opened_in(tmp_path)
    assert back.known([f"d{7:024}"]) == {f"d{7:024}": ACCEPTED}
    back.close()


def test_a_page_that_is_damaged_while_it_is_open_is_said_when_it_is_met(tmp_path: Path) -> None:
    ledger = opened_in(tmp_path)
    ledger.record([(f"d{number:024}", ACCEPTED) for number in range(60_000)])
    ledger.close()
    again = opened_in(tmp_path)
    path = tmp_path / "push-0.sqlite3"
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"X" * (path.stat().st_size - 8192))
    with pytest.raises(StateError, match=r"push-0\.sqlite3 is damaged"):
        again.known([f"d{number:024}" for number in range(60_000)])
    again.close()


def test_engines_that_share_a_ledger_in_redis_send_a_message_once(
    desk: Callable[..., Desk], tmp_path: Path, redis_server: RedisServer
) -> None:
    """`ledger: {redis: ...}`: another state folder, as on another machine."""
    endpoint = Endpoint()
    more = f"ledger: {{redis: {{url: '{redis_server.url}'}}}}\n"
    channel = {"type": "webhook", "url": endpoint.url, "receipts": "assumed"}
    write_channel(tmp_path, channel, more=more)
    first = desk()
    first.send([command(9001), command(9002)])
    first.settle()
    write_channel(tmp_path, channel, more=f"{more}state: .other\n")
    second = desk()
    second.send([command(9001), command(9003)])
    second.settle()
    endpoint.stop()
    assert len(endpoint.requests) == 3


def test_a_ledger_that_is_gone_is_waited_for(
    desk: Callable[..., Desk], tmp_path: Path, said: Callable[[], str]
) -> None:
    """Nothing is sent of which it could not be known that it was sent before."""
    server = RedisServer(appendonly=True)
    endpoint = Endpoint()
    with server:
        more = f"ledger: {{redis: {{url: '{server.url}'}}}}\n"
        write_channel(tmp_path, {"type": "webhook", "url": endpoint.url, "receipts": "assumed"}, more=more)
        writers = desk()
        server.stop()
        writers.send([command(1), command(2)])
        writers.wait(lambda: "the ledger: " in said())
        assert endpoint.requests == []
        server.start()
        writers.settle()
        writers.close()
    endpoint.stop()
    assert set(endpoint.accepted.values()) == {1}
    assert len(endpoint.accepted) == 2
