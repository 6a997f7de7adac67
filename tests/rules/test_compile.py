"""Plans are numbered and ordered as the engine expects, and only what is asked for travels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowops.core import plan as core
from flowops.core.time import DAY, HOUR, MINUTE
from flowops.rules.findings import render
from flowops.rules.load import load_project
from flowops.sources import KafkaSettings, RedisSettings

BASE = Path(__file__).parent / "base"
Compile = Callable[..., core.Project]
SEND = "send: {channel: push, content: {body: Hi}}\n"


@pytest.fixture
def compile_(tmp_path: Path) -> Compile:
    """Compile plans (texts) in the base project; `project` edits flowops.yaml by (old, new)."""

    def run(*plans: str, project: list[tuple[str, str]] = [], files: dict[str, str] = {}) -> core.Project:  # noqa: B006
        shutil.rmtree(tmp_path)
        shutil.copytree(BASE, tmp_path)
        (tmp_path / "rules" / "reminder.yaml").unlink()
        text = (BASE / "flowops.yaml").read_text(encoding="utf-8")
        for old, new in project:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "flowops.yaml").write_text(text, encoding="utf-8")
        for number, plan in enumerate(plans):
            (tmp_path / "rules" / f"{number}.yaml").write_text(plan, encoding="utf-8")
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        loaded = load_project(tmp_path)
        assert loaded.project is not None, render(loaded.findings)
        return loaded.project

    return run


def row(project: core.Project, **values: Any) -> Any:
    columns = project.sources[0].columns
    return SimpleNamespace(**{column.attribute: values.get(column.name) for column in columns})


def simple(plan: str, more: str = "", trigger: str = "{event: view}") -> str:
    return f"plan: {plan}\ntrigger: {trigger}\n{SEND}{more}"


def test_plans_stand_by_priority_higher_first_then_by_id(compile_: Compile) -> None:
    """S7."""
    project = compile_(simple("b"), simple("a"), simple("z", "priority: 5\n"), simple("y", "priority: -1\n"))
    assert [plan.id for plan in project.plans] == ["z", "a", "b", "y"]
    assert [plan.index for plan in project.plans] == [0, 1, 2, 3]


def test_goals_listen_first_then_each_plans_cancels_before_its_start(compile_: Compile) -> None:
    """S17a: an event first ends what is under way, then may start."""
    goals = "goals: [{goal: g, event: order, within: 1h}, {goal: h, event: view, within: 1h}]\n"
    project = compile_(simple("a", goals, "{event: view, without: [view, order], within: 1h}"), simple("b", goals))
    kinds = [(type(each).__name__, each.plan) for each in project.listeners]
    assert kinds == [
        *(("Attain", plan) for plan in (0, 0, 1, 1)),
        *(("Cancel", 0), ("Cancel", 0), ("Start", 0), ("Start", 1)),
    ]
    hits, _ = project.sources[0].routes["view"](row(project)) or ((), ())
    assert hits == (1, 3, 4, 6, 7)


def test_the_route_decides_on_the_events_own_properties_and_only_the_rest_travels(compile_: Compile) -> None:
    project = compile_(
        "plan: a\ntrigger:\n  event: view\n  where: price >= 50 and category = 'bags' and user.tier = 'gold'\n"
        "  without: {event: order, where: amount > 10 and sku = view.sku}\n  within: 1h\n  key: sku\n" + SEND
    )
    assert project.events == (core.EventTable("order", ("sku",)), core.EventTable("view", ("sku",)))
    assert {column.name for column in project.sources[0].columns} == {"price", "category", "amount", "sku"}
    route = project.sources[0].routes["view"]
    assert route(row(project, price=60.0, category="bags", sku="A")) == ((1,), ("A",))
    assert route(row(project, price=40.0, category="bags", sku="A")) is None
    cancel, start = project.listeners
    assert isinstance(cancel, core.Cancel)
    assert isinstance(start, core.Start)
    assert cancel.where is not None
    assert start.where is not None
    assert (start.capture, start.key, cancel.key) == (((0, (0,)),), (0,), (0,))
    assert cancel.where(("A",), (("A",),), (None, None), 0, None)
    assert not cancel.where(("B",), (("A",),), (None, None), 0, None)
    gold = tuple("gold" if name == "tier" else None for name in project.attributes)
    assert start.where(("A",), (), gold, 0, None)
    assert not start.where(("A",), (), (None,) * len(gold), 0, None)


def test_any_listens_to_every_event_also_to_undeclared_ones(compile_: Compile) -> None:
    """S12."""
    project = compile_(simple("a", trigger="{event: any}"), simple("b"))
    source = project.sources[0]
    assert source.any_route is not None
    assert source.any_route(row(project)) == ((0,), ())
    assert source.routes["view"](row(project)) == ((0, 1), ())
    assert set(source.routes) == {"view"}


def test_a_source_with_a_constant_event_has_only_its_route(compile_: Compile) -> None:
    project = compile_(
        simple("a", "goals: [{goal: g, event: order, within: 1h}]\n"),
        project=[("    fields: {user_id: uid, event: type}", "    event: view\n    fields: {user_id: uid}"),
                 ("  crm:", "  shop: {file: data/orders.csv, event: order}\n  crm:")],
        files={"data/orders.csv": "user_id,ts\n"},
    )  # fmt: skip
    assert [set(source.routes) for source in project.sources] == [{"view"}, {"order"}, set()]
    assert [source.event_id for source in project.sources] == [(("event_id",),), (), ()]


def test_attributes_are_those_that_plans_use(compile_: Compile) -> None:
    project = compile_(
        simple("a", "audience: {where: user.tier = 'gold'}\n"),
        project=[
            ("  tier:", "  city: string\n  home: zone\n  tier:"),
            ("address: token}", "address: token, consent: {opt_in: sms_ok}}\n  other: {type: console, address: city}"),
        ],
    )
    assert project.attributes == ("home", "sms_ok", "tier", "token")
    assert project.zone_attribute == 0
    push, other = project.channels
    assert (push.address, push.opt_in, push.opt_out) == (3, 1, None)
    assert (other.address, other.opt_in) == (None, None)


def test_an_audience_of_several_blocks_holds_if_one_does(compile_: Compile) -> None:
    project = compile_(
        simple("a", "audience: {any: [{where: user.tier = 'gold'}, {any: [{where: user.first_name = 'Mei'}]}]}\n")
    )
    audience = project.plans[0].audience
    assert audience is not None

    def holds(**user: str) -> bool:
        return audience((), (), tuple(user.get(name) for name in project.attributes), 0, None)

    assert holds(tier="gold")
    assert holds(first_name="Mei")
    assert not holds(tier="basic")
    assert not holds()


def test_caps_bind_what_their_scope_names(compile_: Compile) -> None:
    """S24: a plan's cap binds the plan and counts its scope; a project's binds what it counts."""
    caps = (
        "caps: [{at_most: 1, per: ever}, {at_most: 2, per: 7d, scope: {group: G, tag: t}}, "
        "{at_most: 3, per: calendar day, scope: {channel: push}}]\n"
    )
    of_project = "caps: [{at_most: 9, per: 30d}, {at_most: 8, per: calendar month, scope: {plan: b}}]\nchannels:"
    project = compile_(
        simple("a", "group: G\ntags: [t]\n" + caps),
        simple("b", "group: G\n"),
        project=[("channels:", of_project)],
    )
    a, b = project.plans
    nine = core.Cap(9, 30 * DAY, None, None, None, "9 per 30d (project)")
    assert a.caps == (
        core.Cap(1, None, None, frozenset({0}), None, "1 per ever (plan)"),
        core.Cap(2, 7 * DAY, None, frozenset({0}), None, "2 per 7d (group G, tag t)"),
        core.Cap(3, None, "day", None, 0, "3 per calendar day (channel push)"),
        nine,
    )
    assert b.caps == (nine, core.Cap(8, None, "month", frozenset({1}), None, "8 per calendar month (plan b)"))


def test_quiet_hours_are_the_plans_own_or_none_or_the_projects(compile_: Compile) -> None:
    """S26."""
    project = compile_(
        simple("a"),
        simple("b", "quiet: none\n"),
        simple("c", "quiet: {outside: {days: [mon, fri], from: 14:00, to: 16:00}, then: drop}\n"),
        project=[("channels:", "quiet: {from: 22:00, to: 08:00}\nchannels:")],
    )
    every = frozenset(range(7))
    assert [plan.quiet for plan in project.plans] == [
        core.Quiet(1320, 480, every, outside=False, hold=True),
        None,
        core.Quiet(840, 960, frozenset({0, 4}), outside=True, hold=False),
    ]


def test_triggers_and_reentry(compile_: Compile) -> None:
    """S12, S13, S21."""
    project = compile_(
        simple("a", "reentry: once\n", "{event: view, delay: 10m}"),
        simple("b", "reentry: 7d\n", "{event: view, without: order, within: 2h, repeat: restart, delay: 1m}"),
    )
    assert [plan.trigger for plan in project.plans] == [
        core.EventTrigger(10 * MINUTE),
        core.AbsenceTrigger(2 * HOUR, "restart", MINUTE),
    ]
    assert [plan.reentry for plan in project.plans] == [
        core.Reentry(always=False, gap=None),
        core.Reentry(always=False, gap=7 * DAY),
    ]


def test_paths_lead_into_nested_records_but_a_csv_column_may_have_a_dot(compile_: Compile) -> None:
    """S1."""
    fields = "{user_id: user.id, event: type, sku: item.code, properties: props}"
    project = compile_(
        simple("a", trigger="{event: view, key: sku}"),
        project=[("data/web.csv", "data/web.jsonl"), ("{user_id: uid, event: type}", fields)],
        files={"data/web.jsonl": ""},
    )
    source = project.sources[0]
    assert (source.user_id, source.properties_path) == (("user", "id"), ("props",))
    assert source.columns == (core.Column("p0", "sku", ("item", "code"), "string"),)
    project = compile_(
        simple("a"),
        project=[("{user_id: uid, event: type}", "{user_id: user.id, event: type}")],
        files={"data/web.csv": "user.id,type,ts,event_id\n"},
    )
    assert project.sources[0].user_id == ("user.id",)


def test_a_csv_whose_header_has_semicolons_has_its_columns_for_lint_too(compile_: Compile) -> None:
    """S1."""
    project = compile_(simple("a"), files={"data/web.csv": "uid;type;ts;event_id;sku,price\n"})
    assert project.sources[0].user_id == ("uid",)


def test_a_source_of_kafka_or_redis_has_its_connection_beside_the_plan(compile_: Compile, tmp_path: Path) -> None:
    """The group is named after the project, secrets stay references, and only servers have a clock (S3)."""
    kafka = "kafka: {topic: web, brokers: [a:9092, b:9092], options: {sasl.password: {env: PASSWORD}}}"
    project = compile_(simple("a"), project=[("file: data/web.csv", kafka)])
    source = project.sources[0]
    assert (source.files, source.max_future, source.user_id) == ((), 10 * MINUTE, ("uid",))
    assert project.sources[1].max_future is None
    config = load_project(tmp_path).config
    assert config is not None
    assert set(config.connections) == {"web"}
    connection = config.connections["web"]
    assert isinstance(connection, KafkaSettings)
    assert (connection.topic, connection.brokers, connection.group) == ("web", ["a:9092", "b:9092"], "flowops-shop")
    assert str(connection.options["sasl.password"]) == "${PASSWORD}"
    redis = "redis: {stream: web, json: body, url: redis://localhost}\n    max_future: 1h"
    project = compile_(simple("a"), project=[("file: data/web.csv", redis)])
    assert project.sources[0].max_future == HOUR
    connection = load_project(tmp_path).config.connections["web"]
    assert isinstance(connection, RedisSettings)
    assert (connection.key, connection.json_field) == ("web", "body")


def test_one_content_serves_all_variants(compile_: Compile) -> None:
    project = compile_(simple("a", "experiment: {variants: {x: 50%, y: 50%}}\n"))
    content = project.plans[0].step.content
    assert set(content) == {"x", "y"}
    assert content["x"] is content["y"]
    held_out_only = compile_(simple("a", "experiment: {holdout: 5%}\n"))
    assert set(held_out_only.plans[0].step.content) == {None}


def test_a_version_changes_with_what_is_compiled_and_with_nothing_else(compile_: Compile) -> None:
    files = {"rules/templates/greeting.yaml": "body: Hi\n"}
    plan = simple("a").replace("{body: Hi}", "{template: greeting}")

    def versions(text: str, **more: Any) -> tuple[str, str]:
        project = compile_(text, **{"files": files, **more})
        return project.plans[0].version, project.fingerprint

    first = versions(plan)
    assert len(first[0]) == 8
    assert int(first[0], 16) >= 0
    assert versions("# a comment\n" + plan + "notes: said\n") == first
    assert versions(plan, project=[("channels:", "state: elsewhere\nchannels:")]) == first
    changed = [
        versions(plan + "priority: 1\n"),
        versions(plan, files={"rules/templates/greeting.yaml": "body: Ho\n"}),
        versions(plan, project=[("price: money", "price: number")]),
        versions(plan, project=[("channels:", "quiet: {from: 22:00, to: 08:00}\nchannels:")]),
    ]
    assert len({first[0], *(version for version, _ in changed)}) == 5
    other_input = versions(plan, project=[("data/web.csv", "data/web.cs[v]")])
    assert (other_input[0], other_input[1] != first[1]) == (first[0], True)


RECEIPTS = [
    ("  crm:", "  back: {kind: receipts, file: data/back.csv, fields: {receipt: says}}\n  crm:"),
    ("address: token}", "address: token, receipts: {undelivered_after: 90m}}"),
]
BACK = {"data/back.csv": "dispatch_id,says,ts\n"}


def test_a_channel_says_how_long_it_waits_for_receipts(compile_: Compile) -> None:
    """S40."""
    (push,) = compile_(simple("a")).channels
    assert (push.undelivered_after, push.confirms) == (None, False)
    project = compile_(simple("a"), project=RECEIPTS, files=BACK)
    (push,) = project.channels
    assert (push.undelivered_after, push.confirms) == (90 * MINUTE, True)
    back = project.sources[1]
    assert (back.kind, back.event_path, back.time.path) == ("receipts", ("says",), ("ts",))
    assert [(column.name, column.path) for column in back.columns] == [
        ("dispatch_id", ("dispatch_id",)),
        ("detail", ("detail",)),
    ]


def test_without_a_goal_a_click_is_one_where_receipts_come_back(compile_: Compile) -> None:
    """S41."""
    assert compile_(simple("a")).plans[0].goals == ()
    (goal,) = compile_(simple("a"), project=RECEIPTS, files=BACK).plans[0].goals
    assert (goal.name, goal.receipt, goal.window) == ("clicked", "clicked", 7 * DAY)
    more = "goals: [{goal: seen, receipt: displayed, within: 1h, target: 40%}, {goal: o, event: order, within: 1h}]\n"
    project = compile_(simple("a", more), project=RECEIPTS, files=BACK)
    assert [(each.name, each.receipt, each.target) for each in project.plans[0].goals] == [
        ("seen", "displayed", 0.4),
        ("o", None, None),
    ]
    assert [each.goal for each in project.listeners if isinstance(each, core.Attain)] == [1]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"vip": True}, True),
        ({"vip": True, "staff": True}, False),
        ({"vip": True, "staff": False}, True),
        ({"vip": False}, False),
        ({}, False),
        ({'an "odd" name': True}, True),
        ({'an "odd" name': True, "tier": "gold"}, True),
        ({'an "odd" name': False, "tier": "gold"}, False),
    ],
)
def test_an_audience_asks_for_segments_as_for_attributes(
    compile_: Compile, told: dict[str, Any], expected: bool
) -> None:
    """S2, S22: in all of `segments`, in none of `not_segments`; who was never told to enter is not in it."""
    audience = (
        "audience:\n  any:\n    - {segments: [vip], not_segments: [staff]}\n"
        "    - {where: user.tier = 'gold' or true, segments: ['an \"odd\" name']}\n"
    )
    project = compile_(
        simple("a", audience),
        project=[
            ("  crm:", "  members: {kind: segments, file: data/members.csv}\n  crm:"),
        ],
        files={"data/members.csv": 'user_id,segment\nu,vip\nu,staff\nu,"an ""odd"" name"\n'},
    )
    attributes = tuple(told.get(name.removeprefix("segment:")) for name in project.attributes)
    assert project.plans[0].audience is not None
    assert project.plans[0].audience((), (), attributes, 0, None) is expected
    members = project.sources[1]
    assert members.time.path is None  # the file has no `ts`
    assert members.event_path == ("segment",)


def test_a_count_listens_before_anything_begins_and_takes_what_it_needs_along(compile_: Compile) -> None:
    """S16."""
    trigger = (
        "{event: order, where: amount > 1 and user.tier = 'gold', sum: amount, reaches: 99.9, within: 30d, key: sku,"
        " delay: 1h, repeat: always}"
    )
    project = compile_(
        simple("a", trigger="{event: view, distinct: sku, times: 3, within: ever}"), simple("b", trigger=trigger)
    )
    views, orders = core.Counter("distinct", 3, None, 3), core.Counter("sum", Decimal("99.9"), 30 * DAY, 0)
    assert project.counters == (views, orders)
    assert [plan.trigger for plan in project.plans] == [core.CountTrigger(views, 0), core.CountTrigger(orders, HOUR)]
    count, start = project.listeners[2:]
    assert isinstance(count, core.Count)
    assert isinstance(start, core.Start)
    assert (count.value, count.key, count.always) == (0, (1,), True)
    assert count.where is not None
    assert (start.where, start.key) == (None, (1,))
    routed = project.sources[0].routes["order"](row(project, amount=2.0, sku="A"))
    assert routed == ((2, 3), (2.0, "A"))
    assert project.sources[0].routes["order"](row(project, amount=0.5, sku="A")) is None


def test_inactivity_listens_to_what_it_waits_for(compile_: Compile) -> None:
    """S17: of the last event content may speak."""
    content = "send: {channel: push, content: {body: 'Back to {{ view.sku }}?'}}\n"
    project = compile_(
        f"plan: a\ntrigger: {{inactive_for: 7d, event: view, where: price > 1, delay: 1h}}\n{content}",
        simple("b", trigger="{inactive_for: 1h}"),
    )
    assert [plan.trigger for plan in project.plans] == [
        core.InactivityTrigger(7 * DAY, HOUR),
        core.InactivityTrigger(HOUR, 0),
    ]
    assert project.listeners == (
        core.See(0, None, ((0, (0,)),), ()),
        core.Start(0, None, ((0, (0,)),), ()),
        core.See(1, None, ((0, ()),), ()),
        core.Start(1, None, ((0, ()),), ()),
    )
    assert project.sources[0].any_route is not None


MEMBERS = [("  crm:", "  members: {kind: segments, file: data/members.csv}\n  crm:")]
TRIGGERS = (
    "{event: view}",
    "{event: view, delay: 1h}",
    "{event: view, without: order, within: 1h}",
    "{event: view, without: order, within: 2h}",
    "{event: order, times: 2, within: 2h}",
    "{event: order, times: 3, within: 2h}",
    "{enters: vip}",
    "{leaves: vip}",
    "{attribute: tier}",
    "{attribute: tier, to: gold}",
    "{schedule: {daily: 09:00}}",
    "{schedule: {daily: 10:00}}",
    "{schedule: {weekly: [mon], at: 10:00}}",
    "{schedule: {cron: 0 9 * * *}}",
    "{inactive_for: 1h}",
    "{inactive_for: 2h}",
    "{any: [view, order]}",
    "{all: [view, order], within: 1h}",
    "{all: [view, order], within: 2h}",
    "{event: view, delay: {until: 20:00}}",
    "{event: view, delay: {until: 20:00, days: [sat]}}",
    "{sequence: [view, order], within: 1h}",
    "{sequence: [view, order], within: 1h, strict: true}",
    "{sequence: [view, {event: order, times: 2}], within: 1h}",
    "{sequence: [view, {event: order, times: 2+}], within: 1h}",
    "{sequence: [view, {without: order, within: 1h}], within: 1h}",
    "{sequence: [view, {without: order, within: 2h}], within: 1h}",
)


def test_every_word_of_a_trigger_makes_another_version(compile_: Compile) -> None:
    """S20: what waits keeps its version, so versions must differ where plans do."""
    files = {"data/members.csv": "user_id,segment\nu1,vip\n"}
    compiled = [compile_(simple("a", trigger=trigger), project=MEMBERS, files=files) for trigger in TRIGGERS]
    versions = [project.plans[0].version for project in compiled]
    assert len(set(versions)) == len(TRIGGERS)


def test_any_and_all_have_a_listener_for_each_event(compile_: Compile) -> None:
    """S15: `as` beside `any` names whichever it was; of `all` each may begin, and each may be what was missing."""
    body = "send: {channel: push, content: {body: '{{ came.sku }} {{ bought.amount | default: 0 }}'}}\n"
    project = compile_(
        "plan: a\ntrigger: {any: [view, {event: order, where: amount > 5, as: bought}], as: came}\n" + body,
        simple("b", trigger="{all: [view, {event: order, where: sku <> 'A'}], within: 1d, key: sku}"),
    )
    either, both = project.plans
    assert either.trigger == core.AnyTrigger(0)
    assert either.blank == ((), (None,), (None,))
    assert both.trigger == core.AllTrigger(2, DAY, 0)
    tables = {table.name: table.properties for table in project.events}
    assert tables == {"order": ("amount", "sku"), "view": ("sku",)}
    assert project.listeners == (
        core.Start(0, None, ((0, ()), (2, (0,))), (), 0, (0, 0)),
        core.Start(0, None, ((1, (0,)), (2, (1,))), (), 1, (0, 0)),
        *(core.Take(1, None, ((part, ()),), (1 - place,), part) for part, place in ((0, 1), (1, 0))),
        *(core.Start(1, None, ((part, ()),), (1 - place,), part) for part, place in ((0, 1), (1, 0))),
    )
    hits, _ = project.sources[0].routes["order"](row(project, amount=6.0, sku="B")) or ((), ())
    assert hits == (1, 3, 5)


def test_delays_until(compile_: Compile) -> None:
    """S12: a time of day, on days or any; or what the event carries."""
    declared = [("  order:", "  booking: {properties: {departs_at: time, day: date, sku: string}}\n  order:")]
    project = compile_(
        simple("a", trigger="{event: view, delay: {until: 20:00, days: [sat, sun]}}"),
        simple("b", trigger="{event: view, without: order, within: 1h, delay: {until: 8:30}}"),
        simple("c", trigger="{event: booking, delay: {until: departs_at, offset: -1d}}"),
        simple("d", trigger="{any: [booking, order], delay: {until: booking.day, offset: 9h}}"),
        project=declared,
        files={"data/web.csv": "uid,type,ts,event_id,sku,price,category,amount,departs_at,day\n"},
    )
    delays = [plan.trigger.delay for plan in project.plans]
    assert delays[:2] == [core.UntilLocal(1200, frozenset({5, 6})), core.UntilLocal(510, frozenset(range(7)))]
    until = delays[2]
    assert isinstance(until, core.UntilCarried)
    assert (until.whole_day, until.offset) == (False, -DAY)
    assert until.time((), ((17,),), (), 0, None) == 17
    until = delays[3]
    assert isinstance(until, core.UntilCarried)
    assert (until.whole_day, until.offset) == (True, 9 * HOUR)
    assert until.time((), ((19_000,), ()), (), 0, None) == 19_000


def test_a_change_is_heard_by_attribute(compile_: Compile) -> None:
    """S19: no source's route knows of it."""
    project = compile_(
        simple("a", trigger="{enters: vip}"),
        simple("b", trigger="{attribute: tier, from: silver, to: gold, where: user.sms_ok, delay: 1h}"),
        simple("c", trigger="{leaves: vip}"),
        project=MEMBERS,
        files={"data/members.csv": "user_id,segment\nu1,vip\n"},
    )
    tier, vip = project.attributes.index("tier"), project.attributes.index("segment:vip")
    assert project.changes == {
        vip: (core.Change(0, None, True), core.Change(2, True, None)),
        tier: (core.Change(1, "silver", "gold"),),
    }
    assert [plan.trigger for plan in project.plans] == [
        core.AnyTrigger(0),
        core.AnyTrigger(HOUR),
        core.AnyTrigger(0),
    ]
    assert [isinstance(each, core.Start) and each.where is not None for each in project.listeners] == [
        False,
        True,
        False,
    ]
    assert not any(source.routes for source in project.sources)


