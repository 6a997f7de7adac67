"""A small shop to try the core on: projects, rows and partitions, built in a line each.

Every event has two properties, `sku` and `n`; a profile has `city`, `ok`, `address` and `zone`. Conditions are small
classes, not lambdas, so that a failing example prints what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct

from flowops.core.journey import FACTS, OF_JOURNEY
from flowops.core.plan import (
    ANY_EVENT,
    END,
    KNOWN,
    AbsenceTrigger,
    AllTrigger,
    Attain,
    Attributes,
    Branch,
    Cancel,
    Cap,
    Capture,
    Change,
    Channel,
    Column,
    Count,
    Counter,
    CountTrigger,
    DateTrigger,
    EventTable,
    EventTrigger,
    Exit,
    Experiment,
    Goal,
    InactivityTrigger,
    Journey,
    Layering,
    Listener,
    Lookback,
    Node,
    Occurrences,
    Pause,
    Plan,
    Predicate,
    Project,
    Quiet,
    Reentry,
    Resume,
    Route,
    ScheduleTrigger,
    See,
    Sends,
    SequenceTrigger,
    Source,
    SourceKind,
    Start,
    Step,
    Steps,
    Take,
    TimeField,
    Trigger,
    UntilLocal,
)
from flowops.core.records import BEFORE_ALL, SHARDS, Micros, Values
from flowops.core.records import Row as AnyRow
from flowops.core.time import DAY, HOUR, MINUTE, SECOND, Zone, to_micros
from flowops.errors import ContentError
from model import Partition

Period: TypeAlias = Literal["day", "week", "month"]
EVENTS = ("view", "order", "pay")
PROPERTIES = ("sku", "n")
ATTRIBUTES = ("city", "ok", "address", "zone", "born")
SEGMENTS = ("vip", "staff")
UTC = Zone("UTC")
ALWAYS = Reentry(always=True, gap=None)
ONCE = Reentry(always=False, gap=None)
ALL_DAYS = frozenset(range(7))


def at(text: str) -> Micros:
    """`2022-04-21 10:00` in UTC, or with an offset."""
    moment = datetime.fromisoformat(text)
    return to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC._tz))


def span(text: str) -> Micros:
    """`1h`, `30m`, `7d`: no more is needed here."""
    return int(text[:-1]) * {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}[text[-1]]


class Row(Struct):
    """A decoded row, of events (`p0` sku, `p1` n) and of profiles (`p0` to `p4`, in the order of `ATTRIBUTES`)."""

    user_id: str
    event: str
    event_id: str | None
    ts: Micros
    p0: Any = UNSET
    p1: Any = UNSET
    p2: Any = UNSET
    p3: Any = UNSET
    p4: Any = UNSET


# Conditions


@dataclass(frozen=True)
class AtLeast:
    """n >= least; a condition on the event alone."""

    least: int

    def __call__(self, row: Any) -> bool:
        return bool(row.p1 is not None and row.p1 >= self.least)


@dataclass(frozen=True)
class SameSku:
    """sku = that of the event that began it; NULL equals nothing."""

    def __call__(self, values: Values, steps: Steps, _user: Attributes, _now: Micros, _variant: str | None) -> bool:
        return bool(values and steps[0]) and values[0] is not None and values[0] == steps[0][0]


@dataclass(frozen=True)
class SkuOf:
    """sku = that of a step."""

    step: int

    def __call__(self, values: Values, steps: Steps, _user: Attributes, _now: Micros, _variant: str | None) -> bool:
        return bool(steps and values and steps[self.step]) and None is not values[0] == steps[self.step][0]


@dataclass(frozen=True)
class CityIs:
    """user.city = city."""

    city: str

    def __call__(self, _values: Values, _steps: Steps, user: Attributes, _now: Micros, _variant: str | None) -> bool:
        return bool(user[0] == self.city)


@dataclass(frozen=True)
class InSegment:
    """In `vip` (and, as asked, not in `staff`)."""

    not_staff: bool = False

    def __call__(self, _values: Values, _steps: Steps, user: Attributes, _now: Micros, _variant: str | None) -> bool:
        return user[5] is True and not (self.not_staff and user[6] is True)


@dataclass(frozen=True)
class Everyone:
    """Of whom a profile or a segment was told; and where it is asked for, of the audience."""

    inside: Predicate | None = None

    def __call__(self, values: Values, steps: Steps, user: Attributes, now: Micros, variant: str | None) -> bool:
        return user[7] is True and (self.inside is None or self.inside(values, steps, user, now, variant))


@dataclass(frozen=True)
class Did:
    """What the user did, or did not: the answers to the plan's `did`, in their order; and the rest of the audience."""

    wanted: tuple[bool, ...]
    inside: Predicate | None = None

    def __call__(self, values: Values, steps: Steps, user: Attributes, now: Micros, variant: str | None) -> bool:
        answers = user[len(ATTRIBUTES) + len(SEGMENTS) + 1 :]
        fits = all(answer is wanted for answer, wanted in zip(answers, self.wanted, strict=True))
        return fits and (self.inside is None or self.inside(values, steps, user, now, variant))


