"""`flowops sql` and `flowops report`: what analysts and operators see."""

import csv
import io
import json
from decimal import Decimal

import pytest
from rich.console import Console
from typer.testing import CliRunner
from warehouse_facts import NOON, columns, decision, goal_event, land, plan_goal, plan_version

from flowops.cli.main import app
from flowops.cli.report import render
from flowops.core.effects import Pending
from flowops.core.records import DeadLetter
from flowops.errors import ConfigError, RunError
from flowops.warehouse import reports
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.segments import Segments

PROJECT = """
flowops: 1
project: shop
zone: Asia/Shanghai
warehouse: outcomes
sources: {web: {file: web.jsonl}}
channels: {push: {type: console}}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "flowops.yaml").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def outcomes(project):
    """A plan with an experiment, of whose users one attained, one was lost, one is held out; and one without goals."""
    segments = Segments(project / "outcomes")
    segments.add(
        "plan_versions", columns([plan_version(), plan_version(plan="a-plan-with-quite-a-long-name", name="B")])
    )
    segments.add("plan_goals", columns([plan_goal()]))
    segments.add(
        "decisions",
        columns(
            [
                decision(arm="treatment"),
                decision(trigger_id="t2", user_id="u2", arm="treatment", stage="frequency_cap", content=None),
                decision(trigger_id="t3", user_id="u3", arm="holdout", stage="holdout", content=None),
                decision(trigger_id="t4", user_id="u4", arm="treatment", layer="newcomers"),
                decision(trigger_id="t5", plan="a-plan-with-quite-a-long-name", stage="held", content=None),
            ]
        ),
    )
    attained = goal_event(arm="treatment", value=1234567.891)
    segments.add("goal_facts", columns([attained, attained._replace(dispatch_id=None)]))
    segments.add("dead_letters", columns([DeadLetter("web", "web.jsonl", 3, "unparseable", "line 4", "{")]))
    segments.state_pending(columns([Pending("reminder", "00000001", "u9", "wait", NOON, NOON + 60_000_000)]))
    publish(project / "outcomes", segments.seal())
    return project


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_sql_as_csv_is_csv(outcomes):
    """Every row, NULL as nothing, times in the project's zone, lists and money as DuckDB writes them."""
    query = "select trigger_id, key, triggered_at, evidence, cost from dispatches order by 1"
    rows = list(csv.reader(io.StringIO(run("sql", query, "--format", "csv", "--project", outcomes))))
    assert rows == [
        ["trigger_id", "key", "triggered_at", "evidence", "cost"],
        ["t1", "", "2022-04-21 20:00:00+08", "[e1]", "0.0500"],
        ["t4", "", "2022-04-21 20:00:00+08", "[e1]", "0.0500"],
    ]


@pytest.mark.parametrize("switch", [["--format", "json"], ["--json"]])
def test_sql_as_json_is_json(outcomes, switch):
    """Times are ISO 8601 in UTC, money exact numbers, lists lists."""
    query = """select trigger_id, key, triggered_at, day, evidence, cost, 'nan'::double as nan
               from dispatches where user_id = 'u1'"""
    assert json.loads(run("sql", query, *switch, "--project", outcomes), parse_float=Decimal) == [
        {
            "trigger_id": "t1",
            "key": None,
            "triggered_at": "2022-04-21T12:00:00.000000Z",
            "day": "2022-04-21",
            "evidence": ["e1"],
            "cost": Decimal("0.0500"),
            "nan": None,
        }
    ]
    assert json.loads(run("sql", "select 1 as one where false", *switch, "--project", outcomes)) == []


def test_a_table_too_wide_for_the_terminal_is_shown_row_by_row(outcomes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run("sql", "select * from dispatches order by trigger_id", "--project", outcomes)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "row 1" in narrow
    assert "2022-04-21 20:00:00+08" in narrow
    assert "2 rows" in narrow
    fits = run("sql", "select plan, count(*) as attempts from outcomes group by 1 order by 1", "--project", outcomes)
    assert [line.split() for line in fits.splitlines() if "reminder" in line] == [["reminder", "4"]]


def test_a_long_table_says_what_it_left_out(outcomes):
    assert "1,000 rows, the first 200 shown" in run("sql", "select * from range(1000)", "--project", outcomes)


def test_the_order_of_the_query_is_kept(outcomes):
    query = "select i from range(300000) t(i) order by hash(i)"
    rows = run("sql", query, "--format", "csv", "--project", outcomes).splitlines()[1:]
    with connect(outcomes / "outcomes") as connection:
        assert [int(row) for row in rows] == [i for (i,) in connection.execute(query).fetchall()]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("selct 1", 'syntax error at or near "selct"'),
        ("select * from trigers", "Did you mean"),
        ("select nope from triggers", "nope"),
        ("select 'x'::int", "Could not convert"),
        ("select user_id::int from triggers", "Could not convert"),
        ("drop view triggers", "only one SELECT"),
        ("copy (select 1) to 'x.csv'", "only one SELECT"),
        ("select 1; select 2", "only one SELECT"),
        ("", "only one SELECT"),
    ],
)
def test_a_query_that_cannot_run_is_told_in_words(outcomes, query, message):
    """Exit code 2, DuckDB's own message, and nothing is written."""
    with pytest.raises(ConfigError, match=message) as failed:
        run("sql", query, "--project", outcomes)
    assert failed.value.exit_code == 2


