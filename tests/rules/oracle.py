"""Random expressions, each by its seed, and DuckDB as the oracle for what they mean."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from chance import Chance, SearchStrategy, attempt
from flowops.core.time import Zone
from flowops.rules import functions
from flowops.rules.expressions import Scope, check, expression, predicate

ROWS = 40
BATCH = 100
"""So many expressions are asked of DuckDB at once, on the same rows."""

ZONE = "America/New_York"

COLUMNS = {
    "event": {"s": "string", "t": "string", "n": "number", "m": "money", "b": "boolean", "at": "time", "d": "date"},
    "viewed": {"s": "string", "n": "number", "at": "time"},
    "user": {"s": "string", "n": "number", "b": "boolean", "d": "date"},
}
SCOPE = Scope(
    names=COLUMNS["event"],
    steps={"viewed": COLUMNS["viewed"]},
    user=COLUMNS["user"],
    bare="order",
    variant=True,
    zone=Zone(ZONE),
)
EVENT, STEPS, USER = list(COLUMNS["event"]), {"viewed": list(COLUMNS["viewed"])}, list(COLUMNS["user"])

STRINGS = [
    "",
    "a",
    "A",
    "ab",
    "aB%",
    "a_b",
    "b\\",
    "a\nb",
    "é",
    "É",
    "ß",
    "ẞ",
    "İi",
    "ΑΣ",
    "ǆ",
    "🤦🏼‍♂️",
    "50",
    "%",
    "x" * 40,
    " a ",
]
NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    50.0,
    49.999,
    1.005,
    2.675,
    1e-9,
    1e15,
    -1e16,
    1e300,
    -1e308,
    1e308,
    3.0,
    7.25,
]
LIKES = [
    "a%",
    "%b",
    "%a%",
    "a_b",
    "_",
    "%",
    "",
    "%%",
    "a%b%",
    "%_b",
    "a.b",
    "[a]",
    "É",
    "%\\%",
    "%a%b%",
    "ß",
    "ss",
    "İ%",
    "_%_",
]
REGEXES = [
    "^a",
    "b$",
    "a.b",
    "[ab]+",
    "\\d+",
    "^$",
    "(?i)A",
    "\\s",
    "a|É",
    "\\w{2}",
    "(a|b)*b$",
    "x{3,}",
    "(?s)a.b",
    "\\bb",
]


Row: TypeAlias = dict[str, tuple[Any, ...]]


@dataclass
class Text:
    """The same expression as operators write it and as DuckDB is asked: where a literal is told to be a DOUBLE."""

    ours: str
    duck: str

    @classmethod
    def of(cls, template: str, *parts: Text) -> Text:
        return cls(template.format(*(p.ours for p in parts)), template.format(*(p.duck for p in parts)))


class Writer:
    """Random expressions of a wanted type."""

    def __init__(self, chance: Chance) -> None:
        self.below = chance.below

    def pick(self, *options: Any) -> Any:
        return options[self.below(len(options))]

    def expression(self) -> Text:
        """A condition, or a value that is no bare text: that would have no type of its own."""
        text = self.condition(4) if self.pick(0, 1, 1) else self.value(self.pick("number", "string", "date"), 3)
        return self.condition(3) if text.ours.startswith("'") else text

    def column(self, type_: str) -> Text:
        names = [
            (name if table == "event" else f"{table}.{name}", f'"{table}".{name}')
            for table, columns in COLUMNS.items()
            for name, of in columns.items()
            if of == type_ or (type_ == "number" and of == "money")
        ]
        return Text(*self.pick(*names))

    def quoted(self, value: str) -> Text:
        text = "'" + value.replace("'", "''") + "'"
        return Text(text, text)

    def literal(self, type_: str) -> Text:
        match type_:
            case "string":
                return self.quoted(self.pick(*STRINGS))
            case "number":
                number = self.pick(*NUMBERS)
                return Text(f"{number!r}", f"({number!r}::DOUBLE)")
            case "boolean":
                return Text(*[self.pick("true", "false")] * 2)
            case "date":
                day = dt.date(1970, 1, 1) + dt.timedelta(days=(self.below(30_800) - 800))
                return Text(f"cast('{day}' as date)", f"date '{day}'")
            case "time":
                moment = dt.datetime.fromtimestamp(self.below(2 * 10**9), dt.UTC)
                return Text("now", "now_") if self.pick(0, 1) else Text(*[f"'{moment.isoformat()}'"] * 2)
        raise AssertionError(type_)

    def value(self, type_: str, depth: int) -> Text:
        if depth <= 0 or self.below(10) < 3:
            return self.column(type_) if self.below(10) < 7 else self.literal(type_)
        below = depth - 1
        shape = self.pick("own", "own", "own", "coalesce", "case")
        if shape == "coalesce":
            return Text.of("coalesce({0}, {1})", self.value(type_, below), self.solid(type_, below))
        if shape == "case":
            other = self.pick(" else {2}", "")
            parts = self.condition(below), self.solid(type_, below), self.solid(type_, below)
            return Text.of("case when {0} then {1}" + other + " end", *parts)
        match type_:
            case "number":
                return self.number(below)
            case "string":
                return self.string(below)
            case "boolean":
                return Text.of("({0})", self.condition(below))
            case "date" if self.pick(0, 1):
                return Text.of("cast({0} as date)", self.column("time"))
        return self.column(type_)

    def solid(self, type_: str, depth: int) -> Text:
        """A value whose type stands on its own: a bare string literal for a time does not."""
        return self.column("time") if type_ == "time" else self.value(type_, depth)

    def number(self, depth: int) -> Text:
        shape = self.pick(
            "arithmetic", "arithmetic", "arithmetic", "minus", "abs", "round", "length", "part", "diff", "sub"
        )
        match shape:
            case "arithmetic":
                op = self.pick("+", "-", "*", "/", "%")
                left, right = self.value("number", depth), self.value("number", depth)
                if op == "%":  # of two BIGINTs (`length`, parts of dates) DuckDB's `% 0` is an error, of DOUBLEs NaN
                    left, right = (Text(side.ours, f"({side.duck})::DOUBLE") for side in (left, right))
                return Text.of("({0} " + op + " {1})", left, right)
            case "minus":
                return Text.of("(- {0})", self.value("number", depth))
            case "abs":
                return Text.of("abs({0})", self.value("number", depth))
            case "round":
                digits = self.pick("", ", 0", ", 2", ", 1", ", -2", ", 15", ", -15")
                number = self.value(
                    "number", depth
                )  # a BIGINT is left as it is by DuckDB; of a DOUBLE 15 digits are too many
                return Text.of("round({0}" + digits + ")", Text(number.ours, f"({number.duck})::DOUBLE"))
            case "length":
                return Text.of("length({0})", self.value("string", depth))
            case "part":
                kind = self.pick("date", "time")
                parts = functions.DATE_PARTS if kind == "date" else functions.TIME_PARTS
                form = self.pick("date_part('{part}', {{0}})", "extract({part} from {{0}})")
                return Text.of(form.format(part=self.pick(*parts)), self.column(kind))
            case "diff":
                kind, unit = self.pick("date", "time"), self.pick(*functions.PERIODS)
                return Text.of(f"date_diff('{unit}', {{0}}, {{1}})", self.column(kind), self.column(kind))
        unit = self.pick(*functions.SPANS)
        return Text.of(f"date_sub('{unit}', {{0}}, {{1}})", self.column("time"), self.column("time"))

    def string(self, depth: int) -> Text:
        if self.pick(0, 1):
            return Text.of("({0} || {1})", self.value("string", depth), self.value("string", depth))
        return Text.of(self.pick("lower({0})", "upper({0})"), self.value("string", depth))

    def condition(self, depth: int) -> Text:
        if depth <= 0:
            return self.column("boolean")
        below = depth - 1
        shapes = (
            "compare",
            "compare",
            "compare",
            "and",
            "or",
            "not",
            "null",
            "in",
            "between",
            "like",
            "text",
            "truth",
            "value",
        )
        match self.pick(*shapes):
            case "compare":
                type_ = self.pick("string", "number", "number", "time", "date", "boolean")
                op = self.pick("=", "<>", "!=") if type_ == "boolean" else self.pick("=", "<>", "<", "<=", ">", ">=")
                return Text.of("({0} " + op + " {1})", self.solid(type_, below), self.value(type_, below))
            case "and" | "or" as op:
                return Text.of("({0} " + op + " {1})", self.condition(below), self.condition(below))
            case "not":
                return Text.of("(not {0})", self.condition(below))
            case "null":
                type_ = self.pick("string", "number", "time", "boolean")
                return Text.of(self.pick("({0} is null)", "({0} is not null)"), self.solid(type_, below))
            case "in":
                type_ = self.pick("string", "number")
                items = [self.literal(type_) for _ in range(self.pick(1, 2, 4))]
                into = (
                    "{0} "
                    + self.pick("in", "not in")
                    + " ("
                    + ", ".join(f"{{{at + 1}}}" for at in range(len(items)))
                    + ")"
                )
                return Text.of(f"({into})", self.value(type_, below), *items)
            case "between":
                type_ = self.pick("string", "number", "date", "time")
                values = self.solid(type_, below), self.value(type_, below), self.value(type_, below)
                return Text.of("({0} " + self.pick("", "not ") + "between {1} and {2})", *values)
            case "like":
                word, escape = self.pick("like", "not like", "ilike", "not ilike"), self.pick("", "", " escape '!'")
                pattern = self.quoted(self.pick(*LIKES, *(["a!%", "!_b", "%!!%", "!a%"] if escape else [])))
                return Text.of("({0} " + word + " {1}" + escape + ")", self.value("string", below), pattern)
            case "text":
                call = self.pick(
                    "starts_with({0}, {1})", "ends_with({0}, {1})", "contains({0}, {1})", "regexp_matches({0}, {1})"
                )
                second = self.quoted(self.pick(*REGEXES)) if "regexp" in call else self.value("string", below)
                return Text.of(call, self.value("string", below), second)
            case "truth":
                return Text.of(
                    "({0} " + self.pick("is true", "is not true", "is false", "is not false") + ")",
                    self.condition(below),
                )
        return self.value("boolean", below)


def rows_of(seed: int) -> list[Row]:
    """The rows of a seed's batch."""
    chance = Random(seed // BATCH)

    def value(type_: str) -> Any:
        if chance.random() < 0.2:
            return None
        match type_:
            case "string":
                return chance.choice(STRINGS)
            case "number" | "money":
                return chance.choice(NUMBERS) if chance.random() < 0.8 else chance.uniform(-100, 100)
            case "boolean":
                return chance.random() < 0.5
            case "time":
                return chance.randrange(0, 4_000_000_000_000_000)
            case "date":
                return chance.randrange(-20_000, 40_000)
        raise AssertionError(type_)

    return [
        {table: tuple(value(of) for of in columns.values()) for table, columns in COLUMNS.items()}
        | {"now": (value_now,)}
        for value_now in (chance.randrange(0, 2_000_000_000_000_000) for _ in range(ROWS))
    ]


def in_duckdb(texts: Sequence[str], made: Sequence[Row]) -> list[list[Any]]:
    """What DuckDB makes of each text on each row; one query for all of them."""
    arrow = {
        "string": pa.string(),
        "number": pa.float64(),
        "money": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
    }
    connection = duckdb.connect()
    connection.execute(f"set TimeZone = '{ZONE}'; set threads = 1")
    for table, columns in COLUMNS.items():
        data = {
            name: pa.array([row[table][at] for row in made], arrow[of]) for at, (name, of) in enumerate(columns.items())
        }
        connection.register(f"{table}_", pa.table(data | {"i": range(len(made))}))
    connection.register(
        "clock", pa.table({"i": range(len(made)), "now_": pa.array([r["now"][0] for r in made], arrow["time"])})
    )
    selected = ", ".join(f"({text}) as c{at}" for at, text in enumerate(texts))
    query = (
        f'select {selected} from event_ "event" join viewed_ "viewed" using (i) join user_ "user" using (i) '
        "join clock using (i) order by i"
    )
    table = connection.sql(query).to_arrow_table()
    found = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            column = column.cast(pa.int64() if pa.types.is_timestamp(kind) else pa.int32())  # noqa: PLW2901
        found.append(column.to_pylist())
    return found


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float):
        if theirs != theirs or theirs in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            return ours is None  # an expression's value is finite or NULL
        return ours is not None and float(ours) == theirs
    return bool(type(ours) is type(theirs) and ours == theirs) or (
        isinstance(theirs, int) and not isinstance(theirs, bool) and ours == theirs
    )


