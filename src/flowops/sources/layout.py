"""Where the fields of a record stand, and the structs that are generated to decode just these (S1).

Paths make a tree. A field at top level is decoded into the attribute that it is for; deeper ones are decoded into
nested structs, and lifted from there by a step over the rows. A path that several attributes use is decoded once. One
that leads on below another field is walked in that field's value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from flowops.core.plan import Source
from flowops.errors import InputError
from flowops.sources.values import UnfitError

Path: TypeAlias = tuple[str, ...]
Step: TypeAlias = Callable[[Sequence[Any]], None]
"""One pass over decoded rows, in place. Raises `UnfitError` for a value that is not what was declared."""

Field: TypeAlias = tuple[str, Any, Any]
"""(attribute, type, default)"""


_HIDDEN = "\x7f"
"""Begins the name, in the input, of an attribute that is not read from the input."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One attribute of a `Row`, and where the input has it."""

    attribute: str
    label: str
    kind: str  # a type of the language, or `id`, `optional_id`, `event_id`, `ts`, `receipt`, `action`, `named`
    paths: tuple[Path, ...]  # the first that the record carries
    absent: Any  # what the row has if the record does not carry it: None, or UNSET
    required: bool  # of every record
    named: bool  # by the mapping: a table must have the column

    def fail(self, error: UnfitError) -> UnfitError:
        """The refusal of a value, with the field's name."""
        path = ".".join(self.paths[0])
        where = f"`{self.label}`" if path == self.label else f"`{self.label}` (`{path}`)"
        return UnfitError(error.reason, f"{where}: {error.detail}")


_EVENT = {
    "events": ("event", "id"),
    "segments": ("segment", "id"),
    "receipts": ("receipt", "receipt"),
    "identities": ("identity", "id"),
}
"""By kind of source: what a record's `event` is called, and its type."""


def slots(source: Source) -> tuple[Slot, ...]:
    """What has to be decoded of a record of `source`, key fields first."""
    receipts = source.kind == "receipts"
    user = source.user_id
    found = [
        Slot("user_id", "user_id", "optional_id", (user,), None, required=False, named=user != ("user_id",))
        if receipts
        else Slot("user_id", "user_id", "id", (user,), UNSET, required=True, named=True)
    ]
    if source.kind in _EVENT and source.event is None:
        label, kind = _EVENT[source.kind]
        kind = "named" if any(source.around) else kind
        found.append(Slot("event", label, kind, (source.event_path,), UNSET, required=True, named=True))
    if source.time.path is not None:
        found.append(Slot("ts", "ts", "ts", (source.time.path,), UNSET, required=True, named=True))
    single = len(source.event_id) == 1
    for number, path in enumerate(source.event_id):
        attribute = "event_id" if single else f"e{number}"
        found.append(Slot(attribute, "event_id", "event_id", (path,), None, required=False, named=True))
    inside = source.properties_path or ()
    for column in source.columns:
        paths = (column.path, inside + column.path) if inside else (column.path,)
        required = receipts and column.name == "dispatch_id"
        absent = UNSET if source.kind == "profiles" or required else None
        kind = "id" if required else "action" if source.kind == "segments" else column.type
        named = required or column.path != (column.name,)
        found.append(Slot(column.attribute, column.name, kind, paths, absent, required=required, named=named))
    return tuple(found)