@dataclass(frozen=True)
class Fact:
    """What is known of a journey: of the step before, or of a step by its number (of so many as there are); or not."""

    name: str
    step: int | None = None
    negated: bool = False

    def __call__(self, values: Values, steps: Steps, _user: Attributes, _now: Micros, _variant: str | None) -> bool:
        own = [step for step in steps if len(step) == len(FACTS)]
        seen = values if self.step is None else own[self.step % len(own)]
        return bool(seen[OF_JOURNEY.index(self.name)]) is not self.negated


@dataclass(frozen=True)
class Before:
    """now < instant."""

    instant: Micros

    def __call__(self, _values: Values, _steps: Steps, _user: Attributes, now: Micros, _variant: str | None) -> bool:
        return now < self.instant


@dataclass(frozen=True)
class TheN:
    """The event's n, as a goal's value."""

    def __call__(self, values: Values, _steps: Steps, _user: Attributes, _now: Micros, _variant: str | None) -> Any:
        return None if values[1] is None else float(values[1])


@dataclass(frozen=True)
class Content:
    """`{{ sku }} {{ user.city }}` and the variant; where a city is `needed`, one without it cannot be told (S33)."""

    needed: bool = False

    def __call__(self, steps: Steps, user: Attributes, _now: Micros, variant: str | None) -> dict[str, str]:
        if self.needed and user[0] is None:
            raise ContentError("user.city is undefined; give it a default")
        return {"body": f"{' '.join(str(step[0]) if step else '-' for step in steps)} {user[0]} {variant}"}


@dataclass(frozen=True)
class TimeOfN:
    """When the first step is of sku `A` or `B`: `base` and `n` units later."""

    base: int
    unit: int

    def __call__(self, _values: Values, steps: Steps, _user: Attributes, _now: Micros, _variant: str | None) -> Any:
        sku, n = steps[0] or (None, 0)
        return None if sku is None else self.base + n * self.unit


@dataclass(frozen=True)
class LayerIs:
    """Of a layering: the user is in this layer; None: in none, or that is not known."""

    layer: str | None
    number: int = 0

    def __call__(self, _values: Values, _steps: Steps, user: Attributes, _now: Micros, _variant: str | None) -> bool:
        return bool(user[len(ATTRIBUTES) + len(SEGMENTS) + 1 + self.number] == self.layer)


# Plans


@dataclass(frozen=True)
class On:
    """An event to listen to (None: any), with a condition on itself and one on more than itself; or a change."""

    event: str | None
    own: AtLeast | None = None
    where: Predicate | None = None
    change: tuple[int, Any, Any] | None = None  # of an attribute, from and to a value (None: whatever)

    @property
    def kept(self) -> tuple[int, ...]:
        """What it has to keep: all of an event, nothing of a change."""
        return (0, 1) if self.change is None else ()


@dataclass(frozen=True)
class Ask:
    """What a layer asks: a recency, or how often (from, to), or for how much of `n`."""

    recency: Micros | None = None
    often: tuple[int, int | None] | None = None
    much: str | None = None

    def look(self, places: dict[str, int], sources: tuple[int, ...], within: Micros | None) -> Lookback:
        if self.recency is not None:
            return Lookback(places["times"], self.recency, 1, None, sources)
        if self.often is not None:
            return Lookback(places["times"], within, *self.often, sources)
        return Lookback(places["sum"], within, Decimal(self.much or 0), None, sources)


