"""The topic card's facts: gathered within two seconds, errors shown as part of the card."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from streamlab.backends.base import PartitionInfo
from streamlab.clocks import SYSTEM
from streamlab.errors import StreamlabError
from streamlab.records import Newest, Records
from streamlab.runtime.loop import in_foreign_loop, io
from streamlab.topics.desk import Desk
from streamlab.views.card import CardInfo, FieldInfo, card_html, card_text
from streamlab.views.words import number, type_name

SECONDS = 2.0
SAMPLE = 1_000


def card_bundle(topic: Any) -> dict[str, str]:
    """The card of a topic, as text and HTML; never raises for what the broker says."""
    if in_foreign_loop():
        return {"text/plain": repr(topic)}
    info = io().call(gather(topic.desk, topic.name), twin="topic.aio.info()")
    return {"text/plain": card_text(info), "text/html": card_html(info)}


async def gather(desk: Desk, name: str) -> CardInfo:
    """What is known of a topic after at most two seconds."""
    kind, _, place = desk.connection.place.partition("://")
    facts: dict[str, Any] = {"kind": kind, "place": place}
    notes: list[str] = []
    try:
        await asyncio.wait_for(_look(desk, facts), SECONDS)
    except TimeoutError:
        notes.append(f"Not everything is known after {SECONDS:g} s.")
    except StreamlabError as error:
        notes.append(f"✖ {error}")
    return CardInfo(name=name, notes=tuple(notes), **facts)


async def _look(desk: Desk, facts: dict[str, Any]) -> None:
    """Fill in `facts`, the cheapest first: what a time-out leaves is still shown."""
    _sizes(await desk.info(), facts)
    await desk.learn()
    if desk.chosen is not None:
        facts["value"] = _value_line(desk)
        facts["fields"] = _fields(desk)
    blocks: list[Records] = []
    begin = await desk.resolve(Newest(SAMPLE), "start")
    end = await desk.resolve("latest", "until")
    async for found in desk.stretch(begin, end):
        blocks.extend(found)
    facts["key"] = _key_line(blocks)
    facts["rate"] = _rate(blocks)


def _sizes(lines: Sequence[PartitionInfo], facts: dict[str, Any]) -> None:
    now = SYSTEM.now_ms()
    newest = [x.newest_ms for x in lines if x.newest_ms is not None]
    oldest = [x.oldest_ms for x in lines if x.oldest_ms is not None]
    facts["partitions"] = len(lines)
    if all(x.records is not None for x in lines):
        facts["records"] = sum(x.records or 0 for x in lines)
        facts["load"] = tuple(x.records or 0 for x in lines)
    if all(x.bytes is not None for x in lines):
        facts["bytes"] = sum(x.bytes or 0 for x in lines)
    if newest:
        facts["newest_s"] = max(0, now - max(newest)) / 1000
    if oldest:
        facts["oldest_s"] = max(0, now - min(oldest)) / 1000


def _value_line(desk: Desk) -> str:
    chosen = desk.chosen
    if chosen is None:
        return ""
    words = {"good": chosen.format.name, "tombstone": "tombstones"}
    said = [
        f"{words.get(what, what)} {100 * share:.3g} %"
        for what, share in chosen.shares.items()
        if share
    ]
    return ", ".join(said)


def _fields(desk: Desk) -> tuple[FieldInfo, ...]:
    chosen = desk.chosen
    if chosen is None:
        return ()
    found = chosen.inferred
    return tuple(
        FieldInfo(
            name=name,
            type=type_name(dtype),
            present=found.present.get(name),
            example=found.examples.get(name, ""),
            note="event time" if name == desk.time else found.notes.get(name, ""),
        )
        for name, dtype in found.schema.items()
    )


def _key_line(blocks: Sequence[Records]) -> str:
    keys = {key for block in blocks for key in block.keys or () if key is not None}
    if not keys:
        return ""
    try:
        for key in keys:
            key.decode()
    except UnicodeDecodeError:
        return f"binary, {number(len(keys))} different in the sample"
    return f"text, {number(len(keys))} different in the sample"


def _rate(blocks: Sequence[Records]) -> float | None:
    """Records per second over the newest ones, by the broker's times."""
    stamps = [stamp for block in blocks for stamp in _stamps(block)]
    if len(stamps) < 2:
        return None
    lasted = (max(stamps) - min(stamps)) / 1000
    return (len(stamps) - 1) / lasted if lasted > 0 else None


def _stamps(block: Records) -> Sequence[int]:
    if block.timestamps_ms is not None:
        return block.timestamps_ms
    return [int(bytes(offset).split(b"-")[0]) for offset in block.offsets]
