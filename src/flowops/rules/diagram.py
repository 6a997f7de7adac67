"""A plan as a Mermaid flowchart, drawn from the compiled tables: what the engine will do, not what the file says.

From above: what triggers, the checks in the order of the decision list with what each refusal is counted as, the
messages, the goals. Each kind of trigger is drawn by one function, listed in `TRIGGERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from flowops.core import plan as core
from flowops.core.admission import quiets_of
from flowops.core.plan import SEGMENT, Listener, Plan, Project, Said
from flowops.core.records import BEFORE_ALL, ENDED, Micros
from flowops.settings.counted import counted
from flowops.settings.fields import WEEKDAYS, show_duration

_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\n": " "}
_LONGEST = 120  # characters of a condition that are shown


class Chart:
    """Nodes and arrows of one plan, and what it listens to. `at`: where the way to the message goes on from."""

    def __init__(self, project: Project, plan: Plan) -> None:
        self.project = project
        self.plan = plan
        self.heard: list[tuple[Listener, Said]] = [
            (listener, said)
            for listener, said in zip(project.listeners, project.said, strict=True)
            if listener.plan == plan.index
        ]
        self.at = ""
        self._next = ""  # what the next arrow says
        self._lines: list[str] = []
        self._nodes = 0
        self._lost: dict[str, str] = {}
        self._end = ""

    def node(self, text: str, shape: tuple[str, str] = ("[", "]"), kind: str = "") -> str:
        """Add a node; its id."""
        self._nodes += 1
        name = f"n{self._nodes}"
        self._lines.append(f'{name}{shape[0]}"{label(text)}"{shape[1]}{f":::{kind}" if kind else ""}')
        return name

    def event(self, said: Said) -> str:
        """A node for something that happens."""
        where = "" if said.where is None else f"\n{short(said.where)}"
        return self.node(said.what + where, ("([", "])"))

    def wait(self, text: str) -> str:
        """A node in which time passes, or things are counted."""
        return self.node(text, ("{{", "}}"))

    def arrow(self, first: str, second: str, text: str = "", *, dotted: bool = False) -> None:
        """An arrow; dotted: off the way to the message."""
        line = "-.->" if dotted else "-->"
        said = f'|"{label(text)}"|' if text else ""
        self._lines.append(f"{first} {line}{said} {second}")

    def then(self, node: str, text: str | None = None) -> None:
        """The way goes on to this node."""
        self.arrow(self.at, node, self._next if text is None else text)
        self.at, self._next = node, ""

    def ask(self, text: str, reason: str) -> None:
        """The way goes on where the answer is yes; no is counted as `reason`."""
        node = self.node(text, ("{", "}"))
        self.then(node)
        self.lost(node, reason)
        self._next = "yes"

    def lost(self, node: str, reason: str, text: str = "no") -> None:
        """An arrow to what a refusal is counted as."""
        if reason not in self._lost:
            self._lost[reason] = self.node(reason, ("([", "])"), "lost")
        self.arrow(node, self._lost[reason], text, dotted=True)

    def key(self, places: Sequence[int], said: Said) -> str:
        """What makes each instance its own, as an addition to a text."""
        table = next((table for table in self.project.events if table.name == said.what), None)
        return f"\neach {', '.join(table.properties[place] for place in places)} on its own" if table and places else ""

    @property
    def end(self) -> str:
        """Where a journey ends that has no more steps."""
        if not self._end:
            self._end = self.node("the end", ("([", "])"))
        return self._end

    def text(self) -> str:
        """The whole chart."""
        head = [f"%% {self.plan.id}, version {self.plan.version}", "flowchart TD"]
        return "\n".join(
            [*head, *(f"    {line}" for line in self._lines), "    classDef lost stroke-dasharray: 3 3", ""]
        )


def diagram(project: Project, plan: Plan) -> str:
    """The Mermaid text of a plan."""
    chart = Chart(project, plan)
    chart.at = TRIGGERS[type(plan.trigger)](chart, plan.trigger)
    _delay(chart, plan.trigger.delay)
    for _, said in _all(chart, core.Exit):
        chart.lost(chart.at, "exited", said.what + _where(said))
    _entry(chart)
    if plan.journey is None:
        _checks(chart)
        _goals(chart, _messages(chart))
    else:
        _goals(chart, draw(chart, plan.journey))
    return chart.text()


def draw(chart: Chart, journey: core.Journey) -> list[str]:
    """The nodes of a journey, each once, and what may become of its messages; the messages."""
    plan, messages = chart.plan, list[str]()
    if plan.experiment is not None:
        chart.then(chart.node(f"experiment {plan.experiment.name}", ("{", "}")))
        if plan.experiment.holdout:
            chart.lost(chart.at, "holdout", _share(plan.experiment.holdout))
    drawn = [_node(chart, place, node) for place, node in enumerate(journey.nodes)]
    for node, name in zip(journey.nodes, drawn, strict=True):
        if isinstance(node, core.Branch):
            for way, said in ((node.then, "yes"), (node.otherwise, "no")):
                chart.arrow(name, chart.end if way == core.END else drawn[way], said)
        elif node.next != core.END:
            chart.arrow(name, drawn[node.next])
        if isinstance(node, core.Sends):
            messages += _step_of(chart, node, name)
    chart.then(drawn[0])
    return messages


def _node(chart: Chart, place: int, node: core.Node) -> str:
    if isinstance(node, core.Branch):
        return chart.node(f"{short(node.text)}?", ("{", "}"))
    if isinstance(node, core.Sends):
        how = "" if len(node.messages) == 1 else "\non each channel" if node.each else "\non the first channel that may"
        return chart.node(f"step {node.name}{how}")
    if isinstance(node.delay, core.UntilLocal):
        return chart.wait(f"wait until {_clock(node.delay.minute)}{_days(node.delay.days)}")
    awaited = [said.what + _where(said) for take, said in _all(chart, core.Resume) if take.part == place]
    if awaited:
        return chart.wait(f"wait for {' or '.join(awaited)}\nat most {show_duration(node.delay)}")
    return chart.wait(f"wait {show_duration(node.delay)}")


def _step_of(chart: Chart, node: core.Sends, name: str) -> list[str]:
    """Its messages, by what they are refused, and when the next is taken."""
    drawn: list[str] = []
    for number in node.messages:
        step = chart.plan.messages[number]
        variants = [variant for variant in step.content if variant is not None]
        message = chart.node(": ".join([step.channel.name, *([", ".join(variants)] if variants else [])]), ("[/", "/]"))
        if drawn and not node.each:
            after = "" if node.fallback_after is None else f", or nothing heard in {show_duration(node.fallback_after)}"
            chart.arrow(drawn[-1], message, f"refused or failed{after}", dotted=True)
        else:
            chart.arrow(name, message)
        for reason in _refusals(chart.plan, step.channel):
            chart.lost(message, reason, "")
        drawn.append(message)
    return drawn


def _refusals(plan: Plan, channel: core.Channel) -> list[str]:
    possible = {
        "no_consent": channel.opt_in is not None or channel.opt_out is not None,
        "no_address": channel.address is not None,
        "quiet_hours": any(not quiet.hold for quiet in quiets_of(plan, channel)),
        "harassment_window": plan.skip_if_reached is not None,
        "frequency_cap": any(cap.channel in (None, channel.index) for cap in plan.caps),
    }
    return [reason for reason, is_possible in possible.items() if is_possible]


def label(text: str) -> str:
    """A text between quotes, as Mermaid reads it; line ends stay."""
    lines = ("".join(_ENTITIES.get(character, character) for character in line) for line in text.split("\n"))
    return "<br/>".join(lines)


def short(text: str) -> str:
    """A condition on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


