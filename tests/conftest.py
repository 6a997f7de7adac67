"""What all tests share: how many examples hypothesis tries, and that a failure can be tried again as it was."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

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
