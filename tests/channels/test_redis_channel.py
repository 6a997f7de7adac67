"""The redis channel beside its contract: a server that is full, a stream that is cut, a password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from channels.desk import Desk, command, write_channel
from servers.redis import RedisServer
from servers.skip import running

MakeDesk = Callable[..., Desk]


def test_a_server_that_is_full_is_waited_for(desk: MakeDesk, tmp_path: Path, said: Callable[[], str]) -> None:
    """`maxmemory` reached: nothing is added, the operator is told, and when there is room it goes on."""
    with running(RedisServer(maxmemory="3mb")) as server, server.client() as client:
        write_channel(tmp_path, {"type": "redis", "url": server.url, "stream": "push", "receipts": "assumed"})
        writers = desk()
        number = 0
        full = "used memory > 'maxmemory'"
        while full not in said() and number < 20_000:
            writers.send([command(each) for each in range(number, number + 200)])
            number += 200
        writers.wait(lambda: full in said())
        assert writers.pace.waiting() > 0
        client.config_set("maxmemory", "64mb")
        writers.settle()
        assert 'event="messages go on"' in said()
        added = [entry[b"dispatch_id"].decode() for _, entry in client.xrange("push")]
        assert sorted(added) == sorted(command(each).dispatch_id for each in range(number))


def test_a_stream_is_kept_to_about_its_length(
    desk: MakeDesk, tmp_path: Path, redis_server: RedisServer, unique_name: str
) -> None:
    channel = {"type": "redis", "url": redis_server.url, "stream": unique_name, "receipts": "assumed"}
    write_channel(tmp_path, {**channel, "max_length": "1000"})
    writers = desk()
    writers.send(command(number) for number in range(3000))
    writers.settle()
    with redis_server.client() as client:
        assert 1000 <= client.xlen(unique_name) < 1500


def test_a_password_comes_from_the_environment_and_a_wrong_one_is_waited_out(
    desk: MakeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    with running(RedisServer(password="pass-of-redis")) as server:
        url = f"redis://127.0.0.1:{server.ports[0]}/0"
        channel = {
            "type": "redis",
            "url": url,
            "password": "${REDIS_PASSWORD}",
            "stream": "push",
            "receipts": "assumed",
        }
        write_channel(tmp_path, channel)
        monkeypatch.setenv("REDIS_PASSWORD", "wr0ng-one")
        wrong = desk()
        wrong.send([command(1)])
        wrong.wait(lambda: "messages wait" in said())
        assert "wr0ng-one" not in said()
        wrong.close()
        monkeypatch.setenv("REDIS_PASSWORD", "pass-of-redis")
        right = desk()
        right.send([command(1)])
        right.settle()
        with server.client() as client:
            assert client.xlen("push") == 1


def test_what_could_not_be_added_is_not_marked_as_added(
    desk: MakeDesk, tmp_path: Path, redis_server: RedisServer, unique_name: str, said: Callable[[], str]
) -> None:
    """A script that fails is not undone: by a mark that it left the message would count as sent."""
    write_channel(tmp_path, {"type": "redis", "url": redis_server.url, "stream": unique_name, "receipts": "assumed"})
    with redis_server.client() as client:
        client.set(unique_name, "no stream")
        writers = desk()
        writers.send([command(1), command(2)])
        writers.wait(lambda: "WRONGTYPE" in said())
        client.delete(unique_name)
        writers.settle()
        added = [entry[b"dispatch_id"].decode() for _, entry in client.xrange(unique_name)]
        assert sorted(added) == sorted(command(each).dispatch_id for each in (1, 2))
