"""flowops.yaml against itself, its plans and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowops.core.plan import SEGMENT
from flowops.rules.check import CheckedPlan, segments_of
from flowops.rules.compile import in_scope, used_attributes, used_properties
from flowops.rules.document import Document, Loc
from flowops.rules.inputs import Inputs
from flowops.rules.mapping import SourceLayout, events_of
from flowops.rules.names import ANY
from flowops.rules.schema_project import Cap, ProjectFile, Scope
from flowops.settings.guess import did_you_mean, one_of
from flowops.settings.quiet import NEVER_END, never_end

_TOLD = {
    "receipts": ("dispatch_id", "receipt", "detail"),
    "segments": ("segment", "action"),
    "identities": ("identity",),
}
"""Fields of sources that are neither events nor profiles, beside `user_id`, `event_id` and `ts`."""


def check_declarations(project: ProjectFile, document: Document) -> None:
    """What flowops.yaml says of itself: constant events, mapped names, addresses, consents, channels' files."""
    for name, source in project.sources.items():
        loc: Loc = ("sources", name)
        if source.event is not None and source.event not in project.events:
            hint = one_of(source.event, project.events)
            document.report("FO302", (*loc, "event"), f"the event `{source.event}` is not declared", hint=hint)
            continue  # nor are its properties
        declared: set[str] = set(project.profile)
        if source.kind in _TOLD:
            declared = set(_TOLD[source.kind])
        if source.kind == "events":
            declared = {
                name for event in events_of(source, project.events) for name in project.events[event].properties
            }
        for field in source.mapping.others:
            if field not in declared:
                known = ["user_id", "event", "event_id", "ts", "properties", *sorted(declared)]
                if source.kind in _TOLD:
                    known = ["user_id", "event_id", "ts", *sorted(declared)]
                whose = {"profiles": " and no attribute of the profile", "events": " and no property of its events"}
                what = whose.get(source.kind, f" of a source of {source.kind}")
                document.report_key(
                    "FO101", (*loc, "fields", field), f"`{field}` is no field{what}", hint=one_of(field, known)
                )
    files: dict[str, str] = {}
    for name, channel in project.channels.items():
        loc = ("channels", name)
        if channel.file is not None and channel.file in files:
            what = f"the channel `{files[channel.file]}` writes this file, too"
            document.report("FO309", (*loc, "path"), what, channel.file, "a file for each channel")
        elif channel.file is not None:
            files[channel.file] = name
        _attribute(project, document, (*loc, "address"), channel.address, "string")
        if channel.consent is not None:
            _attribute(project, document, (*loc, "consent", "opt_in"), channel.consent.opt_in, "boolean")
            _attribute(project, document, (*loc, "consent", "opt_out"), channel.consent.opt_out, "boolean")
        if channel.quiet is not None and never_end(channel.quiet):
            document.report("FO215", (*loc, "quiet"), NEVER_END, hint="name the hours, or leave `quiet` out")
    if project.quiet is not None and never_end(project.quiet):
        document.report("FO215", ("quiet",), NEVER_END, hint="name the hours, or leave `quiet` out")
    zones = [name for name, attribute in project.profile.items() if attribute.type == "zone"]
    if len(zones) > 1:
        what = f"`{zones[0]}` already is the user's own zone"
        document.report("FO107", ("profile", zones[1]), what, hint="only one attribute may have the type `zone`")


def _attribute(project: ProjectFile, document: Document, loc: Loc, name: str | None, wanted: str) -> None:
    if name is None:
        return
    attribute = project.profile.get(name)
    if attribute is None:
        hint = one_of(name, project.profile)
        document.report("FO303", loc, f"the profile has no attribute `{name}`", hint=hint)
    elif attribute.type != wanted:
        what = f"`{name}` is {attribute.type}, `{loc[-1]}` needs {wanted}"
        document.report("FO310", loc, what, hint=f"declare `{name}: {wanted}`, if it is")


def check_caps(project: ProjectFile, document: Document, plans: Sequence[CheckedPlan]) -> None:
    """Every scope must name something that is there, and every key must be carried by what it counts."""
    checker = _Scopes(project, plans)
    for number, cap in enumerate(project.caps):
        loc: Loc = ("caps", number)
        if cap.scope == "plan":
            document.report(
                "FO107", (*loc, "scope"), "a cap of the project has no plan of its own", hint="{plan: NAME}"
            )
        checker.cap(document, loc, cap, plans)
    for plan in plans:
        for number, cap in enumerate(plan.file.caps):
            checker.cap(plan.document, ("caps", number), cap, [plan])
        window = plan.file.skip_if_reached
        if window is not None and window.by is not None:
            others = [other for other in plans if other is not plan]
            checker.scope(plan.document, ("skip_if_reached", "by"), window.by, others)


