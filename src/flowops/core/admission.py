"""The decision list: may this trigger send now? The first check that fails is the loss reason.

`decide` only reads; what follows from its verdict (counting the send, opening windows, holding) is the shard's doing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from flowops.core.plan import Attributes, Cap, Experiment, Plan, Quiet
from flowops.core.receipts import DELIVERED, has_withdrawn
from flowops.core.records import Micros, shard_of
from flowops.core.state import Instance, Send, User
from flowops.core.time import DAY, MINUTE, Zone, isoformat, period
from flowops.errors import ContentError

HELD = "held"
TREATMENT = "treatment"
HOLDOUT = "holdout"

_CALENDAR_KEPT = {"day": 2 * DAY, "week": 8 * DAY, "month": 32 * DAY}


class Verdict(Struct, frozen=True, gc=False):
    """What was decided. `until` is set for `held`; `content` for `delivered`; `entered` tells S21's entries."""

    stage: str
    detail: str | None = None
    at_channel: bool = False  # a channel was considered (S22)
    entered: bool = False
    until: Micros = 0
    content: dict[str, str] | None = None


def decide(
    plan: Plan,
    user: User,
    profile: Attributes,
    zone: Zone,
    instance: Instance,
    now: Micros,
    arm: str | None,
    variant: str | None,
) -> Verdict:
    """Go through the list of checks for `instance`, whose turn has come at `now`; `zone` is the user's own."""
    if not plan.starts_at <= now < plan.ends_at:
        return Verdict("plan_ended", f"due {isoformat(now)}")
    steps = instance.steps
    if plan.audience is not None and not plan.audience((), steps, profile, now, variant):
        return Verdict("not_in_audience")
    refused = _reentry(plan, user, instance.key, now)
    if refused is not None:
        return Verdict("reentry", refused)
    channel = plan.step.channel
    if channel.opt_in is not None and profile[channel.opt_in] is not True:
        return Verdict("no_consent", "not opted in", at_channel=True)
    if channel.opt_out is not None and profile[channel.opt_out] is True:
        return Verdict("no_consent", "opted out", at_channel=True)
    if user.withdrawn and has_withdrawn(user, channel, profile):
        return Verdict("no_consent", "unsubscribed", at_channel=True)
    if channel.address is not None and profile[channel.address] in (None, ""):
        return Verdict("no_address", at_channel=True)
    if plan.quiet is not None:
        until = quiet_until(plan.quiet, zone, now)
        if until is not None:
            detail = f"until {isoformat(until)}"
            if plan.quiet.hold:
                return Verdict(HELD, detail, at_channel=True, until=until)
            return Verdict("quiet_hours", detail, at_channel=True, entered=True)
    for cap in plan.caps:
        if (cap.channel is None or cap.channel == channel.index) and reached(cap, user.sends, zone, now):
            return Verdict("frequency_cap", cap.text, at_channel=True, entered=True)
    if plan.experiment is not None and arm == HOLDOUT:
        return Verdict(HOLDOUT, plan.experiment.name, at_channel=True, entered=True)
    try:
        content = plan.step.content[variant](steps, profile, now, variant)
    except ContentError as error:
        return Verdict("content_invalid", str(error), at_channel=True, entered=True)
    return Verdict(DELIVERED, at_channel=True, entered=True, content=content)


def trigger_id(plan: str, user_id: str, key: str | None, evidence: Sequence[str]) -> str:
    """The trigger instance's id: of the plan, the user, the key and the events that made it (S32).

    Two hexadecimal digits of the user's shard, by which a receipt finds its way, and a digest; as long as
    `records.TRIGGER_ID` says.
    """
    events = evidence[0] if len(evidence) == 1 else "\x1f".join(evidence)
    text = f"{plan}\x1f{user_id}\x1f{key or ''}\x1f{events}"
    return f"{shard_of(user_id):02x}{blake2b(text.encode(), digest_size=11).hexdigest()}"


def arm_of(experiment: Experiment | None, user_id: str) -> tuple[str | None, str | None]:
    """(arm, variant) of a user (S23): the same on any worker, after any restart, in any version of the plan."""
    if experiment is None:
        return None, None
    return _draw(experiment, user_id)


