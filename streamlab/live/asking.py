"""Answers about a live frame: its accounts, its state in numbers, its names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from streamlab.changes import PART, TIME, WINDOW_START
from streamlab.clocks import SYSTEM
from streamlab.frames.feed import Feed
from streamlab.frames.hopper import RATE_OVER
from streamlab.frames.members import Member
from streamlab.frames.pace import ReplayClock
from streamlab.live import sharing
from streamlab.live.cells import Entry
from streamlab.live.stats import OperatorStats, SourceStats, Stats, StoreStats
from streamlab.live.waiting import grouped
from streamlab.live.windows import call_of
from streamlab.observed import State, Status
from streamlab.plans import nodes
from streamlab.views.words import age, clock_time

WARN_STATE = 0.8  # share of the budget; at 1 the frame stops
BEHIND = 5_000  # records to go before a live source counts as catching up
POLARS_NAMES = frozenset(name for name in dir(pl.DataFrame) if not name.startswith("_"))


def stats(feed: Feed, member: Member) -> Stats:
    """All three accounts, from one moment between two micro-batches."""

    def look() -> Stats:
        source = feed.pipeline.counts
        mine = member.counts
        store = member.store.counts() if member.store is not None else None
        return Stats(
            SourceStats(
                source.received,
                source.decoded,
                source.rejected,
                source.lost,
                source.rebalances,
                dict(source.missing),
                dict(source.extra),
            ),
            OperatorStats(
                mine.received,
                mine.passed,
                mine.filtered,
                mine.rejected,
                mine.late,
                mine.expired,
                member.state_bytes,
                member.evicted,
                member.tombstones,
                feed.pipeline.state_of(member),
            ),
            StoreStats() if store is None else StoreStats(*store),
        )

    return feed.on_worker(look)


def status(feed: Feed, member: Member, stale: str) -> Status:
    """One moment in numbers; reads only what may be read from any thread."""
    state, detail = _state(feed, member)
    newest = feed.fetch.hopper.newest_ms
    lag = None if newest is None else max(0, feed.spec.clock.now_ms() - newest) / 1000
    return Status(
        state=state,
        detail=detail,
        rate=_rate(feed),
        lag_s=lag,
        kept_rows=member.held.height,
        keep_rows=member.keep.rows,
        kept_bytes=feed.pipeline.budget.held,
        budget_bytes=feed.pipeline.budget.limit,
        late=member.counts.late,
        # To a compacted view a tombstone is as good a record as any.
        rejected=feed.pipeline.counts.rejected
        - member.tombstones
        + member.counts.rejected,
        version=member.held.version,
        notes=_notes(feed, member),
        stale=stale,
        basis=_basis(member),
    )


def _basis(member: Member) -> str:
    """Which records totals are over, or a join; `keep` has no part in that."""
    lasting = nodes.GroupBy | nodes.OuterJoin
    if not isinstance(nodes.reviser_of(member.node), lasting):
        return ""
    count = f"{grouped(member.counts.received)} records"
    if member.began is None:
        return f"over all {count} so far"
    return f"since {clock_time(round(member.began.timestamp() * 1000))} ({count})"


def _state(feed: Feed, member: Member) -> tuple[State, str]:
    if member.error is not None or feed.error is not None:
        error = member.error or feed.error
        return "failed", f"{type(error).__name__}"
    if feed.over == "stopped" or feed.done(member):
        return _ending(feed, member)
    if trouble := feed.fetch.trouble:
        return "reconnecting", trouble.removeprefix("reconnecting ")
    if feed.paused:
        return "paused", _lag_words(feed)
    return _moving(feed)


def _ending(feed: Feed, member: Member) -> tuple[State, str]:
    if feed.over == "stopped" or member.gone:
        return "stopped", ""
    return "ended", "at until" if feed.spec.stop is not None else "at the end mark"


def _moving(feed: Feed) -> tuple[State, str]:
    clock = feed.spec.clock
    if isinstance(clock, ReplayClock):
        return "replay", clock.words
    if not feed.published.records:
        newest = feed.spec.begin.newest_ms
        if newest is None:
            return "waiting", "no record yet"
        ago = age((feed.spec.clock.now_ms() - newest) / 1000)
        return (
            "waiting",
            f"no record yet; newest is {ago} old. See it: live(start=-1000)",
        )
    behind = sum(state.behind or 0 for state in feed.fetch.states.values())
    done = feed.published.records
    if behind > max(BEHIND, _rate(feed)):
        share = done / (done + behind)
        return "catching up", f"{share:.0%}"
    return "live", ""


def _lag_words(feed: Feed) -> str:
    if feed.fetch.hopper.newest_ms is None:
        return ""
    return f"lag {age((feed.spec.clock.now_ms() - feed.fetch.hopper.newest_ms) / 1000)}"


def _rate(feed: Feed) -> float:
    now = SYSTEM.running()
    arrivals = [
        (at, n) for at, n in list(feed.fetch.hopper.arrivals) if at >= now - RATE_OVER
    ]
    if not arrivals:
        return 0.0
    over = max(now - arrivals[0][0], 1.0)
    return sum(count for _, count in arrivals) / over


def _notes(feed: Feed, member: Member) -> tuple[str, ...]:
    notes: list[str] = []
    if member.keep.rows is not None and not member.key:
        notes.append(f"keeps {member.keep.rows:,} rows".replace(",", " "))
    if len(feed.spec.start) > 1 and not feed.finished:
        notes.extend(f"p{each.number} idle" for each in sorted(feed.fetch.idle)[:3])
    if member.evicted:
        what = "open windows" if nodes.window_of(member.node) else "keys"
        notes.append(f"{member.evicted:,} {what} given up to stay inside keep")
    state = feed.pipeline.state
    share = sum(state.values()) / feed.pipeline.budget.limit
    if share > WARN_STATE and member.state_bytes:
        most = max(state, key=lambda step: state[step])
        notes.append(f"state takes {share:.0%} of the budget, most of it {most}")
    if feed.pipeline.counts.lost:
        notes.append(f"{feed.pipeline.counts.lost} lost")
    clock = feed.spec.clock
    if isinstance(clock, ReplayClock) and clock.trouble:
        notes.append(clock.trouble)
    basis = _basis(member)
    return (*notes, *([basis] if basis else []), *sharing.notes(feed))


def stale(frame: Any) -> str:
    """Says so if an ancestor of the frame was replaced by a later run of its cell."""
    for ancestor in _above(frame):
        older: Entry = ancestor.entry
        if older.replaced is not None and older.replaced.affects(frame.entry):
            ago = age((SYSTEM.now_ms() - older.replaced.when_ms) / 1000)
            name = older.name or ancestor.name
            return (
                f"reads from an older {name!r} (replaced {ago} ago): re-run this cell"
            )
    return ""


def ancestors(frame: Any) -> list[Any]:
    """The frames above, nearest first."""
    found = []
    while frame._parent is not None:  # noqa: SLF001 - one noun in several modules
        frame = frame._parent  # noqa: SLF001
        found.append(frame)
    return found


def _above(frame: Any) -> list[Any]:
    """The frames above, those of second inputs as well."""
    found = ancestors(frame)
    for each in (frame, *found):
        if each._other is not None:  # noqa: SLF001 - one noun in several modules
            found = [*found, each._other, *_above(each._other)]  # noqa: SLF001
    return found


def joined(frame: Any) -> list[tuple[nodes.Node, Any]]:
    """The second inputs from other sources on the way to a frame: each as it stands in the
    join, and the frame of it.
    """
    return [
        (above.plan.other, above.other)
        for above in (frame, *ancestors(frame))
        if isinstance(above.plan, nodes.TwoSided)
        and above._other is not None  # noqa: SLF001 - one noun in several modules
        and above.other._feed is not above._feed  # noqa: SLF001
    ]


def once(frame: Any) -> str:
    """How a revised frame's rows are had once each, as a sentence; "" if there is no way."""
    reviser = nodes.reviser_of(frame.plan)
    if isinstance(reviser, nodes.OuterJoin):
        plain = {"right": "inner", "full": "left"}[reviser.how]
        return f'With join(…, how="{plain}") before it no row is taken back. '
    if not isinstance(reviser, nodes.Window):
        return ""
    way = ".closed of the window itself, and these steps after it"
    if frame.plan is reviser:
        way = f"{frame.name}.closed"
    return f"Each window once, when it closes: {way}. "