class _Scopes:
    def __init__(self, project: ProjectFile, plans: Sequence[CheckedPlan]) -> None:
        self.project = project
        self.plans = plans
        self.known: dict[str, set[str]] = {
            "group": {plan.file.group for plan in plans},
            "tag": {tag for plan in plans for tag in plan.file.tags},
            "plan": {plan.file.plan for plan in plans},
        }

    def cap(self, document: Document, loc: Loc, cap: Cap, bound: Sequence[CheckedPlan]) -> None:
        """Its scope and its key; `bound` are the plans that it binds."""
        scope = cap.scope
        if isinstance(scope, Scope) and not self.scope(document, (*loc, "scope"), scope, self.plans):
            return
        if cap.key is None or any(plan.carries(cap.key) for plan in bound):
            return
        whose = "any trigger" if len(bound) != 1 else "the trigger"
        carried = sorted({name for plan in bound for types in plan.trigger.steps.values() for name in types})
        what = f"`key: {cap.key}`: no event of {whose} has such a property, so the cap counts nothing"
        document.report("FO303", (*loc, "key"), what, hint=one_of(cap.key, carried) if carried else None)

    def scope(self, document: Document, loc: Loc, scope: Scope, plans: Sequence[CheckedPlan]) -> bool:
        """Whether each name is known, and some of the plans fit all of them."""
        fine = True
        if scope.channel is not None and scope.channel not in self.project.channels:
            hint = one_of(scope.channel, self.project.channels)
            document.report("FO304", (*loc, "channel"), f"the channel `{scope.channel}` is not declared", hint=hint)
            fine = False
        for key, names in self.known.items():
            name = getattr(scope, key)
            if name is not None and name not in names:
                fine = False
                hint = one_of(name, sorted(names))
                what = f"there is no plan `{name}`" if key == "plan" else f"no plan has the {key} `{name}`"
                document.report("FO305", (*loc, key), what, hint=hint)
        if fine and not any(in_scope(scope, plan) for plan in plans):
            which = "" if plans is self.plans else "other "
            document.report("FO305", loc, f"no {which}plan fits all that the scope names", hint="name less")
            fine = False
        return fine


def check_inputs(
    project: ProjectFile, document: Document, inputs: Mapping[str, Inputs], layouts: Mapping[str, SourceLayout]
) -> None:
    """The files are there, and their headers have what the mapping names."""
    for name, source in project.sources.items():
        loc: Loc = ("sources", name)
        for problem in inputs[name].problems:
            document.report(problem.code, (*loc, "file", problem.entry), problem.what, hint=problem.hint)
        for key, path in layouts[name].wanted:
            lacking = inputs[name].lacking(path[0])
            if lacking is not None:
                has = sorted(inputs[name].columns[lacking])
                what = f"`{lacking.name}` has no column `{path[0]}`, which `{key}` is read from"
                if key == "segment" and source.segment is not None:
                    document.report("FO503", (*loc, "segment"), what, hint=one_of(path[0], has))
                    continue
                named = source.mapping.model_fields_set | set(source.mapping.others)
                hint = (
                    one_of(path[0], has) if key in named else f"name it: `fields: {{{key}: COLUMN}}`; {one_of('', has)}"
                )
                document.report("FO503", (*loc, "fields", key), what, hint=hint)
        if source.kind == "profiles" and source.mapping.ts is None and inputs[name].has("ts"):
            what = "the records have a time, `ts`, but `fields` does not name it"
            document.report("FO508", loc, what, hint="`ts: ts`, if it is the time of the update")


