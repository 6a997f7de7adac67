"""A whole run with receipts and segments from files: what comes of it, on one process or two, and after kill -9."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from project import copy_of, flowops, kill_after, outcomes, replay, rows_of, write_events, write_project

FLOWOPS = """\
flowops: 1
project: shop
zone: UTC
sources:
  web:
    file: data/web-*.jsonl
    fields: {ts: {path: ts, unit: ms}}
  back:
    kind: receipts
    file: data/back*.csv
    fields: {dispatch_id: message, receipt: status, ts: {path: at, unit: us}, detail: why}
    out_of_orderness: 1m
  vips: {kind: segments, file: data/vips.csv, segment: vip, fields: {user_id: id}}
  staff: {kind: segments, file: data/staff.jsonl, fields: {segment: list, ts: {path: ts, unit: ms}}}
events:
  product_view: {properties: {sku: string, price: money}}
  order: {properties: {sku: string, amount: money}}
channels:
  app: {type: file, path: out/app.jsonl, receipts: {undelivered_after: 30m}}
"""

REMINDER = """\
plan: reminder
audience: {segments: [vip], not_segments: [staff]}
trigger: {event: product_view, without: order, within: 1h}
caps: [{at_most: 3, per: 24h}]
send: {channel: app, expires: 2h, content: {title: T, body: "{{ product_view.sku }}"}}
goals:
  - {goal: ordered, event: order, within: 1h, value: amount}
  - {goal: seen, receipt: displayed, within: 6h}
"""

THANKS = """\
plan: thanks
trigger: {event: order}
send: {channel: app, content: {title: T, body: "{{ order.sku }}"}}
"""

SAYS = ["accepted", "delivered", "delivered", "displayed", "clicked", "clicked", "failed", "expired", "unsubscribed"]


def write_answers(folder: Path, dispatches: list[tuple[str, int]]) -> None:
    """Receipts of most messages, in disorder, some of them repeated; and some that nobody can read."""
    draw = random.Random(7)
    rows = []
    for dispatch, decided_at in dispatches:
        for says in draw.choices(SAYS, k=draw.randrange(4)):
            at = decided_at + draw.randrange(3_600_000_000)
            rows += [(at + draw.randrange(90_000_000), f"{dispatch},{says},{at},")] * draw.choice([1, 1, 1, 2])
    lines = [line for _, line in sorted(rows)]
    lines[10:10] = [f"{dispatches[0][0]},sold,{dispatches[0][1]},", f",delivered,{dispatches[0][1]},"]
    lines.append(f"nobodys,delivered,{dispatches[-1][1]},strange")
    (folder / "data" / "back.csv").write_text("\n".join(["message,status,at,why", *lines]) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of a day; what it sends without receipts is what its receipts are about."""
    folder = write_project(tmp_path_factory.mktemp("answers"), {"reminder": REMINDER, "thanks": THANKS}, FLOWOPS)
    write_events(folder, 12_000, 300, 2)
    (folder / "data" / "back.csv").write_text("message,status,at,why\n")
    (folder / "data" / "vips.csv").write_text("id\n" + "".join(f"u{n}\n" for n in range(0, 300, 2)))
    members = [{"user_id": f"u{n}", "list": "staff", "ts": 0} for n in range(0, 300, 10)]
    members += [{"user_id": f"u{n}", "list": "staff", "ts": 1, "action": "leave"} for n in range(0, 300, 30)]
    (folder / "data" / "staff.jsonl").write_text("".join(json.dumps(each) + "\n" for each in members))
    replay(folder)
    sent = rows_of(folder, "select dispatch_id, epoch_us(decided_at) from dispatches order by decided_at, dispatch_id")
    write_answers(folder, sent)
    replay(folder, "--fresh")
    return folder


def test_attempts_add_up(project: Path) -> None:
    """S22: over random receipts, of all kinds."""
    assert rows_of(project, "select * from balance where not adds_up") == []
    (attempts, lost, delivered, pending), *_ = rows_of(
        project, "select sum(attempts), sum(lost), sum(delivered), sum(pending) from balance"
    )
    assert attempts == lost + delivered + pending
    losses = {stage for (stage,) in rows_of(project, "select distinct stage from losses")}
    assert losses == {"undelivered", "send_failed", "expired", "no_consent", "frequency_cap"}
    assert rows_of(project, "select count(*) from pending where kind = 'sent'") == [(pending,)]