@dataclass(frozen=True)
class Layers:
    """A layering by an event: its layers in order, with all that each asks."""

    on: On
    layers: tuple[tuple[str, tuple[Ask, ...]], ...]
    within: Micros | None = None

    @property
    def counters(self) -> tuple[Counter, Counter]:
        """No more is kept than the layers ask for."""
        asks = [ask for _, asked in self.layers for ask in asked]
        often = [ask.often for ask in asks if ask.often is not None]
        spans = [ask.recency for ask in asks if ask.recency is not None]
        keeps = max([1, *(low if high is None else high + 1 for low, high in often)])
        ever = bool(often) and self.within is None
        spans += [self.within] if often and self.within is not None else []
        longest = None if ever else max(spans, default=MINUTE)
        return Counter("times", 1, longest, keeps), Counter("sum", Decimal(1), self.within, 0)


@dataclass(frozen=True)
class Aim:
    """A goal to be."""

    on: On
    window: Micros
    credit: Literal["every", "last", "first"] = "every"
    value: bool = True
    receipt: str | None = None  # instead of the event
    label: int | None = None  # VIP or STAFF


AT_ONCE = EventTrigger(delay=0)


@dataclass(frozen=True)
class Stop:
    """A step of a journey to be, or a fork in it: then it has `then` and `otherwise`, and no channels."""

    channels: tuple[int, ...] = ()
    each: bool = False
    after: Micros | UntilLocal | None = None
    until: On | None = None  # and at most `after`
    when: Predicate | None = None
    fallback_after: Micros | None = None
    expires: Micros = DAY
    only: tuple[Predicate | None, ...] = ()  # by channel
    then: tuple[Stop, ...] = ()
    otherwise: tuple[Stop, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Draft:
    """A plan to be: everything has a default but its id."""

    id: str
    on: On = On("view")
    trigger: Trigger = AT_ONCE
    members: tuple[On, ...] = ()  # of `any` and `all`, instead of `on`
    without: tuple[On, ...] = ()
    exits: tuple[On, ...] = ()
    counter: Counter | None = None  # of a counting trigger
    always: bool = False
    key: tuple[int, ...] = ()
    audience: Predicate | None = None
    reentry: Reentry = ALWAYS
    caps: tuple[Cap, ...] = ()
    skip: tuple[Micros, tuple[int, ...] | None, int | None] | None = None  # within, by plans (None: all), by a channel
    transactional: bool = False
    quiet: Quiet | None = None
    channel_quiet: Quiet | None = None
    experiment: Experiment | None = None
    channel: int = 0
    journey: tuple[Stop, ...] = ()  # instead of one message on the channel
    touches: int | None = None
    needs_city: bool = False
    aims: tuple[Aim, ...] = ()
    did: tuple[tuple[On, Counter, int | Decimal, int | None], ...] = ()  # with how much, to how much
    zone: Zone = UTC
    starts_at: Micros = -(1 << 60)
    ends_at: Micros = 1 << 60
    expires: Micros = DAY
    several_a_day: bool = False  # its schedule


def changes(attribute: int, old: Any = None, new: Any = None, where: Predicate | None = None) -> On:
    """A change of the profile, heard as an event."""
    return On("", None, where, (attribute, old, new))


def absence(within: Micros, repeat: Literal["ignore", "restart", "parallel"] = "ignore", delay: Micros = 0) -> Trigger:
    return AbsenceTrigger(within=within, repeat=repeat, delay=delay)


def inactive(within: Micros, delay: Micros = 0) -> Trigger:
    return InactivityTrigger(within, delay)


CITY, OK, ADDRESS, ZONE, BORN, VIP, STAFF = range(7)


def date_of(*, yearly: bool = False, offset: int = 0, time: str = "09:00", delay: Micros = 0) -> Trigger:
    """Of `born`; `offset` in days."""
    return DateTrigger(BORN, yearly, offset * DAY, int(time[:2]) * 60 + int(time[3:]), delay)


@dataclass(frozen=True)
class Daily:
    """A schedule: every so many days (1: each) at a local time."""

    minute: int
    zone: Zone = UTC
    every: int = 1

    def __call__(self, after: Micros) -> Micros | None:
        today = self.zone.day(after)
        return min(
            at
            for day in range(today - 1, today + self.every + 2)
            if day % self.every == 0 and (at := self.zone.instant(day * DAY + self.minute * MINUTE)) > after
        )


def scheduled(after: Occurrences, delay: Micros = 0) -> Trigger:
    return ScheduleTrigger(after, delay)


def times(least: int, within: Micros | None) -> Counter:
    return Counter("times", least, within, least)


def distinct(least: int, within: Micros | None) -> Counter:
    """Of `sku`."""
    return Counter("distinct", least, within, least)


def total(least: str, within: Micros | None) -> Counter:
    """Of `n`."""
    return Counter("sum", Decimal(least), within, 0)


def cap(
    at_most: int,
    rolling: Micros | None = None,
    calendar: Period | None = None,
    plans: Iterable[int] | None = None,
    channel: int | None = None,
    key: int | None = None,
) -> Cap:
    """`key`: of each `sku` (0) or `n` (1)."""
    return Cap(at_most, rolling, calendar, None if plans is None else frozenset(plans), channel, "as written", key)


def quiet(start: str, end: str, *, days: Sequence[int] = range(7), outside: bool = False, hold: bool = True) -> Quiet:
    """`22:00`, `08:00`."""
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, end)]
    return Quiet(minutes[0], minutes[1], frozenset(days), outside, hold)


