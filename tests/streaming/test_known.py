"""What the engine knows of a user is read from its state, beside a run, without touching it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import flowops, replay

from flowops.core.records import shard_of
from flowops.errors import StateError
from flowops.rules.load import load_project
from flowops.streaming.known import profile_of
from servers.redis import RedisServer

FLOWOPS = """\
flowops: 1
project: shop
zone: UTC
sources:
  web: {file: data/web.jsonl}
  crm: {kind: profiles, SOURCE}
  vip: {kind: segments, segment: vip, file: data/vip.csv}
events:
  order: {properties: {sku: string}}
profile: {first_name: string, city: string}
channels:
  push: {type: file, path: out/push.jsonl}
"""
PLAN = """\
plan: thanks
audience: {segments: [vip]}
trigger: {event: order}
send: {channel: push, content: {body: "{{ order.sku }} {{ user.first_name }} {{ user.city | default: 'somewhere' }}"}}
"""


def shop(folder: Path, source: str) -> Path:
    for name in ("rules", "data"):
        (folder / name).mkdir()
    (folder / "flowops.yaml").write_text(FLOWOPS.replace("SOURCE", source))
    (folder / "rules" / "thanks.yaml").write_text(PLAN)
    event = {"user_id": "u1", "ts": "2022-04-21T10:00:00Z", "event": "order", "sku": "A"}
    (folder / "data" / "web.jsonl").write_text(json.dumps(event) + "\n")
    (folder / "data" / "vip.csv").write_text("user_id\nu1\n")
    lines = [{"user_id": "u1", "first_name": "Mei"}, {"user_id": "u2", "first_name": "Xin", "city": "Beijing"}]
    (folder / "data" / "crm.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def known(folder: Path, user_id: str) -> dict[str, object] | None:
    loaded = load_project(folder)
    assert loaded.project is not None
    assert loaded.config is not None
    return profile_of(loaded.config.state, loaded.project, loaded.config.files, user_id)


def test_a_profile_is_what_the_state_has_of_it(tmp_path: Path) -> None:
    folder = shop(tmp_path, "file: data/crm.jsonl")
    assert known(folder, "u1") is None  # nothing has run yet
    replay(folder)
    before = {path: path.read_bytes() for path in (folder / ".flowops").rglob("*") if path.is_file()}
    assert known(folder, "u1") == {"first_name": "Mei", "segment:vip": True}
    assert known(folder, "u2") == {"first_name": "Xin", "city": "Beijing"}
    assert known(folder, "nobody") is None
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_being_appended_is_left_out(tmp_path: Path) -> None:
    folder = shop(tmp_path, "file: data/crm.jsonl")
    replay(folder)
    (log,) = (folder / ".flowops" / "shards").glob(f"{shard_of('u1'):02d}-*.log")
    log.write_bytes(log.read_bytes() + b"\x40\x00\x00\x00\x00\x00\x00\x00half")
    assert known(folder, "u1") == {"first_name": "Mei", "segment:vip": True}


def test_a_state_of_other_rules_says_nothing(tmp_path: Path) -> None:
    """Its numbers may stand for other attributes."""
    folder = shop(tmp_path, "file: data/crm.jsonl")
    replay(folder)
    (folder / "rules" / "thanks.yaml").write_text(PLAN + "priority: 3\n")
    with pytest.raises(StateError, match="is of other rules"):
        known(folder, "u1")


def test_a_preview_asks_the_engine_for_what_a_stream_said(
    tmp_path: Path, redis_server: RedisServer, unique_name: str
) -> None:
    """And not the stream: that is read by the run alone."""
    folder = shop(tmp_path, f"redis: {{stream: {unique_name}, url: '{redis_server.url}'}}")
    client = redis_server.client()
    client.xadd(unique_name, {"user_id": "u1", "first_name": "Mei", "ts": "2022-04-20T00:00:00Z"})
    before = flowops("preview", "thanks", "--project", folder, "--user", "u1").stdout
    assert "not read, being no files: crm" in before
    replay(folder)
    said = json.loads(flowops("preview", "thanks", "--project", folder, "--user", "u1", "--json").stdout)
    assert said["messages"][0]["content"] == {"body": "[sku] Mei somewhere"}
    assert said["found_in"] == ["data/vip.csv", "the engine's state"]
    (folder / "rules" / "thanks.yaml").write_text(PLAN + "priority: 3\n")
    after = flowops("preview", "thanks", "--project", folder, "--user", "u1").stdout
    assert "what the engine knows cannot be read" in after
    assert "of other rules" in after