def test_a_change_may_stand_wherever_an_event_may(compile_: Compile) -> None:
    """S19."""
    project = compile_(
        simple("a", trigger="{event: view, without: [order, {enters: vip, where: user.sms_ok}], within: 1h}"),
        simple("b", trigger="{all: [view, {attribute: tier, to: gold}], within: 1d}"),
        project=MEMBERS,
        files={"data/members.csv": "user_id,segment\nu1,vip\n"},
    )
    tier, vip = project.attributes.index("tier"), project.attributes.index("segment:vip")
    assert project.changes == {
        vip: (core.Change(1, None, True),),
        tier: (core.Change(4, None, "gold"), core.Change(6, None, "gold")),
    }
    entering = project.listeners[1]
    assert isinstance(entering, core.Cancel)
    assert entering.where is not None
    assert project.listeners[4] == core.Take(1, None, ((1, ()),), (), 1)
    assert project.listeners[6] == core.Start(1, None, ((1, ()),), (), 1)
    hits, _ = project.sources[0].routes["view"](row(project)) or ((), ())
    assert hits == (2, 3, 5)


def test_a_sequence_has_a_listener_for_each_event_and_keeps_what_is_spoken_of(compile_: Compile) -> None:
    """S14: events that are taken are numbered first; the takings that something names are kept beside the last."""
    project = compile_(
        "plan: a\n"
        "trigger:\n"
        "  sequence:\n"
        "    - {event: view, as: viewed, times: 2+}\n"
        "    - {without: [order, {event: view, where: price > viewed.price}], within: 10m}\n"
        '    - {event: view, as: again, where: "sku = viewed[1].sku", within: 1h}\n'
        "    - any: [order, {event: view, as: third}]\n"
        "      as: last\n"
        "      times: 0..3\n"
        "    - {all: [{event: order, as: bought}, {event: view, as: fourth}]}\n"
        "    - {without: order, within: 2h}\n"
        "  within: 1d\n"
        "  repeat: parallel\n"
        "  strict: true\n"
        "send: {channel: push, content: {body: '{{ last.sku | default: 0 }} {{ viewed.price }}'}}\n"
        'goals: [{goal: g, event: order, where: "sku = last[2].sku", within: 1h}]\n'
    )
    (plan,) = project.plans
    assert plan.trigger == core.SequenceTrigger(
        (
            core.SequenceStep("any", (0,), 2, None),
            core.SequenceStep("without", (6, 7), within=10 * MINUTE),
            core.SequenceStep("any", (1,), within=HOUR),
            core.SequenceStep("any", (2, 3), 0, 3),
            core.SequenceStep("all", (4, 5)),
            core.SequenceStep("without", (8,), within=2 * HOUR),
        ),
        within=DAY,
        repeat="parallel",
        strict=True,
        unfinished=False,
        delay=0,
    )
    slots = ("viewed", "viewed[1]", "again", "order", "third", "last", "last[2]", "bought", "fourth")
    kept = {"viewed": 1, "viewed[1]": 1, "last": 1, "last[2]": 1}
    assert plan.blank == tuple((None,) * kept.get(slot, 0) for slot in slots)
    assert {table.name: table.properties for table in project.events} == {"order": ("sku",), "view": ("price", "sku")}
    _, *takes, start = project.listeners
    assert isinstance(start, core.Start)
    assert (start.part, start.capture, start.nth) == (0, ((0, (0,)), (1, (1,))), (0, 1))
    assert [(take.part, take.capture, take.nth) for take in takes if isinstance(take, core.Take)] == [
        (0, ((0, (0,)), (1, (1,))), (0, 1)),
        (6, (), ()),
        (7, (), ()),
        (1, ((2, ()),), (0,)),
        (2, ((3, ()), (5, (0,)), (6, (0,))), (0, 0, -2)),
        (3, ((4, ()), (5, (1,)), (6, (1,))), (0, 0, -2)),
        (4, ((7, ()),), (0,)),
        (5, ((8, ()),), (0,)),
        (8, (), ()),
        (core.ANY_EVENT, (), ()),
    ]
    assert project.sources[0].any_route is not None
    _, values = project.sources[0].routes["view"](row(project, price=1.0, sku="A")) or ((), ())
    assert values == (1.0, "A")
    again = next(take for take in takes if take.part == 1)  # type: ignore[union-attr]
    steps = tuple({"viewed[1]": ("A",)}.get(slot, ()) for slot in slots)
    assert isinstance(again, core.Take)
    assert again.where is not None
    assert again.where((1.0, "A"), steps, (None,), 0, None)
    assert not again.where((1.0, "B"), steps, (None,), 0, None)


