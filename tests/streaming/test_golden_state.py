"""A shard's log that version 9 of the state format wrote: later versions read it, or raise the format's number.

`python tests/streaming/test_golden_state.py` writes the log anew. That is right only together with a new number.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from project import write_project

from flowops.core import state
from flowops.core.records import ENDED, Batch
from flowops.core.shard import Shard
from flowops.core.state import (
    DELAY,
    FALLBACK,
    HELD,
    JOURNEY,
    OPEN,
    WAIT,
    Frame,
    Instance,
    Sent,
    Tally,
    User,
    Window,
    decode_frame,
    encode_frame,
)
from flowops.core.timers import NEVER
from flowops.streaming.job import load_job
from flowops.streaming.statelog import StateLog

GOLDEN = Path(__file__).parent / "golden" / "07-3.log"
SHARD, GENERATION = 7, 3
LENGTH = 1584

FLOWOPS = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web.jsonl}
  crm: {kind: profiles, file: data/crm.jsonl}
events:
  product_view: {properties: {sku: string, price: money}}
  order: {properties: {sku: string, amount: money}}
profile: {city: string, vip: boolean}
channels:
  push: {type: file, path: out/push.jsonl}
  app: {type: file, path: out/app.jsonl, receipts: {undelivered_after: 1h}}
caps: [{at_most: 2, per: 7d}]
"""

REMINDER = """\
plan: reminder
name: Waits, is held, has goals
trigger: {event: product_view, without: {event: order, where: sku = product_view.sku}, within: 1h, key: sku}
quiet: {from: 22:00, to: 08:00, then: hold}
experiment: {name: copy, holdout: 10%, variants: {a: 50%, b: 50%}}
send: {channel: push, content: {title: T, body: "{{ product_view.sku }} {{ user.city }}"}}
goals: [{goal: ordered, event: order, within: 1h, value: amount}]
"""

THANKS = """\
plan: thanks
name: Is delayed, and comes once a week
trigger: {event: order, delay: 10m}
audience: {where: user.vip is null or user.vip}
reentry: 7d
send: {channel: app, content: {title: T, body: "{{ order.sku }}"}}
"""

SECOND = 1_000_000
T = 1_650_535_200 * SECOND  # 2022-04-21 10:00 UTC
MINUTE = 60 * SECOND

WAITING = User(
    armed=T + 50 * MINUTE,
    profile=("Beijing", True),
    profile_at=(T - MINUTE, T - MINUTE),
    instances=(
        Instance(WAIT, 0, T - 10 * MINUTE, T + 50 * MINUTE, T + 50 * MINUTE, 0, "A", ("e1",), (("A",),)),
        Instance(HELD, 0, T - 720 * MINUTE, T + 1320 * MINUTE, T - 660 * MINUTE, 1, "B", ("e0", "é0"), (("B",),)),
    ),
    sends=((T - 7 * MINUTE, 0, 0, (), ""), (T - 6 * MINUTE, 1, 1, ("A", None), "07-1")),
    withdrawn=((1, T - 3 * MINUTE),),
)
DELAYED = User(
    armed=T + 5 * MINUTE,
    instances=(Instance(DELAY, 1, T - 5 * MINUTE, T + 5 * MINUTE, T - 5 * MINUTE, 0, None, ("e2",), (("C",),)),),
    entries=((1, None, T - 8 * 1440 * MINUTE, ""),),
    sent=(
        Sent(
            plan=1,
            message=0,
            trigger_id="07" + "a" * 22,
            day=19103,
            clock="09:00",
            variant=None,
            steps=(("C",),),
            decided_at=T - 20 * MINUTE,
            due=T + 40 * MINUTE,
            until=T + 10 * 1440 * MINUTE,
            stage="sent",
            proven=False,
            opened=False,
            changes=0,
        ),
    ),
)
BUYING = User(
    armed=T + 30 * MINUTE,
    instances=(
        Instance(
            OPEN,
            0,
            T,
            T + 9999 * MINUTE,
            0,
            0,
            "A",
            ("e5", "e6"),
            (("A",), (None,)),
            ([[0, 1, T, T, T], [1, 2, T + 1, T + 2, T + 2]], [1, 2]),
            "a1",
        ),
    ),
    windows=(
        Window(
            0, 0, 0, T - 30 * MINUTE, T + 30 * MINUTE, 19103, None, "t1", False, False, "a", (("A",),), ["e3", "e4"]
        ),
        Window(0, 0, 0, T - 30 * MINUTE, T + 30 * MINUTE, 19103, None, "t3", True, False, "a", (("A",),), []),
        Window(0, 0, 0, T - 30 * MINUTE, T + 30 * MINUTE, 19103, "09:00", "t2", True, True, None, (), []),
    ),
    tallies={"2": Tally(2, False, "12.5", [(T - 20 * MINUTE, "e3", "10"), (T - 10 * MINUTE, "e4", "2.5")])},
)