EXPRESSIONS = SearchStrategy(lambda choices: Writer(choices).expression())


def compare(text: Text, made: Sequence[Row], oracle: Sequence[Any]) -> None:
    """As a value with its type; a condition also where it must hold, and where it must not."""
    checked = check(text.ours, SCOPE)
    layouts: Any = {"event": EVENT, "steps": STEPS, "user": USER}
    evaluate = expression(checked, **layouts)
    args = [(row["event"], (row["viewed"],), row["user"], row["now"][0], None) for row in made]
    for arg, theirs in zip(args, oracle, strict=True):
        assert same(evaluate(*arg), theirs), (arg, evaluate(*arg), theirs)
    if checked.type == "boolean":
        holds = predicate(checked.conjuncts(), **layouts)
        fails = predicate([check(f"not ({text.ours})", SCOPE)], **layouts)
        for arg, theirs in zip(args, oracle, strict=True):
            assert holds(*arg) is (theirs is True), arg
            assert fails(*arg) is (theirs is False), arg


def check_batch(seeds: Sequence[int]) -> None:
    """Seeds of one batch: fails with the least expression that means something else."""
    made = rows_of(seeds[0])
    assert {seed // BATCH for seed in seeds} == {seeds[0] // BATCH}
    texts = [Chance(seed).draw(EXPRESSIONS) for seed in seeds]
    for seed, text, oracle in zip(seeds, texts, in_duckdb([text.duck for text in texts], made), strict=True):
        try:
            compare(text, made, oracle)
        except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
            attempt(EXPRESSIONS, seed, alone(seed))


def alone(seed: int) -> Any:
    made = rows_of(seed)
    return lambda text: compare(text, made, *in_duckdb([text.duck], made))