def variants_of(experiment: Experiment | None) -> list[str | None]:
    """What content may be asked for; an experiment that only holds out has no variants."""
    return [None, *(name for name, _ in experiment.variants)] if experiment else [None]


SHORTLY = 90 * MINUTE  # how long, in this shop, a message is remembered after its time

CHANNELS = (
    Channel(0, "push", address=None, opt_in=None, opt_out=None, cost=None),
    Channel(1, "sms", address=2, opt_in=1, opt_out=None, cost=0.05),
    Channel(2, "mail", address=2, opt_in=None, opt_out=1, cost=0.01),
    Channel(3, "app", None, None, None, None, undelivered_after=HOUR, confirms=True, remembered=SHORTLY),
    Channel(4, "hook", None, opt_in=1, opt_out=None, cost=None, confirms=True, remembered=30 * MINUTE),
    Channel(5, "letter", None, None, 1, None, undelivered_after=2 * HOUR, confirms=True, remembered=SHORTLY),
)
PUSH, SMS, MAIL, APP, HOOK, LETTER = range(6)


def project(
    *drafts: Draft,
    disorder: Sequence[Micros] = (0,),
    profile_disorder: Micros = 0,
    receipt_disorder: Micros = 0,
    layerings: Sequence[Layers] = (),
    since: Micros | None = None,
    linked: bool = False,
) -> Project:
    """A project of these plans, in this order; sources of events, one for each bound in `disorder`, and of the rest.

    Figures are split by the first of the layerings. `linked`: with a source of identities.
    """
    listened: list[tuple[On, Listener]] = []
    for index, draft in enumerate(drafts):
        listened += [
            (aim.on, Attain(index, goal, aim.on.where)) for goal, aim in enumerate(draft.aims) if not aim.receipt
        ]
    triggers: list[Trigger] = []
    counters: list[Counter | None] = [draft.counter for draft in drafts]
    looks: list[tuple[Lookback, ...]] = []
    for index, draft in enumerate(drafts):
        triggers.append(draft.trigger)
        looks.append(())
        for on, counter, low, high in draft.did:
            value = {"times": None, "distinct": 0, "sum": 1}[counter.kind]
            listened.append((on, Count(None, len(counters), on.where, value, ())))
            looks[-1] += (Lookback(len(counters), counter.within, low, high, tuple(range(len(disorder)))),)
            counters.append(counter)
        listened += [(on, Cancel(index, on.where, draft.key)) for on in draft.without]
        listened += [(on, Exit(index, on.where, draft.key)) for on in draft.exits]
        listened += [(on, Resume(index, on.where, (), draft.key, node)) for node, on in _Table(draft).resumes]
        if draft.counter is not None:
            value = {"times": None, "distinct": 0, "sum": 1}[draft.counter.kind]
            listened.append((draft.on, Count(index, index, draft.on.where, value, draft.key, draft.always)))
            triggers[-1] = CountTrigger(draft.counter, draft.trigger.delay)
        if isinstance(draft.trigger, InactivityTrigger):
            listened.append((draft.on, See(index, draft.on.where, ((0, draft.on.kept),), draft.key)))
        for part, on in enumerate(draft.members if isinstance(draft.trigger, AllTrigger) else ()):
            listened.append((on, Take(index, on.where, ((part, on.kept),), draft.key, part)))
        if isinstance(draft.trigger, SequenceTrigger):
            listened += _sequence(index, draft, draft.trigger)
        if isinstance(draft.trigger, SequenceTrigger | DateTrigger | ScheduleTrigger):
            continue
        for part, on in enumerate(draft.members or (draft.on,)):
            listened.append((on, Start(index, on.where, ((part, on.kept),), draft.key, part)))
    first = len(ATTRIBUTES) + len(SEGMENTS) + 1
    compiled: list[Layering] = []
    for number, layers in enumerate(layerings):
        times_of, sum_of = layers.counters
        places = {"times": len(counters), "sum": len(counters) + 1}
        listened += [(layers.on, Count(None, places["times"], None, None, ()))]
        listened += [(layers.on, Count(None, places["sum"], None, 1, ()))]
        counters += [times_of, sum_of]
        compiled.append(
            Layering(
                first + number,
                tuple(
                    (name, tuple(ask.look(places, tuple(range(len(disorder))), layers.within) for ask in asked))
                    for name, asked in layers.layers
                ),
            )
        )
    routes = {event: _Route(tuple(_heard(listened, event))) for event in EVENTS if list(_heard(listened, event))}
    any_route = _Route(tuple(_heard(listened, None)))
    events = [
        replace(
            _source(i, f"web{i}", "events", PROPERTIES, bound, routes, any_route if any_route.listeners else None),
            since=since,
        )
        for i, bound in enumerate(disorder)
    ]
    profiles = _source(len(events), "crm", "profiles", ATTRIBUTES, profile_disorder, {}, None)
    return Project(
        name="shop",
        zone=UTC,
        currency=None,
        sources=(
            *events,
            profiles,
            _source(len(events) + 1, "back", "receipts", ("dispatch_id", "detail"), receipt_disorder, {}, None),
            _source(len(events) + 2, "members", "segments", ("action",), profile_disorder, {}, None),
            *([_source(len(events) + 3, "ids", "identities", (), profile_disorder, {}, None)] if linked else []),
        ),
        shards=1 if linked else SHARDS,
        attributes=(
            *ATTRIBUTES,
            *(f"segment:{name}" for name in SEGMENTS),
            KNOWN,
            *(f"layer{number}" for number, _ in enumerate(layerings)),
        ),
        zone_attribute=3,
        channels=CHANNELS,
        events=tuple(EventTable(event, PROPERTIES) for event in EVENTS),
        listeners=tuple(listener for _, listener in listened),
        plans=tuple(_plan(index, drafts, triggers[index], looks[index]) for index, _ in enumerate(drafts)),
        changes=_changes([on for on, _ in listened]),
        counters=tuple(counters),
        layerings=tuple(compiled),
        figures=first if compiled else None,
    )


