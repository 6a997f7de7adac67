"""Plans as the engine runs them: compiled, immutable, numbered. Built by `flowops.rules.compile`, never by hand.

Nothing in here is ever written into state: state refers to plans and attributes by the numbers given here, and the
state folder keeps the list that the numbers stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from flowops.core.records import SHARDS, Micros, Row, Values
from flowops.core.time import DAY, Zone

Steps: TypeAlias = tuple[Values, ...]
"""The captured values of each step that has a name, in the order in which the plan names them; of one that was not
taken, as many None."""

Capture: TypeAlias = tuple[tuple[int, tuple[int, ...]], ...]
"""What is kept of an event: (place in `Steps`, indices into the event's values)."""

Attributes: TypeAlias = tuple[Any, ...]
"""The user's profile by attribute number (`Project.attributes`); None where unknown."""

Predicate: TypeAlias = Callable[[Values, Steps, Attributes, Micros, "str | None"], bool]
"""(event, steps, user, now, variant) -> does the condition hold? NULL is not true. Never raises."""

Expression: TypeAlias = Callable[[Values, Steps, Attributes, Micros, "str | None"], Any]
"""As `Predicate`, but any value; None is NULL."""

Renderer: TypeAlias = Callable[[Steps, Attributes, Micros, "str | None"], dict[str, str]]
"""(steps, user, now, variant) -> the rendered fields of a message. Raises `errors.ContentError`."""

Route: TypeAlias = Callable[[Row], "tuple[tuple[int, ...], Values] | None"]
"""A row -> (listeners whose own-event conditions hold, ascending; the event's values), or None if nobody listens."""

ANY_EVENT = -1
"""The `part` of a `Take` that hears every event of the user."""

SEGMENT = "segment:"
"""Begins the name of an attribute that says whether the user is in a segment: True, else not."""

Occurrences: TypeAlias = Callable[[Micros], "Micros | None"]
"""The first occurrence of a schedule strictly later than an instant; None where none is left (S18)."""

KNOWN = SEGMENT
"""The attribute that is true of everyone with a profile or a segment: a segment without a name (S18)."""

Repeat = Literal["ignore", "restart", "parallel"]


@dataclass(frozen=True, slots=True)
class EventTable:
    """An event that some plan listens to."""

    name: str
    properties: tuple[str, ...]
    """Names of the properties that plans use: the order of `Values`."""


@dataclass(frozen=True, slots=True)
class Start:
    """Listener: an event that may begin a trigger of `plan`."""

    plan: int
    where: Predicate | None  # what the router could not decide (the profile); evaluated with the event's values
    capture: Capture  # what later filters and the content need
    key: tuple[int, ...]  # indices into the event's values; () without `key`
    part: int = 0  # which of the trigger's events it is, where there are several
    nth: tuple[int, ...] = (0,)  # of each of `capture`: 0: kept of the last event; n: of the nth; -n: of the step's nth


@dataclass(frozen=True, slots=True)
class Cancel:
    """Listener: an event that cancels waits of `plan` (the B of S13)."""

    plan: int
    where: Predicate | None  # may refer to steps[0]
    key: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exit:
    """Listener: an event that ends whatever is under way of `plan`, also what has fired and waits (S29)."""

    plan: int
    where: Predicate | None  # may refer to the steps taken so far
    key: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Take:
    """Listener: an event that may carry on, or end, what is under way of a trigger of `plan`."""

    plan: int
    where: Predicate | None  # may refer to the steps taken so far
    capture: Capture
    key: tuple[int, ...]
    part: int = 0  # as of a `Start`; `ANY_EVENT`: whatever happens, which ends what is `strict`
    nth: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Attain:
    """Listener: an event that may attain goal number `goal` of `plan`."""

    plan: int
    goal: int
    where: Predicate | None


@dataclass(frozen=True, slots=True)
class Counter:
    """What is counted of each user, and how much of it is wanted (S16)."""

    kind: Literal["times", "distinct", "sum"]
    least: int | Decimal  # of events, of values, or the sum; above 0
    within: Micros | None  # None: ever
    keeps: int  # so many of the latest events, or of the values', are enough to know
    begin: Micros | None = None  # with `end`: only events of this time count
    end: Micros | None = None


@dataclass(frozen=True, slots=True)
class Lookback:
    """What is asked of a user's past (S12a): whether what a counter without a key has is so much."""

    counter: int
    within: Micros | None  # as far back as its counter at most; None: as far as that
    low: int | Decimal
    high: int | None  # None: however much
    sources: tuple[int, ...]  # that may give the event: the history holds from where all of them hold


@dataclass(frozen=True, slots=True)
class Layering:
    """A derived attribute: the first of its layers of which all that it asks of the past is so (S12b)."""

    attribute: int
    layers: tuple[tuple[str, tuple[Lookback, ...]], ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Listener: an event that counts towards `counter`; it is a `Start`, too, where that is a trigger's."""

    plan: int | None  # whose trigger it is; None: something that audiences or layers ask for
    counter: int
    where: Predicate | None
    value: int | None  # index into the event's values: of the distinct value or the amount
    key: tuple[int, ...]
    always: bool = False  # the trigger starts whenever it holds; else when it has been below since the last time


@dataclass(frozen=True, slots=True)
class See:
    """Listener: an event of which `plan` waits that none comes (S17); it is a `Start`, too."""

    plan: int
    where: Predicate | None
    capture: Capture
    key: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resume(Take):
    """Listener: an event that ends a wait of journeys of `plan` (S30); `part` is the number of its node."""


Listener: TypeAlias = Start | Take | Cancel | Exit | Attain | Count | See


@dataclass(frozen=True, slots=True)
class UntilLocal:
    """S12: a delay until the next time, strictly later, that the clock shows `minute` of the day on one of `days`."""

    minute: int
    days: frozenset[int]  # Monday = 0


@dataclass(frozen=True, slots=True)
class UntilCarried:
    """S12: a delay until a time that an event carries; without one that is strictly later, nothing is triggered."""

    time: Expression  # of the steps; a `time`, or where `whole_day` a `date`: its local midnight
    whole_day: bool
    offset: Micros
    text: str = ""  # as written: `departs_at`


Delay: TypeAlias = Micros | UntilLocal | UntilCarried


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one attribute that is heard as an event (S19); None: from, or to, whatever value."""

    listener: int
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """S12: the event, decided at once or after `delay`."""

    delay: Delay


@dataclass(frozen=True, slots=True)
class AbsenceTrigger:
    """S13: the event, then none of the others within `within`; acted on `delay` later."""

    within: Micros
    repeat: Repeat
    delay: Delay


@dataclass(frozen=True, slots=True)
class CountTrigger:
    """S16: as often, as many, or as much as its counter wants; acted on `delay` later.

    It fires on the event that reaches it, and again once it has been below since; or on every event at which it holds
    (`Count.always`).
    """

    counter: Counter  # its number is the plan's
    delay: Delay


@dataclass(frozen=True, slots=True)
class InactivityTrigger:
    """S17: none of its events for `within` since the last one; acted on `delay` later."""

    within: Micros
    delay: Delay


@dataclass(frozen=True, slots=True)
class AnyTrigger:
    """S15: whichever of several events happens. A `Start` for each."""

    delay: Delay


@dataclass(frozen=True, slots=True)
class AllTrigger:
    """S15: each of `members` events in any order, within a sliding window. A `Take` and a `Start` for each.

    The member is the `part` of its listeners, and its place in `Steps`.
    """

    members: int
    within: Micros
    delay: Delay


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """A step of S14, as it is written; the numbers of its events are the `part` of their listeners."""

    kind: Literal["any", "all", "without"]  # any of its events, be it one; each of them; none of them
    parts: tuple[int, ...]
    least: int = 1  # times; 0: it may be left out. Of `any` only
    most: int | None = 1  # None: without end
    within: Micros | None = None  # since the step before


@dataclass(frozen=True, slots=True)
class SequenceTrigger:
    """S14: the steps in order, within a time of the first. A `Take` for each event, and a `Start` for the first step's.

    Numbers of events count from 0, those of `without` follow the others. If the last step is a `without`, it has a
    `within`; then it is never `unfinished`.
    """

    steps: tuple[SequenceStep, ...]
    within: Micros
    repeat: Repeat
    strict: bool
    unfinished: bool
    delay: Delay


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """S19: a date of the profile, `offset` whole days (in microseconds) off, at a local time of the user's."""

    attribute: int
    yearly: bool
    offset: Micros
    minute: int  # of the day
    delay: Delay


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """S18: at each occurrence, for all of the audience."""

    after: Occurrences
    delay: Delay
    text: str = ""  # as written, for people: "daily 09:00"


Trigger: TypeAlias = (
    EventTrigger
    | AbsenceTrigger
    | CountTrigger
    | InactivityTrigger
    | AnyTrigger
    | AllTrigger
    | SequenceTrigger
    | DateTrigger
    | ScheduleTrigger
)


@dataclass(frozen=True, slots=True)
class Reentry:
    """S21. `once`: `gap` is None and `always` False. `always`: no limit. Else `gap` from decision to decision."""

    always: bool
    gap: Micros | None


@dataclass(frozen=True, slots=True)
class Cap:
    """S24: at most `at_most` sends of those it counts within the window.

    Exactly one of the three windows: `rolling` (microseconds), `calendar` (`day`, `week`, `month`), or neither: ever.
    A window of S25 is one, too: of one message of others.
    """

    at_most: int
    rolling: Micros | None
    calendar: Literal["day", "week", "month"] | None
    plans: frozenset[int] | None  # the plans whose sends count; None: all
    channel: int | None  # count only sends of this channel, and bind only sends to it
    text: str  # as written, for the loss's detail: "1 per 24h (plan)"
    key: int | None = None  # count only sends with the same value of this one of `Plan.cap_values`


@dataclass(frozen=True, slots=True)
class Quiet:
    """S26: local `[start, end)` minutes of the day, may pass midnight; belongs to the day on which it begins.

    `outside` turns it round: quiet is whatever is not in the window. `days` are the weekdays (Monday = 0) on which the
    window begins; all seven when not named.
    """

    start: int
    end: int
    days: frozenset[int]
    outside: bool
    hold: bool


@dataclass(frozen=True, slots=True)
class Experiment:
    """S23. Shares are fractions; the variants' sum to 1 among those not held out."""

    name: str
    holdout: float
    variants: tuple[tuple[str, float], ...]
    pinned: tuple[tuple[str, str], ...] = ()  # user -> variant, or `holdout`, or `treatment`: in tests of rules only


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as the decision sees it. Its connection is the business of `flowops.channels`."""

    index: int
    name: str
    address: int | None  # attribute number; None: no address is needed
    opt_in: int | None  # attribute number that must be true
    opt_out: int | None  # attribute number that must not be true
    cost: float | None  # per message, in the project's currency
    undelivered_after: Micros | None = None  # None: receipts are assumed, what was sent counts as delivered
    quiet: Quiet | None = None  # its own, beside the plan's
    confirms: bool = False  # results come back, so a message is remembered until nothing more can come of it
    remembered: Micros = 7 * DAY  # how long after its time to arrive, or to expire, a receipt still counts


@dataclass(frozen=True, slots=True)
class Step:
    """A step of sending, on one of its channels.

    `content` maps a variant (None: without an experiment) to its renderer.
    """

    name: str
    channel: Channel
    content: Mapping[str | None, Renderer]
    expires: Micros
    where: Predicate | None = None  # for whom the channel is considered
    group: str = ""  # the step's name, where it may use several channels


END = -1
"""In place of a node's number: the journey is over."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Before a step: so long; or until an event comes (a `Resume`), but at most so long."""

    delay: Micros | UntilLocal
    until_event: bool
    next: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Which way a journey goes. The arguments of `when` are those that `journey.facts` gives."""

    when: Predicate
    then: int
    otherwise: int
    text: str = ""  # as written


@dataclass(frozen=True, slots=True)
class Sends:
    """A step: its messages on each of its channels, or on the first that may be sent."""

    number: int  # its place among the steps
    name: str
    messages: tuple[int, ...]  # of the journey's
    each: bool
    fallback_after: Micros | None  # None: once the channel takes it for undelivered
    next: int


Node: TypeAlias = Pause | Branch | Sends


@dataclass(frozen=True, slots=True)
class Journey:
    """S30: what is sent, as a table of nodes that only lead forward. It begins with the first."""

    nodes: tuple[Node, ...]
    messages: tuple[Step, ...]
    touches: int | None = None  # S29: once so many steps have sent something it is over
    steps: tuple[Sends, ...] = field(init=False)  # conditions speak of them in this order
    step_of: tuple[Sends, ...] = field(init=False)  # of each message

    def __post_init__(self) -> None:
        """Fill in what follows from the nodes."""
        steps = tuple(node for node in self.nodes if isinstance(node, Sends))
        own = {message: step for step in steps for message in step.messages}
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "step_of", tuple(own[number] for number in range(len(self.messages))))


@dataclass(frozen=True, slots=True)
class Goal:
    """S41, S42. `window` counts from delivery."""

    name: str
    window: Micros
    value: Expression | None
    credit: Literal["every", "last", "first"]
    target: float | None
    receipt: str | None = None  # attained by this receipt of the message itself; None: by an event (`Attain`)
    label: tuple[tuple[int, bool], ...] = ()  # S43: what becomes known of who attains it, as an update of a profile


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of one plan. `index` is its place by (priority, id): the order of S7."""

    index: int
    id: str
    version: str  # eight hexadecimal digits of a hash of what was compiled
    name: str
    group: str
    owner: str | None
    tags: tuple[str, ...]
    zone: Zone
    starts_at: Micros  # inclusive
    ends_at: Micros  # exclusive
    audience: Predicate | None
    trigger: Trigger
    reentry: Reentry
    caps: tuple[Cap, ...]  # its own and the project's
    quiet: Quiet | None
    experiment: Experiment | None
    step: Step  # the only one, or the first of its journey
    goals: tuple[Goal, ...]
    blank: Steps = ()  # of an instance that has taken no step yet
    who: str = "everyone"  # its audience, in words
    several_a_day: bool = False  # its schedule: each has a task of its own (S18a)
    lookbacks: tuple[Lookback, ...] = ()  # their answers stand behind the attributes, where the audience asks for them
    skip_if_reached: Cap | None = None  # S25: what others may not have sent lately
    transactional: bool = False  # S24: no caps, no window of S25, no quiet hours, and what it sends does not count
    cap_values: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Of each property by which some cap of the project counts: where it stands in `Steps`, (step, place) after (step,
    place); the first that is known counts. Empty where no cap has a key."""
    journey: Journey | None = None  # None: it is but one message, sent at once

    @property
    def compares(self) -> bool:
        """Whether some users are held out, with whom the others are compared (S23)."""
        experiment = self.experiment
        return experiment is not None and (
            experiment.holdout > 0 or any(arm == "holdout" for _, arm in experiment.pinned)
        )

    @property
    def messages(self) -> tuple[Step, ...]:
        """All that it may send to one user; their places are what state calls them by."""
        return (self.step,) if self.journey is None else self.journey.messages


SourceKind = Literal["events", "profiles", "segments", "receipts", "identities"]


@dataclass(frozen=True, slots=True)
class Column:
    """A property or attribute to be decoded into `Row.p<i>`."""

    attribute: str  # "p0", "p1", ...
    name: str  # as plans call it
    path: tuple[str, ...]  # where it stands in the input
    type: str  # string, number, money, boolean, time, date, zone, list, object


@dataclass(frozen=True, slots=True)
class TimeField:
    """Where the time stands and how it is written."""

    path: tuple[str, ...] | None  # None: the source has no time: its records hold from before the first record
    unit: Literal["s", "ms", "us"] | None  # None: ISO 8601
    zone: Zone | None  # for times that carry no offset


@dataclass(frozen=True, slots=True)
class Source:
    """A source, resolved: what to decode, and who listens."""

    index: int
    name: str
    kind: SourceKind
    files: tuple[str, ...]  # as written: paths or globs, relative to the project's folder; (): not read from files
    user_id: tuple[str, ...]
    event: str | None  # a constant name (of the event or segment), or None: read from `event_path`
    event_path: tuple[
        str, ...
    ]  # of the event's name, the segment, what the receipt says, the identity; () for profiles
    event_id: tuple[tuple[str, ...], ...]  # the paths to join with "-"; (): made from source, partition and position
    time: TimeField
    properties_path: tuple[str, ...] | None  # the object that holds the properties, beside top level
    columns: tuple[Column, ...]
    out_of_orderness: Micros
    routes: Mapping[str, Route]
    any_route: Route | None  # for event names without a route of their own (`event: any`)
    since: Micros | None = None  # its history is complete from here (S12a); None: from its first record
    around: tuple[str, str] = ("", "")  # of a segment's name: what stands before and behind what is read
    max_future: Micros | None = None  # how far `ts` may be ahead of the broker's time (S3); None: there is no broker


@dataclass(frozen=True, slots=True)
class Said:
    """What a listener hears, in the words of the plan: for people, who cannot read a compiled condition."""

    what: str  # the event's name, or a change: `enters vip`
    where: str | None


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that the engine knows: the one argument of a shard, a reader and the warehouse."""

    name: str
    zone: Zone
    currency: str | None
    sources: tuple[Source, ...]
    attributes: tuple[str, ...]  # what plans use of the profile, and `segment:NAME`; the order of `Attributes`
    zone_attribute: int | None  # the attribute that holds the user's own zone
    channels: tuple[Channel, ...]
    events: tuple[EventTable, ...]
    listeners: tuple[Listener, ...]  # goals, then by plan: cancels, exits, takes, starts (S17a); `hits` index this
    plans: tuple[Plan, ...]  # by priority, then id; a plan's index is its place
    changes: Mapping[int, tuple[Change, ...]] = field(default_factory=dict)  # by attribute: those that are heard
    counters: tuple[Counter | None, ...] = ()  # by number: of each plan its trigger's, if that counts
    said: tuple[Said, ...] = ()  # of each listener
    layerings: tuple[Layering, ...] = ()
    figures: int | None = None  # the attribute, a layering's, by which figures are split (S50)
    shards: int = SHARDS  # users are spread over so many; 1 where any two may turn out to be one (S2a)
    fingerprint: str = field(default="")  # of all rules, to refuse a state folder of other rules
