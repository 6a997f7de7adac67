"""Files: which ones a source names, and what becomes of compressed ones that are not whole."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import get_args

import pytest
import zstandard
from kit import json_lines, pack, read_all, reasons, source

from flowops.errors import InputError
from flowops.sources import expand, open_partition
from flowops.sources.files import COMPRESSIONS, SUFFIXES, file_format
from flowops.sources.values import Reason

EVENT = {"user_id": "u1", "event": "view", "ts": 1}
GOOD = ("u1", "view", None, 1)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    for name in (
        "data/web-2.jsonl.gz",
        "data/web-1.jsonl",
        "data/web-10.jsonl",
        "data/orders.csv",
        "data/README.md",
        "data/out.parquet/part-0.parquet",
        "data/out.parquet/_SUCCESS",
        "data/out.parquet/.part-0.parquet.crc",
        "data/old/2021/web-0.jsonl.zst",
        "empty/.keep",
        "other/[a].jsonl",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "beside.csv").touch()
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["data/orders.csv"], ["data/orders.csv"]),
        (["data/web-*.jsonl*"], ["data/web-1.jsonl", "data/web-10.jsonl", "data/web-2.jsonl.gz"]),
        (["data/web-*.jsonl", "data/web-1.jsonl"], ["data/web-1.jsonl", "data/web-10.jsonl"]),
        (["data"], ["data/orders.csv", "data/web-1.jsonl", "data/web-10.jsonl", "data/web-2.jsonl.gz"]),
        (["./data/../data/orders.csv"], ["data/orders.csv"]),
        (["data/out.parquet"], ["data/out.parquet/part-0.parquet"]),
        (["data/out.parquet/*"], ["data/out.parquet/part-0.parquet"]),
        (["data/**/*.zst"], ["data/old/2021/web-0.jsonl.zst"]),
        (["other/[a].jsonl"], ["other/[a].jsonl"]),
    ],
)
def test_files_folders_and_globs(project, files, expected):
    """A partition per file: sorted, each once, relative to the project's folder."""
    assert expand(project, source(files=tuple(files))) == expected


def test_files_outside_the_project_are_absolute(project):
    """So that the name stays the same from wherever the command is given."""
    outside = (project.parent / "beside.csv").as_posix()
    assert expand(project, source(files=("../beside.csv",))) == [outside]
    assert expand(project, source(files=(outside,))) == [outside]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "data/web.jsonl",
            "there is no file `data/web.jsonl`\n  try: data/ has: old, orders.csv, out.parquet, web-1.jsonl",
        ),
        ("data/*.ndjson", "no file matches `data/*.ndjson`\n  try: data/ has:"),
        ("nowhere/a.csv", "there is no file `nowhere/a.csv`\n  try: check the path"),
        ("empty", "the folder `empty` has no data files\n  what can be read: .jsonl, .ndjson, .json, .csv, .parquet"),
        ("data/README.md", "`data/README.md` has no suffix that says its format"),
        ("data/*", "`data/README.md` has no suffix that says its format\n  try: rename it, or narrow `data/*`"),
    ],
)
def test_what_names_nothing_is_refused(project, pattern, message):
    """Exit code 2: what was asked for, what there is, what to try."""
    with pytest.raises(InputError) as error:
        expand(project, source(files=("data/orders.csv", pattern)))
    assert message in str(error.value)
    assert "source `web`" in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", ("jsonl", None)),
        ("a.NDJSON.GZ", ("jsonl", "gz")),
        ("a.json.zst", ("jsonl", "zst")),
        ("a.b.csv", ("csv", None)),
        ("a.parquet", ("parquet", None)),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a.txt", None),
        ("csv", None),
    ],
)
def test_the_suffix_tells_the_format(name, expected):
    assert file_format(name) == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.txt"])
def test_a_file_that_is_not_there_is_refused(tmp_path, name):
    """Also one that vanished after it was listed."""
    with pytest.raises(InputError):
        open_partition(tmp_path, source(), name)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path, suffix):
    """Rather than read as rubbish."""
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(json_lines([EVENT]))
    with pytest.raises(InputError, match=f"is named .{suffix}, but does not begin like one"):
        open_partition(tmp_path, source(), f"a.jsonl.{suffix}")


