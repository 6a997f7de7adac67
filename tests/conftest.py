"""What all tests share: hypothesis' number of examples, failures that can be tried again as they were, and servers."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from servers.kafka import Broker
from servers.redis import RedisServer
from servers.registry import Registry
from servers.skip import running

settings.register_profile(
    "flowops",
    max_examples=int(os.environ.get("FLOWOPS_EXAMPLES", "80")),
    deadline=None,
    derandomize="FLOWOPS_RANDOM" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("flowops")


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """A broker that all tests share, with topics of their own (`unique_name`). Who kills one starts another."""
    with running(Broker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[Registry]:
    """A schema registry that all tests share, with subjects of their own (`unique_name`)."""
    with running(Registry()) as registry:
        yield registry


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server that all tests share, with keys of their own (`unique_name`). Who kills one starts another."""
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has and no other run: for a topic, a consumer group, a prefix of keys."""
    return f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())}-{uuid.uuid4().hex[:8]}"