def _changes(listened: Sequence[On]) -> dict[int, tuple[Change, ...]]:
    found: dict[int, tuple[Change, ...]] = {}
    for number, on in enumerate(listened):
        if on.change is not None:
            attribute, old, new = on.change
            found[attribute] = (*found.get(attribute, ()), Change(number, old, new))
    return found


def _sequence(index: int, draft: Draft, trigger: SequenceTrigger) -> list[tuple[On, Listener]]:
    """Kept are the last taking of each event, in its place, and the first, or the step's, so many places further."""
    taken = sum(len(step.parts) for step in trigger.steps if step.kind != "without")
    takes: list[tuple[On, Listener]] = []
    starts: list[tuple[On, Listener]] = []
    for part, on in enumerate(draft.members):
        capture: Capture = ((part, on.kept), (taken + part, on.kept)) if part < taken else ()
        several = any(part in step.parts and len(step.parts) > 1 and step.kind == "any" for step in trigger.steps)
        nth = (0, -1 if several else 1) if capture else ()
        takes.append((on, Take(index, on.where, capture, draft.key, part, nth)))
        if part in trigger.steps[0].parts:
            starts.append((on, Start(index, on.where, capture, draft.key, part, nth)))
    if trigger.strict:
        takes.append((On(None), Take(index, None, (), (), ANY_EVENT, ())))
    return takes + starts


@dataclass(frozen=True)
class _Route:
    listeners: tuple[tuple[int, AtLeast | None], ...]

    def __call__(self, row: AnyRow) -> tuple[tuple[int, ...], Values] | None:
        hits = tuple(number for number, own in self.listeners if own is None or own(row))
        return (hits, (row.p0, row.p1)) if hits else None  # type: ignore[attr-defined]


