"""Trigger families, a file each: how an instance begins, what ends it, and when it is due.

To add a family: its compiled trigger in `plan.py`, a file here with its `Matcher`, its line in `MATCHERS`; and in
`flowops.rules.triggers` a file with what operators write.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowops.core.matchers.absence import AbsenceMatcher, cancel
from flowops.core.matchers.base import Matcher
from flowops.core.matchers.combination import AllMatcher, AnyMatcher
from flowops.core.matchers.counting import CountMatcher, count
from flowops.core.matchers.dates import DateMatcher
from flowops.core.matchers.event import EventMatcher
from flowops.core.matchers.inactivity import InactivityMatcher, see
from flowops.core.matchers.journey import JourneyMatcher
from flowops.core.matchers.schedule import ScheduleMatcher
from flowops.core.matchers.sequence import SequenceMatcher
from flowops.core.plan import (
    AbsenceTrigger,
    AllTrigger,
    AnyTrigger,
    CountTrigger,
    DateTrigger,
    EventTrigger,
    InactivityTrigger,
    Plan,
    ScheduleTrigger,
    SequenceTrigger,
    Trigger,
)

__all__ = ["DateMatcher", "JourneyMatcher", "Matcher", "ScheduleMatcher", "cancel", "count", "matcher", "see"]

MATCHERS: Mapping[type[Trigger], type[Matcher]] = {
    EventTrigger: EventMatcher,
    AbsenceTrigger: AbsenceMatcher,
    CountTrigger: CountMatcher,
    InactivityTrigger: InactivityMatcher,
    DateTrigger: DateMatcher,
    ScheduleTrigger: ScheduleMatcher,
    AnyTrigger: AnyMatcher,
    AllTrigger: AllMatcher,
    SequenceTrigger: SequenceMatcher,
}


def matcher(plan: Plan) -> Matcher:
    """The matcher of a plan's trigger."""
    return MATCHERS[type(plan.trigger)](plan)