def test_a_schedule_is_for_everyone_of_the_audience(compile_: Compile) -> None:
    """S18: of whom a profile or a segment was told."""
    project = compile_(
        simple("a", "zone: Europe/Berlin\n", "{schedule: {daily: 09:00}}"),
        simple("b", "audience: {where: user.tier = 'gold'}\n", "{schedule: {weekly: mon, at: 09:00}, delay: 1h}"),
    )
    everyone, gold = project.attributes.index(core.KNOWN), project.attributes.index("tier")
    for plan, tier, expected in ((0, None, True), (1, "gold", True), (1, "silver", False)):
        told: list[Any] = [None] * len(project.attributes)
        told[everyone], told[gold] = True, tier
        asked = project.plans[plan].audience
        assert asked is not None
        assert asked((), (), tuple(told), 0, None) is expected
        told[everyone] = None
        assert asked((), (), tuple(told), 0, None) is False
    first, second = (plan.trigger for plan in project.plans)
    assert isinstance(first, core.ScheduleTrigger)
    assert isinstance(second, core.ScheduleTrigger)
    assert first.after(0) == 8 * HOUR  # 1 January 1970, a Thursday, in Berlin
    assert (second.after(0), second.delay) == (4 * DAY + HOUR, HOUR)  # in Shanghai
    assert project.listeners == ()


