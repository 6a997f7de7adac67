"""Content: Liquid templates, checked when they are read, rendered when a message is decided.

Most are constants and plain `{{ step.property }}`, with or without a default: these are compiled to one Python function
per message. Everything else goes through the Liquid library, which is also the oracle for what is compiled. No template
reads a clock or a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial, wraps
from io import StringIO
from typing import Any, TextIO, TypeAlias
from zoneinfo import ZoneInfo

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, Mode, RenderContext
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path, PositionalArgument
from liquid.builtin.expressions.primitive import IntegerLiteral, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.exceptions import FilterArgumentError, LiquidError, UndefinedError
from liquid.output import LimitedStringIO
from liquid.undefined import is_undefined

from flowops.core.plan import Renderer
from flowops.core.records import Micros
from flowops.core.time import Zone, to_datetime
from flowops.errors import ContentError
from flowops.rules.codegen import Writer, function
from flowops.rules.expressions import UTC, Scope
from flowops.rules.guess import did_you_mean, one_of
from flowops.rules.nodes import NUMBER, TEXT, Ref, Type

Reference: TypeAlias = tuple[str, ...]
"""`("step", step, property)`, `("user", attribute)`, `("now",)` or `("variant",)`."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()


class TemplateProblem(Exception):  # noqa: N818 - a finding about a text, no failure of the program
    """A text that is no template, or names what nothing defines; line and column count from 1 within the text."""

    def __init__(self, message: str, line: int, column: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column


@dataclass(frozen=True)
class CheckedTemplate:
    """A template whose variables exist."""

    text: str
    refs: frozenset[Ref]
    parsed: BoundTemplate = field(compare=False, repr=False)

    @property
    def references(self) -> frozenset[Reference]:
        """What it reads."""
        return frozenset(_reference(ref) for ref in self.refs)


class Number(float):
    """A number as people write it: 60 and 12.5, never 60.0 or 1e-05."""

    def __str__(self) -> str:
        return number_text(self)


def number_text(number: float) -> str:
    """The number without an exponent, and without decimals where there are none."""
    if number % 1 == 0:
        return str(int(number))
    return format(Decimal(repr(float(number))), "f")


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


def check_template(text: str, scope: Scope) -> CheckedTemplate:
    """Read a template and check that its variables and filters exist.

    Raises:
        TemplateProblem: wrong syntax, an unknown filter, a variable that nothing defines.
    """
    try:
        parsed = _ENVIRONMENT.from_string(text)
        analysis = parsed.analyze()
    except LiquidError as error:
        raise _problem(text, _message(error), _index(error, text)) from None
    for name, spans in analysis.filters.items():
        if name not in _ENVIRONMENT.filters:
            hint = did_you_mean(name, _ENVIRONMENT.filters)
            raise _problem(text, f"unknown filter `{name}`", min(span.index for span in spans), hint)
    variables = [variable for found in analysis.globals.values() for variable in found]
    variables.sort(key=lambda variable: variable.span.index)
    refs = [_resolve(text, variable.segments, variable.span.index, scope) for variable in variables]
    return CheckedTemplate(text, frozenset(refs), parsed)


def renderer(
    fields: Mapping[str, CheckedTemplate],
    *,
    steps: Mapping[str, Sequence[str]],
    user: Sequence[str],
    zone: Zone = UTC,
) -> Renderer:
    """Compile the fields of a message to one function.

    `steps` and `user` are the layouts of the arguments of a `core.plan.Renderer`; times are written in `zone`. What it
    makes raises `ContentError` for a variable without a value and without a default.

    Raises:
        ValueError: a template uses a name that the layouts lack.
    """
    places = _Places(steps, user)
    writer = Writer(places.of)
    writer.names |= {"missing": _missing, "number_text": number_text, "join": "".join}
    show = _Show(writer, ZoneInfo(zone.name))
    items = [f"{writer.bind(name)}: {show.template(template)}" for name, template in fields.items()]
    source = f"def render(steps, user, now, variant):\n    return {{{', '.join(items)}}}\n"
    made: Renderer = function(writer.names, source, "render")
    return made


class _Places:
    """Where a value stands in the arguments of a `Renderer`."""

    def __init__(self, steps: Mapping[str, Sequence[str]], user: Sequence[str]) -> None:
        self._places: dict[Reference, str] = {("user", name): f"user[{at}]" for at, name in enumerate(user)}
        for index, (step, names) in enumerate(steps.items()):
            self._places |= {("step", step, name): f"steps[{index}][{at}]" for at, name in enumerate(names)}
        self._places |= {("now",): "now", ("variant",): "variant"}

    def of(self, ref: Ref) -> str:
        found = self._places.get(_reference(ref))
        if found is None:
            raise ValueError(f"the layout has no value {'.'.join(_reference(ref))}")
        return found


class _Show:
    """Writes templates as Python expressions, in the zone of their times."""

    def __init__(self, writer: Writer, tz: ZoneInfo) -> None:
        self._writer = writer
        self._tz = tz
        self._at = writer.bind(partial(_local, tz=tz))

    def template(self, template: CheckedTemplate) -> str:
        """An expression of the rendered text."""
        by_path = {_path(ref): ref for ref in template.refs}
        parts = [self._node(node, by_path) for node in template.parsed.nodes]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return self._library(template)
        return known[0] if len(known) == 1 else f"join(({''.join(f'{part}, ' for part in known)}))"

    def _node(self, node: object, refs: Mapping[tuple[str, ...], Ref]) -> str | None:
        """Constants, and variables with nothing but a default; None for what the library must render."""
        if isinstance(node, ContentNode):
            return self._writer.bind(node.text)
        if not (isinstance(node, OutputNode) and isinstance(node.expression, FilteredExpression)):
            return None
        left, filters = node.expression.left, node.expression.filters or []
        if not isinstance(left, Path) or len(filters) > 1 or not all(isinstance(part, str) for part in left.path):
            return None
        ref = refs.get(tuple(str(part) for part in left.path))
        if ref is None or ref.type in {"list", "object"}:
            return None
        if not filters:
            return self._shown(ref, f"missing({self._writer.bind('.'.join(_path(ref)))})")
        default = filters[0].args[0] if filters[0].name == "default" and len(filters[0].args) == 1 else None
        if not (isinstance(default, PositionalArgument) and isinstance(default.value, (StringLiteral, IntegerLiteral))):
            return None
        return self._shown(ref, self._writer.bind(str(default.value.value)), defaulted=True)

    def _shown(self, ref: Ref, otherwise: str, *, defaulted: bool = False) -> str:
        """The text of a value; `otherwise` where it is NULL or, with a default, empty or false."""
        value = self._writer.value(ref)
        if ref.type in TEXT:
            return f"({value} or {otherwise})" if defaulted else f"({value} if {value} is not None else {otherwise})"
        if ref.type == "boolean":
            false = otherwise if defaulted else "'false'"
            return f"('true' if {value} else {otherwise} if {value} is None else {false})"
        text = f"number_text({value})" if ref.type in NUMBER else f"str({self._at}({value}, '{ref.type}'))"
        return f"({text} if {value} is not None else {otherwise})"

    def _library(self, template: CheckedTemplate) -> str:
        refs = sorted(template.refs, key=_reference)
        render = partial(_render, template.parsed, [(_path(ref), ref.type) for ref in refs], self._tz)
        return f"{self._writer.bind(render)}({''.join(f'{self._writer.value(ref)}, ' for ref in refs)})"


def _render(parsed: BoundTemplate, names: Sequence[tuple[tuple[str, ...], Type]], tz: ZoneInfo, *values: Any) -> str:
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
        return _missing(str(error.args[0]).removesuffix(" is undefined").strip("'"))
    except LiquidError as error:
        raise ContentError(_message(error)) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # a filter of the library that met a value which it did not foresee
        raise ContentError(f"cannot be rendered: {error}") from error


def _liquid(value: Any, type_: Type, tz: ZoneInfo) -> Any:
    if type_ in NUMBER:
        return Number(value)
    if type_ in {"time", "date"}:
        return _local(value, type_, tz=tz)
    return _plain(value) if type_ in {"list", "object"} else value


def _plain(value: Any) -> Any:
    """A nested value with its numbers as `Number` and without its NULLs."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return Number(value) if isinstance(value, float) else value


def _local(value: Micros, type_: Type, *, tz: ZoneInfo) -> date:
    try:
        return to_datetime(value).astimezone(tz) if type_ == "time" else date.fromordinal(value + _EPOCH_DAY)
    except (OverflowError, ValueError):
        raise ContentError(f"the {type_} {value} is out of range") from None


def _missing(name: str) -> str:
    raise ContentError(f"`{name}` has no value and no default: write `{{{{ {name} | default: '...' }}}}`")


def _path(ref: Ref) -> tuple[str, ...]:
    """How a template writes it."""
    match ref.kind:
        case "step":
            return ref.step, ref.name
        case "user":
            return "user", ref.name
    return (ref.kind,)


def _reference(ref: Ref) -> Reference:
    return ("step", *_path(ref)) if ref.kind == "step" else _path(ref)


def _resolve(text: str, segments: Sequence[Any], index: int, scope: Scope) -> Ref:
    root, *rest = segments
    if root == "now" and scope.now and not rest:
        return Ref("now", "", "time")
    if root == "variant" and scope.variant and not rest:
        return Ref("variant", "", "string")
    groups: dict[str, Mapping[str, Type]] = {**scope.steps, "user": scope.user}
    if root not in groups:
        near = next((f"{step}.{root}" for step, properties in groups.items() if root in properties), None)
        hint = f"did you mean `{near}`?" if near else one_of(str(root), groups)
        raise _problem(text, f"nothing defines `{root}`", index, hint)
    if not rest or not isinstance(rest[0], str):
        known = one_of("", groups[root])
        raise _problem(text, f"`{root}` is not a value: name one of its properties", index, f"`{root}.NAME`: {known}")
    name, *deeper = rest
    if name not in groups[root]:
        raise _problem(text, f"`{root}` has no `{name}`", index, one_of(name, groups[root]))
    type_ = groups[root][name]
    if deeper and type_ not in {"list", "object"} and deeper != ["size"]:
        raise _problem(text, f"`{root}.{name}` is a {type_} and has no parts", index)
    return Ref("user", name, type_) if root == "user" else Ref("step", name, type_, root)


def _problem(text: str, message: str, index: int, hint: str | None = None) -> TemplateProblem:
    before = text[:index]
    return TemplateProblem(message, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1, hint)


def _message(error: LiquidError) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _index(error: LiquidError, text: str) -> int:
    """Where the library says that it went wrong; at the end it gives no place."""
    if error.token is not None and 0 <= error.token.start_index < len(text):
        return int(error.token.start_index)
    empty = re.search(r"\{\{-?\s*-?\}\}", text)
    return empty.start() if empty else len(text)


__all__ = ["CheckedTemplate", "Reference", "TemplateProblem", "check_template", "renderer"]