def names(columns: Sequence[str | Iterable[str]]) -> tuple[str, ...]:
    """Column names from `drop("a", "b")` and `drop(["a", "b"])` alike."""
    found: list[str] = []
    for column in columns:
        found.extend([column] if isinstance(column, str) else column)
    return tuple(found)


def time_column(node: nodes.Node, columns: Sequence[str]) -> str | None:
    """The shown column that event time is in."""
    at: nodes.Node = node
    while not isinstance(at, nodes.Source):
        if isinstance(at, nodes.Trail):
            return "event_time" if "event_time" in columns else None
        if isinstance(at, (nodes.Window, nodes.Closed, nodes.Late)):
            return WINDOW_START if WINDOW_START in columns else None
        at = at.parent
    return at.time if at.time in columns else None


def judging(node: nodes.Node) -> nodes.Window | nodes.InOrder | None:
    """The nearest step above that leaves late rows out, up to where windows closed."""
    for each in reversed(nodes.chain(node)):
        if isinstance(each, (nodes.Window, nodes.InOrder)):
            return each
        if isinstance(each, (nodes.Closed, nodes.Late, nodes.Recompute)):
            return None
    return None


def lateness_advice(feed: Feed, window: nodes.Window) -> str:
    """What lateness the rows at hand suggest, in words with a line to type."""
    return advice(feed, f'{call_of(window)}, lateness="{{}}")')


