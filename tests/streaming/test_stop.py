"""Being asked to stop, by signals that come at any moment."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Any

import pytest

from flowops.streaming.cluster import Stop


@pytest.mark.timeout(20)
def test_a_signal_may_interrupt_the_handler_of_another_wherever_it_is() -> None:
    """An impatient Ctrl-C, or SIGTERM and SIGINT at once: before each line of what the first one runs."""

    def again(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal sent
        if frame.f_code.co_filename.endswith("threading.py") or frame.f_code.co_name == "asked":
            if event == "line" and sent < 30:
                sent += 1
                os.kill(os.getpid(), signal.SIGINT)
            return again
        return None

    sent = 0
    with Stop().heeding_signals() as stop:
        assert not stop.wait(0.01)
        sys.settrace(again)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        finally:
            sys.settrace(None)
        assert stop.asked
        assert sent > 1
        began = time.monotonic()
        assert stop.wait(10)
        assert time.monotonic() < began + 5
