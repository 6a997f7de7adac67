"""Layerings of a project, read: what each listens to, what is counted for it, what its layers ask (S12b)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowops.core import plan as core
from flowops.core.time import Zone
from flowops.rules.document import Document, Loc
from flowops.rules.expressions import Checked, Scope
from flowops.rules.names import Names
from flowops.rules.nodes import Const, Node, Ref, Strict, children
from flowops.rules.schema_layers import Layer, Layering
from flowops.rules.schema_project import ProjectFile
from flowops.rules.triggers import Heard
from flowops.rules.triggers.counting import check_value
from flowops.rules.triggers.sequence import Times


@dataclass(frozen=True, slots=True)
class Measure:
    """What is counted of a user for a layering: how often, or for how much."""

    counter: core.Counter
    value: str | None


@dataclass(frozen=True, slots=True)
class CheckedLayering:
    """A layering with its filter read."""

    name: str
    file: Layering
    heard: Heard

    def measures(self) -> list[Measure]:
        """One counter of events for recency and frequency, one of amounts for money, as far as they are asked for."""
        file, layers = self.file, self.file.layers.values()
        spans = [layer.recency for layer in layers if layer.recency is not None]
        times = [layer.frequency for layer in layers if layer.frequency is not None]
        sums = [layer.money for layer in layers if layer.money is not None]
        found = []
        if spans or times:
            keeps = max([1, *(each.least if each.most is None else each.most + 1 for each in times)])
            within = None if times and file.within is None else max([*spans, *([file.within] if times else [])])  # type: ignore[type-var]
            found.append(Measure(core.Counter("times", 1, within, keeps), None))
        if sums:
            found.append(Measure(core.Counter("sum", min(sums), file.within, 0), file.money))
        return found

    def asked(self, layer: Layer, numbers: Mapping[str, int], sources: tuple[int, ...]) -> tuple[core.Lookback, ...]:
        """What a layer asks; `numbers` are those of its counters, by kind."""
        within = self.file.within
        found = []
        if layer.recency is not None:
            found.append(core.Lookback(numbers["times"], layer.recency, 1, None, sources))
        if layer.frequency is not None:
            least, most = layer.frequency.least, layer.frequency.most
            found.append(core.Lookback(numbers["times"], within, least, most, sources))
        if layer.money is not None:
            found.append(core.Lookback(numbers["sum"], within, layer.money, None, sources))
        return tuple(found)


def read_layerings(project: ProjectFile, document: Document) -> dict[str, CheckedLayering]:
    """Check each at its place in flowops.yaml."""
    names, found = Names(project, document, Zone(project.zone)), dict[str, CheckedLayering]()
    split: str | None = None
    for name, file in project.layers.items():
        loc: Loc = ("layers", name)
        if name in project.profile:
            hint = "give the one or the other another name"
            document.report_key("FO309", loc, f"`{name}` is an attribute of the profile, too", hint=hint)
        if file.figures and split is not None:
            what = f"figures are split by `{split}` already"
            document.report("FO107", (*loc, "figures"), what, hint="one layering has `figures: true`")
        split = name if file.figures else split
        heard = names.heard(loc, file.event, file.where, Scope({}, zone=names.zone))
        if file.money is not None:
            check_value(names, loc, "money", file.event, file.money)
        _layers(document, (*loc, "layers"), file)
        found[name] = CheckedLayering(name, file, heard)
    names.undeclared()
    return found


def _layers(document: Document, loc: Loc, file: Layering) -> None:
    before: dict[str, Layer] = {}
    for name, layer in file.layers.items():
        if layer.money is not None and file.money is None:
            what = "the layering does not say which property is added up"
            document.report("FO102", (*loc, name, "money"), what, hint="`money: amount` beside `event`")
        takers = _takers(file, before, layer)
        if takers:
            _nobody(document, (*loc, name), before, layer, takers)
        before[name] = layer


def _nobody(document: Document, loc: Loc, before: Mapping[str, Layer], layer: Layer, takers: list[str]) -> None:
    name = loc[-1]
    rest = next((each for each in takers if before[each].is_rest), None)
    if layer.is_rest and rest is None:
        return  # whoever should be left after all
    hint = f"put `{rest}` last" if rest else f"put `{name}` before `{takers[0]}`, or change what one of them asks"
    them = " and ".join(f"`{each}`" for each in takers)
    what = f"nobody is left for `{name}`: {them} before it take{'s' if len(takers) == 1 else ''} everyone"
    document.report_key("FO409", loc, what if rest else f"{what} whom it asks for", hint=hint)


def _takers(file: Layering, before: Mapping[str, Layer], layer: Layer) -> list[str]:
    """The layers that are asked before and leave nobody for this one; none where it is not sure.

    Where nothing tells how far back the history goes, frequency counts from where it
    begins, and recency beyond, so that the one says nothing of the other.
    """
    wanted = _times(file, layer)
    every = Times(0, None)
    taking = {name: other.frequency or every for name, other in before.items() if _asks_no_more(file, other, layer)}
    alone = next((name for name, times in taking.items() if not _left(wanted, [times])), None)
    if alone is not None:
        return [alone]
    return [] if _left(wanted, list(taking.values())) else list(taking)


def _times(file: Layering, layer: Layer) -> Times:
    """How often, within the layering's `within`, the event came to who is in the layer."""
    least, most = layer.frequency or Times(0, None)
    lately = layer.recency is not None and file.within is not None and layer.recency <= file.within
    return Times(max(least, 1 if lately or layer.money is not None else 0), most)


def _left(wanted: Times, taken: Sequence[Times]) -> bool:
    """Whether some number of times is wanted that is in none of those taken."""
    at = wanted.least
    for least, most in sorted(taken, key=lambda times: times.least):
        if least <= at and most is None:
            return False
        if least <= at and most is not None:
            at = max(at, most + 1)
    return wanted.most is None or at <= wanted.most


def _asks_no_more(file: Layering, other: Layer, layer: Layer) -> bool:
    """Whether who is in the layer has what the other asks besides its frequency."""
    within = file.within
    counted = layer.money is not None or (layer.frequency is not None and layer.frequency.least > 0)
    spans = [span for span in (layer.recency, within if counted else None) if span is not None]
    lately = other.recency is None or any(span <= other.recency for span in spans)
    return lately and (other.money is None or (layer.money is not None and other.money <= layer.money))


def misspelt(checked: Checked, layerings: Mapping[str, CheckedLayering]) -> Iterator[tuple[str, str]]:
    """(layering, text) where a layering is compared with a text that is none of its layers."""
    if layerings:
        yield from _compared(checked.node, layerings)


def _compared(node: Node, layerings: Mapping[str, CheckedLayering]) -> Iterator[tuple[str, str]]:
    if isinstance(node, Strict):
        named = [arg.name for arg in node.args if isinstance(arg, Ref) and arg.kind == "user" and arg.name in layerings]
        for name in named:
            texts = [arg.value for arg in node.args if isinstance(arg, Const)]
            if node.template in ("{0} == {1}", "{0} != {1}", "{0} in {1}"):
                given = {text for each in texts for text in (each if isinstance(each, frozenset) else {each})}
                yield from ((name, text) for text in sorted(given - {*layerings[name].file.layers}))
    for child in children(node):
        yield from _compared(child, layerings)
