"""The Liquid library: reads and renders the templates that are more than constants and plain variables.

Loading it takes longer than reading a plan, so it is loaded for the first template that needs it. No template reads a
clock or a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import lru_cache, wraps
from io import StringIO
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, Mode, RenderContext
from liquid.builtin.content import ContentNode
from liquid.exceptions import FilterArgumentError, LiquidError, UndefinedError
from liquid.output import LimitedStringIO
from liquid.undefined import is_undefined

from flowops.errors import ContentError
from flowops.rules.nodes import NUMBER, Type
from flowops.rules.shown import Number, Variable, local, missing, problem
from flowops.settings.guess import nearest


class _Missing(FalsyStrictUndefined):
    """A variable without a value: it may be tested and may have a default; anything else is a `ContentError`."""

    force_liquid_default = True


_MAX_BYTES = 1 << 20


class _Buffer(LimitedStringIO):
    """The library's, but it leaves line ends as they are: by default a limited buffer makes newlines of CR and CRLF."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, newline="\n")


class _Context(RenderContext):
    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        return _Buffer(_MAX_BYTES - (buf.size if isinstance(buf, LimitedStringIO) else 0))


class _Template(BoundTemplate):
    context_class = _Context

    def _get_buffer(self) -> StringIO:
        return _Buffer(_MAX_BYTES)


class _Liquid(Environment):
    template_class = _Template
    loop_iteration_limit = 10_000
    output_stream_limit = _MAX_BYTES
    local_namespace_limit = _MAX_BYTES


def _guarded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, failing on a missing value (some of the library's take it for empty), giving numbers as `Number`."""

    @wraps(filter_)  # also takes over the marks by which the library passes its context
    def guarded(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if is_undefined(arg):
                str(arg)
        found = filter_(*args, **kwargs)
        return Number(found) if type(found) is float else found

    return guarded


def _date(moment: Any, form: Any) -> str:
    """Liquid's `date` without its guesses: the library reads the machine's clock for 'now', its zone for numbers."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise FilterArgumentError(f"`date` wants a time or a date, not '{moment}'", token=None) from None
    if not isinstance(moment, date):
        raise FilterArgumentError(f"`date` wants a time or a date, not {moment}", token=None)
    return moment.strftime(str(form))


def _environment() -> Environment:
    made = _Liquid(undefined=_Missing, tolerance=Mode.STRICT, autoescape=False)
    for tag in ("include", "render"):  # there are no other templates to read
        made.tags.pop(tag, None)
    made.filters["date"] = _date
    made.filters.update({name: _guarded(filter_) for name, filter_ in made.filters.items() if name != "default"})
    return made


_ENVIRONMENT = _environment()


_HABITS: Final = {"upper": "upcase", "lower": "downcase", "title": "capitalize", "length": "size", "len": "size"}
"""Filters as they are called elsewhere."""


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[BoundTemplate, list[Variable]]:
    """The template, and the variables that it reads and does not set itself, in the order in which they stand.

    Raises:
        TemplateProblem: wrong syntax, an unknown filter.
    """
    try:
        parsed = _ENVIRONMENT.from_string(text)
        analysis = parsed.analyze()
    except LiquidError as error:
        message = _message(error)
        hint = next((f"close it with `{end}`" for end in ("}}", "%}") if message.startswith(f"expected '{end}'")), None)
        raise problem(text, message, _index(error, text), hint) from None
    for name, spans in analysis.filters.items():
        if name not in _ENVIRONMENT.filters:
            near = _HABITS.get(name) or nearest(name, _ENVIRONMENT.filters)
            hint = f"did you mean `{near}`?" if near else "they are Liquid's: `default`, `date`, `upcase`, `round`, ..."
            raise problem(text, f"unknown filter `{name}`", min(span.index for span in spans), hint)
    variables = [
        Variable(tuple(found.segments), found.span.index) for each in analysis.globals.values() for found in each
    ]
    return parsed, sorted(variables, key=lambda variable: variable.at)


def constants(text: str) -> list[str]:
    """The parts of a template that every rendering has: those outside of all tags."""
    if re.search(r"\{%-?\s*(break|continue)\b", text):
        return []  # what follows may be left out
    return [node.text for node in _ENVIRONMENT.from_string(text).nodes if isinstance(node, ContentNode)]


def render(parsed: BoundTemplate, names: Sequence[tuple[tuple[str, ...], Type]], tz: ZoneInfo, *values: Any) -> str:
    """Render through the library. A variable that is NULL is left out, so that it counts as undefined."""
    context: dict[str, Any] = {}
    for (path, type_), value in zip(names, values, strict=True):
        *outer, name = path
        inner = context.setdefault(outer[0], {}) if outer else context
        if value is not None:
            inner[name] = _liquid(value, type_, tz)
    try:
        return parsed.render(context)
    except UndefinedError as error:
        missing(str(error.args[0]).removesuffix(" is undefined").strip("'"))
    except LiquidError as error:
        raise ContentError(_message(error)) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # a filter of the library that met a value which it did not foresee
        raise ContentError(f"cannot be rendered: {error}") from error


def _liquid(value: Any, type_: Type, tz: ZoneInfo) -> Any:
    if type_ in NUMBER:
        return Number(value)
    if type_ in {"time", "date"}:
        return local(value, type_, tz=tz)
    return _plain(value) if type_ in {"list", "object"} else value


def _plain(value: Any) -> Any:
    """A nested value with its numbers as `Number` and without its NULLs."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return Number(value) if isinstance(value, float) else value


def _message(error: LiquidError) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _index(error: LiquidError, text: str) -> int:
    """Where the library says that it went wrong; at the end it gives no place."""
    if error.token is not None and 0 <= error.token.start_index < len(text):
        return int(error.token.start_index)
    empty = re.search(r"\{\{-?\s*-?\}\}", text)
    return empty.start() if empty else len(text)