# Triggers, a function each: it draws from the events down, and gives the node that leads on.


def _event(chart: Chart, _trigger: core.EventTrigger) -> str:
    ((start, said),) = _all(chart, core.Start)
    return _keyed(chart, start, said)


MEANWHILE = {"ignore": "further ones are ignored", "restart": "a further one begins anew", "parallel": "each waits"}


def _absence(chart: Chart, trigger: core.AbsenceTrigger) -> str:
    ((start, said),) = _all(chart, core.Start)
    event = chart.event(said)
    wait = chart.wait(f"wait {show_duration(trigger.within)}{chart.key(start.key, said)}\n{MEANWHILE[trigger.repeat]}")
    chart.arrow(event, wait)
    for _, other in _all(chart, core.Cancel):
        chart.lost(wait, "the wait ends, nothing is sent", other.what + _where(other))
    return wait


def _count(chart: Chart, trigger: core.CountTrigger) -> str:
    ((count, said),) = _all(chart, core.Count)
    event = chart.event(said)
    counter = trigger.counter
    span = "ever" if counter.within is None else f"within {show_duration(counter.within)}"
    table = next((table for table in chart.project.events if table.name == said.what), None)
    value = table.properties[count.value] if table and count.value is not None else ""
    what = {
        "times": counted(int(counter.least), "time"),
        "distinct": f"{counter.least} different {value}",
        "sum": f"the sum of {value} reaches {counter.least}",
    }[counter.kind]
    again = "on each event at which it holds" if count.always else "again when it has been below"
    wait = chart.wait(f"{what} {span}{chart.key(count.key, said)}\n{again}")
    chart.arrow(event, wait)
    return wait


