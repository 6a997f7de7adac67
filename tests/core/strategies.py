"""Small, dense projects and logs: few users, events and instants, so that ties and exact deadlines are the rule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from dataclasses import replace as dataclass_replace
from decimal import Decimal
from typing import Any, Literal

import driver
import shop
from msgspec.structs import replace

import chance as st
from flowops.core.effects import Dispatch
from flowops.core.plan import (
    AbsenceTrigger,
    AllTrigger,
    AnyTrigger,
    Cap,
    Counter,
    DateTrigger,
    Delay,
    EventTrigger,
    Experiment,
    InactivityTrigger,
    Project,
    Quiet,
    Reentry,
    Repeat,
    ScheduleTrigger,
    SequenceStep,
    SequenceTrigger,
    Trigger,
    UntilCarried,
    UntilLocal,
)
from flowops.core.receipts import RECEIPTS
from flowops.core.records import BEFORE_ALL, Micros
from flowops.core.time import DAY, MINUTE, Zone
from model import Partition

UNIT = 30 * MINUTE
ZONES = tuple(map(Zone, ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")))
BASES = tuple(
    map(
        shop.at,
        (
            "2022-03-26 22:00",  # Berlin's gap, in a Sunday night that ends a week
            "2022-10-29 22:30",  # Berlin's overlap
            "2021-12-31 16:00",  # midnight in Kathmandu, then in the others: a day, a month and a year
            "2022-03-13 04:00",  # New York's gap
        ),
    )
)
USERS = (shop.USER, shop.USER, shop.USER, shop.USER, shop.NEIGHBOUR, shop.STRANGER)
SKUS = ("A", "A", "B", None)


@dataclass(frozen=True)
class World:
    """A project and its log. A failing example prints what differs from the defaults, and times as units of `UNIT`."""

    base: Micros
    drafts: tuple[shop.Draft, ...]
    disorder: tuple[Micros, ...]
    profile_disorder: Micros
    logs: tuple[tuple[int, str, tuple[shop.Row, ...], bool], ...]  # source, name, rows, ended
    receipt_disorder: Micros = 0
    layerings: tuple[shop.Layers, ...] = ()
    since: Micros | None = None
    linked: bool = False

    @property
    def project(self) -> Project:
        return shop.project(
            *self.drafts,
            disorder=self.disorder,
            profile_disorder=self.profile_disorder,
            receipt_disorder=self.receipt_disorder,
            layerings=self.layerings,
            since=self.since,
            linked=self.linked,
        )

    def partitions(self, project: Project) -> list[Partition]:
        return [Partition(project.sources[source], name, rows, ended) for source, name, rows, ended in self.logs]

    def __str__(self) -> str:
        lines = [f"base {self.base}, UNIT {UNIT}, disorder {self.disorder} and {self.profile_disorder}"]
        for draft in self.drafts:
            own = {one.name: getattr(draft, one.name) for one in fields(draft)}
            told = [f"{name}={value}" for name, value in own.items() if value != getattr(shop.Draft, name, None)]
            lines.append(f"  plan {', '.join(told)}")
        lines += [f"  {layers}" for layers in self.layerings] + [f"  since {self.since}"] * (self.since is not None)
        for source, name, rows, ended in self.logs:
            lines.append(f"  source {source} partition {name}, {'ended' if ended else 'open'}")
            for row in rows:
                when = "ever" if row.ts == BEFORE_ALL else (row.ts - self.base) / UNIT
                lines.append(
                    f"    {when} {row.user_id} {row.event} {row.event_id} {row.p0, row.p1, row.p2, row.p3, row.p4}"
                )
        return "\n".join(lines)


units = st.integers(1, 5).map(lambda n: n * UNIT)
conditions = st.sampled_from([None, None, None, shop.AtLeast(2)])
cities = st.sampled_from([None, None, shop.CityIs("x")])
audiences = st.sampled_from([None, None, shop.CityIs("x"), shop.InSegment(), shop.InSegment(not_staff=True)])
AT_PUSH = (shop.PUSH, shop.PUSH, shop.SMS, shop.MAIL)
FEW = ("delivered", "clicked", "failed", "failed", "expired", "displayed")
QUITS = ("delivered", "unsubscribed", "complained")
ANSWERING = (shop.APP, shop.HOOK, shop.LETTER)
REPEATS: tuple[Repeat, ...] = ("ignore", "restart", "parallel")
CALENDAR: tuple[shop.Period, ...] = ("day", "week", "month")


values = st.sampled_from([None, None, "x", "y"])
changes = st.one_of(
    st.builds(shop.changes, st.just(0), values, values, cities),
    st.sampled_from(
        [shop.changes(shop.VIP, None, True), shop.changes(shop.VIP, True, None), shop.changes(1, None, False)]
    ),
)


@st.composite
def ons(draw: st.DrawFn, *, correlated: bool = False, changing: bool = False) -> shop.On:
    if changing and draw(st.booleans()):
        return draw(changes)
    names = (*shop.EVENTS, None)
    wheres = [None, None, shop.CityIs("x"), *([shop.SameSku(), shop.SameSku()] if correlated else [])]
    return shop.On(draw(st.sampled_from(names)), draw(conditions), draw(st.sampled_from(wheres)))


@st.composite
def caps(draw: st.DrawFn, plans: int) -> Cap:
    rolling = draw(st.none() | units)
    return shop.cap(
        draw(st.integers(1, 2)),
        rolling=rolling,
        calendar=draw(st.none() | st.sampled_from(CALENDAR)) if rolling is None else None,
        plans=draw(st.none() | st.sets(st.integers(0, plans - 1), min_size=1)),
        channel=draw(st.sampled_from([None, None, 0, 1])),
        key=draw(st.sampled_from([None, None, None, 0, 1])),
    )


def exits(*, correlated: bool = False, changing: bool = False) -> st.SearchStrategy[list[shop.On]]:
    """S29: none mostly."""
    one = ons(correlated=correlated, changing=changing)
    return st.just([]) | st.just([]) | st.lists(one, min_size=1, max_size=2)


def skips(plans: int) -> st.SearchStrategy[tuple[Micros, tuple[int, ...] | None, int | None] | None]:
    """S25: none mostly."""
    by = st.none() | st.lists(st.integers(0, plans - 1), min_size=1, max_size=2).map(tuple)
    return st.none() | st.none() | st.tuples(units, by, st.sampled_from([None, None, 0, 3]))


least = st.integers(1, 3)
windows = st.one_of(units, units, st.none())
counters = st.one_of(
    st.builds(shop.times, least, windows),
    st.builds(shop.distinct, least, windows),
    st.builds(shop.total, st.sampled_from(["0.3", "1", "2", "3.3", "5"]), windows),
)


@st.composite
def quiets(draw: st.DrawFn) -> Quiet:
    start, end = draw(st.lists(st.integers(0, 47), min_size=2, max_size=2, unique=True))
    days = draw(st.just(frozenset(range(7))) | st.frozensets(st.integers(0, 6), min_size=1))
    return Quiet(start * 30, end * 30, days, draw(st.booleans()), draw(st.booleans()))


experiments = st.sampled_from(
    [
        None,
        None,
        Experiment("half", 0.5, ()),
        Experiment("copy", 0.0, (("short", 0.5), ("long", 0.5))),
        Experiment("both", 0.3, (("short", 0.5), ("long", 0.5))),
    ]
)


@st.composite
def clocks(draw: st.DrawFn) -> UntilLocal:
    days = draw(st.just(frozenset(range(7))) | st.frozensets(st.integers(0, 6), min_size=1))
    return UntilLocal(draw(st.integers(0, 48)) * 30, days)


@st.composite
def delays(draw: st.DrawFn, base: Micros) -> Delay:
    """None mostly; a duration; until a local time; until a time or a date that the first step carries."""
    kind = draw(st.sampled_from(["none", "none", "span", "span", "clock", "time", "date"]))
    if kind == "clock":
        return draw(clocks())
    offset = draw(st.integers(-4, 4)) * UNIT
    if kind == "time":
        return UntilCarried(shop.TimeOfN(base, draw(st.integers(0, 6)) * UNIT), False, offset)
    if kind == "date":
        return UntilCarried(shop.TimeOfN(base // DAY - 1, 1), True, offset)
    return 0 if kind == "none" else draw(st.sampled_from([UNIT, 2 * UNIT]))


calendar_delays = st.sampled_from([0, 0, 0, UNIT, DAY]) | clocks()
"""Of what no event begins, so that none carries a time."""


@st.composite
def triggers(draw: st.DrawFn, base: Micros) -> Trigger:
    """One of each kind."""
    kind = draw(
        st.sampled_from(
            ["event", "absence", "absence", "any", "all", "all", "inactive", "date", "schedule", "sequence", "sequence"]
        )
    )
    if kind == "sequence":
        return draw(sequences(base))
    delay = draw(delays(base))
    if kind == "inactive":
        return InactivityTrigger(draw(units), delay)
    if kind == "event":
        return EventTrigger(delay)
    if kind == "date":
        offset, minute = draw(st.integers(-1, 1)) * DAY, draw(st.integers(0, 47)) * 30
        return DateTrigger(shop.BORN, draw(st.booleans()), offset, minute, draw(calendar_delays))
    if kind == "schedule":
        minute, every = draw(st.integers(0, 47)) * 30, draw(st.sampled_from([1, 1, 2]))
        schedule = shop.Daily(minute, draw(st.sampled_from(ZONES)), every)
        return ScheduleTrigger(schedule, draw(calendar_delays))
    if kind == "absence":
        return AbsenceTrigger(draw(units), draw(st.sampled_from(REPEATS)), delay)
    if kind == "any":
        return AnyTrigger(delay)
    return AllTrigger(draw(st.sampled_from([1, 2, 2, 2, 3])), draw(units), delay)


TIMES: tuple[tuple[int, int | None], ...] = ((2, 2), (2, 2), (1, None), (2, None), (1, 2), (0, 1), (0, None), (0, 2))


@st.composite
def sequences(draw: st.DrawFn, base: Micros) -> SequenceTrigger:
    """One to four steps of all kinds."""
    steps: list[SequenceStep] = []
    count = draw(st.integers(1, 4))
    number = unwanted = 0
    for place in range(count):
        kinds = ["one", "one", "one", "any", "all", *(["without", "without"] if place else [])]
        kind = draw(st.sampled_from(kinds))
        within = draw(st.sampled_from([None, None, *(n * UNIT for n in range(1, 6))])) if place else None
        size = 1 if kind == "one" else draw(st.integers(1, 2)) if kind == "without" else 2
        if kind == "without":
            steps.append(SequenceStep("without", tuple(range(unwanted, unwanted + size)), within=within))
            unwanted += size
            continue
        least, most = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), *TIMES])) if kind != "all" else (1, 1)
        if place == 0 and least == 0:
            least = 1
        kind_: Literal["any", "all"] = "all" if kind == "all" else "any"
        steps.append(SequenceStep(kind_, tuple(range(number, number + size)), least, most, within))
        number += size
    for place, step in enumerate(steps):  # those of `without` are numbered after the others
        if step.kind == "without":
            within = step.within or (2 * UNIT if place == len(steps) - 1 else None)
            steps[place] = dataclass_replace(step, parts=tuple(number + part for part in step.parts), within=within)
    waits = steps[-1].kind == "without"
    return SequenceTrigger(
        tuple(steps),
        draw(st.integers(2, 14)) * UNIT,
        draw(st.sampled_from(REPEATS)),
        draw(st.sampled_from([False] * 7 + [True])),
        draw(st.sampled_from([False, False, False, True])) and not waits,
        draw(delays(base)),
    )


@st.composite
def members_of(
    draw: st.DrawFn, trigger: SequenceTrigger, *, changing: bool, names: tuple[str | None, ...] = (*shop.EVENTS, None)
) -> tuple[shop.On, ...]:
    """Its events, which may speak of those before."""
    found: dict[int, shop.On] = {}
    taken = sum(len(step.parts) for step in trigger.steps if step.kind != "without")
    before = 0
    for step in trigger.steps:
        for part in step.parts:
            on = shop.On(draw(st.sampled_from(names)))
            other = draw(st.integers(0, 11))
            if other == 0:
                on = dataclass_replace(on, own=shop.AtLeast(2))
            elif other == 1:
                on = dataclass_replace(on, where=shop.CityIs("x"))
            elif other < 6 and changing:
                on = draw(changes)
            if before and on.change is None and draw(st.integers(0, 5)) == 0:
                slot = draw(st.integers(0, before - 1)) + draw(st.sampled_from([0, taken]))
                on = dataclass_replace(on, where=shop.SkuOf(slot))
            found[part] = on
        before += len(step.parts) if step.kind != "without" else 0
    return tuple(found[part] for part in sorted(found))


@st.composite
def drafts(draw: st.DrawFn, name: str, plans: int, base: Micros, channels: tuple[int, ...] = AT_PUSH) -> shop.Draft:
    inside = draw(st.sampled_from([True, True, True, False]))
    trigger = draw(triggers(base))
    key = draw(st.sampled_from([(), (), (0,), (0, 1)]))
    changing = (
        not key and not isinstance(trigger, InactivityTrigger | DateTrigger) and draw(st.booleans())
    )  # a change has no key
    member = ons(changing=changing)
    members = draw(st.lists(member, min_size=1, max_size=3)) if isinstance(trigger, AnyTrigger) else []
    if isinstance(trigger, AllTrigger):
        members = draw(st.lists(member, min_size=trigger.members, max_size=trigger.members))
    if isinstance(trigger, SequenceTrigger):
        members = list(draw(members_of(trigger, changing=changing)))
    waits = isinstance(trigger, AbsenceTrigger)
    return shop.Draft(
        name,
        on=draw(member),
        trigger=trigger,
        members=tuple(members),
        without=tuple(draw(st.lists(ons(correlated=True, changing=changing), min_size=1, max_size=2))) if waits else (),
        exits=tuple(draw(exits(correlated=True, changing=changing))),
        counter=draw(st.none() | st.none() | counters) if isinstance(trigger, EventTrigger) and not changing else None,
        always=draw(st.booleans()),
        key=key,
        audience=draw(audiences),
        reentry=draw(
            st.sampled_from([shop.ALWAYS, shop.ALWAYS, shop.ONCE])
            | units.map(lambda gap: Reentry(always=False, gap=gap))
        ),
        caps=tuple(draw(st.lists(caps(plans), max_size=2))),
        skip=draw(skips(plans)),
        transactional=draw(st.sampled_from([False] * 7 + [True])),
        quiet=draw(st.none() | st.none() | quiets()),
        channel_quiet=draw(st.none() | st.none() | st.none() | quiets()),
        experiment=draw(experiments),
        channel=draw(st.sampled_from(channels)),
        needs_city=draw(st.sampled_from([False, False, True])),
        aims=tuple(draw(st.lists(aims(receipts=channels is ANSWERING), max_size=2))),
        zone=draw(st.sampled_from(ZONES)),
        starts_at=-(1 << 60) if inside else base + draw(st.integers(0, 4)) * UNIT,
        ends_at=1 << 60 if inside else base + draw(st.integers(6, 16)) * UNIT,
        expires=draw(units),
        several_a_day=isinstance(trigger, ScheduleTrigger) and draw(st.booleans()),
    )


@st.composite
def aims(draw: st.DrawFn, *, receipts: bool = False) -> shop.Aim:
    return shop.Aim(
        draw(ons(correlated=True)),
        draw(units),
        draw(st.sampled_from(["every", "last", "first"])),
        draw(st.booleans()),
        draw(st.sampled_from([None, "displayed", "clicked"])) if receipts else None,
        draw(st.sampled_from([None, None, shop.VIP, shop.STAFF])),
    )


borns = st.builds(lambda base, day: base // DAY + day, st.sampled_from(BASES), st.integers(-1, 2) | st.just(-730))
"""Days about those of the logs; and two years before."""


@st.composite
def updates(draw: st.DrawFn, instants: st.SearchStrategy[Micros], users: tuple[str, ...] = USERS) -> shop.Row:
    values: dict[str, st.SearchStrategy[Any]] = {
        "city": st.sampled_from(["x", "x", "y", None]),
        "ok": st.sampled_from([True, True, True, False, None]),
        "address": st.sampled_from(["here", "here", None]),
        "zone": st.sampled_from(["Europe/Berlin", "America/New_York", "Mars/Olympus", None]),
        "born": borns | borns | st.none(),
    }
    names = draw(st.sets(st.sampled_from(shop.ATTRIBUTES), min_size=1))
    time = draw(st.one_of(st.none(), instants))
    return shop.profile(time, draw(st.sampled_from(users)), **{name: draw(values[name]) for name in sorted(names)})


@st.composite
def memberships(draw: st.DrawFn, instants: st.SearchStrategy[Micros]) -> shop.Row:
    return shop.member(
        draw(st.one_of(st.none(), instants)),
        draw(st.sampled_from(["vip", "vip", "staff", "other"])),
        draw(st.sampled_from([None, "enter", "enter", "leave"])),
        draw(st.sampled_from(USERS)),
    )


@st.composite
def worlds(draw: st.DrawFn, *, open_ended: bool = False, channels: tuple[int, ...] = AT_PUSH) -> World:
    """One to three plans and their log, in 1 to 5 partitions, each in an order that is mostly that of time."""
    base = draw(st.sampled_from(BASES))
    plans = draw(st.integers(1, 3))
    bounds = st.sampled_from([0, UNIT, 2 * UNIT])
    disorder = tuple(draw(st.lists(bounds, min_size=1, max_size=2)))
    instants = st.integers(0, 14).map(lambda n: base + n * UNIT)
    places = [(source, name) for source in range(len(disorder)) for name in ("0", "1")]
    delays = st.sampled_from([0, 0, 0, 0, UNIT, 2 * UNIT, 4 * UNIT])
    behaviour = st.builds(
        shop.event,
        instants,
        st.sampled_from(shop.EVENTS),
        st.sampled_from(SKUS),
        st.integers(1, 3),
        st.sampled_from(USERS),
    )
    read = draw(st.lists(st.tuples(behaviour, st.sampled_from(places), delays), min_size=3, max_size=20))
    read = [(replace(row, event_id=f"e{i}"), place, delay) for i, (row, place, delay) in enumerate(read)]
    for original in draw(st.lists(st.integers(0, len(read) - 1), max_size=3)):  # S4
        read.append((read[original][0], draw(st.sampled_from(places)), draw(delays)))
    ended: st.SearchStrategy[bool] = st.sampled_from([True, False] if open_ended else [True])
    logs = [
        (*place, as_read([(row, delay) for row, own, delay in read if own == place]), draw(ended))
        for place in places
        if place[1] == "0" or any(own == place for _, own, _ in read)
    ]
    told = draw(st.lists(st.tuples(updates(instants), delays), max_size=10))
    if draw(st.booleans()) or told:
        logs.append((len(disorder), "0", as_read(told), draw(ended)))
    joined = draw(st.lists(st.tuples(memberships(instants), delays), max_size=6))
    if joined:
        logs.append((len(disorder) + 2, "0", as_read(joined), draw(ended)))
    return World(
        base,
        tuple(draw(drafts(f"plan{i}", plans, base, channels)) for i in range(plans)),
        disorder,
        draw(bounds),
        tuple(logs),
    )


@st.composite
def calendar_worlds(draw: st.DrawFn, *, open_ended: bool = False) -> World:
    """Some days of a few users whose dates, zones and segments change, and plans that go by the calendar."""
    base = draw(st.sampled_from(BASES))
    today = base // DAY
    planned = tuple(
        shop.Draft(
            f"plan{i}",
            trigger=draw(calendar_triggers()),
            exits=tuple(draw(exits())),
            audience=draw(audiences),
            reentry=draw(st.sampled_from([shop.ALWAYS, shop.ALWAYS, shop.ONCE])),
            caps=tuple(draw(st.lists(caps(1), max_size=1))),
            quiet=draw(st.none() | st.none() | quiets()),
            zone=draw(st.sampled_from(ZONES)),
            starts_at=draw(st.sampled_from([-(1 << 60), -(1 << 60), base + DAY])),
            ends_at=draw(st.sampled_from([1 << 60, 1 << 60, base + 2 * DAY])),
        )
        for i in range(draw(st.integers(1, 3)))
    )
    instants = st.integers(0, 20).map(lambda n: base + n * 8 * UNIT)
    users = st.sampled_from(USERS)
    dates = st.integers(-1, 4).map(lambda n: today + n) | st.sampled_from([today - 365, today + 364, None])
    zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", None])
    times = st.none() | instants
    told = st.one_of(
        st.builds(lambda ts, user, born: shop.profile(ts, user, born=born), times, users, dates),
        st.builds(lambda ts, user, zone: shop.profile(ts, user, zone=zone), times, users, zones),
        st.builds(lambda ts, user, city: shop.profile(ts, user, city=city), times, users, st.sampled_from(["x", "y"])),
    )
    late = st.sampled_from([0, 0, 0, 16 * UNIT])
    seen = sorted(draw(st.lists(st.tuples(instants, users), min_size=1, max_size=5)))
    events = tuple(shop.event(ts, "view", id=f"e{i}", user=user) for i, (ts, user) in enumerate(seen))
    ended = draw(st.sampled_from([True, False])) if open_ended else True
    logs: list[tuple[int, str, tuple[shop.Row, ...], bool]] = [(0, "0", events, ended)]
    logs.append((1, "0", as_read(draw(st.lists(st.tuples(told, late), min_size=2, max_size=10))), True))
    joined = draw(st.lists(st.tuples(memberships(instants), late), max_size=4))
    if joined:
        logs.append((3, "0", as_read(joined), True))
    return World(base, planned, (0,), 0, tuple(logs))


def looks() -> st.SearchStrategy[tuple[shop.On, Counter, int | Decimal, int | None]]:
    """What an audience may ask of the past."""
    ons = st.builds(shop.On, st.sampled_from(["view", "order", None]), conditions)
    windows = st.one_of(units.map(lambda span: 2 * span), units, st.none())
    ranges = st.sampled_from([(1, None), (1, None), (2, None), (1, 1), (1, 2), (0, 1), (2, 3)])
    counts = st.tuples(ons, st.sampled_from(["times", "distinct"]), windows, ranges).map(
        lambda it: (it[0], Counter(it[1], 1, it[2], (it[3][0] if it[3][1] is None else it[3][1] + 1)), *it[3])
    )
    sums = st.tuples(ons, windows, st.sampled_from(["0.3", "2", "5"])).map(
        lambda it: (it[0], Counter("sum", 1, it[1], 0), Decimal(it[2]), None)
    )
    spans = st.tuples(ons, st.sampled_from(BASES), st.integers(0, 4), st.integers(1, 8)).map(
        lambda it: (
            it[0],
            Counter("times", 1, None, 2, it[1] + it[2] * 2 * UNIT, it[1] + (it[2] + it[3]) * 2 * UNIT),
            1,
            1,
        )
    )
    return st.one_of(counts, counts, sums, spans)


@st.composite
def looking_worlds(draw: st.DrawFn) -> World:
    """One user of whose past audiences ask, at events, at schedules and after delays; a source may lag behind."""
    base = draw(st.sampled_from(BASES))
    planned = []
    for i in range(draw(st.integers(1, 2))):
        did = tuple(draw(st.lists(looks(), min_size=1, max_size=2)))
        delay = draw(st.sampled_from([0, 0, UNIT, 2 * UNIT]))
        trigger = draw(
            st.sampled_from(
                [EventTrigger(delay), EventTrigger(delay), ScheduleTrigger(shop.Daily(30 * (i + 1)), delay)]
            )
        )
        wanted = tuple(draw(st.booleans()) for _ in did)
        planned.append(
            shop.Draft(f"plan{i}", on=draw(ons()), trigger=trigger, did=did, audience=shop.Did(wanted, draw(cities)))
        )
    disorder = tuple(draw(st.lists(st.sampled_from([0, UNIT]), min_size=1, max_size=2)))
    rows = [
        shop.event(base + n * UNIT, draw(st.sampled_from(shop.EVENTS)), draw(st.sampled_from(SKUS)), id=f"e{i}")
        for i, n in enumerate(sorted(draw(st.lists(st.integers(0, 16), min_size=4, max_size=16))))
    ]
    late = st.sampled_from([0, 0, 0, UNIT, 3 * UNIT])
    read = [(row, draw(late), draw(st.integers(0, len(disorder) - 1))) for row in rows]
    read += [(rows[n], draw(late), 0) for n in draw(st.lists(st.integers(0, 3), max_size=2))]  # S4
    logs = [
        (source, "0", as_read([(row, delay) for row, delay, own in read if own == source]), True)
        for source in range(len(disorder))
    ]
    told = [shop.profile(base if draw(st.booleans()) else None, city="x")]
    return World(base, tuple(planned), disorder, 0, (*logs, (len(disorder), "0", tuple(told), True)))


asks = st.one_of(
    st.builds(shop.Ask, recency=units),
    st.builds(shop.Ask, often=st.sampled_from([(1, None), (2, None), (3, None), (1, 1), (1, 2), (0, 1)])),
    st.builds(shop.Ask, much=st.sampled_from(["1", "2.5", "5"])),
)


@st.composite
def layerings(draw: st.DrawFn) -> shop.Layers:
    """Two to four layers, the last of which may be for everyone else."""
    count = draw(st.integers(1, 3))
    layers = [(f"layer {i}", tuple(draw(st.lists(asks, min_size=1, max_size=2)))) for i in range(count)]
    if draw(st.booleans()):
        layers.append(("other", ()))
    on = draw(st.builds(shop.On, st.sampled_from(["order", "order", "view", None]), conditions))
    return shop.Layers(on, tuple(layers), draw(st.one_of(st.none(), units.map(lambda span: 2 * span))))


@st.composite
def layered_worlds(draw: st.DrawFn) -> World:
    """One user who is in layers, of which plans ask at every place where the profile is asked."""
    base = draw(st.sampled_from(BASES))
    layers = tuple(draw(st.lists(layerings(), min_size=1, max_size=2)))
    own = [shop.LayerIs(name, i) for i, each in enumerate(layers) for name in (*dict(each.layers), None)]
    asking = st.none() | st.sampled_from(own)
    events = st.sampled_from(shop.EVENTS)
    planned = []
    for i in range(draw(st.integers(1, 2))):
        delay = draw(st.sampled_from([0, 0, UNIT, 2 * UNIT]))
        trigger = draw(
            st.sampled_from(
                [
                    EventTrigger(delay),
                    AbsenceTrigger(2 * UNIT, draw(st.sampled_from(REPEATS)), delay),
                    InactivityTrigger(2 * UNIT, delay),
                    AllTrigger(2, 4 * UNIT, delay),
                    ScheduleTrigger(shop.Daily(30 * (i + 1)), delay),
                ]
            )
        )
        ons_ = st.builds(shop.On, events, conditions, asking)
        counted = isinstance(trigger, EventTrigger) and draw(st.booleans())
        planned.append(
            shop.Draft(
                f"plan{i}",
                on=draw(ons_),
                trigger=trigger,
                members=(draw(ons_), draw(ons_)) if isinstance(trigger, AllTrigger) else (),
                without=(draw(ons_),) if isinstance(trigger, AbsenceTrigger) else (),
                counter=shop.times(2, 4 * UNIT) if counted else None,
                audience=draw(asking),
                aims=(shop.Aim(draw(ons_), draw(units)),) if draw(st.booleans()) else (),
            )
        )
    disorder = tuple(draw(st.lists(st.sampled_from([0, UNIT]), min_size=1, max_size=2)))
    amounts = st.sampled_from([1, 2, 3, None])
    rows = [
        shop.event(
            base + n * UNIT,
            draw(events),
            draw(st.sampled_from(SKUS)),
            draw(amounts),
            id=f"e{i}",
        )
        for i, n in enumerate(sorted(draw(st.lists(st.integers(0, 16), min_size=6, max_size=20))))
    ]
    late = st.sampled_from([0, 0, 0, UNIT, 3 * UNIT])
    read = [(row, draw(late), draw(st.integers(0, len(disorder) - 1))) for row in rows]
    read += [(rows[n], draw(late), 0) for n in draw(st.lists(st.integers(0, 3), max_size=2))]  # S4
    logs = [
        (source, "0", as_read([(row, delay) for row, delay, of in read if of == source]), True)
        for source in range(len(disorder))
    ]
    told = [shop.profile(base if draw(st.booleans()) else None, city="x")]
    logs.append((len(disorder), "0", tuple(told), True))
    since = draw(st.sampled_from([None, base - 100 * UNIT, base + 3 * UNIT]))
    return World(base, tuple(planned), disorder, 0, tuple(logs), layerings=layers, since=since)


@st.composite
def calendar_triggers(draw: st.DrawFn) -> Trigger:
    delay, minute = draw(calendar_delays), draw(st.integers(0, 47)) * 30
    if draw(st.booleans()):
        return DateTrigger(shop.BORN, draw(st.booleans()), draw(st.integers(-1, 1)) * DAY, minute, delay)
    schedule = shop.Daily(minute, draw(st.sampled_from(ZONES)), draw(st.sampled_from([1, 1, 2])))
    return ScheduleTrigger(schedule, delay)


@st.composite
def counting_worlds(draw: st.DrawFn) -> World:
    """One user of whom a lot is counted, amounts taken back too; in disorder and repeated."""
    base = draw(st.sampled_from(BASES))
    planned = tuple(
        shop.Draft(
            f"plan{i}",
            on=shop.On(draw(st.sampled_from(["view", None]))),
            counter=draw(counters),
            always=draw(st.booleans()),
            key=draw(st.sampled_from([(), (), (0,)])),
            trigger=EventTrigger(draw(st.sampled_from([0, 0, UNIT]))),
            audience=draw(audiences) if i else None,
        )
        for i in range(draw(st.integers(1, 2)))
    )
    times = draw(st.lists(st.integers(0, 16), min_size=6, max_size=24))
    amounts = st.sampled_from([0.1, 0.2, 0.7, 1, 2, 3, -1, -2, -0.1, None])
    rows = [
        shop.event(
            base + n * UNIT,
            draw(st.sampled_from(["view", "view", "order"])),
            draw(st.sampled_from(SKUS)),
            draw(amounts),
            id=f"e{i}",
        )
        for i, n in enumerate(sorted(times))
    ]
    delays = st.sampled_from([0, 0, 0, UNIT, 3 * UNIT, 6 * UNIT])
    read = [(row, draw(delays)) for row in rows]
    read += [(rows[n], draw(delays)) for n in draw(st.lists(st.integers(0, 5), max_size=3))]  # S4
    bound = draw(st.sampled_from([0, UNIT]))
    told = as_read(
        [(row, 0) for row in draw(st.lists(updates(st.just(base + 4 * UNIT), users=(shop.USER,)), max_size=2))]
    )
    return World(base, planned, (bound,), 0, ((0, "0", as_read(read), True), (1, "0", told, True)))


@st.composite
def sequence_worlds(draw: st.DrawFn, *, open_ended: bool = False) -> World:
    """One user, who does a lot, and one or two sequences and little else; in disorder and repeated."""
    base = draw(st.sampled_from(BASES))
    names = shop.EVENTS[: draw(st.sampled_from([1, 2, 2, 3, 3]))]
    planned = []
    for i in range(draw(st.sampled_from([1, 1, 1, 2]))):
        trigger = draw(sequences(base))
        key = draw(st.sampled_from([(), (), (), (0,)]))
        changing = not key and draw(st.sampled_from([False, False, True]))
        members = draw(members_of(trigger, changing=changing, names=(*names, *names, *names, None)))
        planned.append(
            shop.Draft(
                f"plan{i}",
                trigger=trigger,
                members=members,
                key=key,
                exits=tuple(draw(exits())),
                audience=draw(st.sampled_from([None] * 9 + [shop.CityIs("x")])),
                caps=tuple(draw(st.lists(caps(i + 1), max_size=1))),
                aims=tuple(draw(st.lists(aims(), max_size=1))),
            )
        )
    times = draw(st.lists(st.integers(0, 16), min_size=8, max_size=24))
    rows = [
        shop.event(
            base + n * UNIT,
            draw(st.sampled_from(names)),
            draw(st.sampled_from(["A", "A", "A", "B", None])),
            draw(st.integers(1, 3)),
            id=f"e{i}",
        )
        for i, n in enumerate(sorted(times))
    ]
    delays_ = st.sampled_from([0, 0, 0, 0, UNIT, 3 * UNIT, 6 * UNIT])
    read = [(row, draw(delays_)) for row in rows]
    read += [(rows[n], draw(delays_)) for n in draw(st.lists(st.integers(0, 5), max_size=3))]  # S4
    instants = st.integers(0, 16).map(lambda n: base + n * UNIT)
    told = draw(st.lists(st.tuples(updates(instants, users=(shop.USER,)), delays_), max_size=4))
    ended = draw(st.booleans()) if open_ended else True
    bound = draw(st.sampled_from([0, UNIT]))
    logs = [(0, "0", as_read(read), ended), *([(1, "0", as_read(told), True)] if told else [])]
    return World(base, tuple(planned), (bound,), draw(st.sampled_from([0, UNIT])), tuple(logs))


@st.composite
def answered_worlds(draw: st.DrawFn, *, open_ended: bool = False) -> World:
    """A world with what providers say of its messages: in disorder, repeated, of others' messages and of none."""
    return draw(answers(draw(worlds(open_ended=open_ended, channels=ANSWERING)), open_ended=open_ended))


