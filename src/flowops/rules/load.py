"""From a folder to a compiled project: reads every rule file, gathers every finding, compiles if there is no error."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flowops.core.plan import Project
from flowops.errors import ConfigError
from flowops.rules.check import CheckedPlan, PlanChecker
from flowops.rules.check_project import (
    check_caps,
    check_declarations,
    check_everyone,
    check_inputs,
    check_receipts,
    check_segments,
    check_supply,
)
from flowops.rules.check_send import Policies
from flowops.rules.compile import cap_keys, compile_project, ordered_plans
from flowops.rules.config import Config
from flowops.rules.document import Document, read_document
from flowops.rules.findings import Finding, finding, has_errors, ordered
from flowops.rules.inputs import look_at
from flowops.rules.layers import CheckedLayering, read_layerings
from flowops.rules.mapping import SourceLayout, resolve
from flowops.rules.schema import read_model
from flowops.rules.schema_plan import PlanFile
from flowops.rules.schema_project import ProjectFile, Source
from flowops.rules.schema_send import PolicyFile
from flowops.sources import Connection

PROJECT_FILE = "flowops.yaml"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a folder holds. `project` and `config` are None where findings keep it from running.

    `file`, `plans` and `layouts` are what the tables were compiled from, for tools that show texts or compile a part.
    """

    folder: Path
    project: Project | None
    config: Config | None
    findings: list[Finding]
    file: ProjectFile | None
    plans: list[CheckedPlan]
    layouts: Sequence[SourceLayout] = ()

    def only(self, ids: Collection[str]) -> tuple[Project, list[CheckedPlan]]:
        """The project as if it had these plans only, which have no errors; and the plans, in the order of its own."""
        if self.file is None or self.project is None:
            raise ValueError("a project that does not compile has no parts")
        kept = ordered_plans(plan for plan in self.plans if plan.file.plan in ids)
        return compile_project(self.file, kept, self.layouts), kept