def _heard(listened: Sequence[tuple[On, Listener]], event: str | None) -> list[tuple[int, AtLeast | None]]:
    return [(number, on.own) for number, (on, _) in enumerate(listened) if on.event in (event, None)]


def _source(
    index: int,
    name: str,
    kind: SourceKind,
    columns: Sequence[str],
    out_of_orderness: Micros,
    routes: dict[str, _Route],
    any_route: Route | None,
) -> Source:
    return Source(
        index=index,
        name=name,
        kind=kind,
        files=(),
        user_id=("user_id",),
        event=None,
        event_path=("event",),
        event_id=(("event_id",),),
        time=TimeField(("ts",), "us", None),
        properties_path=None,
        columns=tuple(Column(f"p{i}", column, (column,), "string") for i, column in enumerate(columns)),
        out_of_orderness=out_of_orderness,
        routes=routes,
        any_route=any_route,
    )


def _carried(draft: Draft) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Of `sku` and of `n`: where they stand in what is kept of each event."""
    taken = len(draft.members or (draft.on,))
    if isinstance(draft.trigger, SequenceTrigger):
        taken = sum(len(step.parts) for step in draft.trigger.steps if step.kind != "without")
    slots = [slot for slot, on in enumerate((draft.members or (draft.on,))[:taken]) if on.change is None]
    return tuple(tuple((slot, place) for slot in slots) for place in (0, 1))


def _label(aim: Aim) -> tuple[tuple[int, bool], ...]:
    """In the segment, and one of those of whom something is told."""
    return () if aim.label is None else ((aim.label, True), (len(ATTRIBUTES) + len(SEGMENTS), True))


def _skip(index: int, draft: Draft, plans: int) -> Cap | None:
    if draft.skip is None or draft.transactional:
        return None
    within, by, channel = draft.skip
    return cap(1, rolling=within, plans={*(range(plans) if by is None else by)} - {index}, channel=channel)


def _message(draft: Draft, name: str, channel: int, expires: Micros, only: Predicate | None = None) -> Step:
    contents = {variant: Content(draft.needs_city) for variant in variants_of(draft.experiment)}
    return Step(name, replace(CHANNELS[channel], quiet=draft.channel_quiet), contents, expires, only)


class _Table:
    """The nodes of a journey, laid out from its end, so that each knows the next, and then turned round."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.messages: list[Step] = []
        self._laid: list[tuple[Node, On | None]] = []
        self._lay(draft.journey, END)
        last = len(self._laid) - 1
        turned = [(_turned(node, last), until) for node, until in reversed(self._laid)]
        steps = [number for number, (node, _) in enumerate(turned) if isinstance(node, Sends)]
        self.nodes = [
            replace(node, number=steps.index(place)) if isinstance(node, Sends) else node
            for place, (node, _) in enumerate(turned)
        ]
        self.resumes = [(place, until) for place, (_, until) in enumerate(turned) if until is not None]

    def _lay(self, stops: Sequence[Stop], beyond: int) -> int:
        for stop in reversed(stops):
            if stop.channels:
                first = self._add(self._step(stop, beyond))
                if stop.when is not None:
                    first = self._add(Branch(stop.when, first, beyond))
            else:
                assert stop.when is not None
                ways = self._lay(stop.then, beyond), self._lay(stop.otherwise, beyond)
                first = self._add(Branch(stop.when, *ways))
            if stop.after is not None:
                first = self._add(Pause(stop.after, stop.until is not None, first), stop.until)
            beyond = first
        return beyond

    def _step(self, stop: Stop, beyond: int) -> Sends:
        name = stop.name or f"s{len(self.messages)}"
        own = range(len(self.messages), len(self.messages) + len(stop.channels))
        for channel, only in zip_longest(stop.channels, stop.only):
            message = _message(self.draft, name, channel, stop.expires, only)
            self.messages.append(replace(message, group=name if len(own) > 1 else ""))
        return Sends(0, name, tuple(own), stop.each, stop.fallback_after, beyond)

    def _add(self, node: Node, until: On | None = None) -> int:
        self._laid.append((node, until))
        return len(self._laid) - 1


def _turned(node: Node, last: int) -> Node:
    def new(number: int) -> int:
        return END if number == END else last - number

    if isinstance(node, Branch):
        return replace(node, then=new(node.then), otherwise=new(node.otherwise))
    return replace(node, next=new(node.next))