@st.composite
def many_answers(draw: st.DrawFn, *, open_ended: bool = False) -> World:
    """One user who consents and gets a lot, and what providers say of that; plans with caps and goals."""
    base = draw(st.sampled_from(BASES))
    plans = draw(st.integers(1, 2))
    channels = draw(st.sampled_from([(shop.APP,), (shop.HOOK,), (shop.APP, shop.HOOK), (shop.APP, shop.LETTER)]))
    credits_ = st.sampled_from(["every", "last", "first"])
    orders = st.builds(shop.Aim, st.just(shop.On("order")), units, credits_, st.booleans())
    clicks = st.builds(shop.Aim, st.just(shop.On("order")), units, receipt=st.sampled_from(["displayed", "clicked"]))
    planned = tuple(
        shop.Draft(
            f"plan{i}",
            trigger=EventTrigger(draw(st.sampled_from([0, 0, UNIT]))),
            caps=tuple(draw(st.lists(caps(plans), min_size=min(i, 1), max_size=2))),
            skip=draw(skips(plans)),
            transactional=draw(st.sampled_from([False] * 5 + [True])),
            channel=draw(st.sampled_from(channels)),
            aims=tuple(draw(st.lists(orders | clicks, min_size=1, max_size=2))),
            expires=UNIT,
        )
        for i in range(plans)
    )
    seen = st.tuples(st.integers(0, 16), st.sampled_from(["view", "view", "order"]))
    events = sorted(draw(st.lists(seen, min_size=8, max_size=20)))
    rows = [(shop.event(base + n * UNIT, name, id=f"e{i}"), 0) for i, (n, name) in enumerate(events)]
    delays = st.sampled_from([UNIT, 3 * UNIT])
    rows += [(rows[n][0], draw(delays)) for n in draw(st.lists(st.integers(0, 7), max_size=2))]  # S4, S9
    consents = shop.LETTER not in channels  # where it is an opt-out
    told = [shop.profile(None, ok=consents)]
    told += [shop.profile(base + n * UNIT, ok=consents) for n in draw(st.lists(st.integers(4, 14), max_size=3))]
    world = World(
        base, planned, (0,), 0, ((0, "0", as_read(rows), True), (1, "0", as_read([(r, 0) for r in told]), True))
    )
    return draw(answers(world, open_ended=open_ended, most=30, says=draw(st.sampled_from([FEW, FEW, QUITS, RECEIPTS]))))


