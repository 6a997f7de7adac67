"""Where a journey is and what is known of its messages (S30): what is kept in the `progress` of its instances.

A journey has one instance of kind `JOURNEY` while there is a step to come: it waits at a `Pause`, or, where a message
of the step before is held, at the node after it. A message that is held is an instance of its own, `HELD`; so is, as
`FALLBACK`, what follows if a message does not arrive.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from flowops.core.delay import acted_on_at
from flowops.core.plan import Attributes, Journey, Pause, Sends, Steps
from flowops.core.records import Micros, Values
from flowops.core.state import HELD, JOURNEY, Instance, User
from flowops.core.time import Zone

SENT, ARRIVED, DISPLAYED, CLICKED, DECIDED = 1, 2, 4, 8, 16
_BITS = {"delivered": ARRIVED, "displayed": DISPLAYED, "clicked": CLICKED}

FACTS = ("sent", "delivered", "displayed", "clicked")
"""What a condition may ask of a step, in the order of its values."""

OF_JOURNEY = (*FACTS, "attained", "timed_out")
"""What a condition may ask without naming a step, in the order of the first argument: of the step before; of any goal;
of the last wait for an event."""


class Position(msgspec.Struct):
    """The `progress` of a `JOURNEY`."""

    trigger_id: str
    entered: bool  # a message has passed the decision as far as `no_address` (S21)
    node: int
    base: Micros  # when the step before fell due, from which a wait counts
    before: int = -1  # the number of the last step that was come to
    timed_out: bool = False
    attained: bool = False
    known: tuple[int, ...] = ()  # of each message: bits
    drawn: bool = False  # a message has come to the experiment (S23)

    def note(self, message: int, gained: int, lost: int = 0) -> None:
        """Something became known of a message."""
        known = list(self.known)
        known[message] = (known[message] | gained) & ~lost
        self.known = tuple(known)


class Hold(msgspec.Struct):
    """The `progress` of a message that is `HELD`."""

    trigger_id: str
    entered: bool
    drawn: bool
    message: int


class Fallback(msgspec.Struct):
    """The `progress` of a `FALLBACK`."""

    trigger_id: str
    message: int  # the one that was sent
    expires_at: Micros  # of the step: nothing of it is sent from then on


def read(kind: type[Any], instance: Instance) -> Any:
    """The `progress` of an instance as what it is."""
    return kind(*instance.progress)


def write(progress: Position | Hold | Fallback) -> tuple[Any, ...]:
    """What is kept of it."""
    return msgspec.structs.astuple(progress)


def position_of(user: User, plan: int, trigger_id: str) -> Instance | None:
    """The journey of a trigger, while a step of it is to come."""
    return next(
        (
            each
            for each in user.instances
            if each.kind == JOURNEY and each.plan == plan and each.progress[0] == trigger_id
        ),
        None,
    )


def held_until(user: User, plan: int, trigger_id: str) -> Micros | None:
    """Until when a message of the journey is held, if one is."""
    dues = [
        each.due
        for each in user.instances
        if each.kind == HELD and each.plan == plan and each.progress[0] == trigger_id
    ]
    return max(dues, default=None)


def ends_at(pause: Pause, base: Micros, profile: Attributes, zone: Zone) -> Micros:
    """When a wait ends by itself."""
    due = acted_on_at(pause.delay, base, (), profile, zone)
    if due is None:
        raise AssertionError("a wait of a journey waits for no event's time")
    return due


def touches(journey: Journey, position: Position) -> int:
    """How many steps have sent something: a step counts once, however many channels it used."""
    return sum(any(position.known[message] & SENT for message in step.messages) for step in journey.steps)


def has_attempts(position: Position) -> bool:
    """Whether a message of the journey was decided about, whatever became of it."""
    return any(position.known)


def gained(reached: AbstractSet[str]) -> int:
    """What a receipt proves, as bits."""
    return sum(_BITS[each] for each in reached)


def facts(journey: Journey, position: Position, steps: Steps) -> tuple[Values, Steps]:
    """What a condition sees: `OF_JOURNEY`; and the steps of the trigger, then `FACTS` of each of the journey's."""
    known = [_facts(step, position) for step in journey.steps]
    of_before = known[position.before] if position.before >= 0 else (False,) * len(FACTS)
    return (*of_before, position.attained, position.timed_out), (*steps, *known)


def _facts(step: Sends, position: Position) -> Values:
    bits = 0
    for message in step.messages:
        bits |= position.known[message]
    return bool(bits & SENT), bool(bits & ARRIVED), bool(bits & DISPLAYED), bool(bits & CLICKED)
