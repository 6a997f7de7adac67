"""What a plan means, beyond being readable: whether it can do what it says.

A method for each question; `check` asks where it has the parts at hand, so that a new kind of trigger or step is asked
by passing through the same place. A kind of trigger says how long it waits at least (`Kind.waits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowops.core.records import Micros
from flowops.core.time import Zone
from flowops.rules.document import Document, Loc
from flowops.rules.expressions import Checked
from flowops.rules.habits import values
from flowops.rules.nodes import Not
from flowops.rules.reach import Never, never
from flowops.rules.schema_plan import PlanFile
from flowops.rules.schema_project import ProjectFile
from flowops.rules.templates import CheckedTemplate, Output
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
from flowops.settings.quiet import NEVER_END, Quiet, never_end

if TYPE_CHECKING:
    from flowops.rules.check_send import Message


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
        self._needed: list[tuple[str, Written]] = []  # attributes without which a text is not sent

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

    def otherwise(self, loc: Loc, text: str, checked: Checked) -> None:
        """A fork of which nobody takes the `else`."""
        found = next(
            (each for each in never([Not(checked.node)], domains=self.domains, zone=self.zone) if each.whole), None
        )
        if found is not None:
            what = f"this is always true, so nobody takes the `else`: {found.why}"
            self.document.report("FO407", loc, what, text, "change it, or leave the fork out")

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

    def labels(self, entering: Sequence[Checked], attaining: Sequence[Sequence[Checked]]) -> None:
        """A label that tells what is sensitive of everyone in it: what the plan, or its goal, asked on the way."""
        for number, (goal, own) in enumerate(zip(self.plan.goals, attaining, strict=True)):
            asked = sorted({name for part in (*entering, *own) for name in part.attributes})
            for name in asked:
                attribute = self.project.profile.get(name)
                if goal.label is not None and attribute is not None and attribute.sensitive:
                    what = f"who is in `{goal.label}` passed a filter on `user.{name}`, which is sensitive"
                    hint = "a segment is seen by every plan and analyst: leave the label out, or the filter"
                    self.document.report("FO606", ("goals", number, "label"), what, hint=hint)

    # Time

    def lifetime(self, way: Micros = 0) -> None:
        """A wait that ends after the plan does, whenever it begins; also that for its last step (`way`)."""
        dates = self.plan.dates
        if dates is None or dates.start is None or dates.end is None:
            return
        life = dates.end.ends(self.zone) - dates.start.begins(self.zone)
        parts = self.plan.trigger.waits()
        least = sum(micros for _, micros in parts)
        if least < life <= least + way:
            what = f"the plan lives for {show_duration(life)}, and its last step falls due {show_duration(least + way)}"
            what += " after what begins it, or later"
            hint = "the plan's end ends its journeys: wait less, or let the plan live longer"
            self.document.report("FO211", ("send",), what, hint=hint)
        if 0 < life <= least:
            longest = max(parts, key=lambda part: part[1])[0]
            said = " and ".join(f"`{key}: {show_duration(micros)}`" for key, micros in parts)
            what = f"the plan lives for {show_duration(life)}, and {said} take{'' if len(parts) > 1 else 's'} as long"
            hint = "what falls due after the plan's end is not sent: wait less, or let the plan live longer"
            self.document.report("FO211", ("trigger", longest), what, hint=hint)

    def quiet(self, messages: Sequence[Message]) -> None:
        """Quiet hours of the plan's own that never end, or that leave no hour beside its channel's."""
        own = self.plan.quiet
        if isinstance(own, Quiet) and never_end(own):
            self.document.report("FO215", ("quiet",), NEVER_END, hint="name the hours, or leave `quiet` out")
            return
        both = self.project.quiet if own is None else own
        if self.plan.transactional or not isinstance(both, Quiet) or never_end(both):
            return
        for name, message in {message.channel: message for message in reversed(messages)}.items():
            channel = self.project.channels.get(name)
            if channel is None or channel.quiet is None or never_end(channel.quiet):
                continue
            if never_end(both, channel.quiet):
                whose = "the project's" if own is None else "the plan's"
                what = f"whenever the quiet hours of `{name}` are over, {whose} are not: no message ever goes out"
                document, place = (message.document, message.loc) if own is None else (self.document, ("quiet",))
                document.report("FO215", place, what, hint="let both be over at some hour, or `quiet: none` here")

    # Texts

    def message(self, name: str, texts: Mapping[str, Written], templates: Mapping[str, CheckedTemplate]) -> None:
        """A message: whether it says anything, nothing that is banned, nothing sensitive, and fits its channel."""
        channel = self.project.channels.get(name)
        if blank(templates):
            first = next(iter(texts.values()))
            first.document.report("FO414", first.loc, "the message has no text", hint="write one")
        for field, template in templates.items():
            text = texts[field]
            self._banned(text)
            self._of_another_tool(text)
            self._cut_off(text)
            self._sensitive(text, template)
            for part in template.parts or ():
                if isinstance(part, Output) and part.default is None and part.path[0] == "user":
                    self._needed.append((part.path[1], text))
            if channel is not None and channel.limit == "sms":
                self._sms(text, template)

    def _banned(self, text: Written) -> None:
        found = first_banned(self.project.banned_words, spoken(text.text))
        if found is not None:
            what = f"`{found[0]}` is a banned word of this project"
            line = text.text[: found.start()].count("\n")
            got = text.text.split("\n")[line]
            text.document.report("FO413", text.loc, what, got, "say it in other words", offset=found.start())

    def _of_another_tool(self, text: Written) -> None:
        """Only what names a value that there is: any other text may stand in brackets."""
        for offset, what, name in values(spoken(text.text)):
            *_, of, own = ("", *name.split("."))
            events = [event for event, each in self.project.events.items() if own in each.properties]
            known = [f"user.{own}"] if own in self.project.profile else [f"{event}.{own}" for event in events]
            if known and (not of or f"{of}.{own}" in known):
                said = f"`{what}` stands in the message as it is written"
                hint = f"a value is written `{{{{ {name if of else known[0]} }}}}`"
                text.document.report("FO605", text.loc, said, hint=hint, offset=offset)

    def _cut_off(self, text: Written) -> None:
        rest = text.document.cut_off(text.loc)
        if rest is not None:
            hint = "quote the text, or leave a space behind the `#` of a comment"
            text.document.report("FO609", text.loc, f"the text ends before `{rest}`, which is a comment", hint=hint)

    def _sensitive(self, text: Written, template: CheckedTemplate) -> None:
        for ref in sorted(template.refs, key=lambda ref: ref.name):
            attribute = self.project.profile.get(ref.name) if ref.kind == "user" else None
            if attribute is not None and attribute.sensitive:
                what = f"`user.{ref.name}` is sensitive, and what a message says is kept in the outcomes"
                offset = max(text.text.find(f"user.{ref.name}"), 0)
                hint = "say it without; where to send to is the channel's `address`"
                text.document.report("FO603", text.loc, what, hint=hint, offset=offset)

    def unknown(self, asked: AbstractSet[str]) -> None:
        """Attributes in texts that may be unknown, where nothing in the plan shows that somebody thought of it."""
        for name, text in self._needed:
            attribute = self.project.profile.get(name)
            if name not in asked and (attribute is None or not attribute.sensitive):
                what = f"where `user.{name}` is not known, the message is not sent"
                offset = max(text.text.find(f"user.{name}"), 0)
                hint = f"`{{{{ user.{name} | default: '...' }}}}`; or ask in `audience` that it is known"
                text.document.report("FO608", text.loc, what, hint=hint, offset=offset)

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
