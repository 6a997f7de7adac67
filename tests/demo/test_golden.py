"""The demo as a stranger runs it, and its outcomes against plain SQL over the raw log."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the demo's project, after `make demo` worked on it."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(ROOT / "flowops.yaml", folder)
    shutil.copytree(ROOT / "rules", folder / "rules")
    shutil.copytree(ROOT / "data", folder / "data")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="session")
def db(project):
    """The warehouse as `w`, and `win_back`: that plan computed from the raw log."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.execute(f"attach '{project / 'warehouse' / 'outcomes.duckdb'}' as w (read_only)")
    connection.execute("use w")
    connection.execute(f"set variable purchases = '{project / 'data' / 'purchases.csv.gz'}'")
    query = (ROOT / "tests" / "demo" / "win_back.sql").read_text()
    connection.execute(f"create temp table win_back as {query}")
    yield connection
    connection.close()


def test_prints_what_an_operator_needs(project):
    """The demo names each plan, shows the attainment and a plot, and says where the outcomes are."""
    printed = (project / "printed.txt").read_text()
    for plan in ("win-back", "fresh-counter", "coupon-families"):
        assert plan in printed
    assert "$ flowops replay --fresh" in printed
    assert "attained" in printed
    assert "came back" in printed
    assert str(project / "warehouse" / "outcomes.duckdb") in printed
    assert "none (held out)" in printed


def test_expected_totals(db):
    """The SQL itself is pinned, so that a change of the data or of the query does not pass unseen."""
    assert db.execute("""
        select count(*), count(delivered_at), count(*) filter (delivered_at <> triggered_at),
               count(*) filter (purchases > 0), sum(purchases), sum(value)::double
        from win_back
    """).fetchone() == (14_693, 14_692, 1_062, 5_172, 10_538, 32_606.24)


@pytest.mark.parametrize("left", ["engine", "sql"])
def test_absence_row_by_row(db, left):
    """S13: every absence of 14 days fires at its instant, with the purchase that began it; and nothing else does."""
    engine = "select user_id, evidence[1], epoch_us(triggered_at) from triggers where plan = 'win-back'"
    sql = "select user_id, evidence, triggered_at from win_back"
    first, second = (engine, sql) if left == "engine" else (sql, engine)
    assert db.execute(f"{first} except all {second}").fetchall() == []


@pytest.mark.parametrize("left", ["engine", "sql"])
def test_delivery_row_by_row(db, left):
    """S26: each message goes out when it fell due, or at 08:00 local where that was at night."""
    engine = "select user_id, epoch_us(decided_at) from dispatches where plan = 'win-back'"
    sql = "select user_id, delivered_at from win_back where delivered_at is not null"
    first, second = (engine, sql) if left == "engine" else (sql, engine)
    assert db.execute(f"{first} except all {second}").fetchall() == []


@pytest.mark.parametrize("left", ["engine", "sql"])
def test_attainment_row_by_row(db, left):
    """S41: a household attains by a purchase within 7 days of its message; the values of all of them add up."""
    engine = """
        select user_id, epoch_us(triggered_at), count(*), sum(value)
        from goal_events join triggers using (trigger_id, plan, user_id)
        where plan = 'win-back' and credited group by all
    """
    sql = "select user_id, triggered_at, purchases, value from win_back where purchases > 0"
    first, second = (engine, sql) if left == "engine" else (sql, engine)
    assert db.execute(f"{first} except all {second}").fetchall() == []


def test_attainment_view_adds_up(db):
    """S50: the view that `flowops report` shows sums to what the log says."""
    assert (
        db.execute("""
            select sum(delivered), sum(attained), sum(value) from attainment where plan = 'win-back'
        """).fetchone()
        == db.execute("""
            select count(delivered_at), count(*) filter (purchases > 0), sum(value) from win_back
        """).fetchone()
    )


def test_pending_is_what_lies_beyond_the_log(db):
    """S6: the end of the input sends nothing; each household's last wait is still there, and one message is held."""
    waits = db.execute("""
        with purchase as (
            select household_id, max(transaction_timestamp) as last_at
            from read_csv(getvariable('purchases')) group by all
        )
        select count(*) from purchase, (select max(last_at) as ended_at from purchase)
        where last_at + interval '14 days' > ended_at
    """).fetchone()[0]
    assert db.execute("""
        select kind, count(*) from pending where plan = 'win-back' group by all order by kind
    """).fetchall() == [("held", 1), ("wait", waits)]


def test_attempts_add_up(db):
    """S22: per plan and day, the triggers that fired are the losses, the deliveries and what is held."""
    assert (
        db.execute("""
        with
            fired as (select plan, day, count(*) as n from triggers group by all),
            ended as (
                select plan, day, count(*) as n
                from (
                    select plan, day from losses
                    union all by name select plan, day from dispatches
                    union all by name
                    select plan, timezone('America/New_York', since)::date + if(plan = 'win-back', 14, 0) as day
                    from pending where kind = 'held'
                )
                group by all
            )
        select * from fired full join ended using (plan, day) where fired.n is distinct from ended.n
    """).fetchall()
        == []
    )


def test_no_message_at_night(db):
    """S26: nobody hears from the shop between 22:00 and 08:00 of their clock."""
    assert db.execute("""
        select count(*) from dispatches where hour(timezone('America/New_York', decided_at)) not between 8 and 21
    """).fetchone() == (0,)


def test_caps_hold(db):
    """S24: at most two messages of the fresh counter in a month, and none within 24 hours of another plan's."""
    assert (
        db.execute("""
        select user_id from dispatches where plan = 'fresh-counter'
        group by user_id, date_trunc('month', timezone('America/New_York', decided_at)) having count(*) > 2
    """).fetchall()
        == []
    )
    assert (
        db.execute("""
        select fresh.dispatch_id
        from dispatches as fresh join dispatches as other
            on other.user_id = fresh.user_id and other.dispatch_id <> fresh.dispatch_id
            and other.decided_at < fresh.decided_at and fresh.decided_at - other.decided_at < interval '24 hours'
        where fresh.plan = 'fresh-counter'
    """).fetchall()
        == []
    )


def test_every_reason_was_needed(db):
    """The real log drives the plans through re-entry, caps and the holdout, not past them."""
    reasons = dict(
        db.execute("select distinct plan, list(distinct stage order by stage) from losses group by plan").fetchall()
    )
    assert reasons == {
        "coupon-families": ["reentry"],
        "fresh-counter": ["frequency_cap", "holdout", "reentry"],
    }


def test_families_only(db, project):
    """S22: who is outside the audience starts nothing."""
    assert db.execute(f"""
        select count(*) from triggers
        where plan = 'coupon-families' and user_id not in (
            select household_id::varchar from read_csv('{project / "data" / "demographics.csv"}')
            where household_size in ('3', '4', '5+')
        )
    """).fetchone() == (0,)


def test_held_out_get_nothing(db):
    """S23: about one in five is held out, is never sent a message, and is measured all the same."""
    out, share = db.execute("""
        select count(distinct user_id) filter (arm = 'holdout'),
               count(distinct user_id) filter (arm = 'holdout') / count(distinct user_id)
        from triggers where plan = 'fresh-counter' and arm is not null
    """).fetchone()
    assert out > 0
    assert 0.14 < share < 0.26
    assert db.execute("""
        select count(*) from dispatches join triggers using (trigger_id) where triggers.arm = 'holdout'
    """).fetchone() == (0,)
    assert db.execute("select count(*) > 0 from goal_events where arm = 'holdout'").fetchone() == (True,)