def order_advice(feed: Feed) -> str:
    """The same for rows that shall be put in order."""
    return advice(feed, 'in_order("{}")')


def advice(feed: Feed, call: str) -> str:
    """What lateness the rows at hand suggest; `call` is what to type, with {} in its place."""
    measured = measured_lateness(feed.pipeline.root.held.frame())
    if measured is None:
        return f"Say how late rows may come: {call.format('5s')}."
    worst, p99, count = measured
    suggestion = max(1, math.ceil(p99))
    return (
        f"Rows of this topic come up to {worst:.1f} s late (p99 {p99:.1f} s in the last "
        f"{count:,}): {call.format(f'{suggestion}s')}."
    )


def measured_lateness(rows: pl.DataFrame) -> tuple[float, float, int] | None:
    """How far rows trail the newest of their partition: (max s, p99 s, rows), or None."""
    if TIME not in rows.columns or not rows.height:
        return None
    newest = rows.tail(10_000)
    trailing = (
        pl.col(TIME).cum_max().over(PART) - pl.col(TIME)
    ).dt.total_microseconds()
    late = newest.select(late=trailing / 1e6)["late"].drop_nulls()
    if not len(late):
        return None
    return float(late.max()), float(late.quantile(0.99) or 0.0), len(late)  # type: ignore[arg-type]


def no_such(name: str) -> str:
    """What a name that a live frame lacks should say."""
    if name in POLARS_NAMES:
        return (
            f"a live frame has no {name}(): its last row has not arrived yet. For a look "
            f"now: live.df.{name}(…). Kept up to date at every tick: "
            f"live.recompute(lambda lf: lf.{name}(…))."
        )
    return f"'LiveFrame' object has no attribute {name!r}"
