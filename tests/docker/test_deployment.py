"""The files of docker/: each is read, and what they say of each other, of the engine and of its metrics is true.

No image is built and no cluster is asked: docs/deploy.md says what that leaves open.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from flowops.cli.hosts import cluster_of
from flowops.rules.load import load_project
from flowops.streaming.metrics import FAMILIES
from flowops.streaming.settings import split_address

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yml").read_text())
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((DOCKER / "k8s").glob("*.yaml"))}
LABELS = {family.name: set(family.labels) for family in FAMILIES}


# --- the image


def test_the_image_gets_what_the_project_needs_from_the_lock_and_no_more() -> None:
    """What was installed here says what each package needs; the development tools are left out."""
    done = subprocess.run(
        [sys.executable, "docker/runtime_lock.py", "requirements.lock", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", done.stdout, re.MULTILINE))
    missing, todo = [], ["flowops"]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        for line in requires(name) or []:
            need = Requirement(line)
            package = re.sub(r"[-_.]+", "-", need.name).lower()
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and package not in seen:
                seen.add(package)
                todo.append(package)
                if package not in pins:
                    missing.append(f"{package}, for {name}")
    assert missing == []
    assert not {"pytest", "mypy", "ruff", "hypothesis"} & pins.keys()
    assert done.stdout.count("--hash=sha256:") >= len(pins)


def test_the_image_copies_what_is_there_and_listens_where_it_says() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, f"{source} does not reach the builder"
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["flowops"]' in text
    command = json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])  # type: ignore[index]
    port = split_address(command[command.index("--listen") + 1])[1]
    assert f"http://127.0.0.1:{port}/healthz" in text
    assert str(port) in re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)[1].split()  # type: ignore[index]


# --- compose


def test_compose_names_what_is_there() -> None:
    """Services, volumes and mounted files; images with a version."""
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= services.keys(), name
        assert "build" in service or re.search(r":v?\d", service["image"]), f"{name} has no version"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).is_dir(), source
            else:
                assert source in COMPOSE["volumes"], source
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"
    engine = services["engine"]
    assert (DOCKER / engine["build"]["context"] / engine["build"]["dockerfile"]).is_file()
    target = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    port = split_address(engine["command"][engine["command"].index("--listen") + 1])[1]
    assert target["static_configs"] == [{"targets": [f"engine:{port}"]}]
    made = re.search(r"for topic in ([\w -]+);", services["topics"]["command"][0])
    project = yaml.safe_load((DOCKER / "shop" / "flowops.yaml").read_text())
    wanted = {project["sources"]["web"]["kafka"]["topic"], project["channels"]["push"]["topic"]}
    assert made is not None
    assert wanted <= set(made[1].split())


def test_compose_is_read_by_its_own_client() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no `docker compose` here")
    command = [docker, "compose", "-f", "compose.yml", "config", "--quiet"]
    done = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- what is asked of the metrics


def queries() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of the dashboard and the alerts."""
    dashboard = json.loads((DOCKER / "grafana" / "dashboards" / "flowops.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"dashboard: {panel['title']}", target["expr"]
    for group in yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert: {rule['alert']}", rule["expr"]


def base(name: str) -> str:
    """The family of a series' name."""
    return name if name in LABELS else re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_metrics_and_labels_that_there_are(where: str, query: str) -> None:
    names = {base(name) for name in re.findall(r"\bflowops_\w+", query)}
    assert names <= LABELS.keys(), where
    assert names or "up{" in query
    labels = set().union(*(LABELS[name] for name in names)) | {"le"}
    for listed in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(listed.replace(" ", "").split(",")) <= labels, where
    assert query.count("(") == query.count(")")


def test_every_metric_is_looked_at() -> None:
    asked = {base(name) for _, query in queries() for name in re.findall(r"\bflowops_\w+", query)}
    assert LABELS.keys() - asked == {"flowops_info"}


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    """Numbers of its panels are their own, they do not overlap, and the source of the data is the one provisioned."""
    panels = json.loads((DOCKER / "grafana" / "dashboards" / "flowops.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    provisioned = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {panel["datasource"]["uid"] for panel in panels if "datasource" in panel}
    assert uids == {provisioned["datasources"][0]["uid"]}


# --- kubernetes


def container() -> dict[str, Any]:
    found: dict[str, Any] = MANIFESTS["statefulset"]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_pods_find_each_other() -> None:
    """As many hosts as replicas, each under the name that the headless service gives it, on the ports that are open."""
    stateful, service = MANIFESTS["statefulset"], MANIFESTS["service"]
    name, count = stateful["metadata"]["name"], stateful["spec"]["replicas"]
    environment = {each["name"]: each["value"] for each in container()["env"]}
    hosts, process = cluster_of(environment["FLOWOPS_HOSTS"], count - 1, 1, fresh=False)
    assert process == count - 1
    domain = service["metadata"]["name"]
    assert [host.partition(":")[0] for host in hosts] == [f"{name}-{number}.{domain}" for number in range(count)]
    assert stateful["spec"]["serviceName"] == domain
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"
    port = split_address(hosts[0])[1]
    listen = split_address(environment["FLOWOPS_LISTEN"])[1]
    wanted = {(port, "TCP"), (port, "UDP"), (listen, "TCP")}
    assert {(each["containerPort"], each["protocol"]) for each in container()["ports"]} == wanted
    assert {(each["port"], each["protocol"]) for each in service["spec"]["ports"]} == wanted
    rules = MANIFESTS["network"]["spec"]["ingress"]
    assert {(each["port"], each["protocol"]) for rule in rules for each in rule["ports"]} == wanted
    assert [each["port"] for rule in rules if "from" not in rule for each in rule["ports"]] == [listen]


def test_the_manifests_speak_of_the_same_things() -> None:
    """Labels, claims, config maps, mounts and probes; no root, and nothing can be written but state and /tmp."""
    stateful = MANIFESTS["statefulset"]
    template = stateful["spec"]["template"]
    label = template["metadata"]["labels"]
    for selector in (
        stateful["spec"]["selector"]["matchLabels"],
        MANIFESTS["service"]["spec"]["selector"],
        MANIFESTS["disruption"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["network"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == label
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    assert {each["name"] for each in container()["volumeMounts"]} == volumes.keys()
    claim = volumes["state"]["persistentVolumeClaim"]["claimName"]
    assert claim == MANIFESTS["state"]["metadata"]["name"]
    assert MANIFESTS["state"]["spec"]["accessModes"] == ["ReadWriteMany"]
    config = volumes["project"]["configMap"]
    assert config["name"] == MANIFESTS["project"]["metadata"]["name"]
    assert {each["key"] for each in config["items"]} == MANIFESTS["project"]["data"].keys()
    ports = {each["name"] for each in container()["ports"]}
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container()[probe]["httpGet"]["path"] == path
        assert container()[probe]["httpGet"]["port"] in ports
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    listed = set(yaml.safe_load((DOCKER / "k8s" / "kustomization.yaml").read_text())["resources"])
    assert listed == {f"{name}.yaml" for name in MANIFESTS} - {"kustomization.yaml"}


def test_the_manifests_are_rendered_by_kubectl() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no `kubectl` here")
    done = subprocess.run([kubectl, "kustomize", DOCKER / "k8s"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds = {each["kind"] for each in yaml.safe_load_all(done.stdout)}
    assert kinds == {manifest["kind"] for manifest in MANIFESTS.values()} - {"Kustomization"}


# --- the project


def test_the_mounted_project_is_the_one_of_compose(tmp_path: Path) -> None:
    """A ConfigMap is mounted through links, and hides beside them what they lead to; the linter finds nothing."""
    data, items = MANIFESTS["project"]["data"], []
    for volume in MANIFESTS["statefulset"]["spec"]["template"]["spec"]["volumes"]:
        items += volume.get("configMap", {}).get("items", ())
    hidden = tmp_path / "..2022_04_21"
    for item in items:
        path = hidden / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data[item["key"]])
        assert path.read_text() == (DOCKER / "shop" / item["path"]).read_text(), item
    assert len(items) == len(list((DOCKER / "shop").rglob("*.yaml")))
    (tmp_path / "..data").symlink_to(hidden.name)
    for name in {Path(item["path"]).parts[0] for item in items}:
        (tmp_path / name).symlink_to(f"..data/{name}")
    loaded = load_project(tmp_path)
    assert [finding.message for finding in loaded.findings] == []
    assert loaded.project is not None
    assert [plan.id for plan in loaded.project.plans] == ["unfinished-order"]
