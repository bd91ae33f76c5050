"""How many cases hypothesis tries: few on a laptop, thousands in CI (`CI=true`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "ci", deadline=None, max_examples=1_000, suppress_health_check=_SLOW
)
settings.register_profile(
    "laptop", deadline=None, max_examples=20, suppress_health_check=_SLOW
)


def load() -> None:
    """Take the profile that fits where the tests run."""
    settings.load_profile("ci" if os.environ.get("CI") else "laptop")


def cases(share: float = 1.0) -> settings:
    """So many of the profile's examples, for a test that costs more or less than others."""
    load()
    most = settings.get_current_profile_name()
    examples = settings.get_profile(most).max_examples
    return settings(
        deadline=None,
        max_examples=max(3, round(examples * share)),
        suppress_health_check=_SLOW,
    )
