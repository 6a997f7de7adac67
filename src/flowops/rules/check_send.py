"""What a plan sends against its project: steps, waits, conditions, channels, and every text of the content (S30, S33).

The steps are laid out as the engine walks them: as numbered nodes, of which each knows the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from flowops.core.journey import FACTS, OF_JOURNEY
from flowops.core.plan import END, Pause, Sends, UntilLocal
from flowops.core.records import Micros
from flowops.rules.document import Document, Loc, full_width
from flowops.rules.doubts import Written
from flowops.rules.expressions import Checked, FollowsError, Scope, Type
from flowops.rules.nodes import refs
from flowops.rules.schema_send import AnyItem, FirstStep, Fork, Item, OneStep, PolicyFile, PolicyUse, Step, items_of
from flowops.rules.templates import CheckedTemplate, TemplateProblem, check_template
from flowops.rules.triggers import Part
from flowops.rules.triggers.base import scope_of
from flowops.settings.guess import one_of

if TYPE_CHECKING:
    from flowops.rules.check import CheckedPlan, PlanChecker

Content: TypeAlias = "dict[str | None, dict[str, CheckedTemplate]]"
"""By variant, the texts by field."""

Policies: TypeAlias = Mapping[str, "tuple[Document, PolicyFile | None]"]
"""Those of rules/policies by name; None where one could not be read."""

ALL_DAYS = frozenset(range(7))
_BY_RECEIPT = ("displayed", "clicked")


@dataclass(slots=True)
class Message:
    """A step on one of its channels. `where`: for whom; `loc`: of its channel, in the plan or in its policy."""

    step: str
    channel: str
    expires: Micros
    several: bool  # the step may use several channels
    where: tuple[Checked, ...] = ()
    content: Content = field(default_factory=dict)
    document: Document = field(default_factory=lambda: Document(""))
    loc: Loc = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A branch, before its condition is compiled."""

    when: tuple[Checked, ...]
    then: int
    otherwise: int
    text: str


Node: TypeAlias = Pause | Choice | Sends


@dataclass(slots=True)
class CheckedSend:
    """All that a plan sends. One message and nothing before it has no nodes."""

    messages: list[Message] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """The names by which conditions speak of the steps, in the order of `core.plan.Journey.steps`."""
    policy: PolicyFile | None = None

    def conditions(self) -> list[Checked]:
        """What is asked on the way."""
        branches = [part for node in self.nodes if isinstance(node, Choice) for part in node.when]
        return [*branches, *(part for message in self.messages for part in message.where)]

    def least(self) -> Micros:
        """How long it takes at least until the last step falls due, on whichever way; waits for an event apart."""
        least: dict[int, Micros] = {END: 0}
        for number in reversed(range(len(self.nodes))):
            node = self.nodes[number]
            if isinstance(node, Choice):
                least[number] = min(least[node.then], least[node.otherwise])
            else:
                least[number] = least[node.next]
                if isinstance(node, Pause) and isinstance(node.delay, int) and not node.until_event:
                    least[number] += node.delay
        return least.get(0, 0)

    def texts(self) -> list[CheckedTemplate]:
        """Every text of every message."""
        return [text for message in self.messages for fields in message.content.values() for text in fields.values()]


@dataclass(frozen=True, slots=True)
class _Told:
    """What may be asked at a place: of the steps before it, and whether a wait for an event comes before."""

    steps: tuple[Step, ...] = ()
    waited: bool = False


