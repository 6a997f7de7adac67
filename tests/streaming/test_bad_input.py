"""Bad records land with reason, source, partition and position; bad files are named; the good ones count (S3, S9)."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from project import (
    FLOWOPS,
    SIMPLE,
    START_MS,
    flowops,
    has_read,
    refused,
    replay,
    rows_of,
    started,
    wait_for,
    write_project,
)

SHOP = FLOWOPS.replace("file: data/*.jsonl", "file: data")


def event(number: int, second: float = 0, **more: Any) -> str:
    found = {"event_id": f"e{number}", "user_id": f"u{number}", "event": "product_view", "sku": "A", **more}
    return json.dumps({**found, "ts": START_MS + int(second * 1000)}, separators=(",", ":"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"simple": SIMPLE}, SHOP)


def test_bad_and_late_records_land_with_their_place_and_the_others_count(shop: Path) -> None:
    """A BOM and CRLF, a line of 50 MB, missing and odd fields, a torn last line, a truncated gz, an empty file."""
    data = shop / "data"
    (data / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{event(1)}\r\n{{broken\r\n{event(2, 1)}\r\n".encode())
    with (data / "b.jsonl").open("w") as file:
        file.write(f"{event(3)}\n{{{'x' * 50_000_000}\n{event(4, 1)}\n")
    (data / "c.jsonl").write_text(f"{event(5, 60)}\n{event(6)}\n{event(7, 0.001)}\n")
    whole = gzip.compress(f"{event(8)}\n{event(9, 1)}\n".encode()) + gzip.compress(os.urandom(50_000).hex().encode())
    (data / "d.jsonl.gz").write_bytes(whole[:-20_000])
    (data / "e.jsonl").touch()
    (data / "f.jsonl").write_text(
        f'{{"event_id":"x","event":"order","ts":1}}\n{{"event_id":"y","user_id":"u","event":"order","ts":"soon"}}\n'
        f"{event(10, 1)}\n{event(11)[:-5]}"
    )
    found = replay(shop)
    assert (found["totals"]["dead_letters"], found["totals"]["late"]) == (6, 2)
    letters = rows_of(shop, "select source, partition, position, reason from dead_letters order by all")
    assert letters == [
        ("web", "data/a.jsonl", 1, "unparseable"),
        ("web", "data/b.jsonl", 1, "too_large"),
        ("web", "data/d.jsonl.gz", 2, "truncated"),
        ("web", "data/f.jsonl", 0, "missing_field"),
        ("web", "data/f.jsonl", 1, "bad_time"),
        ("web", "data/f.jsonl", 3, "truncated"),
    ]
    assert rows_of(shop, "from dead_letters where length(sample) > 200 or detail = ''") == []
    late = rows_of(
        shop, "select source, partition, position, event_id, user_id, late_by::varchar from late order by all"
    )
    assert late == [
        ("web", "data/c.jsonl", 1, "e6", "u6", "00:00:55"),
        ("web", "data/c.jsonl", 2, "e7", "u7", "00:00:54.999"),
    ]
    fired = rows_of(shop, "select user_id from triggers order by 1")
    assert fired == [("u1",), ("u10",), ("u2",), ("u3",), ("u4",), ("u8",), ("u9",)]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_file_that_cannot_be_read_is_named_before_anything_starts(shop: Path, processes: str) -> None:
    options = ("replay", "--project", shop, "--processes", processes)
    said = refused(2, *options)
    assert "flowops.yaml:7:" in said
    assert "no data file in the folder `data`" in said
    (shop / "data" / "web.jsonl.gz").write_text(event(1))
    said = refused(2, *options)
    assert f"{shop}/data/web.jsonl.gz is named .gz, but does not begin like one" in said
    assert "try: name it as what it is" in said


def test_a_column_that_is_missing_is_named(shop: Path) -> None:
    (shop / "data" / "web.csv").write_text("event_id,event,ts,sku\ne1,order,1,A\n")
    said = refused(2, "replay", "--project", shop)
    assert "flowops.yaml:8:" in said
    assert "`web.csv` has no column `user_id`" in said


def test_rules_that_do_not_compile_are_shown_with_their_place(shop: Path) -> None:
    (shop / "data" / "web.jsonl").write_text(event(1))
    (shop / "rules" / "simple.yaml").write_text(SIMPLE.replace("within: 2s", "withn: 2s"))
    said = refused(2, "replay", "--project", shop)
    assert "rules/simple.yaml:3:" in said
    assert "within" in said
    done = flowops("lint", "--project", shop)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_file_that_shrinks_while_the_run_is_away_is_refused(shop: Path) -> None:
    """A live run cannot compare its inputs, but it knows how far it had read."""
    (shop / "data" / "web.jsonl").write_text("".join(f"{event(number, number)}\n" for number in range(100)))
    with started(shop, "--epoch", "0.1", verb="run") as process:
        assert wait_for(has_read(shop, 100), process)
        process.terminate()
        process.communicate(timeout=30)
    (shop / "data" / "web.jsonl").write_text(f"{event(1)}\n")
    said = refused(2, "run", "--project", shop)
    assert "web.jsonl was read up to byte" in said
    assert "--fresh" in said
