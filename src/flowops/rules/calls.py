"""The functions of filters: how many arguments each takes, of which types, and the node that it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sqlglot import exp

from flowops.rules import functions as run
from flowops.rules.expressions import ExpressionError
from flowops.rules.nodes import NUMBER, TEXT, Coalesce, Const, Node, Strict, Type, wild
from flowops.rules.syntax import start
from flowops.settings.guess import one_of

if TYPE_CHECKING:
    from flowops.rules.parser import Reader

MANY = 1_000
_TEXT_CALLS: dict[str, tuple[str, Type]] = {
    "lower": ("lower({0})", "string"),
    "upper": ("upper({0})", "string"),
    "length": ("len({0})", "number"),
    "starts_with": ("{0}.startswith({1})", "boolean"),
    "ends_with": ("{0}.endswith({1})", "boolean"),
    "contains": ("{1} in {0}", "boolean"),
}


def _text_call(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    template, type_ = _TEXT_CALLS[name]
    nodes = [reader.operand(arg, at, TEXT, f"`{name}` wants a string") for arg in args]
    return Strict(template, tuple(nodes), type_)


def _abs(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    number = reader.operand(args[0], at, NUMBER, f"`{name}` wants a number")
    return Strict("abs({0})", (number,), "number", wild=wild(number))


def _round(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    number = reader.operand(args[0], at, NUMBER, f"`{name}` wants a number")
    digits = reader.node(args[1], at) if len(args) > 1 else Const(0.0, "number")
    if not (isinstance(digits, Const) and digits.value in range(-15, 16)):
        reader.clash("the digits of `round` are a whole number from -15 to 15", args[1], at)
    return Strict("round_to({0}, {1})", (number, Const(int(digits.value), "number")), "number", wild=wild(number))


def _coalesce(reader: Reader, _name: str, args: list[exp.Expr], at: int) -> Node:
    nodes = [reader.node(arg, at) for arg in args]
    wanted: Type = next((node.type for node in nodes if not isinstance(node, Const)), "null")
    nodes = [reader.read_as(node, wanted, arg, at) for node, arg in zip(nodes, args, strict=True)]
    return Coalesce(tuple(nodes), reader.same(nodes, args, at))


def _regexp(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    text = reader.operand(args[0], at, TEXT, f"`{name}` wants a string")
    pattern = args[1]
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        reader.clash(f"the pattern of `{name}` is a literal", pattern, at)
    try:
        matches = run.regex(pattern.this)
    except ValueError as error:
        reader.clash(f"no regular expression: {str(error).removeprefix('Invalid regular expression: ')}", pattern, at)
    return Strict("{1}({0})", (text, Const(matches, "null")), "boolean")


def _date_part(reader: Reader, _name: str, args: list[exp.Expr], at: int) -> Node:
    return part_of(reader, _word(reader, args[0], at), args[1], at)


def _named_part(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    return part_of(reader, name, args[0], at)


def part_of(reader: Reader, part: str, tree: exp.Expr, at: int) -> Node:
    """A part of a time or date: `year(t)`, `date_part('year', t)` and `extract(year from t)` alike."""
    node = reader.operand(tree, at, frozenset({"time", "date"}), f"`{part}` is of a time or a date")
    known = run.TIME_PARTS if node.type == "time" else run.DATE_PARTS
    if part not in known:
        hint = one_of(part, known)
        raise ExpressionError("filter-function", f"a {node.type} has no part `{part}`", at, hint)
    read = run.time_part(part, reader.scope.zone) if node.type == "time" else run.date_part(part)
    return Strict("{1}({0})", (node, Const(read, "null")), "number")


def _between_dates(reader: Reader, name: str, args: list[exp.Expr], at: int) -> Node:
    unit = _word(reader, args[0], at)
    first, last = reader.pair(args[1], args[2], at)
    if "null" in (first.type, last.type) or first.type not in {"time", "date"}:
        reader.clash(f"`{name}` wants two dates or two times", args[1], at)
    known = run.PERIODS if name == "date_diff" else run.SPANS
    if unit not in known:
        hint = f"units: {', '.join(known)}"
        if unit in run.SPANS + run.PERIODS:
            hint += "; `date_diff` counts local days and longer, `date_sub` elapsed hours and shorter"
        raise ExpressionError("filter-function", f"`{name}` does not count `{unit}`", start(args[0], at), hint)
    if name == "date_sub":
        if first.type != "time":
            reader.clash("`date_sub` wants two times", args[1], at, "use `date_diff` for dates")
        return Strict("{2}({0}, {1})", (first, last, Const(run.spans_between(unit), "null")), "number")
    if first.type == "time":
        to_day = Const(reader.scope.zone.day, "null")
        first, last = (Strict("{1}({0})", (moment, to_day), "date") for moment in (first, last))
    return Strict("{2}({0}, {1})", (first, last, Const(run.periods_between(unit), "null")), "number")


def _word(reader: Reader, tree: exp.Expr, at: int) -> str:
    if not (isinstance(tree, exp.Literal) and tree.is_string):
        reader.clash("the unit is a literal, such as 'day'", tree, at)
    return str(tree.this).lower()


def matcher(text: Node, plain: str | None, pieces: list[str]) -> Node:
    """The cheapest test for a pattern; `plain` is the pattern where `%` is all that is special in it."""
    if plain is not None:
        parts = plain.split("%")
        inner = Const(parts[1] if len(parts) > 1 else plain, "string")
        if len(parts) == 1:
            return Strict("{0} == {1}", (text, inner), "boolean", "{0} != {1}", null_is_false=True)
        if len(parts) == 2 and not parts[1]:
            return Strict("{0}.startswith({1})", (text, Const(parts[0], "string")), "boolean")
        if len(parts) == 2 and not parts[0]:
            return Strict("{0}.endswith({1})", (text, inner), "boolean")
        if len(parts) == 3 and not parts[0] and not parts[2]:
            return Strict("{1} in {0}", (text, inner), "boolean", "{1} not in {0}")
    matches = Const(run.like_regex(pieces), "null")
    return Strict("{1}({0}) is not None", (text, matches), "boolean", "{1}({0}) is None")


Build: TypeAlias = "Callable[[Reader, str, list[exp.Expr], int], Node]"
FUNCTIONS: dict[str, tuple[int, int, Build]] = {
    "lower": (1, 1, _text_call),
    "upper": (1, 1, _text_call),
    "length": (1, 1, _text_call),
    "starts_with": (2, 2, _text_call),
    "ends_with": (2, 2, _text_call),
    "contains": (2, 2, _text_call),
    "regexp_matches": (2, 2, _regexp),
    "abs": (1, 1, _abs),
    "round": (1, 2, _round),
    "coalesce": (1, MANY, _coalesce),
    "date_part": (2, 2, _date_part),
    "year": (1, 1, _named_part),
    "month": (1, 1, _named_part),
    "day": (1, 1, _named_part),
    "hour": (1, 1, _named_part),
    "date_diff": (3, 3, _between_dates),
    "date_sub": (3, 3, _between_dates),
}
