"""`check_parity()`: the same records again, by another road, and the two frames compared.

The records are read anew from the broker, decoded one by one by Python's own parser, given
their event time by plain Python, and the plan is evaluated once over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from streamlab import parity
from streamlab.changes import HIDDEN, PART, SEQ, STAMP, TIME, WINDOW_START
from streamlab.errors import ParityError, UsageError
from streamlab.frames.feed import Feed
from streamlab.frames.members import Member
from streamlab.live import asking
from streamlab.live.waiting import grouped
from streamlab.plans import nodes
from streamlab.records import (
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    TIMESTAMP,
    TOPIC,
    Offset,
    Partition,
    Records,
)
from streamlab.runtime.loop import io

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An integer is read by its magnitude: seconds, milliseconds, microseconds, else nanoseconds.
MAGNITUDES = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))


def check_parity(frame: Any) -> str:
    """See `LiveFrame.check_parity`."""
    node = frame.plan
    if isinstance(node, (nodes.Errors, nodes.Late, nodes.Recompute)):
        raise UsageError(
            f"check_parity() compares rows and windows; {nodes.label(node)} is neither."
        )
    schema = frame._feed.spec.source.schema  # noqa: SLF001 - one noun in several modules
    if schema is None:
        return "nothing to compare yet: no record has come."
    now = _moment(frame)
    rows = _rows_again(frame, now.done, frame._member.since, now.rejected)  # noqa: SLF001
    if _window_frame(frame) is None:
        difference = _compare_by_partition(node, now, rows)
    else:
        expected = parity.evaluate(node, rows, late=now.late)
        key = frame._member.key  # noqa: SLF001
        difference = parity.compare(now.live, expected, key, forgotten=now.forgotten)
    if difference is not None:
        raise ParityError(f"{frame.name} differs from the batch answer: {difference}")
    return (
        f"equal: {grouped(now.live.height)} rows of {frame.name}, "
        f"from {grouped(rows.height)} records."
    )


def _compare_by_partition(
    node: nodes.Node, now: _Moment, rows: pl.DataFrame
) -> parity.Difference | None:
    """Rows as they came: how partitions took turns is not the same a second time."""
    forgotten = 0
    for part in [None] if not rows.height else rows[PART].unique().sort().to_list():
        mine = pl.lit(value=True) if part is None else pl.col(PART) == part
        live = now.live.filter(mine)
        expected = parity.evaluate(node, rows.filter(mine))
        fewer = max(0, expected.frame.height - live.height) if now.forgotten else 0
        forgotten += fewer
        found = parity.compare(live, expected, forgotten=fewer)
        if found is not None:
            return found
    if forgotten != now.forgotten:
        said = f"{now.forgotten} rows forgotten", f"{forgotten} missing"
        return parity.Difference("in all", "", *said)
    return None


class _Moment(NamedTuple):
    """What the live side says, all of one version.

    Attributes:
        live: the frame's rows.
        forgotten: how many it has forgotten.
        late: the (record, window) pairs that missed; None without windows.
        done: per partition the first offset that is not in the frames yet.
        rejected: records that could not be decoded.
    """

    live: pl.DataFrame
    forgotten: int
    late: pl.DataFrame | None
    done: Mapping[Partition, Offset]
    rejected: int


def _moment(frame: Any) -> _Moment:
    """The live side, looked at between two micro-batches."""
    feed: Feed = frame._feed  # noqa: SLF001
    member: Member = frame._member  # noqa: SLF001
    window = _window_frame(frame)
    late = None if window is None else window.late._member  # noqa: SLF001

    def look() -> _Moment:
        published = feed.published

        def rows_of(each: Member) -> pl.DataFrame:
            return published.held.get(each, each.held).frame()

        return _Moment(
            rows_of(member),
            _forgotten(member),
            None
            if window is None or late is None
            else _missed(
                _pairs(rows_of(late), _forgotten(late)),
                feed.pipeline.expired(window.plan),
            ),
            published.done,
            feed.pipeline.counts.rejected,
        )

    return feed.on_worker(look)


def _window_frame(frame: Any) -> Any:
    """The frame of the window it hangs on; None without one.

    Raises:
        UsageError: there are several, and what was late for each can't be told apart.
    """
    above = [frame, *asking.ancestors(frame)]
    windows = [each for each in above if isinstance(each.plan, nodes.Window)]
    if len(windows) > 1:
        raise UsageError(
            "check_parity() compares frames with one window on their way from the source; "
            f"{frame.name} has {len(windows)}."
        )
    return windows[0] if windows else None


def _forgotten(member: Member) -> int:
    return 0 if member.store is None else member.store.counts().forgotten


def _pairs(late: pl.DataFrame, forgotten: int) -> pl.DataFrame | None:
    """Who missed which window, told by the live frame's own `.late`."""
    if forgotten:
        raise UsageError(
            f"{forgotten} late rows were forgotten, so what should be left out is not known "
            "any more."
        )
    return late.select(PART, STAMP, SEQ, WINDOW_START) if late.height else None


def _missed(late: pl.DataFrame | None, expired: pl.DataFrame) -> pl.DataFrame | None:
    """Late rows, and those that an earlier reading of the group had brought home."""
    if not expired.height:
        return late
    before = expired.select(PART, STAMP, SEQ, WINDOW_START)
    return before if late is None else pl.concat([late, before])


