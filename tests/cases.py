"""How many cases hypothesis tries: few on a laptop, thousands in CI (`CI=true`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_SHARED = settings(
    deadline=None,  # how long a case takes hangs on what else the machine does
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", _SHARED, max_examples=1_000)
settings.register_profile("laptop", _SHARED, max_examples=20)
# For `python -m tests.mutate`: the same cases every time, and the first that fails will do.
settings.register_profile(
    "mutants",
    _SHARED,
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)


def load() -> None:
    """Take the profile that fits where the tests run."""
    name = "ci" if os.environ.get("CI") else "laptop"
    settings.load_profile("mutants" if os.environ.get("MUTANT") else name)


def cases(share: float = 1.0) -> settings:
    """So many of the profile's cases, for a test that costs more or less than others."""
    most: int = settings().max_examples
    return settings(max_examples=max(4, round(most * share)))