CONDITIONS = ("sent", "delivered", "displayed", "clicked", "clicked", "attained", "timed_out", "timed_out")


@st.composite
def stops(draw: st.DrawFn, channels: tuple[int, ...], deep: int = 1) -> shop.Stop:
    """A step, or a fork with steps on its ways."""
    after = draw(st.sampled_from([None, None, UNIT, UNIT, 2 * UNIT, 3 * UNIT]))
    until = draw(st.sampled_from([None, None, shop.On("order"), shop.On("pay", where=shop.SameSku())]))
    facts = st.builds(shop.Fact, st.sampled_from(CONDITIONS), st.none(), st.booleans())
    own = st.builds(shop.Fact, st.sampled_from(CONDITIONS[:5]), st.integers(0, 1), st.booleans())
    when = facts | facts | own | st.just(shop.CityIs("x"))
    clock = after is not None and until is None and draw(st.integers(0, 3)) == 3
    wait = {
        "after": UntilLocal(draw(st.integers(0, 47)) * 30, frozenset(range(7))) if clock else after,
        "until": until if after is not None else None,
    }
    if deep and draw(st.integers(0, 4)) == 4:
        ways = st.lists(stops(channels, deep - 1), max_size=2)
        return shop.Stop(when=draw(when), then=tuple(draw(ways)), otherwise=tuple(draw(ways)), **wait)
    own_channels = draw(st.lists(st.sampled_from(channels), min_size=1, max_size=len(channels), unique=True))
    return shop.Stop(
        tuple(own_channels),
        each=draw(st.booleans()),
        when=draw(st.none() | when),
        fallback_after=draw(st.sampled_from([None, UNIT, UNIT, 3 * UNIT, 12 * UNIT, 12 * UNIT])),
        expires=draw(st.sampled_from([UNIT, 3 * UNIT, 16 * UNIT, 16 * UNIT])),
        only=tuple(draw(cities) for _ in own_channels),
        **wait,
    )