def _rows_again(
    frame: Any,
    done: Mapping[Partition, Offset],
    since: Mapping[Partition, Offset] | None,
    rejected: int,
) -> pl.DataFrame:
    """The source's rows from its beginning (or `since`) up to `done`, decoded by reference."""
    feed: Feed = frame._feed  # noqa: SLF001
    desk = frame._topic.desk  # noqa: SLF001
    start = {p: (since or {}).get(p, at) for p, at in feed.spec.start.items()}
    blocks: list[Records] = io().call(
        _collect(desk, start, done), twin="check_parity() on a thread of its own"
    )
    intake = feed.pipeline.intake
    parts = []
    again = 0
    for block in blocks:
        part, dropped = _decode(block, desk, intake)
        parts.append(part)
        again += dropped
    if since is None and again != rejected:
        raise ParityError(
            f"Python's own parser rejects {again} records, the live source {rejected}."
        )
    if not parts:
        return feed.pipeline.root.held.frame().clear()
    return pl.concat(parts)


async def _collect(desk: Any, start: Any, done: Any) -> list[Records]:
    found: list[Records] = []
    async for blocks in desk.stretch(start, done):
        found.extend(blocks)
    return found


def _decode(block: Records, desk: Any, intake: Any) -> tuple[pl.DataFrame, int]:
    """One block's rows with the hidden columns, and how many records were rejected."""
    frame, bad = parity.decode_reference(block.values, desk.schema, desk.format.name)
    dropped = set(bad)
    places = [i for i in range(len(block.values)) if i not in dropped]
    stamps, numbers = _coordinates(block)
    times = [stamps[i] * 1000 for i in places]
    if desk.time is not None:
        read = [moment_us(value) for value in frame[desk.time].to_list()]
        wrong = [isinstance(value, str) for value in read]
        kept = [i for i, w in enumerate(wrong) if not w]
        frame, places = frame[kept], [places[i] for i in kept]
        times = [read[i] for i in kept]  # type: ignore[misc]
        dropped_times = len(read) - len(kept)
    else:
        dropped_times = 0
    hidden = pl.DataFrame(
        {
            TIME: pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            PART: pl.Series(
                [intake.number(block.partition)] * len(places), dtype=pl.Int32
            ),
            STAMP: pl.Series([stamps[i] for i in places], dtype=pl.Int64),
            SEQ: pl.Series([numbers[i] for i in places], dtype=pl.Int64),
        }
    )
    if desk.time is not None:
        frame = frame.with_columns(hidden[TIME].alias(desk.time))
    types = intake.schema
    meta = [pl.Series(n, _meta(n, block, places), dtype=types[n]) for n in desk.meta]
    return frame.hstack([*meta, *hidden.select(HIDDEN)]), len(dropped) + dropped_times


def _meta(name: str, block: Records, places: Sequence[int]) -> list[Any]:
    """One metadata column of the records at `places`."""
    stamps, _ = _coordinates(block)
    keys = block.keys or [None] * len(stamps)
    headers = block.headers or [()] * len(stamps)
    columns: dict[str, Sequence[Any]] = {
        TOPIC: [block.partition.topic] * len(stamps),
        PARTITION: [block.partition.number] * len(stamps),
        OFFSET: [_text(o) if isinstance(o, bytes) else o for o in block.offsets],
        TIMESTAMP: [EPOCH + timedelta(milliseconds=ms) for ms in stamps],
        KEY: [None if key is None else _text(key) for key in keys],
        HEADERS: [[{"name": k, "value": v} for k, v in each] for each in headers],
    }
    return [columns[name][place] for place in places]


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _coordinates(block: Records) -> tuple[list[int], list[int]]:
    """Broker time and offset (on Redis the id's two halves) of each record."""
    stamps = block.timestamps_ms
    if stamps is not None and not isinstance(block.offsets[0], bytes):
        return list(stamps), [int(o) for o in block.offsets]
    halves = [bytes(o).split(b"-") for o in block.offsets]
    if (
        stamps is not None
    ):  # ids that count nanoseconds: intake folds the rest into one number
        rest = [(int(a) % 1_000_000) << 16 | int(b) for a, b in halves]
        return list(stamps), rest
    return [int(a) for a, _ in halves], [int(b) for _, b in halves]


def moment_us(value: object) -> int | str | None:
    """An event time in µs since 1970 UTC; text if it can't be read, None for none."""
    if value is None:
        return None
    if isinstance(value, date):
        return _of_date(value)
    if isinstance(value, (int, float)):
        return _by_magnitude(value)
    try:
        return moment_us(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value)


def _of_date(value: date) -> int:
    if not isinstance(value, datetime):
        return (value - EPOCH.date()).days * 86_400_000_000
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _by_magnitude(value: float) -> int | None:
    if not math.isfinite(value):
        return None
    for limit, factor in MAGNITUDES:
        if abs(value) < limit:
            return math.floor(value * factor)
    # An integer of nanoseconds has more digits than a float.
    return value // 1000 if type(value) is int else math.floor(value / 1000)
