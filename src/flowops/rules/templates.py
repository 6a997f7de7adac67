"""Content: Liquid templates, checked when they are read, rendered when a message is decided.

Most are constants and plain `{{ step.property }}`, with or without a default: these are compiled to one Python function
per message. Everything else goes through the Liquid library, which is also the oracle for what is compiled. No template
reads a clock or a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from flowops.core.plan import Renderer
from flowops.core.time import Zone
from flowops.rules.codegen import Writer, function
from flowops.rules.expressions import UTC, FollowsError, Scope
from flowops.rules.nodes import NUMBER, TEXT, Ref, Type
from flowops.rules.shown import TemplateProblem, Variable, local, missing, number_text, problem
from flowops.settings.guess import one_of

Reference: TypeAlias = tuple[str, ...]
"""`("step", step, property)`, `("user", attribute)`, `("now",)` or `("variant",)`."""


class Output(NamedTuple):
    """A plain variable: its path, and the text that stands for it where it has no value (None: it must have one)."""

    path: tuple[str, ...]
    default: str | None


@dataclass(frozen=True)
class CheckedTemplate:
    """A template whose variables exist. `parts`: constants and plain variables; None where the library must render."""

    text: str
    refs: frozenset[Ref]
    parts: tuple[str | Output, ...] | None = field(compare=False, repr=False)

    @property
    def references(self) -> frozenset[Reference]:
        """What it reads."""
        return frozenset(_reference(ref) for ref in self.refs)


_NAME = r"[A-Za-z_](?:[\w-]*\w)?"
_OUTPUT = re.compile(
    rf"""\{{\{{\s*({_NAME}(?:\.{_NAME})?)\s*(?:\|\s*default:\s*(?:'([^'\\{{}}]*)'|"([^"\\{{}}]*)"|([0-9]{{1,9}}))\s*)?\}}\}}""",
    re.ASCII,
)
_WORDS = frozenset({"true", "false", "nil", "null", "empty", "blank"})
"""Names that are values in Liquid."""


def _plain(text: str) -> tuple[list[str | Output], list[Variable]] | None:
    """The parts of a template, and its variables, if it is but constants and plain variables; what else: None."""
    parts: list[str | Output] = []
    variables: list[Variable] = []
    at = 0
    for found in _OUTPUT.finditer(text):
        path = tuple(found[1].split("."))
        if path[0] in _WORDS:
            return None
        parts.append(text[at : found.start()])
        default = found[2] if found[2] is not None else found[3]
        parts.append(Output(path, str(int(found[4])) if found[4] else default))
        variables.append(Variable(path, found.start(1)))
        at = found.end()
    parts.append(text[at:])
    constants = [part for part in parts if isinstance(part, str)]
    if any("{{" in part or "{%" in part or part.endswith("{") for part in constants):
        return None
    return [part for part in parts if part != ""], variables


def check_template(text: str, scope: Scope) -> CheckedTemplate:
    """Read a template and check that its variables and filters exist.

    Raises:
        TemplateProblem: wrong syntax, an unknown filter, a variable that nothing defines.
        FollowsError: it names a step of an event that is not declared.
    """
    plain = _plain(text)
    if plain is None:
        from flowops.rules.library import parse  # noqa: PLC0415 - loaded for the first template that needs it

        variables = parse(text)[1]
    else:
        variables = plain[1]
    refs = frozenset(_resolve(text, variable, scope) for variable in variables)
    if plain is None or any(ref.type in {"list", "object"} for ref in refs):
        return CheckedTemplate(text, refs, None)
    return CheckedTemplate(text, refs, tuple(plain[0]))


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
    writer.names |= {"missing": missing, "number_text": number_text, "join": "".join}
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
        self._at = writer.bind(partial(local, tz=tz))

    def template(self, template: CheckedTemplate) -> str:
        """An expression of the rendered text."""
        if template.parts is None:
            return self._library(template)
        by_path = {_path(ref): ref for ref in template.refs}
        known = [self._part(part, by_path) for part in template.parts]
        return known[0] if len(known) == 1 else f"join(({''.join(f'{part}, ' for part in known)}))"

    def _part(self, part: str | Output, refs: Mapping[tuple[str, ...], Ref]) -> str:
        if isinstance(part, str):
            return self._writer.bind(part)
        ref = refs[part.path]
        if part.default is None:
            return self._shown(ref, f"missing({self._writer.bind('.'.join(part.path))})")
        return self._shown(ref, self._writer.bind(part.default), defaulted=True)

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
        from flowops.rules.library import parse, render  # noqa: PLC0415 - loaded where it is needed

        refs = sorted(template.refs, key=_reference)
        call = partial(render, parse(template.text)[0], [(_path(ref), ref.type) for ref in refs], self._tz)
        return f"{self._writer.bind(call)}({''.join(f'{self._writer.value(ref)}, ' for ref in refs)})"


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


def _resolve(text: str, variable: Variable, scope: Scope) -> Ref:
    (root, *rest), index = variable
    if root == "now" and scope.now and not rest:
        return Ref("now", "", "time")
    if root == "variant" and scope.variant and not rest:
        return Ref("variant", "", "string")
    groups: dict[str, Mapping[str, Type]] = {**scope.steps, "user": scope.user}
    if root != "user" and scope.follows(str(root)):
        raise FollowsError(root)
    if root not in groups:
        near = next((f"{step}.{root}" for step, properties in groups.items() if root in properties), None)
        hint = f"did you mean `{near}`?" if near else one_of(str(root), groups)
        raise problem(text, f"nothing defines `{root}`", index, hint)
    if not rest or not isinstance(rest[0], str):
        known = one_of("", groups[root])
        raise problem(text, f"`{root}` is not a value: name one of its properties", index, f"`{root}.NAME`: {known}")
    name, *deeper = rest
    if name not in groups[root]:
        raise problem(text, f"`{root}` has no `{name}`", index, one_of(name, groups[root]))
    type_ = groups[root][name]
    if deeper and type_ not in {"list", "object"} and deeper != ["size"]:
        raise problem(text, f"`{root}.{name}` is a {type_} and has no parts", index)
    return Ref("user", name, type_) if root == "user" else Ref("step", name, type_, root)


__all__ = ["CheckedTemplate", "Output", "Reference", "TemplateProblem", "check_template", "renderer"]