class SendChecker:
    """Checks the `send` of one plan."""

    def __init__(self, checker: PlanChecker, checked: CheckedPlan, policies: Policies) -> None:
        self.checker = checker
        self.checked = checked
        self.policies = policies
        self.plan = checker.plan
        self.project = checker.project
        self.document = checker.document  # in which the steps stand
        self.send = CheckedSend()
        self._laid: list[tuple[Node, Part | None]] = []
        self._names: dict[int, str] = {}  # of each step, by its identity

    def run(self) -> CheckedSend:
        """Check everything; the events that waits are for become parts of the plan's trigger."""
        written = self.plan.send
        items, loc = self._written(written)
        steps = [(item, place) for item, place in items_of(items, loc) if isinstance(item, Step)]
        for number, (step, place) in enumerate(steps, 1):
            self._name(step, place, number)
        for step, place in steps:
            self._contents(step, place, written)
        if isinstance(written, PolicyUse):
            self._foreign(written, [self._names[id(step)] for step, _ in steps])
        self._same_id()
        self._laid_out(_placed(items, loc), END, _Told())
        self._turn()
        for number, exit_ in enumerate(self.plan.exit):
            if exit_.touches is not None and not self.send.nodes:
                hint = "leave it out, or send a list of steps"
                what = "the plan has but one message, after which nothing could follow"
                self.checker.document.report("FO107", ("exit", number, "touches"), what, hint=hint)
        return self.send

    def _written(self, written: list[Any] | PolicyUse) -> tuple[list[AnyItem], Loc]:
        """The steps, and where they stand."""
        if not isinstance(written, PolicyUse):
            return written, ("send",)
        document, policy = self.policies.get(written.policy, (None, None))
        if document is None:
            known = list(self.policies)
            hint = one_of(written.policy, known) if known else f"write rules/policies/{written.policy}.yaml"
            self.document.report("FO315", ("send", "policy"), f"there is no policy `{written.policy}`", hint=hint)
            return [], ()
        self.send.policy = policy
        self.document = document
        return ([], ()) if policy is None else (policy.root, ())

    @contextmanager
    def _there(self) -> Iterator[None]:
        """What is found is reported where the steps stand."""
        own, self.checker.document = self.checker.document, self.document
        doubts = self.checker.doubts
        doubted, doubts.document = doubts.document, self.document
        try:
            yield
        finally:
            self.checker.document, doubts.document = own, doubted

    # Names

    def _name(self, step: Step, loc: Loc, number: int) -> None:
        name = step.step or str(number)
        if step.step is not None:
            with self._there():
                self.checker.step_name((*loc, "step"), name, "give the step another name")
        if name in self._names.values():
            hint = "give one of them another name"
            self.document.report("FO309", (*loc, "step"), f"two steps are called `{name}`", hint=hint)
        if name in self.checked.trigger.steps:
            what = f"`{name}` already is a step of the trigger, of which conditions and texts speak"
            self.document.report("FO309", (*loc, "step"), what, hint="give one of them another name")
        self._names[id(step)] = name

    def _same_id(self) -> None:
        """A dispatch's id is made of the names of step and channel (S32)."""
        known: dict[str, Message] = {}
        names = list(self._names.values())
        for message in self.send.messages:
            if names.count(message.step) > 1:  # of that it was told
                continue
            other = known.setdefault(f"{message.step}-{message.channel}", message)
            if other is message:
                continue
            what = f"its dispatches would have the ids of those of `{other.step}` on `{other.channel}`"
            if other.step == message.step:
                what = f"the step has the channel `{message.channel}` twice"
            message.document.report("FO309", message.loc, what, hint="give one of them another name")

    # Content

    def _contents(self, step: Step, loc: Loc, written: list[Any] | PolicyUse) -> None:
        """The messages of a step: of each of its channels the texts, by variant."""
        name = self._names[id(step)]
        content: Any = step.content
        place: Loc = (*loc, "content")
        if isinstance(written, PolicyUse):
            if step.content is not None:
                what = "a policy has no content: that is the plan's"
                self.document.report_key("FO107", place, what, hint=f"content: {{{name}: ...}} beside `policy:`")
            content, place = written.content.get(name), ("send", "content", name)
        if content is None:
            if isinstance(written, PolicyUse):
                what = f"the step `{name}` of the policy has no content"
                self.checker.document.report("FO316", ("send", "content"), what, hint=f"add `{name}:`")
            else:
                self.document.report("FO102", loc, "`content` is missing", hint="add `content:` here")
            return
        channels = [way.channel for way in step.ways]
        by_channel = not isinstance(step, OneStep)
        if by_channel and not self._is_by_channel(content, place, channels):
            return
        for number, way in enumerate(step.ways):
            at = (*loc, "channel") if isinstance(step, OneStep) else (*loc, "first", number)
            if not by_channel:
                own, own_place = content, place
            else:
                at = (*loc, "first" if isinstance(step, FirstStep) else "each", number)
                own, own_place = content.get(way.channel), (*place, way.channel)
            message = Message(name, way.channel, step.expires, len(channels) > 1, document=self.document, loc=at)
            self.send.messages.append(message)
            self._channel(way.channel, at)
            if way.where is not None:
                scope = scope_of(self.checker, self.checked.trigger.steps, self.checked.trigger.times)
                scope = replace(scope, bare="the message", variant=bool(self._variants))
                with self._there():
                    where = self.checker.expression((*at, "where"), way.where, scope, condition=True)
                message.where = where.conjuncts() if where is not None else ()
            if own is not None:
                message.content = self._by_variant(own, own_place, way.channel)

    def _is_by_channel(self, content: Any, place: Loc, channels: Sequence[str]) -> bool:
        """Whether each channel of the step, and no other, has a content of its own."""
        document = self.checker.document
        if not isinstance(content, dict) or not any(name in channels for name in content):
            what = "one content for all channels: each has a form of its own"
            hint = f"content: {{{channels[0]}: {{...}}{f', {channels[1]}: {{...}}' if len(channels) > 1 else ''}}}"
            document.report("FO316", place, what, hint=hint)
            return False
        for name in content:
            if name not in channels:
                hint = one_of(name, channels)
                what = f"the step does not go out on `{name}`"
                document.report_key("FO316", (*place, name), what, hint=hint)
        for name in channels:
            if name not in content:
                what = f"the channel `{name}` has no content"
                document.report("FO316", place, what, hint=f"add `{name}:`")
        return True

    def _foreign(self, written: PolicyUse, names: Sequence[str]) -> None:
        for name in written.content:
            if name not in names and self.send.policy is not None:
                what = f"the policy `{written.policy}` has no step `{name}`"
                self.checker.document.report_key("FO316", ("send", "content", name), what, hint=one_of(name, names))

    def _channel(self, name: str, loc: Loc) -> None:
        if name not in self.project.channels:
            hint = one_of(name, self.project.channels)
            self.document.report("FO304", loc, f"the channel `{name}` is not declared", hint=hint)

    @property
    def _variants(self) -> list[str]:
        return list(self.plan.experiment.variants) if self.plan.experiment else []

    def _by_variant(self, content: Any, loc: Loc, channel: str) -> Content:
        trigger, variants = self.checked.trigger, self._variants
        scope = Scope(
            {},
            steps=trigger.steps,
            user=self.checker.user,
            bare="content",
            variant=bool(variants),
            zone=self.checker.zone,
        )
        read: dict[int, dict[str, CheckedTemplate]] = {}  # one content may serve several variants
        found: Content = {}
        for variant, texts in self._given(content, loc, variants).items():
            if id(texts) not in read:
                read[id(texts)] = self._templates(texts, scope, channel)
            found[variant] = read[id(texts)]
        return found

    def _templates(self, texts: Mapping[str, Written], scope: Scope, channel: str) -> dict[str, CheckedTemplate]:
        made = {name: _template(text, scope) for name, text in texts.items()}
        found = {name: template for name, template in made.items() if template is not None}
        if len(found) == len(texts):
            self.checker.doubts.message(channel, texts, found)
        return found

    def _given(self, content: Any, loc: Loc, variants: Sequence[str]) -> dict[str | None, dict[str, Written]]:
        document = self.checker.document
        if not isinstance(content, dict) or "variants" not in content:
            texts = self._fields(loc, content)
            return dict.fromkeys(variants, texts) if variants else {None: texts}
        given = content["variants"]
        if not isinstance(given, dict) or len(content) > 1:
            document.report("FO105", loc, "`variants` holds a content for each variant, and stands alone")
            return {}
        place = (*loc, "variants")
        for name in given:
            if name not in variants:
                hint = one_of(name, variants) if variants else "there is no `experiment` with `variants`"
                document.report_key("FO308", (*place, name), f"no variant is called `{name}`", hint=hint)
        for name in variants:
            if name not in given:
                document.report("FO308", place, f"the variant `{name}` has no content", hint=f"add `{name}:`")
        return {name: self._fields((*place, name), given[name]) for name in variants if name in given}

    def _fields(self, loc: Loc, value: Any) -> dict[str, Written]:
        document, templates = self.checker.document, self.checker.templates
        if not isinstance(value, dict) or not value:
            document.report("FO105", loc, "the content is a mapping of fields", hint="{title: ..., body: ...}")
            return {}
        if set(value) == {"template"}:
            name = value["template"]
            found = templates.get(name) if isinstance(name, str) else None
            if found is None:
                hint = one_of(str(name), templates) if templates else f"write rules/templates/{name}.yaml"
                document.report("FO307", (*loc, "template"), f"there is no template `{name}`", hint=hint)
                return {}
            return _texts(found, (), found.data())
        return _texts(document, loc, value)

    # The way

    def _laid_out(self, items: Sequence[tuple[Any, Loc]], beyond: int, told: _Told) -> int:
        """Check waits and conditions, and lay the steps out before the node `beyond`; the first node of them."""
        seen: list[tuple[Any, Loc, _Told]] = []
        for item, loc in items:
            seen.append((item, loc, told))
            own = [each for each, _ in items_of([item], ()) if isinstance(each, Step)]
            waited = told.waited or any(each.until is not None for each, _ in items_of([item], ()))
            told = _Told((*told.steps, *own), waited)
        for item, loc, before in reversed(seen):
            here = replace(before, waited=before.waited or item.until is not None)
            when = self._condition(item, loc, here)
            if isinstance(item, Fork):
                then = self._laid_out(_placed(item.then, (*loc, "then")), beyond, here)
                otherwise = self._laid_out(_placed(item.otherwise, (*loc, "else")), beyond, here)
                first = self._add(Choice(when, then, otherwise, item.when or ""))
            else:
                first = self._add(self._sends(item, loc, beyond))
                if item.when is not None:
                    first = self._add(Choice(when, first, beyond, item.when))
            if item.after is not None or item.at_most is not None:
                first = self._pause(item, loc, first)
            beyond = first
        return beyond

    def _sends(self, step: Step, loc: Loc, beyond: int) -> Sends:
        name = self._names[id(step)]
        own = tuple(number for number, message in enumerate(self.send.messages) if message.step == name)
        fallback = step.fallback_after if isinstance(step, FirstStep) else None
        if fallback is not None:
            self._falls_back(step, (*loc, "fallback_after"), fallback)
        return Sends(0, name, own, not isinstance(step, OneStep | FirstStep), fallback, beyond)

    def _falls_back(self, step: Step, loc: Loc, after: Micros) -> None:
        channels = [self.project.channels.get(way.channel) for way in step.ways[:-1]]
        known = [channel for channel in channels if channel is not None]
        if not channels:
            self.document.report("FO607", loc, "there is no other channel to fall back to", hint="name one in `first`")
        elif len(known) == len(channels) and all(channel.undelivered_after is None for channel in known):
            what = "the receipts of its channels are assumed, so that none is missing"
            self.document.report("FO607", loc, what, hint="`receipts: {undelivered_after: 1h}` on the channel")
        elif after >= step.expires:
            what = "by then the step has expired"
            self.document.report("FO607", loc, what, hint="a shorter time, or a longer `expires`")

    def _pause(self, item: Item, loc: Loc, first: int) -> int:
        if item.until is not None and item.at_most is not None:
            trigger = self.checked.trigger
            scope = scope_of(self.checker, trigger.steps, trigger.times)
            with self._there():
                heard = item.until.hear(self.checker, (*loc, "until"), scope, trigger.key)
            place = (*loc, "until") if self.document is self.checker.document else ("send", "policy")
            return self._add(Pause(item.at_most, True, first), Part(heard, place, "resume"))
        if isinstance(item.after, int):
            return self._add(Pause(item.after, False, first))
        if item.after is None:
            raise AssertionError("a wait for nothing passed the schema")
        days = frozenset(item.after.days) if item.after.days else ALL_DAYS
        return self._add(Pause(UntilLocal(item.after.until, days), False, first))

    def _condition(self, item: Item, loc: Loc, told: _Told) -> tuple[Checked, ...]:
        if item.when is None:
            return ()
        trigger, place = self.checked.trigger, (*loc, "when")
        facts: dict[str, Type] = dict.fromkeys(FACTS, "boolean")
        steps = {**trigger.steps, **{self._names[id(step)]: facts for step in told.steps}}
        names: dict[str, Type] = dict.fromkeys(OF_JOURNEY, "boolean")
        scope = replace(
            scope_of(self.checker, steps, trigger.times), names=names, bare="the journey", variant=bool(self._variants)
        )
        with self._there():
            checked = self.checker.expression(place, item.when, scope, condition=True)
            if checked is None:
                return ()
            for ref in refs(checked.node):
                why = self._unknowable(ref.kind, ref.step, ref.name, told)
                if why is not None:
                    what, hint = why
                    at = item.when.find(ref.name)
                    self.document.report("FO317", place, what, item.when, hint, offset=max(at, 0))
                    break
            if isinstance(item, Fork):
                self.checker.doubts.otherwise(place, item.when, checked)
        return checked.conjuncts()

    def _unknowable(self, kind: str, step: str, name: str, told: _Told) -> tuple[str, str] | None:
        """Why nothing could ever tell what a condition asks."""
        if kind == "event" and name == "timed_out" and not told.waited:
            return "no wait for an event comes before, so nothing has timed out", "until: {event: ...}, at_most: 24h"
        if kind == "event" and name == "attained":
            return None if self._has_goals() else ("the plan has no goal to be attained", "add `goals`")
        if kind == "event" and name in FACTS and not told.steps:
            return f"no step comes before of which `{name}` could be asked", "leave it out of the first step"
        named = [each for each in told.steps if self._names[id(each)] == step] if kind == "step" else told.steps
        if name not in _BY_RECEIPT or not named or (kind == "step" and step in self.checked.trigger.steps):
            return None
        channels = {way.channel for each in named for way in each.ways}
        known = [self.project.channels[each] for each in channels if each in self.project.channels]
        if len(known) < len(channels) or any(channel.confirms for channel in known):
            return None
        return (
            f"no receipt comes back from {' or '.join(f'`{each}`' for each in sorted(channels))}: `{name}` never holds",
            ("`receipts: {undelivered_after: 1h}` on the channel, or another condition"),
        )

    def _has_goals(self) -> bool:
        channels = {message.channel for message in self.send.messages}
        waits = (self.project.channels[each].undelivered_after for each in channels if each in self.project.channels)
        return bool(self.plan.goals) or any(after is not None for after in waits)

    def _add(self, node: Node, part: Part | None = None) -> int:
        self._laid.append((node, part))
        return len(self._laid) - 1

    def _turn(self) -> None:
        """They were laid out from the end: number them from the beginning."""
        last = len(self._laid) - 1
        nodes = [(_turned(node, last), part) for node, part in reversed(self._laid)]
        places = [place for place, (node, _) in enumerate(nodes) if isinstance(node, Sends)]
        for place, (node, part) in enumerate(nodes):
            if part is not None:
                self.checked.trigger.parts.append(replace(part, number=place))
            if isinstance(node, Sends):
                self.send.steps.append(node.name)
                nodes[place] = replace(node, number=places.index(place)), part
        messages = self.send.messages
        if len(nodes) > 1 or len(messages) > 1 or any(message.where for message in messages):
            self.send.nodes = [node for node, _ in nodes]