def _plan(index: int, drafts: Sequence[Draft], trigger: Trigger, looks: tuple[Lookback, ...]) -> Plan:
    draft = drafts[index]
    keyed = any(cap.key is not None for each in drafts for cap in each.caps)
    table = _Table(draft)
    return Plan(
        index=index,
        id=draft.id,
        version="00000000",
        name=draft.id,
        group="Default",
        owner=None,
        tags=(),
        zone=draft.zone,
        starts_at=draft.starts_at,
        ends_at=draft.ends_at,
        audience=Everyone(draft.audience) if isinstance(draft.trigger, ScheduleTrigger) else draft.audience,
        trigger=trigger,
        lookbacks=looks,
        several_a_day=draft.several_a_day,
        reentry=draft.reentry,
        caps=() if draft.transactional else draft.caps,
        quiet=None if draft.transactional else draft.quiet,
        skip_if_reached=_skip(index, draft, len(drafts)),
        transactional=draft.transactional,
        cap_values=_carried(draft) if keyed else (),
        experiment=draft.experiment,
        step=table.messages[0] if table.messages else _message(draft, "send", draft.channel, draft.expires),
        journey=Journey(tuple(table.nodes), tuple(table.messages), draft.touches) if draft.journey else None,
        goals=tuple(
            Goal(f"goal{i}", aim.window, TheN() if aim.value else None, aim.credit, None, aim.receipt, _label(aim))
            for i, aim in enumerate(draft.aims)
        ),
        blank=((None, None),) * (2 if isinstance(draft.trigger, SequenceTrigger) else 1) * max(1, len(draft.members)),
    )


# Logs

USER = "u36"
NEIGHBOUR = "u48"  # of the same shard
STRANGER = "u38"  # of another


def event(
    ts: Micros | str,
    name: str,
    sku: str | None = "A",
    n: int = 1,
    user: str = USER,
    id: str | None = None,  # noqa: A002
) -> Row:
    """An event; its id, if none is given, tells name and time."""
    ts = at(ts) if isinstance(ts, str) else ts
    return Row(user, name, f"{name}@{ts}" if id is None else id, ts, sku, n)


def profile(
    ts: Micros | str | None,
    user: str = USER,
    *,
    id: str | None = None,  # noqa: A002
    **attributes: Any,
) -> Row:
    """A profile update: None deletes; without a time it holds from before the first record."""
    ts = BEFORE_ALL if ts is None else at(ts) if isinstance(ts, str) else ts
    places = {f"p{ATTRIBUTES.index(name)}": value for name, value in attributes.items()}
    return Row(user, "profile", id, ts, **places)


def log(project: Project, *rows: Row, source: int = 0, name: str = "0", ended: bool = True) -> Partition:
    return Partition(project.sources[source], name, rows, ended)


def crm(project: Project, *rows: Row, name: str = "0", ended: bool = True) -> Partition:
    return Partition(_of_kind(project, "profiles"), name, rows, ended)


def receipt(
    ts: Micros | str,
    says: str,
    dispatch: str,
    user: str | None = None,
    detail: str | None = None,
    id: str | None = None,  # noqa: A002
) -> Row:
    """What a provider says of a dispatch."""
    return Row(user or "", says, id, at(ts) if isinstance(ts, str) else ts, dispatch, detail)


def back(project: Project, *rows: Row, name: str = "0", ended: bool = True) -> Partition:
    return Partition(_of_kind(project, "receipts"), name, rows, ended)


def member(ts: Micros | str | None, segment: str = "vip", action: str | None = None, user: str = USER) -> Row:
    """Enters a segment, or leaves it; without a time: from before the first record."""
    ts = BEFORE_ALL if ts is None else at(ts) if isinstance(ts, str) else ts
    return Row(user, segment, None, ts, action)


def members(project: Project, *rows: Row, name: str = "0", ended: bool = True) -> Partition:
    return Partition(_of_kind(project, "segments"), name, rows, ended)


def link(ts: Micros | str | None, identity: str, user: str = USER) -> Row:
    """An identity leads to a user; without a time: from before the first record."""
    ts = BEFORE_ALL if ts is None else at(ts) if isinstance(ts, str) else ts
    return Row(user, identity, None, ts)


def ids(project: Project, *rows: Row, name: str = "0", ended: bool = True) -> Partition:
    return Partition(_of_kind(project, "identities"), name, rows, ended)


def _of_kind(project: Project, kind: SourceKind) -> Source:
    return next(source for source in project.sources if source.kind == kind)
