"""The grammar of filters: sqlglot's for DuckDB, with every function kept as it was written, and errors for people."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.parsers.duckdb import DuckDBParser

from flowops.rules.expressions import ExpressionError
from flowops.rules.habits import foreign

_WIDE = {0xFF01 + at: chr(0x21 + at) for at in range(94)} | {
    0x3000: " ",
    0x00A0: " ",
    0x2018: "'",
    0x2019: "'",
    0x201C: "'",
    0x201D: "'",
}
"""Characters of a full-width keyboard, outside quotes, and what was meant."""


class _Parser(DuckDBParser):
    """sqlglot's, with every function kept as it was written: name, place and arguments."""

    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: DuckDBParser.FUNCTION_PARSERS[name] for name in ("EXTRACT", "CAST")
    }
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CASE": DuckDBParser.NO_PAREN_FUNCTION_PARSERS["CASE"]}


_DIALECT = DuckDB()

_QUOTES = "end it with the quote with which it begins; a quote within a text is doubled: 'it''s'"


def tree_of(text: str) -> exp.Expr:
    """Sqlglot's tree of one expression.

    Raises:
        ExpressionError: `filter-syntax`.
    """
    outside = re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"", lambda quoted: "." * len(quoted[0]), text)
    for at, char in enumerate(outside):
        if ord(char) in _WIDE:
            what = f"a space that is none (U+{ord(char):04X})" if _WIDE[ord(char)] == " " else f"full-width `{char}`"
            hint = "write a plain space" if _WIDE[ord(char)] == " " else f"write `{_WIDE[ord(char)]}`"
            raise ExpressionError("filter-syntax", what, at, hint)
    if (habit := foreign(outside)) is not None:
        at, what, hint = habit
        raise ExpressionError("filter-syntax", f"`{what}` is not of this language", at, hint)
    try:
        tokens = _DIALECT.tokenize(text)
    except TokenError:
        quote = max(outside.rfind("'"), outside.rfind('"'), 0)
        raise ExpressionError("filter-syntax", "a quote is not closed", quote, _QUOTES) from None
    try:
        trees = _Parser(dialect=_DIALECT, error_level=ErrorLevel.IMMEDIATE).parse(tokens, text)
    except ParseError as error:
        raise _syntax(error, text) from None
    found: list[exp.Expr] = [tree for tree in trees if tree is not None]
    if not found:
        raise ExpressionError(
            "filter-syntax", "there is no expression", 0, "leave the key out if there is no condition"
        )
    if len(found) > 1 or ";" in outside:
        raise ExpressionError("filter-syntax", "`;` has no place in a filter", max(outside.find(";"), 0))
    if "--" in outside or "/*" in outside:
        at = min(at for at in (outside.find("--"), outside.find("/*")) if at >= 0)
        raise ExpressionError("filter-syntax", "a comment has no place in a filter", at, "use YAML's `#`")
    return found[0]


def _syntax(error: ParseError, text: str) -> ExpressionError:
    detail = error.errors[0] if error.errors else {}
    what, lit = str(detail.get("description") or ""), str(detail.get("highlight") or "")
    lines = text.splitlines(keepends=True)
    line, column = int(detail.get("line") or 1), int(detail.get("col") or 1)
    end = sum(map(len, lines[: line - 1])) + column
    at = min(max(end - len(lit), 0), max(len(text) - 1, 0))
    if "Required keyword" in what:
        return ExpressionError("filter-syntax", f"something is missing beside `{lit}`", at)
    if what.startswith("Expect"):
        hint = "a bracket that was opened is not closed" if what.endswith(")") else None
        return ExpressionError("filter-syntax", f"{what[0].lower()}{what[1:]}, after `{lit}`", at, hint)
    hint = "is an operator or a quote missing?"
    if lit == "," and re.search(r"\d$", text[:at]) and re.match(r",\d{3}\b", text[at:]):
        hint = "a number has no separator of thousands: `1000`"
    elif lit == "," and re.search(r"\bin\s+[^(]+$", text[:at], re.IGNORECASE):
        hint = "write the list in brackets: `in ('a', 'b')`"
    return ExpressionError("filter-syntax", f"`{lit}` is not expected here", at, hint)


def start(tree: exp.Expr, default: int) -> int:
    """The offset at which a tree stands in its text; `default` where sqlglot kept none."""
    starts = [at for node in tree.walk() if isinstance(at := node.meta.get("start"), int)]
    return min(starts, default=default)
