"""What every channel promises, held against a real server of its kind."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channels.desk import PLAN, Desk, command, write_channel
from channels.receivers import Receiver, RemoteReceiver
from flowops.channels.courier import wall_clock
from flowops.core.time import HOUR, SECOND

MakeDesk = Callable[..., Desk]


def numbers(receiver: Receiver) -> Counter[str]:
    """How often each message arrived, by its dispatch id."""
    return Counter(each.dispatch_id for each in receiver.arrived())


def once(count: int, first: int = 0) -> Counter[str]:
    """Each of so many messages, once."""
    return Counter(command(number).dispatch_id for number in range(first, first + count))


def test_what_is_sent_arrives_once_whole_and_in_the_order_of_each_user(receiver: Receiver, desk: MakeDesk) -> None:
    """S31, S32. The webhook alone keeps no order: it sends side by side."""
    commands = [command(number) for number in range(500)]
    writers = desk(receiver)
    writers.send(commands)
    writers.settle()
    writers.save()
    arrived = receiver.arrived()
    assert numbers(receiver) == once(500)
    assert {each.dispatch_id: each.body for each in arrived} == {each.dispatch_id: each.body for each in commands}
    for user in {each.user_id for each in commands}:
        sent = [each.dispatch_id for each in commands if each.user_id == user]
        got = [each.dispatch_id for each in arrived if each.user_id == user]
        assert (got if receiver.keeps_order else sorted(got)) == sent
    assert writers.journal() == []


def test_a_server_that_is_gone_is_waited_for_and_nothing_is_lost_or_sent_twice(
    frail: RemoteReceiver, desk: MakeDesk, said: Callable[[], str]
) -> None:
    """The dataflow goes on meanwhile; the operator is told once that messages wait, and that they go on."""
    writers = desk(frail)
    writers.send(command(number) for number in range(40))
    writers.settle()
    frail.go()
    writers.send(command(number) for number in range(40, 80))
    writers.wait(lambda: 'event="messages wait" channel=push reason=' in said())
    assert writers.pace.waiting() == 40
    writers.save()
    frail.come()
    writers.settle(90)
    assert numbers(frail) == once(80)
    writers.wait(lambda: 'event="messages go on" channel=push after=' in said())


def test_after_a_crash_what_was_in_flight_arrives_and_what_had_arrived_does_not_again(
    network: Receiver, desk: MakeDesk
) -> None:
    """Some commands are in the state, those after it are decided again with the same ids (S32)."""
    writers = desk(network)
    writers.send(command(number) for number in range(20))
    states = writers.save()
    writers.send(command(number) for number in range(20, 40))
    writers.settle()
    writers.close()
    again = desk(states=states)
    again.send(command(number) for number in range(20, 60))
    again.settle()
    assert numbers(network) == once(60)
    assert again.pace.waiting() == 0


def test_kafka_and_redis_find_what_arrived_without_the_ledger(
    network: Receiver, desk: MakeDesk, tmp_path: Path
) -> None:
    """Between the server's acceptance and the ledger a crash may fall: their own marks tell. A provider has the key."""
    writers = desk(network)
    writers.send(command(number) for number in range(20))
    states = writers.save()
    writers.send(command(number) for number in range(20, 40))
    writers.settle()
    writers.close()
    shutil.rmtree(tmp_path / ".flowops" / "ledger")
    again = desk(states=states)
    again.send(command(number) for number in range(20, 60))
    again.settle()
    assert numbers(network) == once(60)


def test_a_state_from_before_the_first_connection_is_enough(network: Receiver, desk: MakeDesk, tmp_path: Path) -> None:
    """A run that died in its first epoch begins anew, without any position."""
    writers = desk(network)
    writers.send(command(number) for number in range(20))
    writers.settle()
    writers.close()
    shutil.rmtree(tmp_path / ".flowops" / "ledger")
    again = desk()
    again.send(command(number) for number in range(30))
    again.settle()
    assert numbers(network) == once(30)