@st.composite
def journey_worlds(draw: st.DrawFn, *, open_ended: bool = False) -> World:
    """One or two plans with steps, waits, conditions, channels and forks; and what providers say of their messages."""
    base = draw(st.sampled_from(BASES))
    plans = draw(st.sampled_from([1, 1, 1, 2]))
    planned = []
    for i in range(plans):
        channels = draw(
            st.sampled_from([(shop.APP, shop.HOOK), (shop.APP, shop.PUSH), (shop.APP, shop.LETTER, shop.SMS)])
        )
        steps = draw(st.lists(stops(channels), min_size=1, max_size=4))
        if not any(stop.channels or stop.then or stop.otherwise for stop in steps):
            steps.append(shop.Stop((shop.APP,)))
        trigger: Trigger = EventTrigger(draw(st.sampled_from([0, 0, 0, UNIT])))
        if draw(st.integers(0, 4)) == 4:
            trigger = AbsenceTrigger(UNIT, draw(st.sampled_from(REPEATS)), 0)
        counted = isinstance(trigger, EventTrigger) and draw(st.integers(0, 3)) == 3
        planned.append(
            shop.Draft(
                f"plan{i}",
                on=shop.On(draw(st.sampled_from(["view", "order"]))) if counted else shop.On("view"),
                trigger=trigger,
                counter=shop.times(draw(st.integers(1, 2)), draw(st.sampled_from([None, 4 * UNIT])))
                if counted
                else None,
                always=draw(st.booleans()),
                without=(shop.On("pay"),) if isinstance(trigger, AbsenceTrigger) else (),
                exits=tuple(draw(exits())),
                key=draw(st.sampled_from([(), (), (0,)])),
                journey=tuple(steps),
                touches=draw(st.sampled_from([None, None, None, 1, 2])),
                audience=draw(st.sampled_from([None, None, None, shop.CityIs("x")])),
                reentry=draw(
                    st.sampled_from([shop.ALWAYS, shop.ALWAYS, shop.ONCE])
                    | units.map(lambda gap: Reentry(always=False, gap=gap))
                ),
                caps=tuple(draw(st.lists(caps(plans), max_size=2))),
                quiet=draw(st.none() | st.none() | quiets()),
                experiment=draw(experiments),
                needs_city=draw(st.sampled_from([False, False, False, True])),
                aims=tuple(draw(st.lists(aims(receipts=True), max_size=2))),
                zone=draw(st.sampled_from(ZONES)),
                ends_at=draw(st.sampled_from([1 << 60, 1 << 60, 1 << 60, base + 6 * UNIT])),
            )
        )
    names = st.sampled_from(["view", "view", "order", "pay"])
    seen = draw(
        st.lists(st.tuples(st.integers(0, 12), names, st.sampled_from(["A", "A", "B"])), min_size=2, max_size=10)
    )
    delays = st.sampled_from([0, 0, 0, 0, 2 * UNIT])
    rows = [
        (shop.event(base + n * UNIT, name, sku, id=f"e{i}"), draw(delays))
        for i, (n, name, sku) in enumerate(sorted(seen))
    ]
    rows += [(rows[n % len(rows)][0], draw(delays)) for n in draw(st.lists(st.integers(0, 5), max_size=2))]  # S4
    instants = st.integers(0, 14).map(lambda n: base + n * UNIT)
    told = [(shop.profile(None, ok=draw(st.sampled_from([True, True, None])), address="here", city="x"), 0)]
    told += draw(st.lists(st.tuples(updates(instants, users=(shop.USER,)), delays), max_size=4))
    ended = draw(st.booleans()) if open_ended else True
    world = World(base, tuple(planned), (0,), 0, ((0, "0", as_read(rows), ended), (1, "0", as_read(told), True)))
    few = (*FEW, "clicked", "unsubscribed")
    once = draw(answers(world, open_ended=open_ended, says=few))
    return draw(answers(once, open_ended=open_ended, says=few, name="1"))


