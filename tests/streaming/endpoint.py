"""What a live run answers over HTTP."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Endpoint:
    """Of a run that was started with `--listen` and this address."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"

    def get(self, path: str) -> tuple[int, str]:
        """Code and body; code 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_well(self) -> bool:
        return self.get("/healthz")[0] == 200

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metrics(self) -> dict[str, float]:
        """By name with labels, as `flowops_losses_total{plan="a",reason="b"}`; empty while nobody listens."""
        code, text = self.get("/metrics")
        found = {}
        for family in text_string_to_metric_families(text if code == 200 else ""):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def has(self, metric: str, least: float) -> Callable[[], bool]:
        """Whether a metric has reached a value."""
        return lambda: self.metrics().get(metric, 0) >= least
