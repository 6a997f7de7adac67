"""Ids that lead to users, and a segment for each employee's contacts: from files to outcomes (S2a)."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from project import copy_of, flowops, outcomes, replay, rows_of, slowly

from flowops.rules.load import load_project
from flowops.streaming.known import profile_of

FLOWOPS = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web-*.jsonl}
  crm: {kind: profiles, file: data/crm.csv}
  logins: {kind: identities, file: data/logins.csv, fields: {identity: device}}
  contacts: {kind: segments, file: data/contacts.csv, segment: "contacts of {{ employee }}"}
events:
  view: {properties: {sku: string}}
  order: {properties: {sku: string}}
profile: {city: string}
channels:
  push: {type: file, path: out/push.jsonl}
"""
PLANS = {
    "reminder": """\
plan: reminder
trigger: {event: view, without: order, within: 1h}
caps: [{at_most: 2, per: 24h}]
send: {channel: push, content: {body: "{{ user.city | default: 'somewhere' }}"}}
goals: [{goal: ordered, event: order, within: 1d}]
""",
    "third": """\
plan: third
audience: {segments: [contacts of alice]}
trigger: {event: view, times: 3, within: 1d}
send: {channel: push, content: {body: Three}}
""",
}
USERS = 300
START = 1_650_499_200


def at(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    return f"2022-04-21T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}Z"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each user has a device, which the user logs in on at some time of the day; some a second one, or none."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("rules", "data"):
        (folder / name).mkdir()
    (folder / "flowops.yaml").write_text(FLOWOPS)
    for name, text in PLANS.items():
        (folder / "rules" / f"{name}.yaml").write_text(text)
    chance = random.Random(7)
    for part in range(3):
        events = sorted(
            (chance.randrange(80_000), chance.choice(["u", "d", "d", "e"]), chance.randrange(USERS))
            for _ in range(3000)
        )
        lines = [
            {"event_id": f"{part}-{n}", "user_id": f"{kind}{user}", "ts": at(second), "sku": "A"}
            | {"event": chance.choice(["view", "view", "order"])}
            for n, (second, kind, user) in enumerate(events)
        ]
        (folder / "data" / f"web-{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    logins = sorted((chance.randrange(80_000), chance.choice("dde"), user) for user in range(USERS) for _ in range(2))
    table(folder / "data" / "logins.csv", "device,user_id,ts", ((f"{d}{u}", f"u{u}", at(s)) for s, d, u in logins))
    table(folder / "data" / "crm.csv", "user_id,city", ((f"u{n}", "Rome") for n in range(0, USERS, 2)))
    contacts = ((who, f"u{n}") for n in range(USERS) for who in ("alice", "bob") if chance.random() < 0.6)
    table(folder / "data" / "contacts.csv", "employee,user_id", contacts)
    assert replay(folder)["status"] == "finished"
    return folder


def table(path: Path, header: str, rows: Iterable[tuple[str, ...]]) -> None:
    path.write_text("".join(f"{line}\n" for line in (header, *map(",".join, rows))))


def test_devices_are_their_users_from_the_login_on(shop: Path) -> None:
    late = rows_of(
        shop,
        "select count(*) from dispatches join identities on dispatches.user_id = identity"
        " where triggered_at > linked_at",
    )
    assert late == [(0,)]
    counts = dict(rows_of(shop, "select left(user_id, 1), count(*) from dispatches group by all"))
    assert min(counts[kind] for kind in "ude") > 20, counts
    across = rows_of(
        shop,
        "select count(*) from goal_events g join dispatches d using (dispatch_id)"
        " where d.user_id <> g.user_id and g.user_id = (select person from people where user_id = d.user_id)",
    )
    assert across[0][0] > 5


def test_one_employees_contacts_are_an_audience(shop: Path) -> None:
    """Devices of hers are none, before their users are known."""
    alices = {line.split(",")[1] for line in (shop / "data" / "contacts.csv").read_text().split() if "alice," in line}
    got = {user for (user,) in rows_of(shop, "select user_id from triggers where plan = 'third'")}
    assert got
    assert got <= alices


def test_links_are_landed_once_and_lead_to_people(shop: Path) -> None:
    told = [line.split(",")[:2] for line in (shop / "data" / "logins.csv").read_text().split()[1:]]
    assert sorted(rows_of(shop, "select identity, user_id from identities")) == sorted({tuple(each) for each in told})
    assert sorted(rows_of(shop, "from people")) == sorted({tuple(each) for each in told})


def test_the_outcome_depends_on_no_number_of_processes_and_on_no_kill(shop: Path, tmp_path: Path) -> None:
    """S7, S32."""
    two = copy_of(shop, tmp_path / "two")
    assert replay(two, "--processes", "2")["status"] == "finished"
    assert outcomes(two) == outcomes(shop)
    killed = copy_of(shop, tmp_path / "killed")
    for point in ("append-torn", "append-after", "seal-before"):
        nth = 3 if point == "seal-before" else 70
        done = flowops(
            "replay", "--project", killed, "--epoch", "0.05", env=slowly(0.01, chunk=1 << 12, fault=f"{point}:{nth}")
        )
        assert done.returncode == -signal.SIGKILL, point
    assert replay(killed)["resumed"]
    assert outcomes(killed) == outcomes(shop)


def test_each_id_of_a_user_tells_the_same_story_and_knows_the_same_profile(shop: Path) -> None:
    ((device, user),) = rows_of(
        shop,
        "select d.user_id, person from dispatches d join people using (user_id) join goal_events using (dispatch_id)"
        " where d.plan = 'reminder' and substr(person, 2)::int % 2 = 0 order by all limit 1",
    )
    stories = [
        flowops("explain", "--user", each, "--plan", "reminder", "--project", shop).stdout.split("\n", 1)[1]
        for each in (device, user)
    ]
    assert stories[0] == stories[1]
    assert f"{device} is {user} from here on" in stories[0]
    assert f"view, as {device}" in stories[0]
    assert f"what is known of {device} joins what is known of {user}" in stories[0]
    loaded = load_project(shop)
    assert loaded.config is not None
    assert loaded.project is not None
    known = [profile_of(loaded.config.state, loaded.project, loaded.config.files, each) for each in (device, user)]
    assert known[0] == known[1]
    assert known[0] is not None
    assert known[0]["city"] == "Rome"
    shown = flowops("preview", "reminder", "--user", device, "--project", shop).stdout
    assert "Rome" in shown
