"""Plans to begin with, by scenario: a file each, the file of its test, and here what it needs of a project.

A file is a plan with `$names` to be filled in: `$plan`, `$channel`, `$hello` (a greeting by first name, where the
profile has one), and the events by their roles; in a test also `$known`, what the channel needs to know of a user. To
add a scenario: its two files, and its line in `SCENARIOS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template

from flowops.rules.expressions import Type
from flowops.rules.mapping import events_of
from flowops.rules.schema_project import ProjectFile


@dataclass(frozen=True, slots=True)
class Role:
    """An event that a scenario needs: what it is usually called, and the properties that the plan uses."""

    usual: str
    properties: Mapping[str, Type]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a plan needs: events, by the role that they have in it, and attributes of the profile."""

    events: Mapping[str, Role]
    attributes: Mapping[str, Type] = field(default_factory=dict)


BOUGHT = Role("order", {})
BOUGHT_SKU = Role("order", {"sku": "string"})

SCENARIOS: Mapping[str, Scenario] = {
    "welcome": Scenario({"registered": Role("register", {}), "bought": BOUGHT}),
    "onboarding": Scenario({"registered": Role("register", {}), "bought": BOUGHT}),
    "cart": Scenario({"added": Role("add_to_cart", {"sku": "string"}), "bought": BOUGHT_SKU}),
    "win-back": Scenario({"bought": BOUGHT}),
    "birthday": Scenario({"bought": BOUGHT}, {"birthday": "date"}),
    "repurchase": Scenario({"bought": BOUGHT_SKU}),
    "payment-failed": Scenario(
        {
            "failed": Role("payment_failed", {"order_id": "string"}),
            "paid": Role("payment_succeeded", {"order_id": "string"}),
        }
    ),
    "not-logged-in": Scenario({"login": Role("login", {})}),
    "group-invitation": Scenario(
        {
            "opened": Role("group_opened", {"group_id": "string"}),
            "completed": Role("group_completed", {"group_id": "string"}),
        }
    ),
}
"""By name."""

_HELLO = "Hi {{ user.first_name | default: 'there' }}. "


def about(scenario: str) -> str:
    """The sentence with which a scenario's file opens."""
    return _text(scenario).split("\n", 1)[0].removeprefix("# ")


def lacking(scenario: str, project: ProjectFile, names: Mapping[str, str]) -> dict[str, dict[str, Type]]:
    """The events, with properties, that a project would have to declare; `names` are those chosen, by role."""
    missing: dict[str, dict[str, Type]] = {}
    for role, wanted in SCENARIOS[scenario].events.items():
        event = names.get(role, wanted.usual)
        declared = project.events.get(event)
        properties = {} if declared is None else declared.properties
        lacks = {name: type_ for name, type_ in wanted.properties.items() if name not in properties}
        if declared is None or lacks:
            missing.setdefault(event, {}).update(lacks)
    return missing


def unknown_attributes(scenario: str, project: ProjectFile) -> dict[str, Type]:
    """The attributes that a project would have to declare, or declares with another type."""
    wanted = SCENARIOS[scenario].attributes
    known = {name: attribute.type for name, attribute in project.profile.items()}
    return {name: type_ for name, type_ in wanted.items() if known.get(name) != type_}


def silent(scenario: str, project: ProjectFile, names: Mapping[str, str]) -> list[str]:
    """The events that no source of the project can give."""
    events = {names.get(role, wanted.usual): None for role, wanted in SCENARIOS[scenario].events.items()}
    return [event for event in events if not any(events_of(source, [event]) for source in project.sources.values())]


def fill(scenario: str, plan: str, project: ProjectFile, channel: str, names: Mapping[str, str]) -> str:
    """The text of the plan."""
    events = {role: _written(names.get(role, wanted.usual)) for role, wanted in SCENARIOS[scenario].events.items()}
    greets = "first_name" in project.profile and project.profile["first_name"].type == "string"
    text = Template(_text(scenario)).substitute(events, plan=plan, channel=channel, hello=_HELLO if greets else "")
    if project.channels[channel].limit == "sms":  # which has no title
        text = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("title: "))
    return text


def fill_test(scenario: str, plan: str, project: ProjectFile, channel: str, names: Mapping[str, str]) -> str:
    """The text of the plan's test, which passes: it leaves open what the project's quiet hours may put off."""
    events = {role: _written(names.get(role, wanted.usual)) for role, wanted in SCENARIOS[scenario].events.items()}
    to = project.channels[channel]
    known = {} if to.address is None else {to.address: "a1"}
    if to.consent is not None and to.consent.opt_in is not None:
        known[to.consent.opt_in] = "true"
    inside = ", ".join(f"{name}: {value}" for name, value in known.items())
    text = _text(f"{scenario}.test")
    return Template(text).substitute(events, plan=plan, channel=channel, known=f"{{{inside}}}")


def _written(event: str) -> str:
    """An event's name as YAML has it."""
    return event if re.fullmatch(r"\w[\w.-]*", event) else json.dumps(event, ensure_ascii=False)


def _text(scenario: str) -> str:
    return files("flowops.rules.scenarios").joinpath(f"{scenario}.yaml").read_text(encoding="utf-8")
