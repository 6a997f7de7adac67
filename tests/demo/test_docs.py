"""The pages that a stranger reads first say what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    """A relative link names a file of the repository, and an anchor a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_paths_exist(page):
    """A path in backticks that begins with a folder of the repository is there."""
    made = (".flowops/", "warehouse/", "out/", ".venv")  # by a run
    rooms = (ROOT / "src" / "flowops").iterdir()
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.name for path in rooms if path.is_dir()}
    for named in re.findall(r"`([\w.\-/]+/[\w.\-/]*)`", page.read_text()):
        if named.startswith(made) or named.split("/")[0] not in tops or named.startswith("rules/"):
            continue
        assert (ROOT / named).exists() or (ROOT / "src" / "flowops" / named).exists(), f"{page.name} names {named}"


def test_index_lists_every_page():
    """docs/README.md leads to each page of docs/; decisions are listed by their folder."""
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        assert re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", page.name)


def test_plan_of_the_readme_works(flowops, tmp_path):
    """The plan with which the README explains flowops is accepted as it stands, in the project that `init` makes."""
    project = tmp_path / "shop"
    flowops("init", project)
    plan = re.search(r"```yaml\n# rules/unfinished-order.yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert plan is not None
    (project / "rules" / "unfinished-order.yaml").write_text(plan[1])
    flowops("lint", "--project", project)


@pytest.fixture
def flowops():
    """Runs a command, which must succeed."""

    def run(*arguments):
        done = subprocess.run(
            [Path(sys.executable).with_name("flowops"), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run
