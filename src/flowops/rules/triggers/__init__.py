"""The kinds of triggers, a file each: what operators write, how it is checked, and what the engine runs.

The kind is chosen first, by the keys that are there, and then only that kind's model reads: so a wrong key gets one
message. To add a kind: a file here, whose keys say what they mean to editors (`says`), its lines in `Trigger`, `KINDS`
and `kind_of`; in `core` its compiled form and its matcher; its drawing in `rules.diagram`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag

from flowops.rules import document
from flowops.rules.triggers.absence import AbsenceTrigger
from flowops.rules.triggers.base import CheckedTrigger, Checker, Given, Heard, Kind, Part
from flowops.rules.triggers.calendar import DateTrigger, ScheduleTrigger
from flowops.rules.triggers.change import CHANGES, ChangeTrigger
from flowops.rules.triggers.combination import AllTrigger, AnyTrigger
from flowops.rules.triggers.counting import COUNTS, CountTrigger
from flowops.rules.triggers.event import EventTrigger
from flowops.rules.triggers.inactivity import InactivityTrigger
from flowops.rules.triggers.sequence import SequenceTrigger
from flowops.settings.fields import refuse

__all__ = ["CheckedTrigger", "Checker", "Given", "Heard", "Part", "Trigger"]


KINDS: Mapping[type[Kind], str] = {
    EventTrigger: "<event>",
    AbsenceTrigger: "<absence>",
    CountTrigger: "<count>",
    InactivityTrigger: "<inactive_for>",
    AnyTrigger: "<any>",
    AllTrigger: "<all>",
    ChangeTrigger: "<change>",
    SequenceTrigger: "<sequence>",
    ScheduleTrigger: "<schedule>",
    DateTrigger: "<date_of>",
}
"""The kinds with their tags."""


def kind_of(value: Any) -> str:
    """The tag of the kind for which the keys speak, or of one that was read: it is written out for a plan's version."""
    if isinstance(value, Kind):
        return KINDS[type(value)]
    keys = set(value) if isinstance(value, document.Mapping) else set()
    for key in ("sequence", "all", "any", "inactive_for", "schedule"):
        if key in keys:
            return f"<{key}>"
    if keys & {*CHANGES}:
        return "<change>"
    if "date_of" in keys:
        return "<date_of>"
    if keys & COUNTS and "without" not in keys:
        return "<count>"
    return "<absence>" if keys & {"without", "within", "repeat"} else "<event>"


def _mapping(value: Any) -> Any:
    if isinstance(value, str):
        refuse("FO105", "a mapping is needed here, not a text", f"trigger: {{event: {value}}}")
    return value


Trigger: TypeAlias = Annotated[
    Annotated[
        Annotated[EventTrigger, Tag("<event>")]
        | Annotated[AbsenceTrigger, Tag("<absence>")]
        | Annotated[CountTrigger, Tag("<count>")]
        | Annotated[InactivityTrigger, Tag("<inactive_for>")]
        | Annotated[AnyTrigger, Tag("<any>")]
        | Annotated[AllTrigger, Tag("<all>")]
        | Annotated[ChangeTrigger, Tag("<change>")]
        | Annotated[SequenceTrigger, Tag("<sequence>")]
        | Annotated[ScheduleTrigger, Tag("<schedule>")]
        | Annotated[DateTrigger, Tag("<date_of>")],
        Discriminator(kind_of),
    ],
    BeforeValidator(_mapping),
]
