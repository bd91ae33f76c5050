"""The topic card: what is known of a topic, as text and as HTML. It never moves."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from streamlab.views import words

BARS = "▁▂▃▄▅▆▇█"
STEPS = '.peek()  .live(start=-1000)  .read(start="1h")'


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of the decoded records.

    Attributes:
        name: of the column.
        type: as polars writes it, short ("i64").
        present: share of records that have it, 0 to 1; None if unknown.
        example: one value as text.
        note: anything worth knowing, or "".
    """

    name: str
    type: str
    present: float | None
    example: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class CardInfo:
    """What is known of a topic; a line of the card appears when its part is known.

    Attributes:
        name: of the topic.
        kind: of its broker ("redis", "kafka").
        place: where it is, redacted ("b1.prod:9093 · TLS").
        partitions, records, bytes: in all; None if unknown.
        oldest_s, newest_s: age of the oldest and newest record in seconds; None if unknown.
        rate: records per second of late; None if unknown.
        load: records (or bytes) per partition, in order; fewer than two show no line.
        key: what keys hold ("text, 31 200 different in the sample"), or "".
        value: what values hold ("json 99.8 %, broken 0.1 %"), or "".
        fields: of the decoded records.
        notes: further lines, each a sentence ("nobody answers at …").
        footer: what reading does ("Read only: no group joined, nothing committed.").
        steps: what to type next.
    """

    name: str
    kind: str
    place: str
    partitions: int | None = None
    records: int | None = None
    bytes: int | None = None
    oldest_s: float | None = None
    newest_s: float | None = None
    rate: float | None = None
    load: tuple[int, ...] = ()
    key: str = ""
    value: str = ""
    fields: tuple[FieldInfo, ...] = ()
    notes: tuple[str, ...] = ()
    footer: str = "Read only: no group joined, nothing committed."
    steps: str = STEPS


def card_text(info: CardInfo) -> str:
    """The card as plain text."""
    lines = [f"{info.name:<49} {info.kind} · {info.place}", *_facts(info)]
    if info.fields:
        lines += _columns([_HEADINGS, *_field_rows(info)])
    return "\n".join([*lines, *info.notes, info.footer, f"Next: {info.steps}"])


def card_html(info: CardInfo) -> str:
    """The card as HTML without scripts."""
    place = escape(f"{info.kind} · {info.place}")
    parts = [f"<div><b>{escape(info.name)}</b> &nbsp; <small>{place}</small></div>"]
    parts += [
        f'<div style="white-space:pre">{escape(line)}</div>' for line in _facts(info)
    ]
    if info.fields:
        parts.append(html_table(_HEADINGS, _field_rows(info)))
    parts += [f"<div>{escape(note)}</div>" for note in info.notes]
    parts.append(f"<div><small>{escape(info.footer)}</small></div>")
    parts.append(f"<div><small>Next: <code>{escape(info.steps)}</code></small></div>")
    return f"<div>{''.join(parts)}</div>"


def html_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A plain table, left aligned."""

    def line(tag: str, cells: tuple[str, ...]) -> str:
        start = f'<{tag} style="text-align:left;white-space:pre">'
        return f"<tr>{''.join(f'{start}{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', headings)}</thead><tbody>{body}</tbody></table>"


_HEADINGS = ("field", "type", "present", "example", "note")


def _facts(info: CardInfo) -> list[str]:
    lines = [_size_line(info)]
    if len(info.load) > 1:
        lines.append(f"partition load   {_bars(info.load)}{_heaviest(info.load)}")
    said = [
        f"{label}  {text}"
        for label, text in (("key", info.key), ("value", info.value))
        if text
    ]
    lines.append("     ".join(said))
    return [line for line in lines if line]


def _size_line(info: CardInfo) -> str:
    parts = [
        _many(info.partitions, "partition"),
        "" if info.records is None else _records(info.records),
        "" if info.bytes is None else words.size(info.bytes),
        _ages(info),
        "" if info.rate is None else f"{words.rate(info.rate)} records/s",
    ]
    return " · ".join(part for part in parts if part)


def _many(value: int | None, what: str) -> str:
    if value is None:
        return ""
    return f"{words.number(value)} {what}{'' if value == 1 else 's'}"


def _records(value: int) -> str:
    return f"{words.count(value)} record{'' if value == 1 else 's'}"


def _ages(info: CardInfo) -> str:
    oldest = "" if info.oldest_s is None else f"oldest {words.age(info.oldest_s)}"
    newest = "" if info.newest_s is None else f"newest {words.age(info.newest_s)}"
    said = ", ".join(part for part in (oldest, newest) if part)
    return f"{said} ago" if said else ""


def _bars(load: tuple[int, ...]) -> str:
    most = max(load)
    if not most:
        return BARS[0] * len(load)
    return "".join(BARS[round(part / most * (len(BARS) - 1))] for part in load)


def _heaviest(load: tuple[int, ...]) -> str:
    """The fullest partition, if it holds twice its share or more."""
    most, total = max(load), sum(load)
    if not total or most * len(load) < 2 * total:
        return ""
    return f"   p{load.index(most)} holds {100 * most / total:.0f} %"


def _field_rows(info: CardInfo) -> list[tuple[str, ...]]:
    return [
        (
            field.name,
            field.type,
            "" if field.present is None else f"{100 * field.present:.0f} %",
            words.shorten(field.example, 40),
            field.note,
        )
        for field in info.fields
    ]


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
