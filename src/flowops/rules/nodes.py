"""Typed expression trees: what `expressions.check` makes of a filter and `codegen` turns into Python.

A node never refers to a layout of values: where a name stands is decided when code is generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Type: TypeAlias = Literal["string", "number", "money", "boolean", "time", "date", "zone", "list", "object", "null"]
"""The types of the language; `null` is that of the literal NULL, which fits every other."""

TEXT = frozenset({"string", "zone"})
NUMBER = frozenset({"number", "money"})


@dataclass(frozen=True, slots=True)
class Const:
    """A value known when the text is read; also a set for `in` and a function bound to its constants."""

    value: Any
    type: Type


@dataclass(frozen=True, slots=True)
class Ref:
    """A name. `step` is set for `step`; `name` is empty for `now` and `variant`."""

    kind: Literal["event", "step", "user", "now", "variant"]
    name: str
    type: Type
    step: str = ""


@dataclass(frozen=True, slots=True)
class Strict:
    """An operation that is NULL when an argument is.

    `template` is Python with `{0}`, `{1}`, ... for the arguments, none of which is None when it is evaluated; `negated`
    is its opposite where there is a shorter one than `not`. `null_is_false`: with a single None among its arguments
    the template is false by itself. `wild`: the result may be infinite or NaN.
    """

    template: str
    args: tuple[Node, ...]
    type: Type
    negated: str | None = None
    null_is_false: bool = False
    wild: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the run time that takes and gives NULL as None."""

    function: str
    args: tuple[Node, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` or `or` over two or more conditions."""

    op: Literal["and", "or"]
    args: tuple[Node, ...]

    @property
    def type(self) -> Type:
        """Always `boolean`."""
        return "boolean"


@dataclass(frozen=True, slots=True)
class Not:
    """SQL's `not`: NULL stays NULL."""

    arg: Node

    @property
    def type(self) -> Type:
        """Always `boolean`."""
        return "boolean"


@dataclass(frozen=True, slots=True)
class Is:
    """`is null`, `is true` or `is false`: never NULL itself."""

    arg: Node
    what: Literal["null", "true", "false"]

    @property
    def type(self) -> Type:
        """Always `boolean`."""
        return "boolean"


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first argument that is not NULL."""

    args: tuple[Node, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Case:
    """The result beside the first condition that is true, else `default`."""

    branches: tuple[tuple[Node, Node], ...]
    default: Node
    type: Type


Node: TypeAlias = Const | Ref | Strict | Call | Logic | Not | Is | Coalesce | Case

TRUE = Const(True, "boolean")


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    match node:
        case Const() | Ref():
            return ()
        case Not() | Is():
            return (node.arg,)
        case Case():
            return (*(part for branch in node.branches for part in branch), node.default)
    return node.args


def refs(node: Node) -> Iterator[Ref]:
    """Every name that occurs in it, in order."""
    if isinstance(node, Ref):
        yield node
    for child in children(node):
        yield from refs(child)


def nullable(node: Node) -> bool:
    """Whether it may be NULL."""
    match node:
        case Const():
            return node.value is None
        case Ref():
            return node.kind != "now"
        case Is():
            return False
        case Coalesce():
            return all(nullable(arg) for arg in node.args)
        case Case():
            return nullable(node.default) or any(nullable(result) for _, result in node.branches)
        case Call():
            return True
    return any(nullable(child) for child in children(node))


def wild(node: Node) -> bool:
    """Whether it may be infinite or NaN, which need SQL's order instead of Python's."""
    match node:
        case Strict():
            return node.wild
        case Coalesce():
            return any(wild(arg) for arg in node.args)
        case Case():
            return wild(node.default) or any(wild(result) for _, result in node.branches)
    return False