def test_two_columns_of_one_name_are_not_one_json_key(outcomes):
    with pytest.raises(ConfigError, match="same name"):
        run("sql", "select 1 as a, 2 as a", "--json", "--project", outcomes)


@pytest.mark.parametrize("verb", [["report"], ["sql", "select 1"]])
def test_nothing_landed_yet_is_said(project, verb):
    with pytest.raises(ConfigError, match="no outcomes yet"):
        run(*verb, "--project", project)


def test_outside_a_project_the_way_is_shown(tmp_path):
    with pytest.raises(ConfigError, match=r"flowops\.yaml"):
        run("report", "--project", tmp_path)


def test_report_as_data(outcomes):
    """S22, S50: attainment, lift, losses with their share, totals, pending, and what was refused."""
    data = json.loads(run("report", "--json", "--project", outcomes))
    (attained,) = data["attainment"]
    assert (attained["delivered"], attained["attained"], attained["rate"]) == (2, 1, 0.5)
    assert (attained["held_out"], attained["held_out_rate"], attained["lift"]) == (1, 0.0, 0.5)
    assert (attained["value"], attained["target"]) == (1234567.891, 0.15)
    (layer,) = data["layers"]
    assert (layer["layer"], layer["delivered"], layer["attained"], layer["rate"]) == ("newcomers", 1, 0, 0.0)
    assert data["losses"] == [
        {"plan": "reminder", "stage": "frequency_cap", "attempts": 1, "share": 0.25},
        {"plan": "reminder", "stage": "holdout", "attempts": 1, "share": 0.25},
    ]
    figures = {row["plan"]: (row["attempts"], row["delivered"], row["lost"], row["pending"]) for row in data["totals"]}
    assert figures == {"a-plan-with-quite-a-long-name": (1, 0, 0, 1), "reminder": (4, 2, 2, 0)}
    assert data["pending"] == [{"plan": "reminder", "kind": "wait", "instances": 1, "next_due": "2022-04-21T12:01:00Z"}]
    assert data["refused"] == [{"source": "web", "reason": "unparseable", "records": 1}]


def test_a_lift_comes_with_its_interval(outcomes):
    """S23: one of two against none of one may as well be chance, and the report says so."""
    (attained,) = json.loads(run("report", "--json", "--project", outcomes))["attainment"]
    assert (attained["lift_low"], attained["lift_high"]) == pytest.approx((-0.3910, 0.9055), abs=1e-4)
    assert "+50.0 (-39.1 to +90.5)" in run("report", "--project", outcomes)


def test_report_of_one_plan(outcomes):
    data = json.loads(run("report", "reminder", "--json", "--project", outcomes))
    assert {row["plan"] for table in data.values() for row in table} == {"reminder"}
    with pytest.raises(ConfigError, match=r"no outcomes of a plan 'remnder'; there are: a-plan.*, reminder"):
        run("report", "remnder", "--project", outcomes)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_report_reads_well_at_any_width(outcomes, width):
    """No figure is cut off, no line is longer than the terminal."""
    with connect(outcomes / "outcomes") as connection:
        tables = (
            reports.attainment(connection),
            reports.by_layer(connection),
            reports.losses(connection),
            reports.totals(connection),
            reports.waiting(connection),
            reports.refused(connection),
        )
    console = Console(width=width, record=True, file=io.StringIO())
    render(console, *tables, "Asia/Shanghai")
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for figure in (
        "50.0%",
        "15%",
        "1,234,567.89",
        "newcomers",
        "frequency_cap",
        "25.0%",
        "+50.0 (",
        "unparseable",
        "2022-04-21 20:01",
    ):
        assert figure in text, figure
    assert "…" not in text


def test_report_refuses_outcomes_that_do_not_add_up(project):
    """S22: nobody reports a number that does not add up."""
    land(project / "outcomes", decisions=[decision(), decision()], plan_versions=[plan_version()])
    with pytest.raises(RunError, match=r"do not add up.*reminder@2022-04-21"):
        run("report", "--project", project)
