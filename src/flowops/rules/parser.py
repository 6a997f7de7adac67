"""Text to typed nodes: sqlglot's tree of a filter, taken over node by node, or refused where it stands.

Only what is listed in here belongs to the language; the checks of each node also refuse the modifiers that sqlglot
reads but the language does not know, so nothing is dropped in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, ClassVar, Literal, NoReturn

from sqlglot import exp

from flowops.core.time import local_micros, to_micros
from flowops.rules import calls
from flowops.rules import functions as run
from flowops.rules.expressions import ExpressionError, FollowsError, Scope, slot_of
from flowops.rules.nodes import NUMBER, TEXT, Call, Case, Const, Is, Logic, Node, Not, Ref, Strict, Type, wild
from flowops.rules.syntax import start, tree_of
from flowops.settings.counted import counted
from flowops.settings.guess import did_you_mean, nearest, one_of

MAX_DEPTH = 40
"""Operations within operations; `and` and `or` of many count once. Python's own limit is 200 brackets."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FAMILY: dict[Type, str] = {"zone": "string", "money": "number"}

_COMPARE: dict[type[exp.Expr], tuple[str, str]] = {
    exp.EQ: ("==", "!="),
    exp.NEQ: ("!=", "=="),
    exp.LT: ("<", ">="),
    exp.LTE: ("<=", ">"),
    exp.GT: (">", "<="),
    exp.GTE: (">=", "<"),
}
_SQL = {"==": "=", "!=": "<>"}
_WILD = {
    "==": "equal({0}, {1})",
    "!=": "not equal({0}, {1})",
    "<": "less({0}, {1})",
    "<=": "not less({1}, {0})",
    ">": "less({1}, {0})",
    ">=": "not less({0}, {1})",
}
_ARITHMETIC: dict[type[exp.Expr], tuple[str, str]] = {
    exp.Add: ("+", "{0} + {1}"),
    exp.Sub: ("-", "{0} - {1}"),
    exp.Mul: ("*", "{0} * {1}"),
    exp.Div: ("/", "divide({0}, {1})"),
    exp.Mod: ("%", "modulo({0}, {1})"),
}
_REFUSED: dict[type[exp.Expr], tuple[str, str | None]] = {
    exp.Cast: ("a cast", "types come from the declarations; of a time, `cast(... as date)` gives the local day"),
    exp.TryCast: ("a cast", None),
    exp.IntDiv: ("`//`", "use `/`, and `round` if a whole number is wanted"),
    exp.Pow: ("a power", None),
    exp.RegexpLike: ("`~`", "use `regexp_matches(text, 'pattern')`"),
    exp.SimilarTo: ("`similar to`", "use `regexp_matches(text, 'pattern')`"),
    exp.Interval: ("an interval", "compare with `date_diff('day', a, b)` or `date_sub('hour', a, b)`"),
    exp.Select: ("a query", None),
    exp.Subquery: ("a query", None),
    exp.Exists: ("a query", None),
    exp.NullSafeEQ: ("`is not distinct from`", "use `=` and `is null`"),
    exp.NullSafeNEQ: ("`is distinct from`", "use `<>` and `is null`"),
    exp.Window: ("a window function", None),
    exp.ByteString: ("an escape string", "write the characters themselves"),
    exp.RawString: ("a `$$` string", "write it in single quotes"),
}


def parse(text: str, scope: Scope) -> Node:
    """The typed tree of a text.

    Raises:
        ExpressionError: see `expressions.check`.
    """
    try:
        tree = _tree(text, scope)
        if isinstance(tree, exp.Alias):  # sqlglot reads `a b` as `a as b`
            alias = tree.args["alias"]
            raise ExpressionError(
                "filter-syntax", f"`{alias.name}` is not expected here", start(alias, 0), "is an operator missing?"
            )
        return Reader(text, scope).node(tree, 0)
    except RecursionError:
        raise ExpressionError("filter-syntax", "too deeply nested", 0, "split it") from None


