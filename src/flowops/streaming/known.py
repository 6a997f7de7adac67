"""What the engine knows of one user: read from its state folder, beside a run or after it, without touching it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from flowops.core.plan import Project
from flowops.core.records import shard_of
from flowops.core.state import Users, decode_frame
from flowops.errors import StateError
from flowops.streaming.statefolder import StateFolder

_HEAD = struct.Struct("<II")


def profile_of(state: Path, project: Project, rules: Mapping[str, str], user_id: str) -> dict[str, Any] | None:
    """The user's attributes by name, segments among them; None where the engine does not know the user.

    What was appended last counts, also when its epoch is not committed yet. `rules` are the files that the project was
    compiled of, with their hashes: attributes are numbers in the state, which mean something only by the same rules.

    Raises:
        StateError: the state is of other rules or of another format, or damaged.
    """
    folder = StateFolder(state)
    manifest = folder.read()
    if manifest is None:
        return None
    if dict(manifest.rules) != dict(rules):
        raise StateError(f"the state in {state} is of other rules than those that lie here now")
    users = Users()
    for frame in _frames(folder.shards, shard_of(user_id)):
        changed = decode_frame(frame).users
        if user_id in changed:
            users.apply({user_id: changed[user_id]})
    user = users.find(user_id)
    if user is None or user.profile is None:
        return None
    return {name: value for name, value in zip(project.attributes, user.profile, strict=True) if value is not None}


def _frames(folder: Path, shard: int) -> Iterator[bytes]:
    """The whole frames of the shard's newest log; what is being appended meanwhile is left out."""
    logs = sorted(folder.glob(f"{shard:02d}-*.log"), key=lambda path: int(path.stem.partition("-")[2]))
    data = logs[-1].read_bytes() if logs else b""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        frame = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(frame) < length or crc32(frame) != check:
            return
        at += _HEAD.size + length
        yield frame
