"""Columns: declared by the facts' annotations, stored with the right types, read back unchanged."""

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest
from warehouse_facts import DAY, NOON, ask, columns, decision, goal_event, land

from flowops.core.records import DeadLetter, LateRecord
from flowops.errors import RunError
from flowops.warehouse.outcomes import connect, publish
from flowops.warehouse.schema import RELATIONS
from flowops.warehouse.segments import Segments
from flowops.warehouse.sql import VIEWS


def types_of(folder, relation):
    with connect(folder) as connection:
        described = connection.sql(f"select * from {relation}")
        return dict(zip(described.columns, map(str, described.types), strict=True))


def test_every_annotation_becomes_its_column_type():
    """The NamedTuples are the only declaration of columns."""
    assert {c.name: c.storage.duckdb for c in RELATIONS["decisions"].columns} == {
        "trigger_id": "VARCHAR",
        "attempt": "BIGINT",
        "plan": "VARCHAR",
        "version": "VARCHAR",
        "day": "DATE",
        "clock": "VARCHAR",
        "user_id": "VARCHAR",
        "key": "VARCHAR",
        "triggered_at": "TIMESTAMPTZ",
        "evidence": "VARCHAR[]",
        "arm": "VARCHAR",
        "variant": "VARCHAR",
        "layer": "VARCHAR",
        "step": "VARCHAR",
        "channel": "VARCHAR",
        "stage": "VARCHAR",
        "detail": "VARCHAR",
        "decided_at": "TIMESTAMPTZ",
        "expires_at": "TIMESTAMPTZ",
        "cost": "DECIMAL(18,4)",
        "content": "VARCHAR",
    }
    assert [c.storage.duckdb for c in RELATIONS["late"].columns][-2:] == ["TIMESTAMPTZ", "TIMESTAMPTZ"]
    assert [c.storage.duckdb for c in RELATIONS["late"].columns][2] == "BIGINT"


def test_types_are_the_same_with_and_without_rows(tmp_path):
    """A relation without rows is an empty view of the same columns and types."""
    empty, filled = tmp_path / "empty", tmp_path / "filled"
    publish(empty, 0)
    segments = Segments(filled)
    for relation in RELATIONS.values():
        columns_without_statement = relation.columns[:-1] if relation.name == "pending_facts" else relation.columns
        segments.add(relation.name, [[None] for _ in columns_without_statement])
    publish(filled, segments.seal())
    for relation in [*(f"facts.{name}" for name in RELATIONS), *VIEWS, "published"]:
        assert types_of(empty, relation) == types_of(filled, relation), relation
        if relation not in ("published", "pending"):
            assert ask(empty, f"select count(*) from {relation}") == [(0,)]


def test_facts_come_back_as_they_were_landed(tmp_path):
    """Times to the microsecond, days, money to four places, lists, flags, NULLs, any text."""
    odd = "naïve 最 ' \" \n , \x00 \U0001f600"
    first = decision(evidence=("a", odd), detail=odd, cost=0.1 + 0.2, key="k", triggered_at=NOON + 1)
    second = decision(trigger_id="t2", evidence=(), step=None, channel=None, cost=None, content=None, expires_at=None)
    land(tmp_path, decisions=[first, second], goal_facts=[goal_event(value=1e9, credited=False)])
    got = ask(
        tmp_path,
        "select evidence, detail, cost, key, epoch_us(triggered_at), day, step, content "
        "from facts.decisions order by trigger_id",
    )
    assert got == [
        (["a", odd], odd, Decimal("0.3000"), "k", NOON + 1, date(2022, 4, 21), "main", '{"body": "Hi"}'),
        ([], None, None, None, NOON, date(2022, 4, 21), None, None),
    ]
    assert ask(tmp_path, "select value, credited, typeof(value) from facts.goal_facts") == [
        (Decimal("1000000000.0000"), False, "DECIMAL(18,4)")
    ]


def test_a_value_that_cannot_be_stored_is_named(tmp_path):
    """Never clamped, never a bare traceback: the relation, the column and the type are told."""
    segments = Segments(tmp_path)
    segments.add("decisions", columns([decision(cost=1e300)]))
    with pytest.raises(RunError, match=r"decisions\.cost cannot be stored as DECIMAL\(18,4\)"):
        segments.seal()


def test_columns_of_different_length_are_refused(tmp_path):
    ragged = columns([decision(), decision()])
    ragged[3] = ragged[3][:1]
    with pytest.raises(ValueError, match="differ in length"):
        Segments(tmp_path).add("decisions", ragged)


def test_late_records_tell_how_late_they_were(tmp_path):
    """S9."""
    late = LateRecord("web", "a.jsonl", 7, "order", "e1", "u1", NOON, NOON + 90_000_000)
    dead = DeadLetter("web", "a.jsonl", 8, "unparseable", "line 9", "{")
    land(tmp_path, late=[late], dead_letters=[dead])
    assert ask(tmp_path, "select source, partition, position, event, epoch_us(ts), late_by::varchar from late") == [
        ("web", "a.jsonl", 7, "order", NOON, "00:01:30")
    ]
    assert ask(tmp_path, "select * from dead_letters") == [tuple(dead)]


def test_no_reserved_word_is_a_name(tmp_path):
    """Analysts write every relation and column without quotes."""
    publish(tmp_path, 0)
    reserved = {
        word
        for (word,) in ask(tmp_path, "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'")
    }
    assert "select" in reserved
    names = {name for (name,) in ask(tmp_path, "select column_name from duckdb_columns() where not internal")}
    names |= {name.rpartition(".")[2] for name in VIEWS}
    assert not names & reserved


def test_time_is_shown_in_the_zone_that_was_asked_for(tmp_path):
    land(tmp_path, decisions=[decision()])
    with connect(tmp_path, "Asia/Shanghai") as connection:
        shown = connection.execute("select triggered_at::varchar from triggers").fetchone()
    assert shown == ("2022-04-21 20:00:00+08",)
    assert datetime(2022, 4, 21, 12, tzinfo=UTC).timestamp() * 1e6 == NOON
    assert date(2022, 4, 21).toordinal() - date(1970, 1, 1).toordinal() == DAY


def test_another_client_reads_it_under_any_name(tmp_path):
    """Views refer to each other without the catalog's name, so the file may be attached under an alias."""
    land(tmp_path, decisions=[decision()])
    with duckdb.connect() as connection:
        connection.execute(f"attach '{tmp_path / 'outcomes.duckdb'}' as shop (read_only)")
        assert connection.execute("select count(*) from shop.triggers").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error):
            connection.execute("create table shop.t (i int)")


def test_a_moved_warehouse_is_read_where_it_is(tmp_path):
    """The listed paths are absolute, so that any working directory will do; `connect` notices a move."""
    land(tmp_path / "here", decisions=[decision()])
    (tmp_path / "here").rename(tmp_path / "it's there")
    assert ask(tmp_path / "it's there", "select count(*) from triggers") == [(1,)]