def test_a_date_of_the_profile(compile_: Compile) -> None:
    """S19."""
    trigger = "{date_of: birthday, yearly: true, offset: -1w, at: 08:30, delay: {until: 20:00}}"
    project = compile_(simple("a", trigger=trigger), project=[("profile:\n", "profile:\n  birthday: date\n")])
    birthday = project.attributes.index("birthday")
    delay = core.UntilLocal(1200, frozenset(range(7)))
    assert project.plans[0].trigger == core.DateTrigger(birthday, True, -7 * DAY, 510, delay)


def test_what_an_audience_asks_of_the_past(compile_: Compile) -> None:
    """S12a: answers stand behind the attributes, in the order in which they are written."""
    audience = (
        "audience:\n  any:\n    - {where: user.tier = 'gold', did: [view, {event: order, sum: amount, reaches: 9.5}]}\n"
        "    - {did_not: {event: order, where: amount > 1, distinct: sku, times: 0..2, within: 30d}}\n"
    )
    january = "{event: view, between: [2022-01-01, 2022-01-31]}"
    project = compile_(
        simple("a", audience, "{event: order, times: 3, within: 1h}"),
        simple("b", f"audience: {{did: {january}}}\n", "{schedule: {daily: 09:00}}"),
        project=[("    file: data/web.csv", "    file: data/web.csv\n    since: 2021-01-01")],
    )
    assert project.sources[0].since == at(2021, 1, 1) - 8 * HOUR
    assert project.counters == (
        core.Counter("times", 3, HOUR, 3),
        None,
        core.Counter("times", 1, None, 1),
        core.Counter("sum", Decimal("9.5"), None, 0),
        core.Counter("distinct", 1, 30 * DAY, 3),
        core.Counter("times", 1, None, 1, at(2022, 1, 1) - 8 * HOUR, at(2022, 2, 1) - 8 * HOUR),
    )
    first, second = project.plans
    assert first.lookbacks == (
        core.Lookback(2, None, 1, None, (0,)),
        core.Lookback(3, None, Decimal("9.5"), None, (0,)),
        core.Lookback(4, 30 * DAY, 0, 2, (0,)),
    )
    assert second.lookbacks == (core.Lookback(5, None, 1, None, (0,)),)
    assert first.audience is not None
    tier = project.attributes.index("tier")
    for value, answers, expected in (
        ("gold", (True, True, None), True),
        ("gold", (True, None, None), False),
        ("silver", (True, True, True), False),
        ("silver", (None, None, False), True),
    ):
        told: list[Any] = [None] * len(project.attributes)
        told[tier] = value
        assert first.audience((), (), (*told, *answers), 0, None) is expected
    assert second.audience is not None
    nobody = (None,) * len(project.attributes)
    assert second.audience((), (), (*nobody, True), 0, None)  # whom nothing is told of, but who did it
    counts = [each for each in project.listeners if isinstance(each, core.Count)]
    assert [(each.plan, each.counter) for each in counts] == [(None, 2), (None, 3), (None, 4), (None, 5), (0, 0)]
    routed = project.sources[0].routes["order"](row(project, amount=0.5, sku="A"))
    assert routed is not None
    assert [each.counter for hit in routed[0] if isinstance(each := project.listeners[hit], core.Count)] == [3, 0]


