"""Events and filters against what the project declares: each is read at its place, and what is wrong reported there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flowops.core.time import Zone
from flowops.rules.document import Document, Loc, full_width
from flowops.rules.expressions import Checked, ExpressionError, Scope, Type, check
from flowops.rules.schema_project import ProjectFile
from flowops.rules.triggers import Heard
from flowops.settings.guess import one_of

ANY = "any"
"""Stands for whichever event happens; it has no properties that all events share."""

_EXPRESSION_CODES = {
    "filter-syntax": "FO401",
    "filter-unsupported": "FO401",
    "filter-name": "FO402",
    "filter-type": "FO403",
    "filter-function": "FO404",
}
_RESERVED = frozenset({"user", "variant", "now", "coupon"})


class Names:
    """Reads the texts of one document. `user` are the attributes that filters may name."""

    def __init__(self, project: ProjectFile, document: Document, zone: Zone) -> None:
        self.project = project
        self.document = document
        self.zone = zone
        self.user: dict[str, Type] = {name: attribute.type for name, attribute in project.profile.items()}
        self.derived: frozenset[str] = frozenset()

    def properties(self, event: str) -> dict[str, Type]:
        """The properties of an event with their types; none of one that is not declared."""
        declared = self.project.events.get(event)
        return dict(declared.properties) if declared else {}

    def declares(self, event: str) -> bool:
        """Whether there is such an event; `any` stands for all."""
        return event == ANY or event in self.project.events

    def heard(self, loc: Loc, event: str, where: str | None, scope: Scope) -> Heard:
        """Check an event and its filter."""
        if not self.declares(event):
            hint = one_of(event, self.project.events)
            place = (*loc, "event")
            self.document.report("FO302", place, f"the event `{event}` is not declared", hint=hint)
            return Heard(event, (), ())
        if where is None:
            return Heard(event, (), ())
        scope = dataclasses.replace(scope, names=self.properties(event), bare=event)
        checked = self.expression((*loc, "where"), where, scope, condition=True)
        parts = checked.conjuncts() if checked else ()
        return Heard(event, tuple(p for p in parts if p.own), tuple(p for p in parts if not p.own))

    def step_name(self, loc: Loc, name: str, hint: str = "give the step another name: `as: viewed`") -> None:
        """A step's name must be none of the language's words."""
        if name in _RESERVED:
            what = f"`{name}` is a word of the language"
            self.document.report("FO108", loc, what, hint=hint)

    def keys(self, names: Sequence[str], event: str) -> None:
        """Each property of `key` must be one of the event."""
        if not self.declares(event):
            return
        for name in names:
            known = self.properties(event)
            if name not in known:
                what = f"`key: {name}`: the event `{event}` has no such property"
                hint = "the key is a property of every event concerned; " + one_of(name, known)
                self.document.report("FO303", ("trigger", "key"), what, hint=hint)

    def expression(self, loc: Loc, text: str, scope: Scope, *, condition: bool = False) -> Checked | None:
        """Check an expression; None, and a finding at its place, where it is wrong."""
        try:
            checked = check(text, scope)
        except ExpressionError as error:
            code = _EXPRESSION_CODES[error.code]
            wide = full_width(text)
            if wide is not None and wide[0] == error.offset:
                code = "FO003"
            self.document.report(code, loc, error.message, text, error.hint, offset=error.offset)
            return None
        if condition and checked.type != "boolean":
            what = f"a filter must be true or false, this is {checked.type}"
            self.document.report("FO405", loc, what, text, "compare it with something")
            return None
        self.understood(loc, text, checked, condition=condition)
        return checked

    def understood(self, loc: Loc, text: str, checked: Checked, *, condition: bool) -> None:
        """What is asked of an expression that can be read: nothing more."""
