"""Receipts: what came of a message, as far as the provider tells (S40), and what a user withdraws by one (S27).

A message is remembered (`state.Sent`) only on channels from which results come back. What is known of it has three
ranks: nothing yet (or, on a channel whose receipts are assumed, the assumption that it arrived), a report that it
failed, and the proof that it arrived. The higher rank stands, so it does not matter in which order they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from flowops.core.effects import dispatch_id
from flowops.core.plan import Attributes, Channel, Plan
from flowops.core.records import TRIGGER_ID, Micros
from flowops.core.state import Sent, User, Window

SENT: Final = "sent"
DELIVERED: Final = "delivered"
UNDELIVERED: Final = "undelivered"

FAILURES: Final[Mapping[str, str]] = {"failed": "send_failed", "expired": "expired"}
"""The loss that a receipt reports; what was counted for the send is given back (S24)."""

REACHED: Final[Mapping[str, frozenset[str]]] = {
    "delivered": frozenset({"delivered"}),
    "displayed": frozenset({"delivered", "displayed"}),
    "clicked": frozenset({"delivered", "displayed", "clicked"}),
}
"""What a receipt proves, its forerunners too."""

WITHDRAWALS: Final = frozenset({"unsubscribed", "complained"})

RECEIPTS: Final = ("accepted", *FAILURES, *REACHED, "unsubscribed", "complained", "recalled")
"""All that a receipt may say."""


def remember(channel: Channel, decided_at: Micros, expires_at: Micros) -> tuple[str, Micros, Micros | None]:
    """(stage, until when it is remembered, when it counts as undelivered) of a message just sent."""
    last = max(decided_at + (channel.undelivered_after or 0), expires_at)
    due = None if channel.undelivered_after is None else decided_at + channel.undelivered_after
    return (DELIVERED if due is None else SENT), last + channel.remembered, due


def find(plans: Sequence[Plan], user: User, dispatch: str, at: Micros) -> Sent | None:
    """The message of the user with this dispatch id, if it is still remembered at `at`."""
    trigger = dispatch[:TRIGGER_ID]
    for sent in user.sent:
        if sent.trigger_id == trigger and at < sent.until and dispatch == dispatch_of(plans, sent):
            return sent
    return None


def dispatch_of(plans: Sequence[Plan], of: Sent | Window) -> str:
    """The id of a message that was sent."""
    step = plans[of.plan].messages[of.message]
    return dispatch_id(of.trigger_id, step.name, step.channel.name)


def may_fail(sent: Sent) -> bool:
    """Whether a report that it failed would change anything."""
    return not sent.proven and sent.stage not in FAILURES.values()


def withdraw(user: User, channel: int, ts: Micros) -> None:
    """Note that the user withdrew consent for the channel at `ts`."""
    kept = tuple(each for each in user.withdrawn if each[0] != channel)
    before = max((at for of, at in user.withdrawn if of == channel), default=ts)
    user.withdrawn = (*kept, (channel, max(before, ts)))


def has_withdrawn(user: User, channel: Channel, profile: Attributes) -> bool:
    """Whether consent for the channel is withdrawn, and no later update of the profile gave it anew (S27)."""
    for of, at in user.withdrawn:
        if of == channel.index:
            given = channel.opt_in if channel.opt_in is not None else channel.opt_out
            if given is None or not user.profile_at or user.profile_at[given] <= at:
                return True
            return profile[given] is not (channel.opt_in is not None)
    return False