def find_project(start: Path) -> Path:
    """The nearest folder from `start` upwards with a flowops.yaml; raises `ConfigError` if there is none."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise ConfigError(
        f"no {PROJECT_FILE} in {start} or any folder above it\n"
        "  try: `flowops init DIR` makes a starter project; `--project DIR` names another folder"
    )


def load_project(folder: Path, *, rules: Path | None = None, plans: Sequence[Path] | None = None) -> Loaded:
    """Read and compile a project. Never raises for what a file holds: every complaint is a finding.

    Args:
        folder: the project, and what the paths of its inputs start from.
        rules: where its flowops.yaml and rules/ are read from; left out: there.
        plans: the files of its plans; left out: those under rules/.

    Raises:
        ConfigError: the folder has no flowops.yaml.
    """
    folder = folder.absolute()
    top = folder if rules is None else rules.absolute()
    if not (top / PROJECT_FILE).is_file():
        if top.is_file():
            raise ConfigError(f"{top} is a file\n  try: the folder in which {PROJECT_FILE} is")
        raise ConfigError(f"no {PROJECT_FILE} in {top}\n  try: `flowops init {top.name}`")
    with _uncollected():
        return _Loading(folder, top, plan_files(top) if plans is None else plans).run()


def plan_files(folder: Path) -> list[Path]:
    """The files of a project's plans."""
    rules = folder.absolute() / "rules"
    return [path for path in _files(rules, deep=True) if not _is_beside(path.relative_to(rules))]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that is made meanwhile becomes garbage, so looking for it again and again is a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Loading:
    def __init__(self, folder: Path, top: Path, paths: Sequence[Path]) -> None:
        self.folder = folder
        self.top = top
        self.paths = paths
        self.documents: list[Document] = []
        self.findings: list[Finding] = []

    def run(self) -> Loaded:
        document = self._read(self.top / PROJECT_FILE)
        file = read_model(ProjectFile, document, document.data()) if document.root else None
        templates = {path.stem: self._read(path) for path in _files(self.top / "rules" / "templates")}
        layerings = read_layerings(file, document) if file is not None else {}
        plans = self._plans(file, templates, layerings, self._policies())
        project, config = None, None
        layouts: dict[str, SourceLayout] = {}
        if file is not None:
            check_declarations(file, document)
            inputs = {name: look_at(self.folder, source.file) for name, source in file.sources.items()}
            layouts = {name: resolve(file, name, source, inputs[name]) for name, source in file.sources.items()}
            check_inputs(file, document, inputs, layouts)
            if not self._wrong():
                check_caps(file, document, plans)
                check_supply(file, document, plans, inputs, layouts)
                check_segments(file, plans, inputs, layouts)
                check_receipts(file, document, plans)
                check_everyone(file, plans)
            if not self._wrong():
                project = compile_project(file, plans, list(layouts.values()))
                config = self._config(file)
        return Loaded(self.folder, project, config, ordered(self._all()), file, plans, list(layouts.values()))

    def _all(self) -> list[Finding]:
        found = [*self.findings, *(each for document in self.documents for each in document.findings)]
        return list(dict.fromkeys(found))  # a policy is checked for each plan that uses it

    def _wrong(self) -> bool:
        return has_errors(self._all())

    def _read(self, path: Path) -> Document:
        document = read_document(self.top, path)
        self.documents.append(document)
        return document

    def _policies(self) -> Policies:
        """Read every policy; they are checked with the plans that use them."""
        found: dict[str, tuple[Document, PolicyFile | None]] = {}
        for path in _files(self.top / "rules" / "policies"):
            document = self._read(path)
            found[path.stem] = document, read_model(PolicyFile, document, document.data()) if document.root else None
        return found

    def _plans(
        self,
        project: ProjectFile | None,
        templates: Mapping[str, Document],
        layerings: Mapping[str, CheckedLayering],
        policies: Policies,
    ) -> list[CheckedPlan]:
        """Read every plan; checked against the project where that could be read."""
        rules = self.top / "rules"
        if not self.paths:
            what = "there is no plan in rules/" if rules.is_dir() else "there is no folder rules/"
            hint = "a plan is a file rules/NAME.yaml; `flowops new` writes one to begin with"
            self.findings.append(finding("FO306", PROJECT_FILE, 0, 0, what, hint=hint))
        checked: list[CheckedPlan] = []
        ids: dict[str, str] = {}
        for path in self.paths:
            document = self._read(path)
            plan = read_model(PlanFile, document, document.data()) if document.root else None
            if plan is None:
                continue
            if plan.plan in ids:
                hint = "the id must be unique in the project"
                what = f"the plan `{plan.plan}` is already in {ids[plan.plan]}"
                document.report("FO301", ("plan",), what, hint=hint)
            ids.setdefault(plan.plan, document.path)
            if project is not None:
                checked.append(PlanChecker(project, templates, layerings, policies, document, plan).run())
        keys = frozenset(cap_keys(project, checked)) if project is not None else frozenset()
        for each in checked:
            each.cap_keys = keys
        return checked

    def _config(self, file: ProjectFile) -> Config:
        return Config(
            channels=file.channels,
            ledger=file.ledger,
            state=self.folder / file.state,
            warehouse=self.folder / file.warehouse,
            connections={
                name: _connection(file.project, source) for name, source in file.sources.items() if not source.file
            },
            since={name: source.since for name, source in file.sources.items() if source.since is not None},
            sensitive=frozenset(name for name, attribute in file.profile.items() if attribute.sensitive),
            files={each.path: hashlib.sha256(each.text.encode()).hexdigest() for each in self.documents},
            declared=hashlib.sha256(json.dumps(file.declared(), default=str).encode()).hexdigest(),
        )


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    found: Iterator[Path] = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        path for path in found if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _connection(project: str, source: Source) -> Connection:
    """How a source that is no files connects, with what it leaves out."""
    if source.kafka is not None:
        group = source.kafka.group or f"flowops-{project}"
        return source.kafka.model_copy(update={"group": group})
    if source.redis is None:
        raise AssertionError("a source of nothing passed the schema")
    return source.redis


def _is_beside(path: Path) -> bool:
    """Whether a file under rules/ is no plan: a template, a policy, or a test of a plan."""
    return path.parts[0] in ("templates", "policies") or path.stem.endswith(".test")
