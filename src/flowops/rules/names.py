"""Events and filters against what the project declares: each is read at its place, and what is wrong reported there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flowops.core.time import Zone
from flowops.rules.document import Document, Loc, full_width
from flowops.rules.expressions import Checked, ExpressionError, FollowsError, Scope, Type, Undeclared, check
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
        self._undeclared: dict[tuple[str, str], tuple[Document, list[Loc]]] = {}

    def properties(self, event: str) -> dict[str, Type]:
        """The properties of an event with their types; of one that is not declared nobody knows them."""
        if not self.declares(event):
            return Undeclared()
        return {} if event == ANY else dict(self.project.events[event].properties)

    def declares(self, event: str) -> bool:
        """Whether there is such an event; `any` stands for all."""
        return event == ANY or event in self.project.events

    def heard(self, loc: Loc, event: str, where: str | None, scope: Scope) -> Heard:
        """Check an event and its filter."""
        if not self.declares(event):
            places = self._undeclared.setdefault((self.document.path, event), (self.document, []))[1]
            places.append((*loc, "event"))
            return Heard(event, (), ())
        if where is None:
            return Heard(event, (), ())
        scope = dataclasses.replace(scope, names=self.properties(event), bare=event)
        checked = self.expression((*loc, "where"), where, scope, condition=True)
        parts = checked.conjuncts() if checked else ()
        return Heard(event, tuple(p for p in parts if p.own), tuple(p for p in parts if not p.own))

    def undeclared(self) -> None:
        """Report each event that is not declared, once: it is one mistake, however often it stands there."""
        for (_, event), (document, locs) in self._undeclared.items():
            first, *others = sorted(locs, key=document.place)
            lines = sorted({document.place(loc)[0] for loc in others} - {document.place(first)[0]})
            what = f"the event `{event}` is not declared"
            if lines:
                what += f" (also on line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))})"
            document.report("FO302", first, what, hint=one_of(event, self.project.events))

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
        """Check an expression; None, and a finding at its place, where it is wrong.

        None alone where it hangs on an event that is not declared.
        """
        try:
            checked = check(text, scope)
        except ExpressionError as error:
            code = _EXPRESSION_CODES[error.code]
            wide = full_width(text)
            if wide is not None and wide[0] == error.offset:
                code = "FO003"
            self.document.report(code, loc, error.message, text, error.hint, offset=error.offset)
            return None
        except FollowsError:
            return None
        if condition and checked.type != "boolean":
            what = f"a filter must be true or false, this is {checked.type}"
            self.document.report("FO405", loc, what, text, "compare it with something")
            return None
        self.understood(loc, text, checked, condition=condition)
        return checked

    def understood(self, loc: Loc, text: str, checked: Checked, *, condition: bool) -> None:
        """What is asked of an expression that can be read: nothing more."""