def test_stages_are_what_the_receipts_say(project: Path) -> None:
    """S40: told by SQL from the receipts alone: the proof of arrival stands, else the failure, else the silence."""
    wrong = rows_of(
        project,
        """
        with told as (
            select dispatch_id, bool_or(receipt in ('delivered', 'displayed', 'clicked')) as arrived,
                   bool_or(receipt = 'failed') as failed, bool_or(receipt = 'expired') as expired
            from receipts where plan is not null group by dispatch_id)
        select d.dispatch_id, d.stage, arrived, failed, expired
        from dispatches d left join told using (dispatch_id)
        where d.stage is distinct from 'sent' and not case
            when arrived then d.stage = 'delivered'
            when failed and expired then d.stage in ('send_failed', 'expired')
            when failed then d.stage = 'send_failed'
            when expired then d.stage = 'expired'
            else d.stage = 'undelivered' end
        """,
    )
    assert wrong == []


def test_goals_follow_the_delivery(project: Path) -> None:
    """S41: an order within the hour after the message arrived, and what was displayed."""
    early = """
        select * from goal_events g join outcomes o using (dispatch_id)
        where o.stage = 'delivered' and g.attained_at < o.ended_at"""
    assert rows_of(project, early) == []
    counts = dict(rows_of(project, "select plan || ' ' || goal, attained from plan_attainment"))
    assert set(counts) == {"reminder ordered", "reminder seen", "thanks clicked"}
    assert all(counts.values())
    reach = rows_of(
        project, "select plan, sum(delivered), sum(displayed), sum(clicked) from reach group by 1 order by 1"
    )
    assert all(delivered > displayed > clicked > 0 for _, delivered, displayed, clicked in reach)


def test_only_members_take_part(project: Path) -> None:
    """S2, S22: every other user is a vip; every tenth is staff, but for those who left."""
    users = rows_of(project, "select distinct user_id from triggers where plan = 'reminder'")
    numbers = {int(user[1:]) for (user,) in users}
    assert numbers
    assert all(n % 2 == 0 and (n % 10 or n % 30 == 0) for n in numbers)


def test_what_cannot_be_read_is_a_dead_letter(project: Path) -> None:
    assert rows_of(project, "select source, reason from dead_letters order by reason") == [
        ("back", "bad_type"),
        ("back", "missing_field"),
    ]
    ((detail,),) = rows_of(project, "select detail from dead_letters where reason = 'bad_type'")
    assert detail.startswith("`receipt` (`status`): expected one of accepted, failed, expired, delivered")
    assert detail.endswith('got "sold"')
    assert rows_of(project, "select plan, receipt, detail from receipts where dispatch_id = 'nobodys'") == [
        (None, "delivered", "strange")
    ]


def test_the_report_shows_how_far_messages_got(project: Path) -> None:
    totals = json.loads(flowops("report", "--project", project, "--json").stdout)["totals"]
    reach = rows_of(
        project, "select plan, sum(displayed)::int, sum(clicked)::int from reach group by plan order by plan"
    )
    assert [(row["plan"], row["displayed"], row["clicked"]) for row in totals] == reach
    text = flowops("report", "--project", project).stdout
    assert "clicked" in text


def test_two_processes_say_the_same(project: Path, tmp_path: Path) -> None:
    other = copy_of(project, tmp_path / "two")
    replay(other, "--processes", "2")
    assert outcomes(other) == outcomes(project)


def test_a_kill_changes_nothing(project: Path, tmp_path: Path) -> None:
    """S7: what is awaited, and where receipts lead, is restored."""
    other = copy_of(project, tmp_path / "killed")
    for records in (3_000, 9_000):
        assert kill_after(other, records, "--epoch", "0.1", slow=0.05)
    assert replay(other)["resumed"]
    assert outcomes(other) == outcomes(project)