def check_supply(
    project: ProjectFile,
    document: Document,
    plans: Sequence[CheckedPlan],
    inputs: Mapping[str, Inputs],
    layouts: Mapping[str, SourceLayout],
) -> None:
    """What plans use must come from somewhere: events, their properties, attributes; of one type in one source."""
    used = used_properties(plans)
    for plan in plans:
        heard: list[tuple[Loc, str]] = [
            ((*part.loc, "event"), part.heard.event) for part in plan.trigger.parts if part.heard.change is None
        ]
        heard += [((*look.loc, "event"), look.heard.event) for look in plan.looks]
        heard += [(("goals", n, "event"), aim.heard.event) for n, aim in enumerate(plan.aims) if aim.heard]
        heard.sort(key=lambda each: plan.document.place(each[0]), reverse=True)
        places = {event: loc for loc, event in heard}  # one mistake, however often it stands there
        for event, loc in places.items():
            if event != ANY and not any(events_of(source, [event]) for source in project.sources.values()):
                made = sorted({source.event for source in project.sources.values() if source.event})
                near = did_you_mean(event, made)
                hint = near or (
                    f"the sources give {', '.join(f'`{name}`' for name in made)}" if made else "add a source"
                )
                plan.document.report("FO505", loc, f"no source produces the event `{event}`", hint=hint)
    for event, names in used.items():
        givers = [name for name, source in project.sources.items() if events_of(source, [event])]
        for name in sorted(names):
            if givers and not any(_may_have(inputs[g], layouts[g], name) for g in givers):
                what = f"plans use `{name}` of `{event}`, but no file of {', '.join(givers)} has such a column"
                hint = one_of(name, sorted({c for g in givers for names in inputs[g].columns.values() for c in names}))
                document.report("FO507", ("events", event, "properties", name), what, hint=hint)
    for name, source in project.sources.items():
        types: dict[str, tuple[str, str]] = {}
        for event in events_of(source, used):
            for prop in sorted(used[event]):
                type_ = project.events[event].properties[prop]
                first, other = types.setdefault(prop, (event, type_))
                if other != type_:
                    what = f"`{prop}` is {type_} here and {other} in `{first}`, and the source `{name}` gives both"
                    document.report("FO311", ("events", event, "properties", prop), what, hint="one name, one type")
    givers = [name for name, source in project.sources.items() if source.kind == "profiles"]
    for name in used_attributes(project, plans):
        if name in project.profile and not any(_may_have(inputs[giver], layouts[giver], name) for giver in givers):
            what = f"plans use `user.{name}`, but no profiles source gives it: it is always NULL"
            hint = (
                f"name its column under `fields` of `{givers[0]}`" if givers else "add a source with `kind: profiles`"
            )
            document.report("FO506", ("profile", name), what, hint=hint)


def check_segments(
    project: ProjectFile,
    plans: Sequence[CheckedPlan],
    inputs: Mapping[str, Inputs],
    layouts: Mapping[str, SourceLayout],
) -> None:
    """Every segment that an audience names must come from somewhere, as far as that can be known."""
    known = {goal.label for plan in plans for goal in plan.file.goals if goal.label is not None}
    made: list[tuple[str, str, str]] = []
    for name, source in project.sources.items():
        if source.kind != "segments":
            continue
        if source.segment_parts is not None:
            made.append(source.segment_parts)
            continue
        found = {source.segment} if source.segment else inputs[name].values(layouts[name].event_path)
        if found is None:
            return
        known |= found
    for plan in plans:
        audience = plan.file.audience
        named = list(segments_of(audience, ("audience",))) if audience else []
        for part in plan.trigger.parts:
            change = part.heard.change
            if change is not None and change.attribute.startswith(SEGMENT):
                named.append(
                    ((*part.loc, "enters" if change.new else "leaves"), change.attribute.removeprefix(SEGMENT))
                )
        for loc, segment in named:
            fits = any(
                segment.startswith(before) and segment.endswith(behind) and len(segment) > len(before + behind)
                for before, _, behind in made
            )
            if segment not in known and not fits:
                names = sorted(known | {f"{before}..{behind}" for before, _, behind in made})
                hint = one_of(segment, names) if names else "add a source with `kind: segments`"
                plan.document.report("FO312", loc, f"no source gives the segment `{segment}`", hint=hint)


def check_everyone(project: ProjectFile, plans: Sequence[CheckedPlan]) -> None:
    """A schedule is for those of whom something is told."""
    if any(source.kind in ("profiles", "segments") for source in project.sources.values()):
        return
    for plan in plans:
        if plan.trigger.everyone:
            what = "a schedule is for all with a profile or a segment, and no source gives any: nobody gets this"
            plan.document.report("FO510", ("trigger",), what, hint="add a source with `kind: profiles`")


def check_receipts(project: ProjectFile, document: Document, plans: Sequence[CheckedPlan]) -> None:
    """A channel that waits for receipts needs a source of them."""
    if any(source.kind == "receipts" for source in project.sources.values()):
        return
    used = {message.channel for plan in plans for message in plan.send.messages}
    for name, channel in project.channels.items():
        if name in used and channel.undelivered_after is not None:
            what = f"`{name}` waits for receipts, but no source gives any: every message counts as undelivered"
            document.report("FO509", ("channels", name, "receipts"), what, hint="add a source with `kind: receipts`")


def _may_have(inputs: Inputs, layout: SourceLayout, name: str) -> bool:
    return layout.properties_path is not None or inputs.may_have(layout.path_of(name)[0])
