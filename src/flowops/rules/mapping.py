"""The field mapping of a source (S1): where each thing that the engine wants stands in the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flowops.core.plan import Column, TimeField
from flowops.core.time import Zone
from flowops.rules.inputs import Inputs, tabular
from flowops.rules.schema_project import ProjectFile, Source

Path: TypeAlias = "tuple[str, ...]"


TOLD: Mapping[str, tuple[str, ...]] = {"receipts": ("dispatch_id", "detail"), "segments": ("action",), "identities": ()}
"""What a record of such a source holds beside who, what and when; `p0`, `p1` of its rows."""


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """A source's mapping, resolved. `wanted` are the columns that it cannot do without, by the key that names them."""

    name: str
    user_id: Path
    event_path: Path
    event_id: tuple[Path, ...]
    time: TimeField
    properties_path: Path | None
    renamed: Mapping[str, Path]
    wanted: tuple[tuple[str, Path], ...]

    def path_of(self, name: str) -> Path:
        """Where a property or attribute stands."""
        return self.renamed.get(name, (name,))


def resolve(project: ProjectFile, name: str, source: Source, inputs: Inputs) -> SourceLayout:
    """Fill in what the mapping leaves out: the names of S1, where the files could have them."""
    fields = source.mapping
    whole = tabular(source.file)  # the dot in a CSV column's name is no path

    def path(text: str) -> Path:
        return (text,) if whole else tuple(text.split("."))

    def renamed_path(name: str) -> Path:
        return path(fields.others.get(name, name))

    events, receipts, segments, identities = (
        source.kind == kind for kind in ("events", "receipts", "segments", "identities")
    )
    user_id = path(fields.user_id or "user_id")
    wanted: list[tuple[str, Path]] = []
    if fields.user_id is not None or not receipts:
        wanted.append(("user_id", user_id))
    event_path: Path = ()
    if events and source.event is None:
        event_path = path(fields.event or "event")
        wanted.append(("event", event_path))
    elif receipts:
        event_path = renamed_path("receipt")
        wanted += [("dispatch_id", renamed_path("dispatch_id")), ("receipt", event_path)]
    elif source.segment_parts is not None:
        event_path = path(source.segment_parts[1])
        wanted.append(("segment", event_path))
    elif identities:
        event_path = renamed_path("identity")
        wanted.append(("identity", event_path))
    elif segments and source.segment is None:
        event_path = renamed_path("segment")
        wanted.append(("segment", event_path))
    event_id: tuple[Path, ...] = ()
    if fields.event_id is not None:
        event_id = tuple(path(each) for each in fields.event_id)
        wanted += [("event_id", each) for each in event_id]
    elif (events or receipts) and inputs.may_have("event_id"):
        event_id = (("event_id",),)
    time = TimeField(None, None, None)
    if fields.ts is not None or events or receipts or ((segments or identities) and inputs.may_have("ts")):
        unit, zone = (fields.ts.unit, fields.ts.zone) if fields.ts else (None, None)
        time = TimeField(path(fields.ts.path if fields.ts else "ts"), unit, Zone(zone or project.zone))
        wanted.append(("ts", time.path or ()))
    properties: Path | None = None
    if fields.properties is not None:
        properties = path(fields.properties)
        wanted.append(("properties", properties))
    elif events and not whole and inputs.may_have("properties"):
        properties = ("properties",)
    renamed = {key: path(text) for key, text in fields.others.items()}
    wanted += [each for each in renamed.items() if each not in wanted]
    return SourceLayout(name, user_id, event_path, event_id, time, properties, renamed, tuple(wanted))


def events_of(source: Source, events: Iterable[str]) -> list[str]:
    """Those of the events that the source can produce."""
    if source.kind != "events":
        return []
    return [event for event in events if source.event in (None, event)]


def columns_of(
    project: ProjectFile, layout: SourceLayout, used: Mapping[str, set[str]], attributes: Sequence[str]
) -> list[Column]:
    """What to decode of a source: the properties (or attributes) that plans use, numbered."""
    source = project.sources[layout.name]
    types: dict[str, str] = {}
    if source.kind == "profiles":
        types = {name: project.profile[name].type for name in attributes if name in project.profile}
    elif source.kind in TOLD:
        types = dict.fromkeys(TOLD[source.kind], "string")
    else:
        for event in events_of(source, project.events):
            declared = project.events[event].properties
            types |= {name: declared[name] for name in used.get(event, ()) if name in declared}
        types = dict(sorted(types.items()))
    return [
        Column(f"p{number}", name, layout.path_of(name), type_) for number, (name, type_) in enumerate(types.items())
    ]
