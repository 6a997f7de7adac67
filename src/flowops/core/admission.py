"""The decision list: may this trigger send now? The first check that fails is the loss reason.

`decide` only reads; what follows from its verdict (counting the send, opening windows, holding) is the shard's doing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from flowops.core.effects import ASSIGNED
from flowops.core.matchers.keys import text_of
from flowops.core.plan import Attributes, Cap, Channel, Experiment, Plan, Quiet, Step, Steps
from flowops.core.receipts import DELIVERED, has_withdrawn
from flowops.core.records import SHARDS, Micros, shard_of
from flowops.core.state import Instance, Send, User
from flowops.core.time import DAY, MINUTE, WEEK, Zone, isoformat, period
from flowops.core.timers import NEVER
from flowops.errors import ContentError

HELD = "held"
TREATMENT = "treatment"
HOLDOUT = "holdout"

_SHARD = tuple(f"{shard:02x}" for shard in range(SHARDS))
_CALENDAR_KEPT = {"day": 2 * DAY, "week": 8 * DAY, "month": 32 * DAY}


class Verdict(Struct, frozen=True, gc=False):
    """What was decided. `until` is set for `held`; `content` for `delivered`; `entered` tells S21's entries."""

    stage: str
    detail: str | None = None
    at_channel: bool = False  # a channel was considered (S22)
    entered: bool = False
    until: Micros = 0
    content: dict[str, str] | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether all checks before the experiment were passed, so that an arm was drawn (S23)."""
        return self.stage == HOLDOUT or self.stage in ASSIGNED


def decide(
    plan: Plan,
    step: Step,
    user: User,
    profile: Attributes,
    zone: Zone,
    instance: Instance,
    now: Micros,
    arm: str | None,
    variant: str | None,
    *,
    exited: str | None = None,
    elsewhere: bool = False,
    entered: bool = False,
    trigger: str = "",
    group: str = "",
) -> Verdict:
    """Go through the list of checks for `instance`, whose turn has come at `now`; `zone` is the user's own.

    `exited`: it has come because something ended the journey; `elsewhere`: the step's channel is for others. Of a
    journey of several steps, `trigger` is its id, and `entered` tells whether a message of it did. `group`: as of a
    `state.Send`.
    """
    if not plan.starts_at <= now < plan.ends_at:
        return Verdict("plan_ended", f"due {isoformat(now)}")
    steps = instance.steps
    if plan.audience is not None and not plan.audience((), steps, profile, now, variant):
        return Verdict("not_in_audience")
    if exited is not None:
        return Verdict("exited", exited)
    refused = None if entered else _reentry(plan, user, instance.key, now, trigger)
    if refused is not None:
        return Verdict("reentry", refused)
    channel = step.channel
    if elsewhere:
        return Verdict("not_in_audience", f"{channel.name} is for others", at_channel=True)
    if channel.opt_in is not None and profile[channel.opt_in] is not True:
        return Verdict("no_consent", "not opted in", at_channel=True)
    if channel.opt_out is not None and profile[channel.opt_out] is True:
        return Verdict("no_consent", "opted out", at_channel=True)
    if user.withdrawn and has_withdrawn(user, channel, profile):
        return Verdict("no_consent", "unsubscribed", at_channel=True)
    if channel.address is not None and profile[channel.address] in (None, ""):
        return Verdict("no_address", at_channel=True)
    if (plan.quiet is not None or channel.quiet is not None) and not plan.transactional:
        is_quiet = _quiet(quiets_of(plan, channel), zone, now)
        if is_quiet is not None:
            return is_quiet
    if plan.skip_if_reached is not None:
        last = next(reversed(standing(plan.skip_if_reached, user.sends, (), zone, now)), None)
        if last is not None:
            return Verdict("harassment_window", f"reached {isoformat(last[0])}", at_channel=True, entered=True)
    if plan.caps:
        values, sends = cap_values(plan, steps) if plan.cap_values else (), user.sends
        for cap in plan.caps:
            if (cap.channel is None or cap.channel == channel.index) and reached(cap, sends, values, zone, now, group):
                return Verdict("frequency_cap", cap.text, at_channel=True, entered=True)
    if plan.experiment is not None and arm == HOLDOUT:
        return Verdict(HOLDOUT, plan.experiment.name, at_channel=True, entered=True)
    try:
        content = step.content[variant](steps, profile, now, variant)
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
    return _SHARD[shard_of(user_id)] + blake2b(text.encode(), digest_size=11).hexdigest()


def arm_of(experiment: Experiment | None, user_id: str) -> tuple[str | None, str | None]:
    """(arm, variant) of a user (S23): the same on any worker, after any restart, in any version of the plan."""
    if experiment is None:
        return None, None
    return _draw(experiment, user_id)


def quiets_of(plan: Plan, channel: Channel) -> tuple[Quiet, ...]:
    """The quiet hours of a plan's messages on a channel: all must allow (S26)."""
    if plan.transactional:
        return ()
    return tuple([quiet for quiet in (plan.quiet, channel.quiet) if quiet is not None])


