"""`flowops graph`: a plan as a diagram."""

from __future__ import annotations

import json
import sys

from flowops.cli.options import AsJson, PlanId, Project, Verbose


def command(
    plan: PlanId,
    project: Project = None,
    as_json: AsJson = False,
    verbose: Verbose = False,  # noqa: ARG001 - read by main
) -> None:
    """Draw a plan as a Mermaid flowchart: what triggers, each check, the messages, the goals.

    Paste it where Mermaid is shown (GitHub and GitLab in a ```mermaid block), or into an editor of diagrams.
    """
    from flowops.cli.plans import plan_of
    from flowops.rules.diagram import diagram

    compiled, found = plan_of(project, plan)
    text = diagram(compiled.project, found)
    if as_json:
        answer = {"plan": found.id, "version": found.version, "mermaid": text}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(text)