@st.composite
def answers(
    draw: st.DrawFn,
    world: World,
    *,
    open_ended: bool,
    most: int = 14,
    says: tuple[str, ...] = (*FEW, *RECEIPTS),
    name: str = "0",
) -> World:
    """The world with receipts of the messages that it would send without them."""
    project = world.project
    sent = _messages(project, [one._replace(ended=True) for one in world.partitions(project)])
    if not sent:
        return world
    last = max(each.decision.decided_at for each in sent)
    nobodys = f"{sent[0].dispatch_id[:24]}-send-fax"
    said = st.builds(
        lambda dispatch, after, says, user, detail, id_: shop.receipt(
            dispatch.decision.decided_at + after, says, dispatch.dispatch_id, user, detail, id_
        ),
        st.sampled_from(sent),
        st.integers(-1, 6).map(lambda n: n * UNIT),
        st.sampled_from(says),
        st.sampled_from([None, None, None, *USERS]),
        st.sampled_from([None, "why"]),
        st.sampled_from([None, None, "r1"]),
    )
    strange = st.builds(shop.receipt, st.just(last), st.just("failed"), st.sampled_from([nobodys, "nobody's"]))
    delays = st.sampled_from([0, 0, 0, UNIT, 2 * UNIT, 4 * UNIT])
    rows = draw(st.lists(st.tuples(st.one_of(said, said, said, strange), delays), min_size=most // 4, max_size=most))
    bound = draw(st.sampled_from([0, UNIT]))
    ended = draw(st.booleans()) if open_ended else True
    log = (len(world.disorder) + 1, name, as_read(rows), ended)
    return dataclass_replace(world, receipt_disorder=bound, logs=(*world.logs, log))


def _messages(project: Project, partitions: list[Partition]) -> list[Dispatch]:
    return driver.Run(project, partitions).to_the_end().dispatches


@st.composite
def changing_profiles(draw: st.DrawFn) -> World:
    """One user, seen all the time, whose profile is told in disorder."""
    base = BASES[0]
    instants = st.integers(0, 8).map(lambda n: base + n * UNIT)
    draft = shop.Draft(
        "hello",
        audience=draw(cities),
        channel=draw(st.integers(0, 2)),
        quiet=draw(st.none() | quiets()),
        channel_quiet=draw(st.none() | quiets()),
    )
    seen = tuple(shop.event(base + n * UNIT, "view", id=f"e{n}") for n in range(12))
    delays = st.sampled_from([0, 0, UNIT, 3 * UNIT, 6 * UNIT])
    told = draw(st.lists(st.tuples(updates(instants, users=(shop.USER,)), delays), min_size=2, max_size=10))
    bound = draw(st.sampled_from([0, UNIT]))
    return World(base, (draft,), (0,), bound, ((0, "0", seen, True), (1, "0", as_read(told), True)))


@st.composite
def many_sends(draw: st.DrawFn) -> World:
    """One user of whom no profile is known, seen all the time; plans with caps, gaps and goals, and nothing else."""
    base = draw(st.sampled_from(BASES))
    plans = draw(st.integers(1, 3))
    planned = tuple(
        shop.Draft(
            f"plan{i}",
            trigger=EventTrigger(draw(st.sampled_from([0, 0, UNIT]))),
            caps=tuple(draw(st.just([]) | st.lists(caps(plans), max_size=3))),
            skip=draw(skips(plans)),
            transactional=draw(st.sampled_from([False, False, False, True])),
            reentry=draw(
                st.sampled_from([shop.ALWAYS, shop.ONCE]) | units.map(lambda gap: Reentry(always=False, gap=gap))
            ),
            aims=tuple(draw(st.just([]) | st.lists(aims(), max_size=2))),
            zone=draw(st.sampled_from(ZONES)),
        )
        for i in range(plans)
    )
    seen = draw(st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["view", "view", "order"])), min_size=3))
    rows = [
        shop.event(base + n * UNIT, name, draw(st.sampled_from(SKUS)), draw(st.integers(1, 2)), id=f"e{i}")
        for i, (n, name) in enumerate(sorted(seen))
    ]
    return World(base, planned, (0,), 0, ((0, "0", tuple(rows), True),))


