"""`docs/warehouse.md` describes what is there: every relation, every column, its type; and its queries run."""

import re
from pathlib import Path

import pytest
from warehouse_facts import decision, goal_event, land, plan_goal, plan_version, receipt

from flowops.warehouse.outcomes import connect
from flowops.warehouse.sql import VIEWS

TEXT = (Path(__file__).parents[2] / "docs" / "warehouse.md").read_text()
RELATIONS = dict(re.findall(r"^### `(\w+)`(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))
QUERIES = [query for query in re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL) if "attach" not in query]


@pytest.fixture
def connection(tmp_path):
    land(
        tmp_path,
        decisions=[decision(), decision(trigger_id="t2", stage="expired")],
        goal_facts=[goal_event()],
        receipt_facts=[receipt()],
        plan_goals=[plan_goal()],
        plan_versions=[plan_version()],
    )
    with connect(tmp_path) as connection:
        yield connection


def test_every_relation_is_described():
    assert set(RELATIONS) == {name for name in VIEWS if "." not in name} | {"published"}


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_column_is_described_in_its_place_with_its_type(connection, relation):
    described = re.findall(r"^\| (\w+) \| (\S+) \|", RELATIONS[relation], re.MULTILINE)[1:]
    actual = connection.sql(f"select * from {relation}")
    types = [str(kind).replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for kind in actual.types]
    assert described == list(zip(actual.columns, types, strict=True))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_runs(connection, query):
    rows = connection.execute(query).fetchall()
    assert rows or any(of_the_starter in query for of_the_starter in ("adds_up", "unfinished-order", "u0221"))
