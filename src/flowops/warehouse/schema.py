"""The facts that are landed: which there are, and how their columns are stored, derived from the NamedTuples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from flowops.core.effects import Decision, Flag, GoalEvent, Ids, Label, Link, Pending, Receipt, StageChange, Text, Time
from flowops.core.plan import Project
from flowops.core.records import DeadLetter, LateRecord, Micros
from flowops.errors import RunError


class PlanVersion(NamedTuple):
    """A version of a plan as published; None as `published_at`: before the first record (S12a)."""

    plan: Label
    version: Label
    name: Text
    plan_group: Label
    owner: Label | None
    tags: Ids
    zone: Label
    compares: Flag  # some of its users are held out (S23)
    published_at: Time | None


class PlanGoal(NamedTuple):
    """A goal of a version of a plan; without it a goal that nobody attained could not be reported."""

    plan: Label
    version: Label
    goal: Label
    goal_window: int  # microseconds
    credit: Label
    target: float | None
    receipt: Label | None  # the receipt that attains it; None: an event


@dataclass(frozen=True, slots=True)
class Storage:
    """How a column is stored: its Arrow type, its DuckDB type, and the conversion of its values."""

    arrow: Any
    duckdb: str
    convert: Callable[[Sequence[Any]], Any]
    repeats: bool = False  # worth a dictionary in the Parquet file
    ordered: bool = False  # worth statistics: readers skip row groups by them


def _plain(arrow: Any) -> Callable[[Sequence[Any]], Any]:
    def convert(values: Sequence[Any]) -> Any:
        if values[0] is None and values.count(None) == len(values):  # many columns seldom have a value
            return pa.nulls(len(values), arrow)
        return pa.array(values, arrow)

    return convert


_LABEL = pa.dictionary(pa.int32(), pa.string())


def _labels(values: Sequence[str | None]) -> Any:
    distinct = dict.fromkeys(values)
    if len(distinct) == 1:  # the usual case: one plan, one channel, no variant
        (label,) = distinct
        if label is None:
            return pa.nulls(len(values), _LABEL)
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(values)), pa.array([label]))
    distinct.pop(None, None)
    numbers = {label: number for number, label in enumerate(distinct)}
    indices = pa.array(list(map(numbers.get, values)), pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(numbers), pa.string()))


_MONEY = pa.decimal128(18, 4)


def _money(values: Sequence[float | None]) -> Any:
    if values.count(None) == len(values):
        return pa.nulls(len(values), _MONEY)
    return pa.array(values, pa.float64()).cast(_MONEY)


_TEXT = Storage(pa.string(), "VARCHAR", _plain(pa.string()))
_TIME = pa.timestamp("us", tz="UTC")

STORAGE: Mapping[str, Storage] = {
    "id": _TEXT,
    "text": _TEXT,
    "label": Storage(_LABEL, "VARCHAR", _labels, repeats=True, ordered=True),
    "time": Storage(_TIME, "TIMESTAMPTZ", _plain(_TIME), ordered=True),
    "day": Storage(pa.date32(), "DATE", _plain(pa.date32()), repeats=True, ordered=True),
    "money": Storage(_MONEY, "DECIMAL(18,4)", _money),
    "ids": Storage(pa.list_(pa.string()), "VARCHAR[]", _plain(pa.list_(pa.string()))),
    "flag": Storage(pa.bool_(), "BOOLEAN", _plain(pa.bool_())),
    "str": Storage(pa.string(), "VARCHAR", _plain(pa.string()), repeats=True),
    "int": Storage(pa.int64(), "BIGINT", _plain(pa.int64()), ordered=True),
    "float": Storage(pa.float64(), "DOUBLE", _plain(pa.float64())),
}
"""By the tag of the annotation (`effects.Label` is tagged `label`); for a bare type, by its name."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation."""

    name: str
    storage: Storage


@dataclass(frozen=True, slots=True)
class Relation:
    """Facts of one kind, as they are landed."""

    name: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> Any:
        """The Arrow schema."""
        return pa.schema([(column.name, column.storage.arrow) for column in self.columns])

    def table(self, columns: Sequence[Sequence[object]]) -> Any:
        """The columns as an Arrow table. Raises RunError where a value cannot be stored."""
        arrays = []
        for column, values in zip(self.columns, columns, strict=True):
            try:
                arrays.append(column.storage.convert(values))
            except (pa.ArrowException, UnicodeError, OverflowError) as error:
                raise RunError(
                    f"a value of {self.name}.{column.name} cannot be stored as {column.storage.duckdb}: {error}"
                ) from error
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _tag(fact: type, name: str, hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1])
    if "Micros" in str(fact.__annotations__[name]):  # an alias of int, told apart only by how it is written
        return "time"
    return str(hint.__name__)


def columns_of(fact: type) -> Iterator[Column]:
    """The columns that the annotations of `fact`, a NamedTuple, declare."""
    for name, hint in get_type_hints(fact, include_extras=True).items():
        yield Column(name, STORAGE[_tag(fact, name, hint)])


STATEMENT = Column("statement", STORAGE["int"])
"""Which statement of what is pending a row belongs to: the number of segments at which the run that made it began."""

_FACTS: Mapping[str, type] = {
    "decisions": Decision,
    "stage_changes": StageChange,
    "receipt_facts": Receipt,
    "goal_facts": GoalEvent,
    "links": Link,
    "late": LateRecord,
    "dead_letters": DeadLetter,
    "pending_facts": Pending,
    "plan_versions": PlanVersion,
    "plan_goals": PlanGoal,
}

RELATIONS: Mapping[str, Relation] = {
    name: Relation(name, (*columns_of(fact), *((STATEMENT,) if fact is Pending else ())))
    for name, fact in _FACTS.items()
}
"""Every relation that can be landed, by name."""


def plan_facts(project: Project, published_at: Micros | None) -> dict[str, list[PlanVersion] | list[PlanGoal]]:
    """What to land when a run begins with the plans of `project`: rows by relation.

    To be landed by every run; a version that is there already keeps its first `published_at` (None: published before
    the first record, as in a replay).
    """
    return {
        "plan_versions": [
            PlanVersion(p.id, p.version, p.name, p.group, p.owner, p.tags, p.zone.name, p.compares, published_at)
            for p in project.plans
        ],
        "plan_goals": [
            PlanGoal(plan.id, plan.version, goal.name, goal.window, goal.credit, goal.target, goal.receipt)
            for plan in project.plans
            for goal in plan.goals
        ],
    }