ON_THE_WAY = User(
    armed=T + 30 * MINUTE,
    instances=(
        Instance(
            FALLBACK, 3, T, T + 30 * MINUTE, T, 0, None, ("e7", "e8"), (("D",),), ("07" + "b" * 22, 0, T + 99 * MINUTE)
        ),
        Instance(
            JOURNEY,
            3,
            T,
            T + 1440 * MINUTE,
            T,
            0,
            None,
            ("e7", "e8"),
            (("D",),),
            ("07" + "b" * 22, True, 1, T, 0, False, True, [1, 0, 0]),
        ),
    ),
)

ZEAL = """\
plan: zeal
name: Counts
trigger: {event: order, sum: amount, reaches: 12, within: 1h}
send: {channel: push, content: {title: T, body: Zeal}}
"""

NURTURE = """\
plan: zeal-way
name: Leads on
trigger: {event: order, times: 2, within: 1h}
send:
  - {step: opener, first: [app, push], content: {app: {title: T, body: A}, push: {title: T, body: B}}}
  - {after: 1d, when: not opener.clicked, channel: app, content: {title: T, body: C}}
"""

PLANS = {"reminder": REMINDER, "thanks": THANKS, "zeal": ZEAL, "zeal-way": NURTURE}


def as_bytes(user: User) -> bytes:
    return msgspec.msgpack.encode(user)


FRAMES = [
    Frame(
        9,
        SHARD,
        {0: (T - MINUTE, T - MINUTE), 1: (ENDED, T)},
        [],
        {
            "waiting": as_bytes(WAITING),
            "gone": as_bytes(User(armed=NEVER, sends=((T, 1, 0, (), ""),))),
            "delayed": as_bytes(BUYING),
        },
        {0: T - 60 * MINUTE},
        T - 60 * MINUTE,
        T - MINUTE,
        {"anon": ("waiting", T - 5 * MINUTE)},
    ),
    Frame(
        9,
        SHARD,
        {0: (T, T + 4 * SECOND), 1: (ENDED, T)},
        [
            (T + 3 * SECOND, (1 << 40) + 17, "buying", T + 3 * SECOND, "e9", (9.5, "A"), (0,)),
            (T + 4 * SECOND, 18, "waiting", T + 4 * SECOND, "p1", ((0, None), (1, False)), (-1,)),
            (T + 5 * SECOND, 19, "", T + 5 * SECOND, "r1", ("07" + "a" * 22 + "-1-app", "clicked", None, "a1"), (-2,)),
        ],
        {"gone": None, "delayed": as_bytes(DELAYED), "buying": as_bytes(BUYING), "on the way": as_bytes(ON_THE_WAY)},
        {0: T - 60 * MINUTE, 1: T - 30 * MINUTE},
        T - 60 * MINUTE,
        T,
        {"a1": ("buying", T)},
    ),
]