def _placed(items: Sequence[Any] | None, loc: Loc) -> list[tuple[Any, Loc]]:
    return [(item, (*loc, number)) for number, item in enumerate(items or ())]


def _turned(node: Node, last: int) -> Node:
    def new(number: int) -> int:
        return END if number == END else last - number

    if isinstance(node, Choice):
        return replace(node, then=new(node.then), otherwise=new(node.otherwise))
    return replace(node, next=new(node.next))


def _template(text: Written, scope: Scope) -> CheckedTemplate | None:
    try:
        return check_template(text.text, scope)
    except TemplateProblem as problem:
        lines = text.text.split("\n")
        offset = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column - 1
        text.document.report("FO411", text.loc, problem.message, lines[problem.line - 1], problem.hint, offset=offset)
        return None
    except FollowsError:
        return None


def _texts(document: Document, loc: Loc, value: Any) -> dict[str, Written]:
    """The fields of a content; a finding for each that is no text."""
    if not isinstance(value, dict):
        if document.root is not None:
            document.report("FO105", loc, "a template is a mapping of fields", hint="title: ...")
        return {}
    texts: dict[str, Written] = {}
    for name, text in value.items():
        place = (*loc, name)
        if text is None and getattr(document.node(loc), "flow", False) and texts:
            before = list(texts)[-1]
            got = f"{texts[before].text}, {name}"
            document.report_key(
                "FO004", place, f"comma in `{before}` inside {{ }}", got, f'quote it: {before}: "{got}"'
            )
        elif text is None and (wide := full_width(name)) is not None:
            document.report_key("FO003", place, wide[1], name, wide[2])
        elif text is None:
            document.report_key("FO103", place, f"`{name}` has no value", hint="say one, or leave the key out")
        elif isinstance(text, str):
            texts[name] = Written(document, place, text)
        else:
            document.report("FO105", place, f"`{name}` must be a text", hint='quote it: "{{ ... }}"')
    return texts
