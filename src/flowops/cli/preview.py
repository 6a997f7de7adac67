"""`flowops preview`: the messages of a plan, as their channel would show them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowops.cli.options import AsJson, PlanId, Project, Verbose

if TYPE_CHECKING:
    from flowops.cli.plans import Compiled
    from flowops.rules.preview import Given, Message, Preview
    from flowops.sources.people import Person


def command(
    plan: PlanId,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Whose profile; left out: made-up examples.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", metavar="NAME=VALUE", help="An attribute; what is not given is missing. Repeatable."),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="[STEP.]NAME=VALUE", help="A property of the event; left out: an example. Repeatable."
        ),
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Show each message of a plan as its channel would, for a real profile or a made-up one.

    A user's profile is read from the files of the profiles and segments sources; of those that are streams, from the
    state of a run in this project. Missing values, and what stands in for them, are listed below the messages. What the
    user did before (`did`, `did_not`) is not known here: then the audience is told to be not judged.
    """
    from flowops.cli.plans import plan_of
    from flowops.rules.preview import preview
    from flowops.sources.people import look_up

    compiled, found = plan_of(project, plan)
    now = time.time_ns() // 1000
    person = None if user is None else look_up(compiled.folder, compiled.project.sources, user)
    if person is not None and user is not None and person.not_read:
        _ask_engine(compiled, person, user)
    given = _given(compiled, person, profile or [], event or [], now)
    shown = []
    for number, step in enumerate(found.messages):
        channel = compiled.file.channels[step.channel.name]
        each = preview(
            compiled.project,
            found,
            compiled.checked,
            compiled.file.attributes,
            given,
            now=now,
            user_id=user if person is None else person.user_id,
            kind=channel.type,
            sms=channel.limit == "sms",
            sensitive=compiled.config.sensitive,
            number=number,
        )
        shown.append(each)
    if as_json:
        about = {"user": user, "found_in": person.found_in if person else []}
        answers = [_data(each) | about for each in shown]
        answer = answers[0] if found.journey is None else {"plan": found.id, "version": found.version, "steps": answers}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    else:
        for number, each in enumerate(shown):
            _print(each, user, person if not number else None, made_up=given.made_up)


def _data(shown: Preview) -> dict[str, Any]:
    answer = asdict(shown)
    for message in answer["messages"]:
        message["sms"] = {name: {**length} for name, length in message["sms"].items()}
    return answer


def _ask_engine(compiled: Compiled, person: Person, user: str) -> None:
    """What a run here knows by sources that are no files. What files say goes over it: it may be newer."""
    from flowops.errors import StateError
    from flowops.streaming.known import profile_of

    try:
        known = profile_of(compiled.config.state, compiled.project, compiled.config.files, user)
    except (StateError, ValueError) as error:
        person.notes.append(f"what the engine knows cannot be read: {error}")
        return
    if known is not None:
        person.attributes = known | person.attributes
        person.found_in.append("the engine's state")
        person.not_read = []


def _given(compiled: Compiled, person: Person | None, profile: list[str], event: list[str], now: int) -> Given:
    """What was found of the user, and over it what was given."""
    from flowops.rules.preview import Given, parse_value, unknown

    zone = compiled.checked.zone
    attributes: dict[str, Any] = {} if person is None else dict(person.attributes)
    types = compiled.file.attributes
    for text in profile:
        name, value = _pair(text, "--profile", "city=Beijing")
        if name not in types:
            raise unknown(name, sorted(types), "attribute")
        attributes[name] = parse_value(value, types[name], name, zone, now) if value else None
    steps: dict[str, dict[str, Any]] = {}
    known = {
        f"{step}.{name}": type_
        for step, names in compiled.checked.trigger.steps.items()
        for name, type_ in names.items()
    }
    for text in event:
        name, value = _pair(text, "--event", "sku=A7")
        places = [place for place in known if place == name or place.partition(".")[2] == name]
        if not places:
            raise unknown(name, sorted(known), "property of the plan's events")
        for place in places:
            step, _, own = place.partition(".")
            steps.setdefault(step, {})[own] = parse_value(value, known[place], name, zone, now) if value else None
    return Given(attributes, steps, made_up=person is None and not profile)


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    from flowops.errors import ConfigError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{option} takes NAME=VALUE, got {text!r}\n  try: {option} {example}")
    return name.strip(), value


def _print(shown: Preview, user: str | None, person: Person | None, *, made_up: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)

    def say(text: str, style: str | None = None) -> None:
        console.print(escape(text), style=style, soft_wrap=True)

    whose = "a made-up profile" if made_up else "the given profile" if user is None else f"user {user}"
    step = "" if shown.step is None else f", step {shown.step}"
    say(f"{shown.plan} {shown.version}{step}, on {shown.channel} ({shown.kind}), for {whose}")
    if person is not None:
        if not person.found_in:
            say(f"no profile of {user} was found: every attribute that was not given is missing", "yellow")
        if person.not_read:
            say(f"not read, being no files: {', '.join(person.not_read)}; say --profile NAME=VALUE", "yellow")
        for note in person.notes:
            say(note, "yellow")
    for reason, detail in shown.losses:
        say(f"nothing would be sent: {reason}, {detail}", "yellow")
    if shown.unjudged is not None:
        how = f"flowops explain --user {user or 'ID'} --plan {shown.plan}"
        said = f"not judged: the audience ({shown.unjudged}) asks what the user did; `{how}` judges it on the log"
        say(said, "yellow")
    for message in shown.messages:
        own = user is not None and message.variant is not None and message.variant == shown.arm
        _panel(console, shown, message, own=own)
    if user is not None and shown.arm == "holdout":
        say("this user is held out and gets none of them", "yellow")
    if shown.address is not None:
        say(f"to  {shown.address or 'missing'}")
    width = max((len(value.name) for value in shown.values), default=0)
    for value in shown.values:
        say(f"{value.name:<{width}}  {_value(value)}", None if value.shown is not None else "yellow")


def _value(value: Any) -> str:
    stands = ", ".join(f"`{fallback}`" for fallback in value.fallbacks)
    if value.shown is None:
        return f"missing; {stands} stands for it" if stands else "missing"
    also = f" (empty; {stands} stands for it)" if stands else ""
    return f"{value.shown}{also}{' (made up)' if value.made_up else ''}"


def _panel(console: Any, shown: Preview, message: Message, *, own: bool) -> None:
    """A message in a frame: of several fields the first is a heading; of an SMS, with its units."""
    from rich.panel import Panel
    from rich.text import Text

    body = Text()
    if message.error is not None:
        body.append(f"not sent, content_invalid: {message.error}", style="yellow")
    for number, (name, text) in enumerate(message.content.items()):
        body.append("\n" if number else "")
        body.append(f"{name}  ", style="dim")
        body.append(text, style="bold" if not number and len(message.content) > 1 else "")
        if name in message.sms:
            length = message.sms[name]
            body.append(f"  {length.units}/{length.limit}", style="dim")
    title = shown.channel if message.variant is None else f"{shown.channel}, {message.variant}"
    share = "" if message.share == 1 else f", {round(100 * message.share, 4):g}% of users"
    console.print(Panel(body, title=f"{title}{share}{', this user' if own else ''}", title_align="left", expand=False))
