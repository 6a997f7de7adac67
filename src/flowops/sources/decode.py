"""From the fields of a record to a `Row` (S1).

Two ways lead to the same rows. The strict way lets msgspec check and decode JSON in one go, straight into the struct;
it refuses a record in which one value is not written as declared. The lenient way takes
one record's values as they are, converts each (`values`), and says of a bad one which field it was. JSON goes the
strict way and, where that refuses, the lenient one; CSV and Parquet go the lenient one, a column at a time. A field
that is often written otherwise than declared (ids as numbers) is widened for the strict way after a while: that changes
the speed, never the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import repeat
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta

from flowops.core.plan import Source
from flowops.core.receipts import RECEIPTS
from flowops.core.records import ACTIONS, BEFORE_ALL, Row
from flowops.sources.layout import Field, Layout, Path, Slot, Step, layout, slots
from flowops.sources.values import FIRST, LAST, UNITS, Clock, Convert, UnfitError, converters, day_number

BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for input that it cannot decode."""

_WIDEN_AFTER = 64

_STRICT: dict[str, Any] = {
    "id": Annotated[str, Meta(min_length=1)],
    "event_id": Annotated[str, Meta(min_length=1)] | None,
    "optional_id": Annotated[str, Meta(min_length=1)] | None,
    "named": Annotated[str, Meta(min_length=1)],
    "receipt": Literal.__getitem__(RECEIPTS),
    "action": Literal.__getitem__((*ACTIONS, None)),
    "string": str | None,
    "zone": str | None,
    "number": float | None,
    "money": float | None,
    "boolean": bool | None,
    "time": datetime | None,
    "date": date | None,
    "list": list[Any] | None,
    "object": dict[str, Any] | None,
}

Bad = tuple[int, UnfitError]
"""A bad record's place in its table, and why."""