def quiet_until(quiet: Quiet, zone: Zone, now: Micros) -> Micros | None:
    """When the quiet that holds at `now` ends (S26), or None if it is not quiet."""
    today = zone.day(now)
    ends = [end for begin, end in _windows(quiet, zone, today - 1, today + 1) if begin <= now < end]
    if not quiet.outside:
        return max(ends, default=None)
    if ends:
        return None
    return min(begin for begin, _ in _windows(quiet, zone, today, today + 9) if begin > now)


def reached(cap: Cap, sends: Sequence[Send], zone: Zone, now: Micros) -> bool:
    """Whether the cap's number of sends stands in its window at `now` (S24)."""
    count = 0
    for at, plan, channel in reversed(sends):
        if cap.rolling is not None and now - at >= cap.rolling:
            break
        if cap.calendar is not None and period(zone, at, cap.calendar) != period(zone, now, cap.calendar):
            break
        if _counts(cap, plan, channel):
            count += 1
            if count >= cap.at_most:
                return True
    return cap.at_most <= 0


def standing(cap: Cap, sends: Sequence[Send], zone: Zone, now: Micros) -> list[Send]:
    """All sends that count for the cap in its window at `now`, for people; `reached` asks only whether they suffice."""
    return [
        (at, plan, channel)
        for at, plan, channel in sends
        if _counts(cap, plan, channel)
        and (cap.rolling is None or now - at < cap.rolling)
        and (cap.calendar is None or period(zone, at, cap.calendar) == period(zone, now, cap.calendar))
    ]


def prune_sends(
    caps: Sequence[Cap],
    sends: tuple[Send, ...],
    now: Micros,
    unsure: AbstractSet[Send] = frozenset(),
) -> tuple[Send, ...]:
    """Without the sends that no cap can ask about again: beyond its window, or more than it counts to.

    Those that are `unsure` may still be given back, and older ones count in their stead then.
    """
    counted = [0] * len(caps)
    kept: list[Send] = []
    for send in reversed(sends):
        at, plan, channel = send
        wanted = False
        for number, cap in enumerate(caps):
            if counted[number] < cap.at_most and _counts(cap, plan, channel) and now - at < _kept_for(cap):
                counted[number] += send not in unsure
                wanted = True
        if wanted:
            kept.append(send)
    return tuple(reversed(kept))


def _kept_for(cap: Cap) -> Micros:
    """How long a send may matter to the cap."""
    if cap.rolling is not None:
        return cap.rolling
    if cap.calendar is not None:
        return _CALENDAR_KEPT[cap.calendar]
    return 1 << 62


def _counts(cap: Cap, plan: int, channel: int) -> bool:
    return (cap.plans is None or plan in cap.plans) and (cap.channel is None or cap.channel == channel)


def _reentry(plan: Plan, user: User, key: str | None, now: Micros) -> str | None:
    rule = plan.reentry
    if rule.always:
        return None
    for of_plan, of_key, at in user.entries:
        if of_plan == plan.index and of_key == key and (rule.gap is None or now - at < rule.gap):
            return f"entered {isoformat(at)}"
    return None


@lru_cache(maxsize=65_536)
def _draw(experiment: Experiment, user_id: str) -> tuple[str, str | None]:
    for pinned, arm in experiment.pinned:
        if pinned == user_id:
            return (HOLDOUT, None) if arm == HOLDOUT else (TREATMENT, None if arm == TREATMENT else arm)
    if _share(experiment.name, "holdout", user_id) < experiment.holdout:
        return HOLDOUT, None
    place = _share(experiment.name, "variant", user_id)
    variant: str | None = None
    for name, share in experiment.variants:
        variant = name
        place -= share
        if place < 0:
            break
    return TREATMENT, variant


def _share(*parts: str) -> float:
    digest = blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _windows(quiet: Quiet, zone: Zone, first: int, beyond: int) -> Iterator[tuple[Micros, Micros]]:
    """The windows that begin on the local days `first` to before `beyond`, as instants.

    Their ends are turned into instants by S10, so a local time that DST repeats begins or ends a window once.
    """
    length = (quiet.end - quiet.start) % (24 * 60) or 24 * 60
    for day in range(first, beyond):
        if (day + 3) % 7 in quiet.days:  # 1970-01-01 was a Thursday
            begin = day * DAY + quiet.start * MINUTE
            opened, closed = zone.instant(begin), zone.instant(begin + length * MINUTE)
            if opened < closed:  # a window of which the clocks skip all is none
                yield opened, closed