def _tree(text: str, scope: Scope) -> exp.Expr:
    try:
        return tree_of(text)
    except ExpressionError as error:
        odd = next((name for name in (*scope.names, *scope.steps) if not name.isidentifier() and name in text), None)
        if odd is not None and f'"{odd}"' not in text:
            error.hint = f'write `"{odd}"` in double quotes'
        raise


class Reader:
    """Takes a tree over, node by node. `at` is where the surrounding expression stands, for nodes without a place."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self.scope = scope
        self._depth = 0

    def node(self, tree: exp.Expr, at: int) -> Node:
        """The typed node of a tree."""
        at = start(tree, at)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError("filter-syntax", "too deeply nested", at, "split it")
        found = self._node(tree, at)
        self._depth -= 1
        return found

    def _node(self, tree: exp.Expr, at: int) -> Node:
        kind = type(tree)
        if isinstance(tree, exp.Paren):
            self._only(tree, at, "this")
            self._depth -= 1
            inner = self.node(tree.this, at)
            self._depth += 1
            return inner
        if isinstance(tree, exp.Column):
            return self._name(tree, at)
        if isinstance(tree, exp.Literal):
            return Const(tree.this, "string") if tree.is_string else self._number(tree.this, at)
        if isinstance(tree, exp.Boolean):
            return Const(bool(tree.this), "boolean")
        if isinstance(tree, exp.Null):
            return Const(None, "null")
        if isinstance(tree, (exp.And, exp.Or)):
            op: Literal["and", "or"] = "and" if kind is exp.And else "or"
            return Logic(op, tuple(self._condition(part, at, op) for part in tree.flatten()))
        if isinstance(tree, exp.Not):
            return Not(self._condition(tree.this, at, "not"))
        if kind in _COMPARE:
            self._only(tree, at, "this", "expression")
            return self._compare(*_COMPARE[kind], tree, at)
        if kind in _ARITHMETIC:
            return self._arithmetic(*_ARITHMETIC[kind], tree, at)
        reader = self._READERS.get(kind)
        if reader is not None:
            return reader(self, tree, at)
        what, hint = _REFUSED.get(kind, (f"`{tree.sql(dialect='duckdb')}`", None))
        raise ExpressionError("filter-unsupported", f"{what} is not supported in filters", at, hint)

    def _only(self, tree: exp.Expr, at: int, *known: str) -> None:
        """Refuse a modifier that sqlglot read and this reader would not see."""
        # `typed` and `safe` say how a dialect divides and joins, not what was written
        extra = [name for name, value in tree.args.items() if value and name not in (*known, "typed", "safe")]
        if extra:
            what = tree.sql(dialect="duckdb")
            raise ExpressionError("filter-unsupported", f"`{what}` is not supported in filters", at)

    def _name(self, tree: exp.Column, at: int) -> Node:
        scope = self.scope
        if tree.args.get("db") or isinstance(tree.this, exp.Star):
            raise ExpressionError(
                "filter-unsupported",
                f"`{tree.sql(dialect='duckdb')}` is not supported in filters",
                at,
                "names have one dot at most",
            )
        name, step = tree.name, tree.table
        if not step:
            if name in scope.names:
                return Ref("event", name, scope.names[name])
            if name == "now" and scope.now:
                return Ref("now", "", "time")
            if name == "variant" and scope.variant:
                return Ref("variant", "", "string")
            raise ExpressionError("filter-name", f"unknown name `{name}`", at, self._hint(name, at))
        if step == "user":
            if name in scope.user:
                return Ref("user", name, scope.user[name])
            hint = one_of(name, scope.user) if scope.user else "attributes are declared under `profile`"
            raise ExpressionError("filter-name", f"unknown attribute `user.{name}`", at, hint)
        return self._of_step(step, name, at)

    def _of_step(self, step: str, name: str, at: int) -> Ref:
        scope = self.scope
        if scope.follows(step):
            raise FollowsError(step)
        if step not in scope.steps:
            known = *(name for name in scope.steps if not name.isdigit()), *(("user",) if scope.user else ())
            hint = one_of(step, known) if known else "no earlier step can be named here"
            if any(name.isdigit() for name in scope.steps):
                hint += "; a step of the journey is named by `step: NAME`"
            if step in scope.names:
                hint = f"`{step}` is a property; parts of it cannot be named"
            raise ExpressionError("filter-name", f"unknown step `{step}`", at, hint)
        if name not in scope.steps[step]:
            hint = one_of(name, scope.steps[step])
            raise ExpressionError("filter-name", f"`{step}` has no property `{name}`", at, hint)
        return Ref("step", name, scope.steps[step][name], step)

    def _taking(self, tree: exp.Expr, at: int) -> Node:
        """`viewed[1].sku`: of the first taken."""
        of, name = tree.this, tree.expression
        if not (
            isinstance(of, exp.Bracket)
            and isinstance(of.this, exp.Column)
            and not of.this.table
            and isinstance(name, exp.Identifier)
            and len(of.expressions) == 1
        ):
            raise ExpressionError("filter-unsupported", f"`{self._sql(tree)}` is not supported in filters", at)
        ref = self._of_step(of.this.name, name.name, at)
        index = of.expressions[0]
        nth = int(index.this) + 1 if isinstance(index, exp.Literal) and not index.is_string else 0  # sqlglot's from 0
        if nth < 1:
            hint = f"`{ref.step}[1].{ref.name}` is of the first that was taken"
            raise ExpressionError("filter-type", "takings are counted from 1", at, hint)
        if ref.step not in self.scope.times:
            hint = f"write `{ref.step}.{ref.name}`"
            raise ExpressionError("filter-name", f"`{ref.step}` is taken once", at, hint)
        most = self.scope.times[ref.step]
        if most is not None and nth > most:
            raise ExpressionError("filter-name", f"`{ref.step}` is taken {counted(most, 'time')} at most", at)
        return Ref("step", ref.name, ref.type, slot_of(ref.step, nth))

    def _hint(self, name: str, at: int) -> str | None:
        scope = self.scope
        for known in (*scope.names, *scope.steps):
            if known != name and not known.isidentifier() and self._text.startswith(known, at):
                return f'write `"{known}"` in double quotes'
        for step, properties in scope.steps.items():
            if name in properties:
                return f"did you mean `{step}.{name}`?"
        if name in scope.user:
            return f"did you mean `user.{name}`?"
        compared = re.search(r"(=|<>|\bin\s*\()\s*$", self._text[:at]) and not nearest(name, scope.names)
        if self._text[at : at + 1] == '"' or compared:
            return f"a text stands in single quotes: `'{name}'`"
        return (
            one_of(name, scope.names) if scope.names else f"bare names are properties of `{scope.bare}`, which has none"
        )

    def _number(self, text: str, at: int) -> Const:
        value = float(text)
        if not math.isfinite(value):
            raise ExpressionError("filter-type", f"the number {text} is out of range", at)
        return Const(value, "number")

    def _condition(self, tree: exp.Expr, at: int, op: str) -> Node:
        node = self.node(tree, at)
        if node.type not in {"boolean", "null"}:
            hint = "compare it with something" if isinstance(node, Ref) else None
            self.clash(f"`{op}` wants conditions, but this is a {node.type}", tree, at, hint)
        return node

    def operand(self, tree: exp.Expr, at: int, family: frozenset[str], wanted: str, hint: str | None = None) -> Node:
        """A node of one of the types of `family`, or NULL; `wanted` begins the message."""
        node = self.node(tree, at)
        if node.type not in family and node.type != "null":
            self.clash(f"{wanted}, but `{self._sql(tree)}` is a {node.type}", tree, at, hint)
        return node

    def clash(self, message: str, tree: exp.Expr, at: int, hint: str | None = None) -> NoReturn:
        """Refuse a tree for its type."""
        raise ExpressionError("filter-type", message, start(tree, at), hint)

    def _sql(self, tree: exp.Expr) -> str:
        return tree.sql(dialect="duckdb")

    def _compare(self, op: str, opposite: str, tree: exp.Expr, at: int) -> Node:
        left, right = self.pair(tree.this, tree.expression, at)
        sql = _SQL.get(op, op)
        if "null" in (left.type, right.type):
            hint = "write `is null` or `is not null`"
            raise ExpressionError("filter-type", f"`{sql}` with NULL is never true", at, hint)
        if left.type == "boolean" and op not in _SQL:
            raise ExpressionError("filter-type", f"`{sql}` does not compare booleans", at, "use `and`, `or`, `not`")
        if wild(left) or wild(right):
            return Strict(_WILD[op], (left, right), "boolean", _WILD[opposite])
        return Strict(f"{{0}} {op} {{1}}", (left, right), "boolean", f"{{0}} {opposite} {{1}}", op == "==")

    def pair(self, left: exp.Expr, right: exp.Expr, at: int) -> tuple[Node, Node]:
        """Two operands that can be compared: of one type, or one a literal that is read as the other's."""
        first, second = self.node(left, at), self.node(right, at)
        first, second = self.read_as(first, second.type, left, at), self.read_as(second, first.type, right, at)
        self.same((first, second), (left, right), at)
        return first, second

    def read_as(self, node: Node, wanted: Type, tree: exp.Expr, at: int) -> Node:
        """A string literal as the time or date with which it is compared; any other node as it is."""
        if not (isinstance(node, Const) and node.type == "string" and wanted in {"time", "date"}):
            return node
        at = start(tree, at)
        try:
            if wanted == "date":
                return Const(date.fromisoformat(node.value).toordinal() - _EPOCH_DAY, "date")
            moment = datetime.fromisoformat(node.value)
        except ValueError:
            example = "2022-04-20" if wanted == "date" else "2022-04-20 10:00"
            raise ExpressionError("filter-type", f"'{node.value}' is no {wanted}", at, f"write `'{example}'`") from None
        if moment.tzinfo is not None:
            return Const(to_micros(moment), "time")
        return Const(self.scope.zone.instant(local_micros(moment)), "time")

    def same(self, nodes: Sequence[Node], trees: Sequence[exp.Expr], at: int) -> Type:
        """The one type of several values; refused where they have several."""
        type_: Type = "null"
        for node, tree in zip(nodes, trees, strict=True):
            if node.type in {"list", "object"}:
                self.clash(f"`{self._sql(tree)}` is a {node.type}, which can only be asked `is null`", tree, at)
            if type_ == "null":
                type_ = node.type
            elif node.type != "null" and _FAMILY.get(node.type, node.type) != _FAMILY.get(type_, type_):
                hint = None
                if {type_, node.type} == {"time", "date"}:
                    hint = "`cast(... as date)` gives the local day of a time"
                elif isinstance(node, Const) and node.type == "string" and _is_number(node.value):
                    hint = f"write {node.value} without quotes"
                elif node.type in NUMBER and isinstance(node, Const):
                    hint = f"write `'{self._sql(tree)}'` in quotes"
                what = f"{type_} and {node.type} do not go together: `{self._sql(trees[0])}` is a {type_}"
                self.clash(f"{what}, `{self._sql(tree)}` a {node.type}", trees[0], at, hint)
        return type_

    def _arithmetic(self, op: str, template: str, tree: exp.Expr, at: int) -> Node:
        hint = {"string"}
        args = []
        for part in (tree.this, tree.expression):
            node = self.node(part, at)
            if node.type not in NUMBER and node.type != "null":
                advice = None
                if node.type in hint and op == "+":
                    advice = "use `||` to join texts"
                elif node.type in {"time", "date"}:
                    advice = "use `date_diff('day', a, b)` or `date_sub('hour', a, b)`"
                self.clash(f"`{op}` wants numbers, but `{self._sql(part)}` is a {node.type}", part, at, advice)
            args.append(node)
        if op == "/" and isinstance(args[1], Const) and args[1].value:
            template = "{0} / {1}"
        return Strict(template, tuple(args), "number", wild=True)

    def _negative(self, tree: exp.Expr, at: int) -> Node:
        arg = self.operand(tree.this, at, NUMBER, "`-` wants a number")
        if isinstance(arg, Const) and arg.value is not None:
            return Const(-arg.value, "number")
        return Strict("-{0}", (arg,), "number", wild=wild(arg))

    def _join(self, tree: exp.Expr, at: int) -> Node:
        hint = "if one of two conditions is enough, write `or`"
        parts = [self.operand(part, at, TEXT, "`||` joins strings", hint) for part in tree.flatten()]
        return Strict(" + ".join(f"{{{at}}}" for at in range(len(parts))), tuple(parts), "string")

    def _in(self, tree: exp.Expr, at: int) -> Node:
        if tree.args.get("query"):
            raise ExpressionError("filter-unsupported", "a query is not supported in filters", at)
        if not tree.expressions:
            field = tree.args.get("field")
            hint = f"write `in ({self._sql(field)})`" if field is not None else None
            raise ExpressionError("filter-syntax", "`in` wants a list in brackets", at, hint)
        self._only(tree, at, "this", "expressions")
        value = self.node(tree.this, at)
        items = [self.read_as(self.node(item, at), value.type, item, at) for item in tree.expressions]
        for item, part in zip(items, tree.expressions, strict=True):
            if not isinstance(item, Const):
                self.clash(f"`in` wants literals, but `{self._sql(part)}` is none", part, at, "use `or`")
            if item.value is None:
                self.clash("NULL in a list is never found", part, at, "write `or ... is null`")
        if self.same((value, *items), (tree.this, *tree.expressions), at) == "null":
            self.clash("NULL is in no list", tree.this, at)
        found = Const(frozenset(item.value for item in items if isinstance(item, Const)), value.type)
        return Strict("{0} in {1}", (value, found), "boolean", "{0} not in {1}", null_is_false=True)

    def _between(self, tree: exp.Expr, at: int) -> Node:
        self._only(tree, at, "this", "low", "high")
        trees = (tree.this, tree.args["low"], tree.args["high"])
        value = self.node(trees[0], at)
        low, high = (self.read_as(self.node(bound, at), value.type, bound, at) for bound in trees[1:])
        type_ = self.same((value, low, high), trees, at)
        if type_ == "boolean" or "null" in (value.type, low.type, high.type):
            self.clash("`between` wants numbers, strings, times or dates", tree, at)
        if isinstance(low, Const) and isinstance(high, Const) and not wild(value):
            return Strict("{1} <= {0} <= {2}", (value, low, high), "boolean")
        return Call("between", (value, low, high), "boolean")

    def _is(self, tree: exp.Expr, at: int) -> Node:
        self._only(tree, at, "this", "expression")
        what = tree.expression
        if isinstance(what, exp.Null):
            return Is(self.node(tree.this, at), "null")
        if isinstance(what, exp.Boolean):
            return Is(self._condition(tree.this, at, "is"), "true" if what.this else "false")
        raise ExpressionError("filter-syntax", "`is` wants NULL, true or false", at, "two values are compared by `=`")

    def _like(self, tree: exp.Expr, at: int, escape: str = "") -> Node:
        self._only(tree, at, "this", "expression", "negate")
        word = "ilike" if isinstance(tree, exp.ILike) else "like"
        text = self.operand(tree.this, at, TEXT, f"`{word}` wants a string")
        pattern = tree.expression
        if not (isinstance(pattern, exp.Literal) and pattern.is_string):
            self.clash(
                f"the pattern of `{word}` is a literal", pattern, at, "use `starts_with`, `contains`, `ends_with`"
            )
        wanted = pattern.this
        if word == "ilike":
            if escape.lower() != escape.upper():
                self.clash("the escape character of `ilike` is no letter", tree, at)
            text, wanted = Strict("lower({0})", (text,), "string"), run.lower(wanted)
        try:
            pieces = run.like_pattern(wanted, escape)
        except ValueError as error:
            raise ExpressionError("filter-type", str(error), start(pattern, at)) from None
        found = calls.matcher(text, wanted if not escape and "_" not in wanted else None, pieces)
        return Not(found) if tree.args.get("negate") else found

    def _escape(self, tree: exp.Expr, at: int) -> Node:
        escape = tree.expression
        if not (isinstance(tree.this, (exp.Like, exp.ILike)) and isinstance(escape, exp.Literal) and escape.is_string):
            raise ExpressionError("filter-syntax", "`escape` follows the pattern of a `like`", at)
        if len(escape.this) > 1:
            self.clash("`escape` wants one character", escape, at)
        return self._like(tree.this, at, escape.this)

    def _case(self, tree: exp.Expr, at: int) -> Node:
        operand = tree.this
        conditions: list[Node] = []
        for branch in tree.args["ifs"]:
            test = exp.EQ(this=operand, expression=branch.this) if operand is not None else branch.this
            conditions.append(self._condition(test, at, "when"))
        default = tree.args.get("default")
        trees = [branch.args["true"] for branch in tree.args["ifs"]] + ([default] if default is not None else [])
        results = [self.node(part, at) for part in trees]
        type_ = self.same(results, trees, at)
        if type_ == "null":
            self.clash("every result of this `case` is NULL", tree, at)
        last = results.pop() if default is not None else Const(None, "null")
        return Case(tuple(zip(conditions, results, strict=True)), last, type_)

    def _cast(self, tree: exp.Expr, at: int) -> Node:
        if tree.args["to"].this is exp.DType.DATE:
            arg = self.node(tree.this, at)
            if isinstance(arg, Const) and arg.type == "string":
                return self.read_as(arg, "date", tree.this, at)
            if arg.type == "date":
                return arg
            if arg.type == "time":
                return Strict("{1}({0})", (arg, Const(self.scope.zone.day, "null")), "date")
        what, hint = _REFUSED[exp.Cast]
        raise ExpressionError("filter-unsupported", f"{what} is not supported in filters", at, hint)

    def _extract(self, tree: exp.Expr, at: int) -> Node:
        return calls.part_of(self, str(tree.name).lower(), tree.expression, at)

    def _call(self, tree: exp.Expr, at: int) -> Node:
        name = tree.name.lower()
        args: list[exp.Expr] = tree.expressions
        self._only(tree, at, "this", "expressions")
        if name not in calls.FUNCTIONS:
            hint = did_you_mean(name, calls.FUNCTIONS) or f"there are: {', '.join(calls.FUNCTIONS)}"
            raise ExpressionError("filter-function", f"unknown function `{name}`", at, hint)
        least, most, build = calls.FUNCTIONS[name]
        if not least <= len(args) <= most:
            wanted = counted(least, "argument")
            if least < most:
                wanted = f"{least} to {most} arguments" if most < calls.MANY else f"at least {wanted}"
            raise ExpressionError("filter-function", f"`{name}` takes {wanted}, not {len(args)}", at)
        return build(self, name, args, at)

    _READERS: ClassVar[dict[type[exp.Expr], Callable[[Any, exp.Expr, int], Node]]] = {
        exp.Neg: _negative,
        exp.DPipe: _join,
        exp.In: _in,
        exp.Between: _between,
        exp.Is: _is,
        exp.Like: _like,
        exp.ILike: _like,
        exp.Escape: _escape,
        exp.Case: _case,
        exp.Cast: _cast,
        exp.Dot: _taking,
        exp.Extract: _extract,
        exp.Anonymous: _call,
    }


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