def find_column(where: str, slot: Slot, header: Sequence[str]) -> int | None:
    """Which column of a table is a slot's; None: it has none, and need not. Raises `InputError`."""
    for path in slot.paths:
        name = ".".join(path)
        count = header.count(name)
        if count > 1:
            raise InputError(f"{where} has {count} columns `{name}`\n  try: give each its own name")
        if count:
            return header.index(name)
    if not slot.named:
        return None
    name = ".".join(slot.paths[0])
    near = get_close_matches(name, header, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"name it in the source's `fields` (`{slot.label}: ...`)"
    columns = ", ".join(f"`{column}`" for column in header[:40]) + (", ..." if len(header) > 40 else "")
    raise InputError(f"{where} has no column `{name}` for `{slot.label}`; it has {columns}\n  try: {hint}")


@dataclass(frozen=True, slots=True)
class Layout:
    """What decodes the records of a source."""

    struct: type[msgspec.Struct]
    lifts: list[Step]
    """What brings deeper fields up, to be run in this order."""
    loose: frozenset[int]
    """Slots whose values may have been decoded as anything."""
    deep: frozenset[int]
    """Slots that are only there after the lifts."""


def layout(
    slots: Sequence[Slot], types: Sequence[Any], extra: Sequence[Field], constants: Mapping[str, Any], *, strict: bool
) -> Layout:
    """A struct with an attribute for each slot, decoded as `types`, and for each of `extra`, which is not decoded.

    `constants` are attributes of the class. Strictly, a required field of top level must be there.
    """
    leaves = _leaves(slots)
    kinds: dict[Path, Any] = {}
    owners: dict[Path, int] = {}
    for path, users in leaves.items():
        wanted = [types[number] for number, _ in users]
        alike = all(kind == wanted[0] for kind in wanted) and not any(rest for _, rest in users)
        kinds[path] = wanted[0] if alike else Any
        if len(path) == 1:
            owners[path] = next(number for number, rest in users if not rest)
    owned = {number: path for path, number in owners.items()}
    tree = _tree(kinds)
    roots = {name: f"n{number}" for number, name in enumerate(tree)}
    must: list[tuple[str, Any]] = []
    may: list[Field] = [(root, _node(tree[name]) | None, None) for name, root in roots.items()]
    names = {root: name for name, root in roots.items()}
    for number, slot in enumerate(slots):
        own = owned.get(number)
        kind = kinds[own] if own else None
        names[slot.attribute] = own[0] if own else _HIDDEN + slot.attribute
        if own and slot.required and strict:
            must.append((slot.attribute, kind))
        else:
            may.append((slot.attribute, _or_unset(kind) if slot.absent is UNSET else kind, slot.absent))
    names |= {attribute: _HIDDEN + attribute for attribute, _, _ in extra}
    struct = msgspec.defstruct("Row", [*must, *may, *extra], rename=names, namespace=dict(constants), gc=False)
    loose = {number for path, users in leaves.items() if kinds[path] is Any for number, _ in users}
    return Layout(
        struct,
        _lifts(slots, leaves, owners, tree, roots),
        frozenset(loose),
        frozenset(range(len(slots))) - frozenset(owned),
    )


def _or_unset(kind: Any) -> Any:
    return kind if kind is Any else UnsetType | kind


def _leaves(slots: Sequence[Slot]) -> dict[Path, list[tuple[int, Path]]]:
    """The paths to decode; with each the slots that use it, and how their own path leads on below it."""
    paths = {path for slot in slots for path in slot.paths}
    leaves: dict[Path, list[tuple[int, Path]]] = {}
    for number, slot in enumerate(slots):
        for path in slot.paths:
            leaf = _leaf(path, paths)
            leaves.setdefault(leaf, []).append((number, path[len(leaf) :]))
    return leaves


def _leaf(path: Path, paths: set[Path] | Mapping[Path, Any]) -> Path:
    return next(path[:length] for length in range(1, len(path) + 1) if path[:length] in paths)


def _tree(kinds: Mapping[Path, Any]) -> dict[str, Any]:
    """The deeper paths as nested dicts, with the types at the ends."""
    tree: dict[str, Any] = {}
    for path, kind in kinds.items():
        if len(path) > 1:
            node = tree
            for name in path[:-1]:
                node = node.setdefault(name, {})
            node[path[-1]] = kind
    return tree


def _node(tree: Mapping[str, Any]) -> type[msgspec.Struct]:
    """The struct of an inner node; its attributes are `f0`, `f1`, ... in the order of the names."""
    fields: list[Field] = [
        (f"f{number}", _node(below) | None, None)
        if isinstance(below, dict)
        else (f"f{number}", _or_unset(below), UNSET)
        for number, below in enumerate(tree.values())
    ]
    names = {f"f{number}": name for number, name in enumerate(tree)}
    return msgspec.defstruct("Node", fields, rename=names, gc=False)


def _lifts(
    slots: Sequence[Slot],
    leaves: Mapping[Path, Any],
    owners: Mapping[Path, int],
    tree: Mapping[str, Any],
    roots: Mapping[str, str],
) -> list[Step]:
    """A step for each attribute of the row from which others are filled; first paths before second ones."""
    steps: list[Step] = []
    for rank in range(max(len(slot.paths) for slot in slots)):
        moves: dict[str, list[tuple[str, Any, Path, Path]]] = {}
        for number, slot in enumerate(slots):
            if rank >= len(slot.paths):
                continue
            path = slot.paths[rank]
            leaf = _leaf(path, leaves)
            chain: list[str] = []
            if len(leaf) == 1:
                if owners[leaf] == number and path == leaf:
                    continue
                root = slots[owners[leaf]].attribute
            else:
                root, node = roots[leaf[0]], tree[leaf[0]]
                for name in leaf[1:]:
                    chain.append(f"f{list(node).index(name)}")
                    node = node[name]
            moves.setdefault(root, []).append((slot.attribute, slot.absent, tuple(chain), path[len(leaf) :]))
        steps += [_lift(root, tuple(found)) for root, found in moves.items()]
    return steps


def _lift(root: str, moves: tuple[tuple[str, Any, Path, Path], ...]) -> Step:
    get = attrgetter(root)
    flat = [
        (attribute, attrgetter(attribute), absent, attrgetter(chain[0]))
        for attribute, absent, chain, rest in moves
        if len(chain) == 1 and not rest
    ]

    def step(rows: Sequence[Any]) -> None:
        inners = list(map(get, rows))
        lacking = inners.count(None)
        if lacking == len(rows):
            return  # as in a source whose records are flat
        if not lacking and len(flat) == len(moves):  # as in one whose properties are all inside: a column at a time
            for attribute, top, absent, below in flat:
                for row, held, value in zip(rows, map(top, rows), map(below, inners), strict=True):
                    if held is absent and value is not UNSET:
                        setattr(row, attribute, value)
            return
        for row, inner in zip(rows, inners, strict=True):
            if inner is None or inner is UNSET:
                continue
            for attribute, absent, chain, rest in moves:
                if getattr(row, attribute) is absent:
                    value = inner
                    for name in chain:
                        value = getattr(value, name)
                        if value is None or value is UNSET:
                            break
                    for key in rest:
                        value = value.get(key, UNSET) if isinstance(value, dict) else UNSET
                    if value is not UNSET:
                        setattr(row, attribute, value)

    return step
