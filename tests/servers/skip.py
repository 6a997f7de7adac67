"""What becomes of a test whose server is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest

from servers.fetch import Missing
from servers.process import Server

S = TypeVar("S", bound=Server)


@contextmanager
def running(server: S) -> Iterator[S]:
    """The server, started; closed in the end, also when the test fails.

    Where it is missing the test is skipped with the reason, so that a laptop needs none; with CI=true it fails, so
    that no promise goes unchecked.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except Missing as error:
            reason = f"{error}: `make servers` fetches it, or says what to install"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        yield server