def at(year: int, month: int, day: int) -> int:
    return (date(year, month, day) - date(1970, 1, 1)).days * DAY


LAYERS = (
    "channels:\n",
    (
        "layers:\n"
        "  life_cycle:\n    event: order\n    where: amount > 1\n    money: amount\n    within: 365d\n"
        "    figures: true\n    layers:\n"
        "      vip: {recency: 30d, money: 500+}\n      new: {recency: 60d, frequency: 1}\n"
        "      asleep: {recency: 400d}\n      lost: {}\n"
        "  unused: {event: view, layers: {seen: {recency: 1d}}}\n"
        "channels:\n"
    ),
)


def test_layers_are_attributes_that_two_counters_stand_behind(compile_: Compile) -> None:
    """S12b: of the plan and of every user; what no plan names, and no figure is split by, is not counted."""
    audience = "audience:\n  where: user.life_cycle in ('new', 'lost')\n"
    project = compile_(simple("a", audience), simple("b"), project=[LAYERS])
    place = project.attributes.index("life_cycle")
    assert "unused" not in project.attributes
    assert project.figures == place
    assert project.counters == (
        None,
        None,
        core.Counter("times", 1, 400 * DAY, 2),
        core.Counter("sum", Decimal(500), 365 * DAY, 0),
    )
    times = core.Lookback(2, 30 * DAY, 1, None, (0,))
    assert project.layerings == (
        core.Layering(
            place,
            (
                ("vip", (times, core.Lookback(3, 365 * DAY, Decimal(500), None, (0,)))),
                ("new", (replace(times, within=60 * DAY), core.Lookback(2, 365 * DAY, 1, 1, (0,)))),
                ("asleep", (replace(times, within=400 * DAY),)),
                ("lost", ()),
            ),
        ),
    )
    order = next(table for table in project.events if table.name == "order")
    counts = [each for each in project.listeners if isinstance(each, core.Count)]
    assert counts == [
        core.Count(None, 2, None, None, ()),
        core.Count(None, 3, None, order.properties.index("amount"), ()),
    ]
    assert all(column.name != "life_cycle" for source in project.sources for column in source.columns)
    known: list[Any] = [None] * len(project.attributes)
    asked = project.plans[0].audience
    assert asked is not None
    for layer, expected in (("new", True), ("vip", False), (None, False)):
        known[place] = layer
        assert asked((), (), tuple(known), 0, None) is expected


def test_a_project_pays_nothing_for_layers_that_no_plan_names(compile_: Compile) -> None:
    project = compile_(simple("a"), project=[(LAYERS[0], LAYERS[1].replace("    figures: true\n", ""))])
    assert (project.layerings, project.figures, project.counters) == ((), None, (None,))


def test_a_plans_version_tells_its_layers_apart_and_no_others(compile_: Compile) -> None:
    audience = "audience: {where: user.life_cycle = 'new'}\n"
    plain = (LAYERS[0], LAYERS[1].replace("    figures: true\n", ""))
    other = (LAYERS[0], plain[1].replace("60d", "61d"))
    with_layers, without = simple("a", audience), simple("b")
    before = [plan.version for plan in compile_(with_layers, without, project=[plain]).plans]
    after = [plan.version for plan in compile_(with_layers, without, project=[other]).plans]
    assert before[0] != after[0]
    assert before[1] == after[1]