def write(path: Path) -> int:
    """Write the frames as a log; its length."""
    path.unlink(missing_ok=True)
    log = StateLog(path.parent, SHARD)
    for _ in range(GENERATION):
        log.rewrite(encode_frame(FRAMES[0]))
    place = log.append(encode_frame(FRAMES[1]))
    log.close()
    for other in path.parent.glob("07-[0-2].log"):
        other.unlink()
    return place[2]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[StateLog]:
    shutil.copy(GOLDEN, tmp_path)
    log = StateLog(tmp_path, SHARD, (SHARD, GENERATION, LENGTH))
    yield log
    log.close()


def test_the_golden_log_is_read_as_it_was_written(log: StateLog) -> None:
    """Every field of every kind of state, by value."""
    assert state.FORMAT == 9, "a new format needs a golden log of its own; what happens to the old one, a decision"
    found = [decode_frame(frame) for frame in log.frames()]
    assert msgspec.json.encode(found) == msgspec.json.encode(FRAMES)
    users, links, last = state.merge(log.frames())
    assert links == {"anon": ("waiting", T - 5 * MINUTE), "a1": ("buying", T)}
    assert dict(users.each()) == {
        "waiting": WAITING,
        "delayed": DELAYED,
        "buying": BUYING,
        "on the way": ON_THE_WAY,
    }
    assert last == found[1]


def test_what_is_written_today_is_the_golden_log(tmp_path: Path) -> None:
    """Byte by byte: a change of the codec does not pass unnoticed."""
    assert write(tmp_path / GOLDEN.name) == LENGTH
    assert (tmp_path / GOLDEN.name).read_bytes() == GOLDEN.read_bytes()


def test_a_shard_goes_on_from_the_golden_log(log: StateLog, tmp_path: Path) -> None:
    """What waited still waits, and what was due fires when time moves on."""
    project = write_project(tmp_path / "shop", PLANS, FLOWOPS)
    for name in ("web", "crm"):
        (project / "data" / f"{name}.jsonl").touch()
    shard = Shard.restore(SHARD, load_job(project).project, 2, log.frames())
    assert [(row.user_id, row.plan, row.kind, row.since, row.due) for row in shard.pending()] == [
        ("delayed", "thanks", "delay", T - 5 * MINUTE, T + 5 * MINUTE),
        ("delayed", "thanks", "sent", T - 20 * MINUTE, T + 40 * MINUTE),
        ("on the way", "zeal-way", "fallback", T, T + 30 * MINUTE),
        ("on the way", "zeal-way", "journey", T, T + 1440 * MINUTE),
        ("waiting", "reminder", "wait", T - 10 * MINUTE, T + 50 * MINUTE),
        ("waiting", "reminder", "held", T - 720 * MINUTE, T + 1320 * MINUTE),
    ]
    assert shard.watermark == T
    shard.receive(Batch(SHARD, 0, ENDED, T + 60 * MINUTE, [], [], []))
    effects = shard.advance()
    assert [(row.user_id, row.goal, row.trigger_id, row.arm, row.value) for row in effects.goals] == [
        ("buying", "ordered", "t1", "treatment", 9.5),
        ("buying", "ordered", "t2", "holdout", 9.5),
        ("delayed", "clicked", "07" + "a" * 22, None, None),
    ]
    assert [(row.channel, row.change, row.stage) for row in effects.stages] == [("app", 1, "delivered")]
    assert [(row.plan, row.user_id, row.decided_at) for row in effects.decisions] == [
        ("thanks", "delayed", T + 5 * MINUTE),
        ("zeal-way", "on the way", T + 30 * MINUTE),
        ("reminder", "waiting", T + 50 * MINUTE),
    ]
    assert (effects.decisions[1].step, effects.decisions[1].channel) == ("opener", "push")
    assert [row.kind for row in shard.pending()] == ["sent", "journey", "held"]


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    print(write(GOLDEN))
