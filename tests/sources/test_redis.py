"""Redis streams and sets as sources: what only they have."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import msgspec
import pytest
from kit import source
from logs import COLUMNS, WHERE, Reading, StreamLog, view
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from flowops.core.plan import TimeField
from flowops.errors import ConfigError, InputError, RunError
from flowops.settings.secrets import parse_filled
from flowops.sources import RedisSettings, connect
from servers.redis import RedisServer
from servers.skip import running


@pytest.fixture
def log(redis_server):
    return StreamLog(redis_server)


@pytest.fixture
def opened():
    """Opens a source's one partition; all are closed in the end."""
    partitions = []

    def open_at(connector, position=None, where=WHERE) -> Reading:
        (name,) = connector.partitions()
        partitions.append(connector.open(name, position))
        return Reading(partitions[-1], where)

    yield open_at
    for partition in partitions:
        partition.close()


def test_fields_are_cells(redis_server, log, opened):
    """Text as in CSV: an empty one is a null, an object is JSON text, a dot may be part of a name or lead into one."""
    where = source(
        user_id=("user", "id"), columns={"sku": "string", "price": "money", "tags": ("list", ("meta", "tags"))}
    )
    entries = [
        {"user.id": "u1", "event": "view", "ts": "1", "sku": "", "price": "2.5", "meta": '{"tags": ["a"]}'},
        {"user": '{"id": "u2"}', "event": "view", "ts": "2", "properties": '{"sku": "A", "price": 1}'},
        {"user": "u3", "event": "view", "ts": "3"},
        {b"user.id": b"u\xff", b"event": b"view", b"ts": b"4"},
        {"user.id": "x" * (1 << 20), "event": "view", "ts": "5"},
    ]
    with redis_server.client() as client:
        for entry in entries:
            client.xadd(log.key, entry)
    reading = opened(log.connect(where), where=where)
    reading.until(lambda: len(reading.rows) == 5)
    assert reading.rows[:2] == [
        ("u1", "view", None, 1, None, 2.5, ["a"]),
        ("u2", "view", None, 2, "A", 1.0, None),
    ]
    assert [letter.reason for letter in reading.dead] == ["missing_field", "unparseable", "too_large"]


def test_a_time_too_far_ahead_of_the_entry_is_a_dead_letter(redis_server, log, opened):
    """S3; where ids are plain numbers there is no time to compare with."""
    where = dataclasses.replace(WHERE, max_future=600_000_000)
    with redis_server.client() as client:
        for id_, ts in (("7-1", 10**15), ("1650000000000-1", 1_650_000_600_000_000), ("*", 10**17)):
            client.xadd(log.key, {"user_id": "u1", "event": "view", "ts": ts}, id=id_)
    reading = opened(log.connect(where), where=where)
    reading.until(lambda: len(reading.rows) == 3)
    assert [(letter.position, letter.reason) for letter in reading.dead] == [(2, "in_future")]


def test_what_was_trimmed_unread_is_an_error_and_no_silent_gap(redis_server, log, opened):
    """What had been read may go, entry by entry or all at once; what had not may not."""
    log.append(*map(view, range(10)))
    first = opened(log.connect())
    first.rows_until(10)
    position = first.partition.position()
    with redis_server.client() as client:
        client.xdel(log.key, client.xrange(log.key, count=4)[-1][0])
        client.xtrim(log.key, maxlen=0, approximate=False)
        log.append(*map(view, range(10, 15)))
        fine = opened(log.connect(), position)
        fine.rows_until(5)
        assert fine.positions == list(range(10, 15))
        assert first.rows_until(15)
        client.xtrim(log.key, maxlen=3, approximate=False)
    lost = opened(log.connect(), position)
    with pytest.raises(InputError, match=r"2 entries of the stream .* were removed before they were read"):
        lost.until(lambda: False, seconds=10)
    begun = opened(log.connect())  # a run that begins takes what there is
    begun.rows_until(3)
    assert begun.positions == [0, 1, 2]


def test_all_that_follows_may_have_been_trimmed(redis_server, log, opened):
    log.append(view(0))
    first = opened(log.connect())
    first.rows_until(1)
    log.append(view(1), view(2))
    position = first.partition.position()
    with redis_server.client() as client:
        client.xtrim(log.key, maxlen=0, approximate=False)
    lost = opened(log.connect(), position)
    with pytest.raises(InputError, match="2 entries of the stream"):
        lost.until(lambda: False, seconds=10)