def _inactivity(chart: Chart, trigger: core.InactivityTrigger) -> str:
    ((see, said),) = _all(chart, core.See)
    event = chart.event(said)
    wait = chart.wait(f"none for {show_duration(trigger.within)} since the last{chart.key(see.key, said)}")
    chart.arrow(event, wait)
    chart.arrow(wait, event, "one comes", dotted=True)
    return wait


def _any(chart: Chart, _trigger: core.AnyTrigger) -> str:
    starts = _all(chart, core.Start)
    if len(starts) == 1:
        return _keyed(chart, *starts[0])
    events = [_keyed(chart, start, said) for start, said in starts]
    join = chart.node("whichever happens")
    for event in events:
        chart.arrow(event, join)
    return join


def _every(chart: Chart, trigger: core.AllTrigger) -> str:
    events = [_keyed(chart, start, said) for start, said in _all(chart, core.Start)]
    wait = chart.wait(f"all {trigger.members} within {show_duration(trigger.within)}, in any order")
    for event in events:
        chart.arrow(event, wait)
    return wait


def _sequence(chart: Chart, trigger: core.SequenceTrigger) -> str:
    takes = {take.part: (take, said) for take, said in _all(chart, core.Take)}
    start, said = takes[0]
    span, strict = show_duration(trigger.within), "\nno other event between" if trigger.strict else ""
    rest = f"within {span} of the first{strict}{chart.key(start.key, said)}\n{MEANWHILE[trigger.repeat]}"
    at = first = ""
    quiet = ""
    for number, step in enumerate(trigger.steps):
        heard = [takes[part][1] for part in step.parts]
        if step.kind == "without":
            quiet = "" if step.within is None else f"none for {show_duration(step.within)}"
            for each in heard:
                chart.lost(at, "the sequence ends", " ".join(filter(None, [each.what, quiet])) + _where(each))
            continue
        node = chart.node(_step(step, heard), ("([", "])"))
        if number:
            chart.arrow(at, node)
            at = node
        else:
            first, at = node, chart.wait(rest)
            chart.arrow(first, at)
    if trigger.unfinished:
        chart.lost(at, "completed, nothing is sent", "")
        at = chart.wait(f"not completed within {span}")
        chart.arrow(first, at)
    elif trigger.steps[-1].kind == "without":
        wait = chart.wait(quiet)
        chart.arrow(at, wait)
        at = wait
    return at


def _step(step: core.SequenceStep, heard: Sequence[Said]) -> str:
    """What a step takes, how often, and by when."""
    word = "\nand " if step.kind == "all" else "\nor "
    lines = [word.join(each.what + _where(each) for each in heard)]
    if (step.least, step.most) != (1, 1):
        most = "" if step.most is None or step.most == step.least else f" to {step.most}"
        lines.append(f"{step.least}{most}{' or more' if step.most is None else ''} times")
    if step.within is not None:
        lines.append(f"within {show_duration(step.within)} of the step before")
    return "\n".join(lines)


def _schedule(chart: Chart, trigger: core.ScheduleTrigger) -> str:
    return chart.node(trigger.text, ("([", "])"))


def _date(chart: Chart, trigger: core.DateTrigger) -> str:
    side = "before" if trigger.offset < 0 else "after"
    offset = f"{show_duration(abs(trigger.offset))} {side} " if trigger.offset else ""
    yearly = ", every year" if trigger.yearly else ""
    attribute = chart.project.attributes[trigger.attribute]
    return chart.node(f"{offset}{attribute}{yearly}\nat {_clock(trigger.minute)}", ("([", "])"))


Draw: TypeAlias = Callable[[Chart, Any], str]
TRIGGERS: Mapping[type[core.Trigger], Draw] = {
    core.EventTrigger: _event,
    core.AbsenceTrigger: _absence,
    core.CountTrigger: _count,
    core.InactivityTrigger: _inactivity,
    core.AnyTrigger: _any,
    core.AllTrigger: _every,
    core.SequenceTrigger: _sequence,
    core.ScheduleTrigger: _schedule,
    core.DateTrigger: _date,
}
"""What draws each kind of trigger."""


def _all(chart: Chart, kind: type[Any]) -> list[tuple[Any, Said]]:
    return [(listener, said) for listener, said in chart.heard if isinstance(listener, kind)]


def _keyed(chart: Chart, start: core.Start, said: Said) -> str:
    event = chart.event(said)
    key = chart.key(start.key, said).strip()
    if not key:
        return event
    each = chart.node(key)
    chart.arrow(event, each)
    return each


def _where(said: Said) -> str:
    return "" if said.where is None else f"\n{short(said.where)}"


# What comes after any trigger


