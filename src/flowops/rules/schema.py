"""How models read what stands in a file, and how each mistake becomes one finding.

Unknown keys, keys without a value and keys for later are found here; values by the types of the models.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flowops.rules.document import Document, Loc, Mapping, full_width
from flowops.rules.habits import meant
from flowops.rules.later import not_yet
from flowops.settings.guess import one_of
from flowops.settings.model import Model, Reading, is_tag

M = TypeVar("M", bound=BaseModel)


class _Reading(Reading):
    """One pass over one document: what was already said, so that one mistake gets one message."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.cut = False  # a comma cut a text off: what is left of it is not what was meant
        self.told: set[Loc] = set()  # nothing more is said about these places
        self.partial: set[Loc] = set()  # mappings of which keys were refused: more may be missing because of that
        self.guessed: set[Loc] = set()  # mappings with a key that was meant to be another
        self.models: dict[Loc, type[Model]] = {}  # what stands at each mapping

    def known(self, data: Any, model: type[Model]) -> Any:
        """The mapping without the keys that were complained of."""
        if not isinstance(data, Mapping):
            return data
        keys, later = model.keys(), not_yet(model.place)
        self.models[data.loc] = model
        kept = Mapping()
        kept.loc, kept.node = data.loc, data.node
        above: str | None = None
        for key, value in data.items():
            loc = (*data.loc, key)
            if key in keys:
                above = key if value is None else None
                if value is None:
                    self.empty(loc)
                else:
                    kept[key] = value
            elif above is not None and not data.node.flow:
                hint = f"what belongs to `{above}` is indented deeper than it"
                self.document.report_key("FO101", loc, f"unknown key `{key}`", hint=hint)
            elif not self.comma(data, key):
                self.unknown(loc, key, keys, later, model.siblings())
        return kept

    def unknown(self, loc: Loc, key: str, keys: list[str], later: frozenset[str], siblings: frozenset[str]) -> None:
        if key in later:
            hint = "leave it out in this version"
            self.document.report_key("FO104", loc, f"`{key}` is not supported yet", hint=hint)
            self.partial.add(loc[:-1])
        elif (wide := full_width(key)) is not None:
            self.document.report_key("FO003", loc, wide[1], key.strip(), wide[2])
            self.partial.add(loc[:-1])
        elif key in siblings:
            what = f"`{key}` does not go with what else stands here"
            self.document.report_key("FO107", loc, what, hint=f"with that go {', '.join(f'`{each}`' for each in keys)}")
        else:
            near = meant(key, keys)
            hint = f"did you mean `{near}`?" if near else one_of(key, keys)
            self.document.report_key("FO101", loc, f"unknown key `{key}`", hint=hint)
            if near:
                self.told.add((*loc[:-1], near))
                self.guessed.add(loc[:-1])

    def _to_add(self, loc: Loc) -> str:
        """A key that is missing, with the first example of its value that fits into a line."""
        key, model = str(loc[-1]), self.models.get(loc[:-1])
        examples = model.examples(key) if model is not None else ()
        example = next((example for example in examples if isinstance(example, str)), None)
        return f"add `{key}:` here" + (f", as `{key}: {example}`" if example is not None else "")

    def empty(self, loc: Loc) -> None:
        self.told.add(loc)
        hint = "say one, or leave the key out"
        if self.document.is_comment(loc):
            hint = "what follows ` #` is a comment: quote the text"
        self.document.report_key("FO103", loc, f"`{loc[-1]}` has no value", hint=hint)

    def comma(self, data: Mapping, key: str) -> bool:
        """Whether an unknown key is the rest of a text that a comma cut off; then it is reported."""
        if data[key] is not None or not data.node.flow:
            return False
        names = list(data)
        before = names[names.index(key) - 1] if names[0] != key else None
        if before is None or not isinstance(data[before], str):
            return False
        if full_width(key) is not None or key.isidentifier():
            return False
        got = f"{before}: {data[before]}, {key}"
        hint = f'quote the text: {before}: "{data[before]}, {key}"'
        self.document.report_key("FO004", (*data.loc, key), f"comma in `{before}` inside {{ }}", got, hint)
        self.told.add((*data.loc, before))
        self.cut = True
        return True

    def complain(self, error: ErrorDetails) -> None:
        """Turn one of pydantic's errors into a finding."""
        steps = tuple(step for step in error["loc"] if step != "[key]" and not is_tag(step))  # what the file has
        loc = self.document.written(steps)
        kind, got, context = error["type"], error["input"], error.get("ctx", {})
        if any(loc[: len(told)] == told for told in self.told):
            return
        document = self.document
        shown = got if isinstance(got, str) and not context.get("secret") else None
        if kind in ("FO102", "FO107") and loc in self.partial | self.guessed:
            return
        if kind.startswith("FO"):
            at_key = error["loc"][-1:] == ("[key]",)
            report = document.report_key if at_key or got is None else document.report
            hint = context.get("hint")
            if kind == "FO105" and shown and re.match(r"[\w-]+:\S", shown):
                hint = f"a space follows the colon: `{shown.replace(':', ': ', 1)}`"
            elif kind == "FO105" and hint is None and isinstance(got, list):
                hint = _instead_of(got)
            report(kind, loc, str(context["what"]), shown, hint)
        elif kind == "missing":
            if loc[:-1] not in self.partial:
                document.report("FO102", loc[:-1], f"`{loc[-1]}` is missing", hint=self._to_add(loc))
        elif got is None:
            document.report_key("FO103", loc, f"`{loc[-1]}` has no value", hint="say one, or leave the key out")
        elif kind == "literal_error":
            document.report("FO106", loc, f"`{got}` is not understood here", shown, str(context["expected"]))
        elif kind in ("too_short", "too_long"):
            document.report("FO102", loc, f"`{loc[-1]}` needs at least one entry", hint="add an entry")
        else:
            wanted = {"list": "a list", "dict": "a mapping", "model": "a mapping"}.get(kind.split("_")[0], "a text")
            hint = None
            if wanted == "a list":
                hint = "a list has a `- ` before each entry, or stands in `[ ]`"
            elif isinstance(got, list):
                hint = _instead_of(got)
            elif wanted == "a mapping" and isinstance(got, str):
                hint = "a mapping is written `{key: value}`"
            document.report("FO105", loc, f"{wanted} is needed here, not {_shape(got)}", shown, hint)


def _instead_of(got: list[Any]) -> str:
    return "leave out the `- ` or the brackets" if len(got) == 1 else "only one may stand here"


def _shape(got: Any) -> str:
    return "a list" if isinstance(got, list) else "a mapping" if isinstance(got, dict) else "a text"


def read_model(model: type[M], document: Document, data: Any, loc: Loc = ()) -> M | None:
    """Validate (a part of) a document, adding every finding to it. None where what is left makes no sense."""
    reading = _Reading(document)
    try:
        value = model.model_validate(data, context=reading)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            detail["loc"] = (*loc, *detail["loc"])
            reading.complain(detail)
        return None
    return None if reading.cut else value