def test_a_stream_made_anew_goes_on_behind_what_was_read_or_is_refused(redis_server, log, opened):
    log.append(view(0), view(1))
    first = opened(log.connect())
    first.rows_until(2)
    position = first.partition.position()
    with redis_server.client() as client:
        client.delete(log.key)
        assert opened(log.connect(), position).is_quiet()
        log.append(view(2))
        again = opened(log.connect(), position)
        again.rows_until(1)
        assert again.positions == [2]
        client.delete(log.key)
        client.xadd(log.key, {"user_id": "u1", "event": "view", "ts": 1}, id="5-1")
    refused = opened(log.connect(), position)
    with pytest.raises(InputError, match="made anew"):
        refused.until(lambda: False, seconds=10)


def test_a_bounded_stream_ends_at_what_was_its_last_entry(redis_server, log, opened):
    """Also one that is not there, and one whose last entry has been deleted since."""
    assert log.connect(follow=False).ends() == {log.key: (0, 0)}
    empty = opened(log.connect(follow=False, bounds={log.key: (0, 0)}))
    assert not empty.read()
    assert empty.partition.ended()
    log.append(*map(view, range(5)))
    bounds = log.connect(follow=False).ends()
    log.append(view(5))
    bounded = opened(log.connect(follow=False, bounds=bounds))
    bounded.until(lambda: not bounded.read() and bounded.partition.ended())
    assert len(bounded.rows) == 5
    with redis_server.client() as client:
        for id_, _ in client.xrevrange(log.key, count=2):
            client.xdel(log.key, id_)
    bounded = opened(log.connect(follow=False, bounds=bounds))
    bounded.until(lambda: not bounded.read() and bounded.partition.ended())
    assert len(bounded.rows) == 4


# Sets


MEMBERS = source(
    kind="segments", name="vip", event="vip", time=TimeField(("ts",), None, None), columns={"action": "string"}
)


def members(server, key: str, follow: bool = True):
    settings = RedisSettings(url=parse_filled(server.url), members_of=key, every="1s")
    return connect(Path(), MEMBERS, settings, follow=follow)


def epoch(reading: Reading) -> list:
    """The changes that an epoch's end decides, read in the next one; from a position that went through recovery."""
    reading.partition.decide()
    seen = len(reading.rows)
    while reading.read():
        pass
    return [(row[0], row[-1]) for row in reading.rows[seen:] if row is not None]


def wait_for_look(reading: Reading, size: int) -> None:
    reading.read()
    end = time.monotonic() + 20
    while (seen := reading.partition._reader.seen) is None or len(seen[1]) != size:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_who_comes_into_a_set_enters_and_who_goes_leaves(redis_server, unique_name, opened):
    """S2: at first all enter; a difference is told once, also over a restart."""
    with redis_server.client() as client:
        client.sadd(unique_name, "u2", "u1")
        reading = opened(members(redis_server, unique_name), where=MEMBERS)
        assert epoch(reading) == []
        assert reading.partition.caught_up_at() is None
        wait_for_look(reading, 2)
        before = time.time_ns() // 1000
        assert epoch(reading) == [("u1", "enter"), ("u2", "enter")]
        assert reading.partition.caught_up_at() >= before
        told = reading.partition.position()[-1]
        assert epoch(reading) == []
        assert told == ("u1", "u2")
        assert reading.partition.position()[-1] is told  # not put in order anew while nothing changes
        client.srem(unique_name, "u1")
        client.sadd(unique_name, "u3", "")
        wait_for_look(reading, 3)
        reading.partition.decide()
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(reading.partition.position()))
        resumed = opened(members(redis_server, unique_name), stored, MEMBERS)
        assert resumed.partition.caught_up_at() is None
        assert epoch(resumed) == [("u3", "enter"), ("u1", "leave")]
        assert resumed.positions == [2, 3, 4]
        assert [(letter.position, letter.reason) for letter in resumed.dead] == [(2, "missing_field")]
        wait_for_look(resumed, 3)
        assert epoch(resumed) == []


def test_a_bounded_run_looks_at_a_set_once(redis_server, unique_name, opened):
    with redis_server.client() as client:
        client.sadd(unique_name, "u1")
        connector = members(redis_server, unique_name, follow=False)
        assert connector.ends() == {unique_name: (0, 0)}
        reading = opened(connector, where=MEMBERS)
        wait_for_look(reading, 1)
        assert not reading.partition.ended()
        assert epoch(reading) == [("u1", "enter")]
        assert reading.partition.ended()


def test_a_set_that_is_empty_once_makes_nobody_leave(redis_server, unique_name, opened, caplog):
    """Who fills a set anew removes it first. One that stays empty is empty, and the operator is told how many left."""
    with redis_server.client() as client:
        client.sadd(unique_name, *(f"u{number}" for number in range(12)))
        reading = opened(members(redis_server, unique_name), where=MEMBERS)
        wait_for_look(reading, 12)
        assert len(epoch(reading)) == 12
        client.delete(unique_name)
        wait_for_word(caplog, "a set is empty; looked at once more before all leave")
        assert epoch(reading) == []
        wait_for_look(reading, 0)
        assert epoch(reading) == [(user, "leave") for user in sorted(f"u{number}" for number in range(12))]
    (told,) = [record.fields for record in caplog.records if record.message == "most members of a set left at once"]
    assert (told["members_before"], told["left"]) == (12, 12)