def _delay(chart: Chart, delay: core.Delay) -> None:
    if isinstance(delay, core.UntilLocal):
        chart.then(chart.wait(f"wait until {_clock(delay.minute)}{_days(delay.days)}"))
    elif isinstance(delay, core.UntilCarried):
        side = "before" if delay.offset < 0 else "after"
        offset = f"{show_duration(abs(delay.offset))} {side} " if delay.offset else ""
        chart.then(chart.wait(f"wait until {offset}{delay.text}"))
    elif delay:
        chart.then(chart.wait(f"wait {show_duration(delay)}"))


def _entry(chart: Chart) -> None:
    """The checks that concern the plan, in the order of the decision list, as far as it has them."""
    plan = chart.plan
    if (plan.starts_at, plan.ends_at) != (BEFORE_ALL, ENDED):
        chart.ask(f"{_dates(plan)}?", "plan_ended")
    if plan.audience is not None:
        chart.ask(f"{short(plan.who)}?", "not_in_audience")
    if not plan.reentry.always:
        gap = plan.reentry.gap
        chart.ask("the first time?" if gap is None else f"{show_duration(gap)} since the last time?", "reentry")


def _checks(chart: Chart) -> None:
    """Those that concern its channel."""
    plan, channel = chart.plan, chart.plan.step.channel
    attributes = chart.project.attributes
    if channel.opt_in is not None:
        chart.ask(f"{attributes[channel.opt_in]} is true?", "no_consent")
    if channel.opt_out is not None:
        chart.ask(f"{attributes[channel.opt_out]} is not true?", "no_consent")
    if channel.address is not None:
        chart.ask(f"has {attributes[channel.address]}?", "no_address")
    quiets = quiets_of(plan, channel)
    held = [_quiet(quiet) for quiet in quiets if quiet.hold]
    if held:
        chart.then(chart.wait("\n".join(["held while it is quiet", *held])))
    for quiet in quiets:
        if not quiet.hold:
            chart.ask(f"not quiet: {_quiet(quiet)}?", "quiet_hours")
    if plan.skip_if_reached is not None:
        chart.ask(f"not {plan.skip_if_reached.text}?", "harassment_window")
    for cap in plan.caps:
        if cap.channel in (None, channel.index):
            chart.ask(f"fewer than {cap.text}?", "frequency_cap")


def _messages(chart: Chart) -> list[str]:
    plan, experiment = chart.plan, chart.plan.experiment
    channel = plan.step.channel.name
    messages = []
    if experiment is not None:
        chart.then(chart.node(f"experiment {experiment.name}", ("{", "}")))
        if experiment.holdout:
            chart.lost(chart.at, "holdout", _share(experiment.holdout))
    reached = 1.0 if experiment is None else 1 - experiment.holdout
    split = chart.at
    for variant, share in (experiment.variants if experiment else ()) or ((None, 1.0),):
        chart.at = split
        message = chart.node(channel if variant is None else f"{channel}: {variant}", ("[/", "/]"))
        chart.then(message, None if experiment is None else _share(share * reached))
        messages.append(message)
    return messages


def _goals(chart: Chart, messages: Sequence[str]) -> None:
    plan = chart.plan
    attains = {listener.goal: said for listener, said in chart.heard if isinstance(listener, core.Attain)}
    for number, goal in enumerate(plan.goals):
        said = attains.get(number)
        what = f"{goal.receipt} receipt" if said is None else said.what + _where(said)
        target = "" if goal.target is None else f"\ntarget {_share(goal.target)}"
        label_ = f"\nlabel {chart.project.attributes[goal.label[0][0]].removeprefix(SEGMENT)}" if goal.label else ""
        node = chart.node(f"goal {goal.name}\n{what}{target}{label_}", ("[[", "]]"))
        for message in messages:
            chart.arrow(message, node, f"within {show_duration(goal.window)}")


def _dates(plan: Plan) -> str:
    begin = "" if plan.starts_at == BEFORE_ALL else f" from {_local(plan, plan.starts_at)}"
    end = "" if plan.ends_at == ENDED else f" before {_local(plan, plan.ends_at)}"
    return f"{begin}{end}".strip()


def _local(plan: Plan, at: Micros) -> str:
    return plan.zone.minute(at)


def _quiet(quiet: core.Quiet) -> str:
    return f"{'outside ' if quiet.outside else ''}{_clock(quiet.start)} to {_clock(quiet.end)}{_days(quiet.days)}"


def _days(days: frozenset[int]) -> str:
    return "" if len(days) == 7 else f" on {', '.join(WEEKDAYS[day] for day in sorted(days))}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _share(share: float) -> str:
    return f"{round(100 * share, 6):g}%"
