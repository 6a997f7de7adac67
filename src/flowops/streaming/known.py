"""What the engine knows of one user: read from its state folder, beside a run or after it, without touching it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowops.core.links import Identities
from flowops.core.plan import Project
from flowops.core.records import shard_of
from flowops.core.state import Links, Users, decode_frame
from flowops.errors import StateError
from flowops.streaming.statefolder import StateFolder
from flowops.streaming.statelog import newest_frames


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
    shard = shard_of(user_id, project.shards)
    links: Links = {}
    if project.shards == 1:
        for frame in newest_frames(folder.shards, shard):
            links |= decode_frame(frame).links
    user_id = Identities(links).user_of(user_id)
    users = Users()
    for frame in newest_frames(folder.shards, shard):
        changed = decode_frame(frame).users
        if user_id in changed:
            users.apply({user_id: changed[user_id]})
    user = users.find(user_id)
    if user is None or user.profile is None:
        return None
    return {name: value for name, value in zip(project.attributes, user.profile, strict=True) if value is not None}