def test_a_set_that_a_server_lost_makes_nobody_leave(opened, unique_name, caplog):
    """A server without persistence comes back empty: time stands still until the members are back."""
    with running(RedisServer()) as server:
        with server.client() as client:
            client.sadd(unique_name, "u1", "u2")
        reading = opened(members(server, unique_name), where=MEMBERS)
        wait_for_look(reading, 2)
        assert len(epoch(reading)) == 2
        server.kill()
        server.start()
        wait_for_word(caplog, "source waits for Redis", "had 2 members, and is empty since Redis was started anew")
        assert not reading.partition.is_reachable()
        time.sleep(2.5)  # two looks and more
        assert epoch(reading) == []
        with server.client() as client:
            client.sadd(unique_name, "u1", "u2", "u3")
        wait_for_look(reading, 3)
        assert epoch(reading) == [("u3", "enter")]


def test_a_set_is_scanned_over_one_connection(opened, unique_name, monkeypatch):
    """Where a scan has come to means nothing to a server that was started anew: members would be missed, and leave."""
    with running(RedisServer(appendonly=True)) as server:
        with server.client() as client:
            client.sadd(unique_name, *(f"u{number}" for number in range(20_000)))
        reading = opened(members(server, unique_name), where=MEMBERS)
        scan = Redis.sscan_iter

        def broken(*arguments, **more):
            for number, member in enumerate(scan(*arguments, **more)):
                if number == 5000:
                    server.kill()
                    server.start()
                yield member

        monkeypatch.setattr(Redis, "sscan_iter", broken)
        with pytest.raises(RedisConnectionError):
            reading.partition._reader._ask()
        monkeypatch.undo()
        reading.partition._reader._ask()
        assert len(reading.partition._reader.seen[1]) == 20_000


def wait_for_word(caplog, event: str, reason: str = "") -> None:
    end = time.monotonic() + 20
    while not any(
        record.message == event and reason in str(getattr(record, "fields", {}).get("reason", ""))
        for record in caplog.records
    ):
        assert time.monotonic() < end, caplog.text
        time.sleep(0.02)


def test_whatever_befalls_the_thread_that_asks_is_told(redis_server, unique_name, opened, monkeypatch):
    """A thread that ended in silence would let time stand still for ever."""
    reading = opened(members(redis_server, unique_name), where=MEMBERS)

    def broken(_):
        raise ValueError("what nobody thought of")

    monkeypatch.setattr(type(reading.partition._reader), "_ask", broken)
    with pytest.raises(RunError, match="ValueError: what nobody thought of"):
        reading.until(lambda: False, seconds=10)


# What is refused when a run begins


def refused(**settings) -> str:
    with pytest.raises(ConfigError) as error:
        connect(Path(), source(columns=COLUMNS), RedisSettings(**settings), follow=True).partitions()
    return str(error.value)


def test_a_key_of_another_type_is_refused(redis_server, unique_name):
    with redis_server.client() as client:
        client.set(unique_name, "x")
    url = parse_filled(redis_server.url)
    assert f"`{unique_name}` is a string in Redis, not a stream" in refused(url=url, stream=unique_name)
    assert f"`{unique_name}` is a string in Redis, not a set" in refused(url=url, members_of=unique_name)


def test_a_server_that_does_not_answer_is_refused():
    assert "does not serve" in refused(url=parse_filled("redis://127.0.0.1:9"), stream="web")


def test_a_password_is_needed_and_never_said(monkeypatch):
    with running(RedisServer(password="hunter2")) as server:
        host = server.url.rpartition("@")[2]
        assert "does not serve" in refused(url=parse_filled(f"redis://{host}"), stream="web")
        monkeypatch.setenv("SHOP_PASSWORD", "wrong-one")
        url = parse_filled(f"redis://:${{SHOP_PASSWORD}}@{host}")
        assert "wrong-one" not in refused(url=url, stream="web")
        monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
        connector = connect(Path(), WHERE, RedisSettings(url=url, stream="web"), follow=True)
        assert connector.partitions() == {"web": 0}


def test_a_key_that_changes_its_type_while_it_is_read_ends_the_run(redis_server, log, opened):
    log.append(view(0))
    reading = opened(log.connect())
    reading.rows_until(1)
    with redis_server.client() as client:
        client.set(log.key, "x")
    with pytest.raises(RunError, match="WRONGTYPE"):
        reading.until(lambda: False, seconds=10)
