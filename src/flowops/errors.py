"""Every error that flowops raises on purpose.

Raise the most exact one; catch as high as something useful can be said. What reaches a user is printed without a
traceback, and the class decides the exit code::

    FlowopsError
    ├── ConfigError        bad configuration or wrong use; nothing was started          exit 2
    │   ├── RuleError      a rule file that cannot be compiled; carries its findings    exit 2 (lint: 1)
    │   ├── InputError     an input that is missing, empty of columns, or not readable  exit 2
    │   └── StateError     a state folder of other rules, inputs, format or owner       exit 2
    ├── RunError           a run that began and failed                                  exit 3
    └── ContentError       a message that cannot be rendered: becomes a loss, never an exit
"""

from __future__ import annotations


class FlowopsError(Exception):
    """Root of the tree. The message says what happened, what was got and what to try."""

    exit_code = 3


class ConfigError(FlowopsError):
    """Wrong use or bad configuration, found before anything was started."""

    exit_code = 2


class RuleError(ConfigError):
    """Rule files that cannot be compiled; the message is the rendered list of findings."""


class InputError(ConfigError):
    """A source that cannot be opened or lacks a column that its mapping names."""


class StateError(ConfigError):
    """A state folder that this run must not touch (locked, another format, other rules or inputs)."""


class RunError(FlowopsError):
    """A run that began and could not go on. Its state is kept: the same command resumes it."""


class ContentError(FlowopsError):
    """A message that cannot be rendered (S33); the decision turns it into the loss `content_invalid`."""
