"""Typed expressions as Python source: one function per filter, compiled once.

A condition is written in one of three modes. In the *truth* mode NULL and false are one, so that most filters become
the comparison that a person would write; *falsity* is its mirror, for what stands under `not`; the *value* mode is
three-valued. Text of users never enters the source: what is not a number is bound to a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowops.rules.functions import RUNTIME
from flowops.rules.nodes import Call, Case, Coalesce, Const, Is, Logic, Node, Not, Ref, Strict, nullable

Place = Callable[[Ref], str]
"""Where a name's value stands, as a cheap Python expression without side effects."""


class Writer:
    """Writes expressions of one function (or of several that share their constants)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._temporaries = 0
        self.names: dict[str, Any] = dict(RUNTIME)

    def bind(self, value: object) -> str:
        """A global name for a value."""
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def truth(self, node: Node) -> str:
        """An expression that is True where the condition is true, else False."""
        match node:
            case Const():
                return str(node.value is True)
            case Strict():
                return self._condition(node, node.template, skip_nulls=node.null_is_false)
            case Logic():
                return f"({f' {node.op} '.join(map(self.truth, node.args))})"
            case Not():
                return self.falsity(node.arg)
            case Is(what="true"):
                return self.truth(node.arg)
            case Is(what="false"):
                return self.falsity(node.arg)
            case Is():
                return f"({self.value(node.arg)} is None)" if nullable(node.arg) else "False"
            case Case():
                return self._case(node, self.truth)
        return f"({self.value(node)} is True)"

    def falsity(self, node: Node) -> str:
        """An expression that is True where the condition is false (not NULL), else False."""
        match node:
            case Const():
                return str(node.value is False)
            case Strict():
                return self._condition(node, node.negated or f"not ({node.template})", skip_nulls=False)
            case Logic():
                op = "or" if node.op == "and" else "and"
                return f"({f' {op} '.join(map(self.falsity, node.args))})"
            case Not():
                return self.truth(node.arg)
            case Is():
                return f"(not {self.truth(node)})"
            case Case():
                return self._case(node, self.falsity)
        return f"({self.value(node)} is False)"

    def value(self, node: Node) -> str:
        """An expression for the value; None is NULL."""
        match node:
            case Const():
                return self._const(node.value)
            case Ref():
                return self._place(node)
            case Strict():
                checks, args = self._arguments(node)
                body = node.template.format(*args)
                return f"({body} if {' and '.join(checks)} else None)" if checks else f"({body})"
            case Call():
                return f"{node.function}({', '.join(map(self.value, node.args))})"
            case Logic():
                return (
                    f"kleene_{node.op}({', '.join(map(self.value, node.args))})" if nullable(node) else self.truth(node)
                )
            case Not():
                if not nullable(node):
                    return self.falsity(node.arg)
                check, arg = self._checked(node.arg)
                return f"(not {arg} if {check} else None)"
            case Is():
                return self.truth(node)
            case Coalesce():
                *first, last = node.args
                parts = [f"{arg} if {check} else " for check, arg in map(self._checked, first)]
                return f"({''.join(parts)}{self.value(last)})"
            case Case():
                return self._case(node, self.value)

    def _case(self, node: Case, write: Callable[[Node], str]) -> str:
        parts = [f"{write(result)} if {self.truth(condition)} else " for condition, result in node.branches]
        return f"({''.join(parts)}{write(node.default)})"

    def _condition(self, node: Strict, template: str, *, skip_nulls: bool) -> str:
        checks, args = self._arguments(node)
        if skip_nulls and checks and all(isinstance(arg, (Const, Ref)) for arg in node.args):
            checks = checks[1:]  # with one None the template is false by itself
        return f"({' and '.join((*checks, template.format(*args)))})"

    def _arguments(self, node: Strict) -> tuple[list[str], list[str]]:
        checks, args = [], []
        for arg in node.args:
            if nullable(arg):
                check, text = self._checked(arg)
                checks.append(check)
            else:
                text = self.value(arg)
            args.append(text)
        return checks, args

    def _checked(self, node: Node) -> tuple[str, str]:
        """A test that it is not NULL, and after that test a name for it."""
        text = self.value(node)
        if isinstance(node, Ref):
            return f"{text} is not None", text
        self._temporaries += 1
        name = f"t{self._temporaries}"
        return f"({name} := {text}) is not None", name

    def _const(self, value: object) -> str:
        if value is None or isinstance(value, bool):
            return repr(value)
        if isinstance(value, (int, float)):
            return f"({value!r})"
        return self.bind(value)


def function(names: dict[str, Any], source: str, name: str) -> Callable[..., Any]:
    """Compile generated source and give the function that it defines."""
    exec(compile(source, f"<{name}>", "exec"), names)  # noqa: S102 - source of this module, with users' text only in `names`
    made: Callable[..., Any] = names[name]
    return made


def tuple_of(items: Sequence[str]) -> str:
    """The source of a tuple."""
    return f"({''.join(f'{item}, ' for item in items)})"
