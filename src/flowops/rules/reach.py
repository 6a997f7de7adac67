"""Whether a condition can be true at all: bounds, lists and NULL, term by term (FO406, FO407).

What is compared is a term: a name, or anything made of names (`lower(city)`). Per term the conditions that must hold
together leave a set of values; where it is empty, nothing passes. Nor does it where terms that are compared with each
other would have to be above themselves (`order`), or one of them leaves the other no value. Of an `or`, one branch must
pass beside all that holds with it. The reasoning is one-sided: what it refuses is never true, what it lets pass may
still never be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from operator import ge, gt, le, lt
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from flowops.core.plan import SEGMENT
from flowops.core.time import Zone, to_datetime
from flowops.rules.expressions import UTC, Checked, expression
from flowops.rules.nodes import Call, Const, Is, Logic, Node, Not, Ref, Strict, refs
from flowops.rules.order import Order, Way
from flowops.rules.shown import number_text

Domains: TypeAlias = Mapping[str, Collection[Any]]
"""Kinds of names of which all values are known: `variant` -> the variants."""

_OPS = {
    "{0} == {1}": "==", "{0} != {1}": "!=", "{0} < {1}": "<", "{0} <= {1}": "<=", "{0} > {1}": ">", "{0} >= {1}": ">=",
    "equal({0}, {1})": "==", "not equal({0}, {1})": "!=", "less({0}, {1})": "<", "not less({1}, {0})": "<=",
    "less({1}, {0})": ">", "not less({0}, {1})": ">=",
}  # fmt: skip
"""What the templates of comparisons mean."""
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_WITHIN = "{1} <= {0} <= {2}"
_FEW = 100
"""Values that are tried out one by one, at most."""


@dataclass(frozen=True, slots=True)
class Never:
    """Why nothing passes, in words. `whole`: nothing passes at all; else nothing takes one branch of an `or`."""

    why: str
    whole: bool


@dataclass(slots=True)
class _Facts:
    """What one term must be. `low` and `high` are (value, included)."""

    null: bool = False
    known: bool = False
    low: tuple[Any, bool] | None = None
    high: tuple[Any, bool] | None = None
    allowed: frozenset[Any] | None = None
    excluded: frozenset[Any] = frozenset()

    def fits(self, value: Any) -> bool:
        """Whether the bounds and the exclusions let the value be."""
        return (
            value not in self.excluded
            and (self.low is None or (ge if self.low[1] else gt)(value, self.low[0]))
            and (self.high is None or (le if self.high[1] else lt)(value, self.high[0]))
        )

    def may_be(self, value: Any) -> bool:
        """Whether nothing forbids the value."""
        return self.fits(value) and (self.allowed is None or value in self.allowed)

    def least(self) -> tuple[Any, bool] | None:
        """The least that it may be, and whether it may be that."""
        values = self.values()
        return (min(values), True) if values else self.low

    def most(self) -> tuple[Any, bool] | None:
        """The most that it may be, and whether it may be that."""
        values = self.values()
        return (max(values), True) if values else self.high

    def values(self) -> list[Any] | None:
        """All that it may be, where that is a short list."""
        return None if self.allowed is None else [value for value in self.allowed if self.fits(value)]

    def empty(self, *, whole: bool) -> bool:
        """Whether no value is left; `whole`: its values are whole numbers, as those of times and dates."""
        if self.allowed is not None:
            return not self.values()
        if self.low is None or self.high is None:
            return False
        (low, low_in), (high, high_in) = self.low, self.high
        if whole:
            low, high, low_in, high_in = low + (not low_in), high - (not high_in), True, True
        return bool(low > high or (low == high and not (low_in and high_in and low not in self.excluded)))


@dataclass(slots=True)
class _Case:
    """Conditions that must hold together: facts by term, terms in their order, those that must be tried, the `or`s."""

    domains: Domains
    show: Callable[[Node, Any], str]
    facts: dict[Node, _Facts] = field(default_factory=dict)
    order: Order[Node] = field(default_factory=Order)
    trials: list[tuple[Ref, Node]] = field(default_factory=list)
    choices: list[tuple[tuple[Node, ...], bool]] = field(default_factory=list)  # and whether it was written as one
    wrong: str | None = None
    dead: list[str] = field(default_factory=list)  # branches that nothing takes

    def copy(self) -> _Case:
        facts = {term: replace(known) for term, known in self.facts.items()}
        return _Case(self.domains, self.show, facts, self.order.copy(), list(self.trials))

    def of(self, term: Node) -> _Facts:
        """The facts of a term."""
        facts = self.facts.get(term)
        if facts is None:
            facts = self.facts[term] = _Facts()
            if isinstance(term, Ref) and term.kind in self.domains:
                facts.allowed = frozenset(self.domains[term.kind])
            elif term.type == "boolean":
                facts.allowed = frozenset({True, False})
        return facts

    def holds(self, node: Node, *, true: bool = True) -> None:
        """Take in that a condition is true, or that it is false."""
        match node:
            case Not():
                self.holds(node.arg, true=not true)
            case Logic():
                if (node.op == "and") == true:
                    for arg in node.args:
                        self.holds(arg, true=true)
                else:
                    self.choices.append((node.args, True) if true else (tuple(Not(arg) for arg in node.args), False))
            case Is(arg=arg, what="null"):
                self._null(arg) if true else self._known(arg)
            case Is(arg=arg, what=what):
                if true:
                    self.holds(arg, true=what == "true")
                elif isinstance(arg, Ref):
                    self.of(arg).excluded |= {what == "true"}
            case Ref():
                self._only(node, {true})
            case Strict() | Call():
                self._compared(node, true=true)
            case Const():
                if node.value is not true:
                    self.wrong = self.wrong or "it is always " + ("NULL" if node.value is None else "false")

    def _compared(self, node: Strict | Call, *, true: bool) -> None:
        self._known(node)
        if not _named(node):
            if constant(node) is not true:
                self.wrong = self.wrong or "it compares constants, and is always false"
            return
        between = isinstance(node, Call) and node.function == "between"
        if between or (isinstance(node, Strict) and node.template == _WITHIN):
            term, low, high = node.args
            if true:
                self._ranked(term, ">=", low)
                self._ranked(term, "<=", high)
            else:
                self.choices.append(((_compare(term, "<", low), _compare(term, ">", high)), False))
            return
        if isinstance(node, Strict) and node.template in _OPS:
            op = _OPS[node.template]
            op = op if true else _OPPOSITE[op]
            first, second = node.args
            if self._ranked(first, op, second) and (isinstance(first, Ref) or isinstance(second, Ref)):
                return
        if isinstance(node, Strict) and node.template == "{0} in {1}":
            term, listed = node.args
            if isinstance(listed, Const) and true:
                self._only(term, listed.value)
            elif isinstance(listed, Const):
                self.of(term).excluded |= listed.value
            if isinstance(term, Ref):
                return
        named = set(refs(node))
        if len(named) == 1:
            self.trials.append((named.pop(), node if true else Not(node)))

    def _ranked(self, first: Node, op: str, second: Node) -> bool:
        """Take in a comparison with a constant, or of two terms that have a value; whether it is one of the former."""
        if self._bound(first, op, second) or self._bound(second, _TURNED[op], first):
            return True
        if all(isinstance(each, Ref) or (isinstance(each, Strict) and _named(each)) for each in (first, second)):
            self.order.add(first, op, second)
        return False

    def _bound(self, term: Node, op: str, bound: Node) -> bool:
        """Take in a comparison with a constant; whether it is one."""
        if _named(bound) or isinstance(term, Const):
            return False
        value, facts = constant(bound), self.of(term)
        if value is None:
            return False
        if op == "==":
            self._only(term, {value})
        elif op == "!=":
            facts.excluded |= {value}
        elif op in (">", ">="):
            low = (value, op == ">=")
            if facts.low is None or (value, op == ">") > (facts.low[0], not facts.low[1]):
                facts.low = low
        else:
            high = (value, op == "<=")
            if facts.high is None or (value, op == "<=") < facts.high:
                facts.high = high
        return True

    def _only(self, term: Node, values: Iterable[Any]) -> None:
        self._known(term)
        facts, wanted = self.of(term), frozenset(values)
        before = facts.allowed
        facts.allowed = wanted if before is None else before & wanted
        if before and wanted and not facts.allowed:
            both = (_list(sorted(each, key=repr), term, self.show) for each in (before, wanted))
            self.wrong = self.wrong or f"{self.show(term, None)} would have to be {', and '.join(both)}"

    def _known(self, node: Node) -> None:
        """It is not NULL: nor is anything of which an operation is NULL when that is."""
        if isinstance(node, (Ref, Strict)):
            if node.type != "boolean" or isinstance(node, Ref):
                self.of(node).known = True
            for arg in node.args if isinstance(node, Strict) else ():
                self._known(arg)
        elif isinstance(node, Call) and node.function == "between":
            self._known(node.args[0])

    def _null(self, node: Node) -> None:
        if isinstance(node, Ref):
            self.of(node).null = True
        elif isinstance(node, Const) and node.value is not None:
            self.wrong = self.wrong or "a constant is not NULL"

    def impossible(self) -> str | None:
        """Why nothing passes, if so."""
        if self.wrong is not None:
            return self.wrong
        self._try_values()
        if self.wrong is not None:
            return self.wrong
        for term, facts in self.facts.items():
            if facts.null and (facts.known or (isinstance(term, Ref) and term.kind == "now")):
                return f"{self.show(term, None)} would have to be NULL, and to have a value"
            if not facts.null and facts.known and facts.empty(whole=term.type in ("time", "date")):
                return self._why(term, facts)
        why = self._disordered()
        if why is not None:
            return why
        for branches, written in self.choices:
            found = [self._branch(branch) for branch in branches]
            if all(found):
                return found[0]
            self.dead += [each for each in found if each and written]
        return None

    def _disordered(self) -> str | None:
        """Why the comparisons of terms with each other cannot hold beside what is known of each, if so."""
        ways = self.order.ways() if self.order.terms else {}
        for term in self.order.terms:
            if (term, term) in ways and ways[term, term].strict:
                return f"it would have to be that {self._chain(term, ways[term, term])}"
        for first, second in self.order.unequal:
            if first == second or ((first, second) in ways and (second, first) in ways):
                both = " and ".join(dict.fromkeys(self.show(term, None) for term in (first, second)))
                return f"{both} would have to be the same, and not the same"
            one, other = self.of(first).values(), self.of(second).values()
            if one and one == other and len(one) == 1:
                both = f"{self.show(first, None)} and {self.show(second, None)}"
                return f"{both} would have to be {self.show(first, one[0])}, and not the same"
        for (low, high), way in ways.items():
            least, most = self.of(low).least(), self.of(high).most()
            if (
                least
                and most
                and (least[0] > most[0] or (least[0] == most[0] and (way.strict or not least[1] & most[1])))
            ):
                begin = f"{self.show(low, least[0])} {'<=' if least[1] else '<'}"
                end = f"{'<=' if most[1] else '<'} {self.show(high, most[0])}"
                return f"it would have to be that {begin} {self._chain(low, way)} {end}"
            values = self.of(low).values()
            if values and (high, low) in ways and not any(self.of(high).may_be(value) for value in values):
                names, facts = (self.show(low, None), self.show(high, None)), (self.of(low), self.of(high))
                what = f"{names[0]} would have to be {self._what(low, facts[0])}"
                return f"{what}, and {names[1]}, which is the same, {self._what(high, facts[1])}"
        return None

    def _chain(self, term: Node, way: Way[Node]) -> str:
        return " ".join([self.show(term, None), *(f"{sign} {self.show(each, None)}" for sign, each in way.steps)])

    def _branch(self, node: Node) -> str | None:
        case = self.copy()
        case.holds(node)
        why = case.impossible()
        if why is None:
            self.dead += case.dead
        return why

    def _try_values(self) -> None:
        """Where few values are left of a name, keep those with which its other conditions are true."""
        for term, condition in self.trials:
            facts = self.of(term)
            values = facts.values()
            if not values or len(values) > _FEW:
                continue  # else what is left is told as it is
            holds = expression(
                Checked("", condition),
                event=[term.name] if term.kind == "event" else [],
                steps={term.step: [term.name]} if term.kind == "step" else {},
                user=[term.name] if term.kind == "user" else [],
            )
            if not facts.known and holds(*_arguments(term, None)) is True:
                continue
            left = frozenset(value for value in values if holds(*_arguments(term, value)) is True)
            facts.known = True
            if not left:
                only = _list(sorted(values, key=repr), term, self.show)
                self.wrong = f"{self.show(term, None)} would have to be {only}, which another condition refuses"
                return
            facts.allowed = left

    def _why(self, term: Node, facts: _Facts) -> str:
        name = self.show(term, None)
        if isinstance(term, Ref) and term.name.startswith(SEGMENT):
            return f"the user would have to be in the segment {name}, and not to be"
        return f"{name} would have to be {self._what(term, facts)}"

    def _what(self, term: Node, facts: _Facts) -> str:
        """What is known of a term, in words."""
        parts = []
        if facts.low is not None:
            parts.append(("at least " if facts.low[1] else "above ") + self.show(term, facts.low[0]))
        if facts.high is not None:
            parts.append(("at most " if facts.high[1] else "below ") + self.show(term, facts.high[0]))
        if facts.allowed:
            parts.append(_list(sorted(facts.allowed, key=repr), term, self.show))
        if facts.excluded:
            parts.append("not " + _list(sorted(facts.excluded, key=repr), term, self.show))
        return ", and ".join(parts)


def never(parts: Sequence[Node], *, domains: Domains | None = None, zone: Zone = UTC) -> list[Never]:
    """Why the `and` of these conditions is never true, or which branches within it are not; nothing found: [].

    `zone` is that in which times are shown.
    """
    case = _Case(domains or {}, _shower(ZoneInfo(zone.name)))
    for part in parts:
        case.holds(part)
    why = case.impossible()
    if why is not None:
        return [Never(why, whole=True)]
    return [Never(each, whole=False) for each in dict.fromkeys(case.dead)]


def constant(node: Node) -> Any:
    """The value of what names nothing; None where it is NULL."""
    if isinstance(node, Const):
        return node.value
    return expression(Checked("", node), event=(), steps={}, user=())((), (), (), 0, None)


def _named(node: Node) -> bool:
    """Whether it names anything."""
    return any(True for _ in refs(node))


def _compare(term: Node, op: str, bound: Node) -> Node:
    return Strict(f"{{0}} {op} {{1}}", (term, bound), "boolean")


def _arguments(ref: Ref, value: Any) -> tuple[Any, ...]:
    """What a compiled expression takes, when nothing but `ref` matters."""
    values: dict[str, Any] = {"event": (), "steps": (), "user": (), "now": 0, "variant": None}
    if ref.kind == "step":
        values["steps"] = ((value,),)
    else:
        values[ref.kind] = value if ref.kind in ("now", "variant") else (value,)
    return tuple(values.values())


def _list(values: Sequence[Any], term: Node, show: Callable[[Node, Any], str]) -> str:
    shown = [show(term, value) for value in values[:3]]
    return " or ".join(shown) + (" or ..." if len(values) > 3 else "")


def _shower(tz: ZoneInfo) -> Callable[[Node, Any], str]:
    def show(term: Node, value: Any) -> str:
        """The value as a filter has it; for None, the term."""
        if value is None:
            return f"`{_name(term)}`" if isinstance(term, Ref) else f"what is made of {', '.join(_names(term))}"
        if isinstance(value, bool):
            return str(value).lower()
        if term.type == "date":
            return f"'{date.fromordinal(value + date(1970, 1, 1).toordinal()).isoformat()}'"
        if term.type == "time":
            return f"'{to_datetime(value).astimezone(tz):%Y-%m-%d %H:%M}'"
        return f"'{value}'" if isinstance(value, str) else number_text(value)

    return show


def _names(term: Node) -> Iterator[str]:
    yield from dict.fromkeys(f"`{_name(ref)}`" for ref in refs(term))


def _name(ref: Ref) -> str:
    match ref.kind:
        case "step":
            return f"{ref.step}.{ref.name}"
        case "user":
            return ref.name.removeprefix(SEGMENT) if ref.name.startswith(SEGMENT) else f"user.{ref.name}"
        case "event":
            return ref.name
    return ref.kind