def test_a_command_that_was_answered_is_not_sent_again_also_by_a_run_that_begins_anew(
    network: Receiver, desk: MakeDesk
) -> None:
    """The ledger outlives the state (S32)."""
    writers = desk(network)
    writers.send(command(number) for number in range(5))
    writers.settle()
    writers.send(command(number) for number in range(5))
    writers.settle()
    writers.close()
    again = desk()
    again.send(command(number) for number in range(7))
    again.settle()
    assert numbers(network) == once(7)


def test_a_message_that_is_past_its_time_is_not_sent_and_told_to_be_expired(network: Receiver, desk: MakeDesk) -> None:
    """S31a: the wall clock decides."""
    writers = desk(network)
    late = command(0, expires_at=wall_clock() - SECOND)
    writers.send([late, command(1)])
    writers.settle()
    assert numbers(network) == once(1, first=1)
    (line,) = writers.journal()
    assert (line["dispatch_id"], line["receipt"], line["user_id"]) == (late.dispatch_id, "expired", "u0")
    assert abs(datetime.fromisoformat(line["ts"]) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("whose", ["plan", "channel"])
def test_a_message_is_held_in_quiet_hours_and_kept_over_a_restart(
    network: Receiver, desk: MakeDesk, tmp_path: Path, whose: str
) -> None:
    """S31a. Held messages keep nobody waiting; the user's zone says what is quiet, so another user's goes out."""
    now = datetime.now(UTC)
    begin, end = now - timedelta(hours=1), now + timedelta(hours=1)
    quiet = {"from": f"{begin:%H:%M}", "to": f"{end:%H:%M}", "then": "hold"}
    if whose == "channel":
        write_channel(tmp_path, {**network.channel, "quiet": quiet})
        writers = desk()
    else:
        writers = desk(network, plan=f"{PLAN}quiet: {json.dumps(quiet)}\n")
    far = wall_clock() + 5 * HOUR
    writers.send([command(0, expires_at=far), command(1, expires_at=far)._replace(zone="Asia/Shanghai")])
    writers.settle()
    writers.wait(lambda: bool(numbers(network)))
    states = writers.save()
    assert numbers(network) == once(1, first=1)
    writers.close()
    again = desk(states=states)
    again.settle()
    assert numbers(network) == once(1, first=1)
    states = again.save()
    again.close()
    write_channel(tmp_path, network.channel)  # quiet no more
    last = desk(states=states)
    last.settle()
    assert numbers(network) == once(2)


def test_what_a_user_waits_for_is_not_held(network: Receiver, desk: MakeDesk, tmp_path: Path) -> None:
    """S24, S31a: neither in the project's quiet hours nor in the channel's."""
    always = {"from": "00:00", "to": "23:59"}, {"from": "12:00", "to": "11:59"}
    channel = {**network.channel, "quiet": always[0]}
    project = f"quiet: {json.dumps(always[1])}\n"
    write_channel(tmp_path, channel, f"{PLAN}transactional: true\n", project)
    writers = desk()
    writers.send([command(0)])
    writers.settle()
    assert numbers(network) == once(1)


def test_receipts_that_are_not_assumed_are_journalled(network: Receiver, desk: MakeDesk, tmp_path: Path) -> None:
    """S40: the shard waits for them. A crash cuts the journal back, and what was known is told once more."""
    write_channel(tmp_path, {**network.channel, "receipts": {"undelivered_after": "1d"}})
    writers = desk()
    states = writers.save()
    writers.send(command(number) for number in range(10))
    writers.settle()
    told = {(line["dispatch_id"], line["receipt"]) for line in writers.journal()}
    assert told == {(command(number).dispatch_id, "accepted") for number in range(10)}
    writers.close()
    again = desk(states=states)
    assert again.journal() == []
    again.send(command(number) for number in range(10))
    again.settle()
    assert {(line["dispatch_id"], line["receipt"]) for line in again.journal()} == told
    assert numbers(network) == once(10)