class Decoder:
    """Makes the rows of one source; `decoder` gives it. What it learns on the way is about speed only."""

    def __init__(self, source: Source) -> None:
        self.slots = slots(source)
        self.clock = Clock(source.time.zone)
        self._unit = source.time.unit
        self._around = source.around
        self.converts = [self._convert(slot.kind) for slot in self.slots]
        self._types = [self._strict_type(slot.kind) for slot in self.slots]
        parts = [slot.attribute for slot in self.slots if slot.kind == "event_id" and slot.attribute != "event_id"]
        self._join = _joining(parts) if parts else None
        self._extra: list[Field] = [("event_id", None, None)] if parts else []
        self._constants: dict[str, Any] = {}
        if all(slot.attribute != "event" for slot in self.slots):
            self._constants["event"] = source.event or ""
        if source.time.path is None:
            self._constants["ts"] = BEFORE_ALL
        if not source.event_id:
            self._constants["event_id"] = None
        fields: list[Field] = [(slot.attribute, Any, slot.absent) for slot in self.slots]
        plain = msgspec.defstruct("Row", fields + self._extra, namespace=dict(self._constants), gc=False)
        self._row = cast("Callable[..., Row]", plain)
        self._wide = self._layout([Any] * len(self.slots), strict=False)
        self._decode_wide = self._reader(self._wide.struct)
        self._repairs: Counter[int] = Counter()
        self._build()

    def _layout(self, types: Sequence[Any], *, strict: bool) -> Layout:
        return layout(self.slots, types, self._extra, self._constants, strict=strict)

    def _reader(self, struct: type[msgspec.Struct]) -> Callable[[Any], Any]:
        """What reads a record into a struct."""
        return msgspec.json.Decoder(struct).decode

    def _convert(self, kind: str) -> Convert:
        """How a value becomes one of a slot of this kind."""
        if kind == "named":
            return self._named(converters(self._unit, self.clock)["id"])
        return converters(self._unit, self.clock)[kind]

    def _named(self, convert: Convert) -> Convert:
        """The name of a segment that is made of what is read."""
        before, behind = self._around
        return lambda value: f"{before}{convert(value)}{behind}"

    def _strict_type(self, kind: str) -> Any:
        if kind != "ts":
            return _STRICT[kind]
        if self._unit is None:
            return datetime
        size = UNITS[self._unit]
        return Annotated[int, Meta(ge=FIRST // size, le=LAST // size)]

    def _build(self) -> None:
        """Generate what decodes strictly, with the fields that were often repaired as whatever they are."""
        types = [Any if self._repairs[n] >= _WIDEN_AFTER else kind for n, kind in enumerate(self._types)]
        found = self._layout(types, strict=True)
        steps = list(found.lifts)
        for number, slot in enumerate(self.slots):
            if number in found.loose:
                steps.append(_converting(slot, self.converts[number]))
                continue
            if slot.required and number in found.deep:
                steps.append(_requiring(slot, self.converts[number]))
            finish = self._finish(slot)
            if finish is not None:
                steps.append(finish)
        if self._join is not None:
            steps.append(self._join)
        self._steps = steps
        self.unit = UNITS[self._unit] if self._unit is not None and not self._ts_is_loose(found) else 1
        self.decode = cast("Callable[[Any], Row]", self._reader(found.struct))

    def _finish(self, slot: Slot) -> Step | None:
        """What makes the value of a row out of one that msgspec decoded strictly; None: it is that already."""
        if slot.kind == "ts" and self._unit is not None:
            return None  # `unit` says what it is
        if slot.kind in ("time", "ts"):
            return _finishing(slot.attribute, self.clock.moment)
        if slot.kind == "named":
            return _finishing(slot.attribute, self._named(str))
        return _finishing(slot.attribute, day_number) if slot.kind == "date" else None

    def _ts_is_loose(self, found: Layout) -> bool:
        return any(self.slots[number].kind == "ts" for number in found.loose)

    def finish(self, rows: Sequence[Row]) -> None:
        """Complete rows of `decode`, in place, but for their times, which are of `unit` microseconds.

        Raises `UnfitError`, and then they are spoilt.
        """
        for step in self._steps:
            step(rows)

    def scale(self, rows: Sequence[Row]) -> None:
        """Turn the times of finished rows into microseconds, where they are to stand beside rows of `line`."""
        if self.unit != 1:
            for row in rows:
                row.ts *= self.unit

    def block(self, lines: Sequence[bytes]) -> list[Row] | None:
        """The rows of records of JSON, their times of `unit`; None where one of them needs a closer look (`lines`)."""
        try:
            rows = list(map(self.decode, lines))
            self.finish(rows)
        except (*BAD_JSON, UnfitError):
            return None
        return rows

    def lines(self, lines: Sequence[bytes]) -> tuple[list[Row | None], list[Bad]]:
        """Records of JSON, each looked at, their times in microseconds. A bad record's row is None."""
        rows: list[Row | None] = []
        odd: list[int] = []
        decode = self.decode
        for number, line in enumerate(lines):
            try:
                rows.append(decode(line))
            except BAD_JSON:
                rows.append(None)
                odd.append(number)
        try:
            good = [row for row in rows if row is not None]
            self.finish(good)
            self.scale(good)
        except UnfitError:
            odd = list(range(len(lines)))
        bad: list[Bad] = []
        for number in odd:
            try:
                rows[number] = self.line(lines[number])
            except UnfitError as error:
                rows[number] = None
                bad.append((number, error))
        return rows, bad

    def line(self, line: bytes) -> Row:
        """One record of JSON, leniently. Raises `UnfitError`."""
        try:
            record = self._decode_wide(line)
        except msgspec.ValidationError as error:
            text = str(error)[:1].lower() + str(error)[1:]
            raise UnfitError("bad_type" if " - at " in text else "unparseable", text) from None
        except UnicodeDecodeError:
            raise UnfitError("unparseable", "a field is not UTF-8") from None
        except RecursionError:
            raise UnfitError("unparseable", "nested too deeply") from None
        except msgspec.MsgspecError as error:
            raise UnfitError("unparseable", str(error)) from None
        for step in self._wide.lifts:
            step((record,))
        values = [getattr(record, slot.attribute) for slot in self.slots]
        row = self.row(values, self.converts)
        self._learn(values)
        return row

    def _learn(self, values: Sequence[Any]) -> None:
        for number, value in enumerate(values):
            if value is not UNSET and not _fits(value, self._types[number]):
                self._repairs[number] += 1
                if self._repairs[number] == _WIDEN_AFTER:
                    self._build()

    def row(self, values: Iterable[Any], converts: Sequence[Convert | None]) -> Row:
        """One record from the values of its slots. Raises `UnfitError`."""
        ready = []
        for slot, convert, value in zip(self.slots, converts, values, strict=True):
            try:
                ready.append(value if convert is None or (value is UNSET and not slot.required) else convert(value))
            except UnfitError as error:
                raise slot.fail(error) from None
        row = self._row(*ready)
        if self._join is not None:
            self._join((row,))
        return row

    def cells(self, cells: Mapping[str, Any]) -> Row:
        """One record from a flat mapping of names to values, as a line of a table. Raises `UnfitError`."""
        return self.row([_cell(slot, cells) for slot in self.slots], self.converts)

    def made(self, values: Mapping[str, Any]) -> Row:
        """A record that was not read but made: `ts` in microseconds, None where there is no value."""
        return self._row(*(values.get(slot.label) for slot in self.slots))

    def table(
        self, columns: Sequence[Sequence[Any] | None], converts: Sequence[Convert | None]
    ) -> tuple[list[Row | None], list[Bad]]:
        """Records from columns, one for each slot (None: the table has none). A bad record's row is None.

        A conversion that is None: the column holds what the rows get.
        """
        try:
            ready = [
                repeat(slot.absent)
                if column is None
                else column
                if convert is None
                else [convert(value) for value in column]
                for slot, column, convert in zip(self.slots, columns, converts, strict=True)
            ]
        except UnfitError:
            return self._one_by_one(columns, converts)
        rows = list(map(self._row, *ready))
        if self._join is not None:
            self._join(rows)
        return cast("list[Row | None]", rows), []

    def _one_by_one(
        self, columns: Sequence[Sequence[Any] | None], converts: Sequence[Convert | None]
    ) -> tuple[list[Row | None], list[Bad]]:
        rows: list[Row | None] = []
        bad: list[Bad] = []
        given = (
            repeat(slot.absent) if column is None else column for slot, column in zip(self.slots, columns, strict=True)
        )
        for number, values in enumerate(zip(*given, strict=False)):
            try:
                rows.append(self.row(values, converts))
            except UnfitError as error:
                rows.append(None)
                bad.append((number, error))
        return rows, bad


def _cell(slot: Slot, cells: Mapping[str, Any]) -> Any:
    for path in slot.paths:
        value = cells.get(".".join(path), UNSET)
        if value is not UNSET and value is not slot.absent:
            return value
        inside = cells.get(path[0], UNSET) if len(path) > 1 else UNSET
        if inside is not UNSET:
            value = _inside(inside, path[1:])
            if value is not UNSET:
                return value
    return UNSET if slot.required else slot.absent


def _inside(value: Any, path: Path) -> Any:
    """What stands at `path` in a cell that holds an object, as such or as JSON text; UNSET where it is not there."""
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.MsgspecError, RecursionError):
        return UNSET
    for name in path:
        if not isinstance(found, dict):
            return UNSET
        found = found.get(name, UNSET)
    return found


def _joining(parts: Sequence[str]) -> Step:
    """An event id made of several fields; None when one of them is missing."""

    def step(rows: Sequence[Any]) -> None:
        for row in rows:
            values = [getattr(row, part) for part in parts]
            row.event_id = None if None in values else "-".join(values)

    return step


def _converting(slot: Slot, convert: Convert) -> Step:
    attribute, required = slot.attribute, slot.required

    def step(rows: Sequence[Any]) -> None:
        for row in rows:
            value = getattr(row, attribute)
            if value is not UNSET or required:
                setattr(row, attribute, convert(value))

    return step


def _requiring(slot: Slot, convert: Convert) -> Step:
    attribute = slot.attribute

    def step(rows: Sequence[Any]) -> None:
        for row in rows:
            if getattr(row, attribute) is UNSET:
                convert(UNSET)  # refuses it

    return step


def _finishing(attribute: str, finish: Convert) -> Step:
    def step(rows: Sequence[Any]) -> None:
        for row in rows:
            value = getattr(row, attribute)
            if value is not None and value is not UNSET:
                setattr(row, attribute, finish(value))

    return step


def _fits(value: Any, kind: Any) -> bool:
    """Whether the strict way would have taken the value."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _decoder(key: _Key) -> Decoder:
    return Decoder(key.source)


class _Key:
    """A source, equal to every other that is decoded alike: its files share what was generated for one of them."""

    __slots__ = ("parts", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parts: tuple[object, ...] = (
            source.kind,
            source.event,
            source.user_id,
            source.event_path,
            source.event_id,
            source.time,
            source.properties_path,
            source.columns,
            source.around,
        )

    def __hash__(self) -> int:
        return hash(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.parts == self.parts


def decoder(source: Source) -> Decoder:
    """The decoder of a source. Its partitions share it."""
    return _decoder(_Key(source))
