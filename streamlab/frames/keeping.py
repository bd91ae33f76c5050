"""What a frame retains, as users write it, and how many bytes a process may spend on it."""

from __future__ import annotations

import os
from pathlib import Path

from streamlab.durations import fixed_span, is_size, size
from streamlab.errors import SpanError
from streamlab.frames.store import Keep

BUDGET = 256_000_000
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_keep(value: object) -> Keep:
    """Read `keep=`: rows (`10_000`), age (`"5m"`), bytes (`"64MB"`), or a tuple of them.

    Raises:
        SpanError: a part is none of these, or a kind is named twice.
    """
    parts = value if isinstance(value, tuple) else (() if value is None else (value,))
    found: dict[str, object] = {}
    for part in parts:
        name, limit = _one(part)
        if name in found:
            raise SpanError(f"keep={value!r} names a limit of {name} twice. Keep one.")
        found[name] = limit
    return Keep(**found)  # type: ignore[arg-type]


def _one(part: object) -> tuple[str, object]:
    if isinstance(part, int) and not isinstance(part, bool):
        if part <= 0:
            raise SpanError(f"keep={part!r}: a number of rows must be positive.")
        return "rows", part
    if is_size(part):
        return "bytes", size(part, "keep")
    if isinstance(part, float):
        raise SpanError(
            f'keep={part!r} is neither rows, an age nor a size. Write 10_000, "5m" or "64MB".'
        )
    return "age", fixed_span(part, "keep")


def memory_limit() -> int:
    """Bytes this process may use: the container's limit, or the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return min(machine, int(text))
    return machine


def budget_bytes(keep: Keep) -> int:
    """The byte budget of a source and all derived from it."""
    return keep.bytes or min(BUDGET, memory_limit() // 8)