def quiet_until(quiets: Sequence[Quiet], zone: Zone, now: Micros) -> Micros | None:
    """When none of them is quiet any more (S26); None if none is at `now`; `NEVER` where their open hours do not meet.

    Hours repeat by the week, and a change of the clocks may skip a window: what has not met in three weeks never does.
    """
    until = now
    while until - now <= 3 * WEEK:
        ends = [end for quiet in quiets if (end := _ends(quiet, zone, until)) is not None]
        if not ends:
            return until if until > now else None
        until = max(ends)
    return NEVER


def cap_values(plan: Plan, steps: Steps) -> tuple[str | None, ...]:
    """Of each property by which some cap counts: the value that the trigger's events bring, in their order (S24)."""
    return tuple(
        [
            next((text_of(steps[step][n]) for step, n in places if steps[step][n] is not None), None)
            for places in plan.cap_values
        ]
    )


def _quiet(quiets: Sequence[Quiet], zone: Zone, now: Micros) -> Verdict | None:
    """Lost where one that drops is quiet; else held while one is that holds. What then is quiet is decided then."""
    for quiet in quiets:
        if not quiet.hold and (end := _ends(quiet, zone, now)) is not None:
            return Verdict("quiet_hours", f"until {isoformat(end)}", at_channel=True, entered=True)
    until = quiet_until([quiet for quiet in quiets if quiet.hold], zone, now)
    if until is None:
        return None
    if until >= NEVER:
        return Verdict("quiet_hours", "no hour is left", at_channel=True, entered=True)
    return Verdict(HELD, f"until {isoformat(until)}", at_channel=True, until=until)


def _ends(quiet: Quiet, zone: Zone, now: Micros) -> Micros | None:
    """When the quiet that holds at `now` ends; None if it is not quiet."""
    today = zone.day(now)
    ends = [end for begin, end in _windows(quiet, zone, today - 1, today + 1) if begin <= now < end]
    if not quiet.outside:
        return max(ends, default=None)
    if ends:
        return None
    return min(begin for begin, _ in _windows(quiet, zone, today, today + 9) if begin > now)


def reached(
    cap: Cap, sends: Sequence[Send], values: Sequence[str | None], zone: Zone, now: Micros, group: str = ""
) -> bool:
    """Whether the cap's number of sends stands in its window at `now` (S24), for a message with these cap values.

    What its own step (`group`) has sent does not count, unless the cap is a channel's.
    """
    count = 0
    groups: set[str] = set()
    for send in reversed(sends):
        at = send[0]
        if cap.rolling is not None and now - at >= cap.rolling:
            break
        if cap.calendar is not None and period(zone, at, cap.calendar) != period(zone, now, cap.calendar):
            break
        if _counts(cap, send) and (cap.key is None or send[3][cap.key] == values[cap.key]):
            if (of := send[4]) and cap.channel is None:
                if of == group or of in groups:
                    continue
                groups.add(of)
            count += 1
            if count >= cap.at_most:
                return True
    return cap.at_most <= 0


def standing(
    cap: Cap, sends: Sequence[Send], values: Sequence[str | None], zone: Zone, now: Micros, group: str = ""
) -> list[Send]:
    """All sends that count for the cap in its window at `now`; `reached` asks only whether they suffice."""
    inside = [
        send
        for send in sends
        if _counts(cap, send)
        and (cap.key is None or send[3][cap.key] == values[cap.key])
        and (cap.rolling is None or now - send[0] < cap.rolling)
        and (cap.calendar is None or period(zone, send[0], cap.calendar) == period(zone, now, cap.calendar))
    ]
    if cap.channel is not None:
        return inside
    last = {send[4]: send for send in inside}
    return [send for send in inside if not send[4] or (send[4] != group and send == last[send[4]])]


def prune_sends(
    caps: Sequence[Cap],
    sends: tuple[Send, ...],
    now: Micros,
    unsure: AbstractSet[Send] = frozenset(),
) -> tuple[Send, ...]:
    """Without the sends that no cap can ask about again: beyond its window, or more than it counts to.

    Those that are `unsure` may still be given back, and older ones count in their stead then. So do the messages of one
    step, for the step's own.
    """
    counted: Counter[tuple[int, str | None]] = Counter()
    groups: set[tuple[int, str | None, str]] = set()
    further = any(send[4] for send in sends)
    kept: list[Send] = []
    for send in reversed(sends):
        wanted = False
        for number, cap in enumerate(caps):
            of = number, None if cap.key is None else send[3][cap.key]
            if counted[of] < cap.at_most + further and _counts(cap, send) and now - send[0] < _kept_for(cap):
                wanted = True
                if send[4] and cap.channel is None:
                    if (*of, send[4]) in groups:
                        continue
                    groups.add((*of, send[4]))
                counted[of] += send not in unsure
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


def _counts(cap: Cap, send: Send) -> bool:
    _, plan, channel, _, _ = send
    return (cap.plans is None or plan in cap.plans) and (cap.channel is None or cap.channel == channel)


def _reentry(plan: Plan, user: User, key: str | None, now: Micros, trigger: str) -> str | None:
    rule = plan.reentry
    if rule.always:
        return None
    for of_plan, of_key, at, by in user.entries:
        if of_plan == plan.index and of_key == key and (rule.gap is None or now - at < rule.gap):
            if by and by == trigger:
                return None
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
