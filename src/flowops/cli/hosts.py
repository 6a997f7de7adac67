"""Which process of a cluster on several machines this is, from options and the machine's name."""

from __future__ import annotations

import re
import socket

from flowops.errors import ConfigError
from flowops.settings.counted import counted
from flowops.streaming.settings import split_address


def cluster_of(hosts: str | None, process: int | None, processes: int, *, fresh: bool) -> tuple[tuple[str, ...], int]:
    """The addresses of all processes, and which one is here; ((), 0) on one machine. Raises ConfigError."""
    if not hosts:
        if process is not None:
            raise ConfigError("--process says which of --hosts this is: give --hosts too")
        return (), 0
    addresses = tuple(host.strip() for host in hosts.split(","))
    for address in addresses:
        if not split_address(address)[0]:
            raise ConfigError(f"--hosts names every host, got {address!r}: for example flowops-0.flowops:9470")
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"--hosts names a host twice: {hosts}")
    if processes not in (1, len(addresses)):
        raise ConfigError(
            f"--hosts names {counted(len(addresses), 'host')} with one process each, got --processes {processes}"
        )
    if fresh:
        raise ConfigError(
            "--fresh removes what all hosts work on: stop them, and give it to one `flowops run` without --hosts"
        )
    if process is None:
        name = socket.gethostname()
        ordinal = re.search(r"-(\d+)$", name)
        if ordinal is None:
            raise ConfigError(f"which of --hosts is {name}? Its name does not end in a number: give --process")
        process = int(ordinal[1])
    if process >= len(addresses):
        raise ConfigError(f"--hosts names the processes 0 to {len(addresses) - 1}, this is {process}: name it too")
    return addresses, process