def test_concatenated_and_padded_streams(tmp_path):
    """gzip members and zstd frames, one after the other, are one file; so are empty ones and skippable frames."""
    lines = json_lines([EVENT])
    (tmp_path / "a.jsonl.gz").write_bytes(
        gzip.compress(lines) + gzip.compress(b"") + gzip.compress(lines) + b"\0" * 512
    )
    skipped = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"12345"
    frame = zstandard.ZstdCompressor(write_checksum=True).compress
    (tmp_path / "a.jsonl.zst").write_bytes(skipped + frame(lines) + skipped + frame(b"") + frame(lines))
    for suffix in ("gz", "zst"):
        assert read_all(tmp_path, source(), f"a.jsonl.{suffix}") == ([GOOD, GOOD], [])
        (tmp_path / f"b.jsonl.{suffix}").write_bytes(b"")
        assert read_all(tmp_path, source(), f"b.jsonl.{suffix}") == ([], [])


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_a_compressed_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path, suffix, share):
    """S3: whole lines are records, the rest is one dead letter, after a resume as well."""
    draw = random.Random(1)
    records = [{**EVENT, "user_id": str(draw.random())} for _ in range(30_000)]
    text = json_lines(records)
    if suffix.startswith("csv"):
        text = b"user_id,event,ts\n" + b"".join(f"{record['user_id']},view,1\n".encode() for record in records)
    packed = pack(text, "." + suffix)
    name = f"a.{suffix}"
    (tmp_path / name).write_bytes(packed[: min(int(len(packed) * share), len(packed) - 1)])
    rows, dead = read_all(tmp_path, source(), name)
    assert [letter.reason for letter in dead] == ["truncated"]
    assert dead[0].position == len(rows) - 1
    assert [row[0] for row in rows[:-1]] == [record["user_id"] for record in records[: len(rows) - 1]]
    assert len(rows) > 1
    partition = open_partition(tmp_path, source(), name)
    while partition.read(1 << 20) is not None:
        pass
    assert partition.position()[1] == len(rows)
    again = open_partition(tmp_path, source(), name, list(partition.position()))
    assert again.read(1 << 20) is None


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_damaged_compressed_file_is_a_dead_letter(tmp_path, suffix):
    """S3: never a crash."""
    draw = random.Random(2)
    packed = bytearray(
        pack(json_lines([{**EVENT, "user_id": str(draw.random())} for _ in range(30_000)]), "." + suffix)
    )
    packed[len(packed) // 2 : len(packed) // 2 + 50] = b"\xff" * 50
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
    _, dead = read_all(tmp_path, source(), f"a.jsonl.{suffix}")
    assert dead[-1].reason == "corrupt"
    assert suffix in dead[-1].detail or "gzip" in dead[-1].detail
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json_lines([EVENT])) + b"rubbish")
    rows, dead = read_all(tmp_path, source(), "b.jsonl.gz")
    assert rows == [GOOD, None]
    assert reasons(dead) == [(1, "corrupt")]


def test_the_documentation_lists_every_reason_and_suffix():
    """docs/sources.md: the closed set of reasons, in the order of the code, and the one of links (S2a)."""
    text = (Path(__file__).parents[2] / "docs/sources.md").read_text()
    section = text.split("## Dead letters")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*get_args(Reason), "circle"]
    table = text.split("| suffix |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\.\w+)`", table)) == {*SUFFIXES, *COMPRESSIONS}


def test_a_dead_letter_of_a_stream_shows_the_unfinished_line(tmp_path):
    """Its beginning, at most 200 characters."""
    line = json.dumps({**EVENT, "user_id": "é" * 300}, ensure_ascii=False).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line + b"\n" + line)[:-1])
    _, dead = read_all(tmp_path, source(), "a.jsonl.gz")
    assert dead[0].sample == line.decode()[:200]
