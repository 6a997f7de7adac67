"""What became of a view, in one line: for examples about the decision."""

from __future__ import annotations

from driver import agreed
from shop import (
    Draft,
    at,
    crm,
    event,
    log,
    project,
    quiet,
)

from flowops.core.time import Zone, isoformat

BERLIN = Zone("Europe/Berlin")
SHANGHAI = Zone("Asia/Shanghai")
HELLO = Draft("hello")
NIGHT = quiet("22:00", "08:00")


def stages(*times, drafts=(HELLO,), told=(), until=None):
    """What became of a view at each of these times: `(plan, decided at, stage)`."""
    shop = project(*drafts)
    views = [event(at(time), "view", id=time) for time in times]
    outcome = agreed(shop, log(shop, *views), crm(shop, *told), until=None if until is None else at(until))
    return [(row.plan, isoformat(row.decided_at)[:16].replace("T", " "), row.stage) for row in outcome.decisions]


def only_stages(*times, **more):
    return [stage for _, _, stage in stages(*times, **more)]
