from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlab.durations import Span
from streamlab.errors import SpanError
from streamlab.frames import keeping
from streamlab.frames.keeping import budget_bytes, parse_keep
from streamlab.frames.store import Keep


@pytest.mark.parametrize(
    ("value", "keep"),
    [
        (None, Keep()),
        ((), Keep()),
        (10_000, Keep(rows=10_000)),
        ("5m", Keep(age=Span(0, 300_000_000))),
        (timedelta(seconds=1), Keep(age=Span(0, 1_000_000))),
        ("64MB", Keep(bytes=64_000_000)),
        ((100, "1MiB", "1h"), Keep(100, Span(0, 3_600_000_000), 1024**2)),
    ],
)
def test_keep_is_rows_an_age_bytes_or_several_of_them(value: Any, keep: Keep):
    assert parse_keep(value) == keep


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "must be positive"),
        (-5, "must be positive"),
        (1.5, "neither rows, an age nor a size"),
        ("1mo", "no fixed length"),
        ((10, 20), "a limit of rows twice"),
        (("5m", "1h"), "a limit of age twice"),
        (True, "not a span of time"),
        ("much", "keep='much'"),
    ],
)
def test_what_is_no_limit_is_refused(value: Any, words: str):
    with pytest.raises(SpanError, match=words):
        parse_keep(value)


def test_the_container_may_allow_less_than_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(keeping, "_CGROUP", (str(tmp_path / "absent"), str(limit)))
    machine = keeping.memory_limit()

    limit.write_text("800000000\n")
    assert keeping.memory_limit() == 800_000_000
    assert budget_bytes(Keep()) == 100_000_000

    limit.write_text("max\n")
    assert keeping.memory_limit() == machine


def test_bytes_that_were_asked_for_are_the_budget():
    assert budget_bytes(Keep(bytes=5_000)) == 5_000
    assert budget_bytes(Keep(rows=10)) <= 256_000_000
