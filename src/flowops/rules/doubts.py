"""What a plan means, beyond being readable: whether it can do what it says.

A method for each question; `check` asks where it has the parts at hand, so that a new kind of trigger or step is asked
by passing through the same place. A kind of trigger says how long it waits at least (`Kind.waits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowops.core.time import Zone
from flowops.rules.document import Document, Loc
from flowops.rules.expressions import Checked
from flowops.rules.reach import Never, never
from flowops.rules.schema_plan import PlanFile
from flowops.rules.schema_project import ProjectFile, Quiet, never_ends
from flowops.rules.templates import CheckedTemplate
from flowops.rules.texts import (
    GSM,
    UCS,
    always_there,
    blank,
    defaults_of,
    first_banned,
    foreign,
    sms_length,
    spoken,
)
from flowops.rules.triggers import Part
from flowops.settings.fields import show_duration

NEVER_ENDS = "it is quiet at every hour of every day, so no message ever goes out"


@dataclass(frozen=True, slots=True)
class Written:
    """A text of the content and where it stands."""

    document: Document
    loc: Loc
    text: str


class Doubts:
    """Asks of one plan; what it finds is added to the document in which it stands."""

    def __init__(self, project: ProjectFile, document: Document, plan: PlanFile, zone: Zone) -> None:
        self.project = project
        self.document = document
        self.plan = plan
        self.zone = zone
        variants = plan.experiment.variants if plan.experiment else {}
        self.domains = {"variant": list(variants)} if variants else {}
        self.told: set[Loc] = set()  # filters of which it was told that nothing passes

    # Filters

    def reach(self, loc: Loc, text: str, checked: Checked) -> None:
        """A filter, or a branch of it, that is never true."""
        for found in self._never([checked]):
            if found.whole:
                self.told.add(loc)
                hint = "change it, or leave it out"
                self.document.report("FO406", loc, f"this is never true: {found.why}", text, hint)
            else:
                what = f"a branch of this `or` is never true: {found.why}"
                self.document.report("FO407", loc, what, text, "take the branch out, or change it")

    def block(self, loc: Loc, condition: Sequence[Checked]) -> None:
        """A block of an audience in which nobody can be, though each of its filters could be true."""
        if any(told[: len(loc)] == loc for told in self.told):
            return
        found = next((each for each in self._never(condition) if each.whole), None)
        if found is None:
            return
        self.told.add(loc)
        if len(loc) == 1:
            what = f"nobody is in this audience: {found.why}"
            self.document.report("FO406", loc, what, hint="ask for less")
        else:
            what = f"nobody is in this block of the audience: {found.why}"
            self.document.report("FO407", loc, what, hint="take the block out, or change it")

    def together(self, parts: Sequence[Part], audience: Sequence[Checked]) -> None:
        """A first event that nobody of the audience can bring, where both are asked at one instant.

        So not of inactivity, and not where several events make one trigger.
        """
        if any(part.role in ("see", "take") for part in parts):
            return
        for part in parts:
            asked = [*part.heard.own, *part.heard.rest]
            if part.role != "start" or not asked or not audience or self.told:
                continue
            found = next((each for each in self._never([*asked, *audience]) if each.whole), None)
            if found is not None:
                what = f"nobody of the audience passes this filter: {found.why}"
                hint = "change the filter or the audience"
                self.document.report("FO406", (*part.loc, "where"), what, hint=hint)

    def _never(self, parts: Sequence[Checked]) -> list[Never]:
        return never([part.node for part in parts], domains=self.domains, zone=self.zone)

    # Time

    def lifetime(self) -> None:
        """A wait that ends after the plan does, whenever it begins."""
        dates = self.plan.dates
        if dates is None or dates.start is None or dates.end is None:
            return
        life = dates.end.ends(self.zone) - dates.start.begins(self.zone)
        parts = self.plan.trigger.waits()
        least = sum(micros for _, micros in parts)
        if 0 < life <= least:
            longest = max(parts, key=lambda part: part[1])[0]
            said = " and ".join(f"`{key}: {show_duration(micros)}`" for key, micros in parts)
            what = f"the plan lives for {show_duration(life)}, and {said} take{'' if len(parts) > 1 else 's'} as long"
            hint = "what falls due after the plan's end is not sent: wait less, or let the plan live longer"
            self.document.report("FO211", ("trigger", longest), what, hint=hint)

    def quiet(self) -> None:
        """Quiet hours of the plan's own that never end."""
        if isinstance(self.plan.quiet, Quiet) and never_ends(self.plan.quiet):
            self.document.report("FO215", ("quiet",), NEVER_ENDS, hint="name the hours, or leave `quiet` out")

    # Texts

    def message(self, texts: Mapping[str, Written], templates: Mapping[str, CheckedTemplate]) -> None:
        """A message: whether it says anything, nothing that is banned, nothing sensitive, and fits its channel."""
        channel = self.project.channels.get(self.plan.send.channel)
        if blank(templates):
            first = next(iter(texts.values()))
            first.document.report("FO414", first.loc, "the message has no text", hint="write one")
        for name, template in templates.items():
            text = texts[name]
            self._banned(text)
            self._sensitive(text, template)
            if channel is not None and channel.limit == "sms":
                self._sms(text, template)

    def _banned(self, text: Written) -> None:
        found = first_banned(self.project.banned_words, spoken(text.text))
        if found is not None:
            what = f"`{found[0]}` is a banned word of this project"
            line = text.text[: found.start()].count("\n")
            got = text.text.split("\n")[line]
            text.document.report("FO413", text.loc, what, got, "say it in other words", offset=found.start())

    def _sensitive(self, text: Written, template: CheckedTemplate) -> None:
        for ref in sorted(template.refs, key=lambda ref: ref.name):
            attribute = self.project.profile.get(ref.name) if ref.kind == "user" else None
            if attribute is not None and attribute.sensitive:
                what = f"`user.{ref.name}` is sensitive, and what a message says is kept in the outcomes"
                offset = max(text.text.find(f"user.{ref.name}"), 0)
                hint = "say it without; where to send to is the channel's `address`"
                text.document.report("FO603", text.loc, what, hint=hint, offset=offset)

    def _sms(self, text: Written, template: CheckedTemplate) -> None:
        certain = "".join(always_there(template))
        length = sms_length(certain)
        odd = foreign(certain)
        why = f"; `{odd}` is not in GSM-7" if odd else ""
        if not length.fits:
            rest = ", its values left out" if template.refs else ""
            what = f"an SMS of {length.units} units{rest}, and one holds {length.limit}{why}"
            text.document.report("FO412", text.loc, what, hint="make it shorter")
            return
        filled = sms_length(certain + "".join(defaults_of(template)))
        texts = [ref for ref in template.refs if ref.type == "string" and ref.kind != "variant"]
        if not filled.fits:
            what = f"with its defaults this has {filled}"
            text.document.report("FO602", text.loc, what, hint="make it shorter, or the default")
        elif length.limit == GSM and length.units >= UCS and texts:
            names = ", ".join(sorted(f"`{ref.step or ref.kind}.{ref.name}`" for ref in texts))
            what = f"one letter of {names} that is not in GSM-7, as `ë` or `王`, and an SMS holds {UCS} units"
            hint = f"these are {length.units} without it, so such a message is not sent: make it shorter"
            text.document.report("FO602", text.loc, what, hint=hint)