def as_read(rows: list[tuple[shop.Row, Micros]]) -> tuple[shop.Row, ...]:
    """In the order of time, but for those that come `delay` after their turn."""
    turns = [row.ts if row.ts == BEFORE_ALL else row.ts + delay for row, delay in rows]
    return tuple(rows[i][0] for _, i in sorted((turn, i) for i, turn in enumerate(turns)))


@st.composite
def linked(draw: st.DrawFn, world: World) -> World:
    """The world, some of whose rows are told of other ids; and links, which say who is who, in disorder and repeated.

    Of each receipt the message is one that is sent without links, or by what they change, none.
    """
    names = st.sampled_from([None, None, None, "anon", "anon", "phone", shop.STRANGER])

    def told(source: int, row: shop.Row) -> shop.Row:
        name = draw(names)
        return row if name is None or source == len(world.disorder) + 1 else replace(row, user_id=name)

    logs = [(source, name, tuple(told(source, row) for row in rows), end) for source, name, rows, end in world.logs]
    instants = sorted({row.ts for _, _, rows, _ in world.logs for row in rows if row.ts > BEFORE_ALL})
    times = st.none() | st.sampled_from(instants) | st.sampled_from(instants) | st.sampled_from(instants)
    users = st.sampled_from([shop.USER, shop.USER, shop.USER, shop.STRANGER, "phone", "anon"])
    said = st.builds(shop.link, times, st.sampled_from(["anon", "anon", "phone", shop.STRANGER, shop.USER]), users)
    delays = st.sampled_from([0, 0, 0, UNIT, 4 * UNIT])
    links = draw(st.lists(st.tuples(said, delays), min_size=1, max_size=5))
    log = (len(world.disorder) + 3, "0", as_read(links), all(ended for *_, ended in logs))
    place = draw(st.integers(0, len(logs)))
    return dataclass_replace(world, logs=(*logs[:place], log, *logs[place:]), linked=True)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[World, Micros | None]:
    """Plans with a log, of all kinds; and how far time is moved on when all has been read (S6), where it is."""
    is_open, beyond = draw(st.booleans()), draw(st.none() | st.integers(0, 100))
    world: World = draw(
        st.one_of(
            *[worlds(open_ended=is_open)] * 5,
            *[sequence_worlds(open_ended=is_open)] * 6,
            *[answered_worlds(open_ended=is_open)] * 2,
            *[many_answers(open_ended=is_open)] * 2,
            *[journey_worlds(open_ended=is_open)] * 6,
            *[calendar_worlds(open_ended=is_open)] * 2,
            counting_worlds(),
            looking_worlds(),
            layered_worlds(),
            changing_profiles(),
            many_sends(),
        )
    )
    if draw(st.integers(0, 4)) == 0 and any(row.ts > BEFORE_ALL for _, _, rows, _ in world.logs for row in rows):
        world = draw(linked(world))
        if draw(st.booleans()) and any(draft.channel in ANSWERING for draft in world.drafts):
            world = draw(answers(world, open_ended=is_open))
    return world, None if beyond is None else world.base + beyond * UNIT
