"""The topic card and the list of streams, as text and as HTML."""

from __future__ import annotations

from streamlab.observed import Status
from streamlab.views.card import CardInfo, FieldInfo, card_html, card_text
from streamlab.views.streams import (
    StreamRow,
    StreamsInfo,
    streams_html,
    streams_text,
)

CARD = CardInfo(
    name="orders",
    kind="kafka",
    place="b1.prod:9093 · TLS, SCRAM (user etl)",
    partitions=4,
    records=188_320_144,
    bytes=21_400_000_000,
    oldest_s=7 * 86_400,
    newest_s=0.3,
    rate=1240,
    load=(10, 10, 10, 70),
    key="text, 31 200 different in the sample",
    value="json 99.8 %, broken 0.1 %",
    fields=(
        FieldInfo(
            "created_at", "i64", 1.0, "1795352702113", 'epoch ms → time="created_at"'
        ),
        FieldInfo("amount", "f64", 0.99, "12.5"),
    ),
)


def test_the_card_has_a_line_for_all_that_is_known():
    assert card_text(CARD).splitlines() == [
        "orders                                            kafka · b1.prod:9093 · TLS, SCRAM (user etl)",
        "4 partitions · 188.3 M records · 21.4 GB · oldest 7 d, newest 0.3 s ago · 1 240 records/s",
        "partition load   ▂▂▂█   p3 holds 70 %",
        "key  text, 31 200 different in the sample     value  json 99.8 %, broken 0.1 %",
        "field        type   present   example         note",
        'created_at   i64    100 %     1795352702113   epoch ms → time="created_at"',
        "amount       f64    99 %      12.5",
        "Read only: no group joined, nothing committed.",
        'Next: .peek()  .live(start=-1000)  .read(start="1h")',
    ]


def test_the_card_of_an_unknown_topic_has_no_empty_lines():
    card = CardInfo("orders", "redis", "localhost", notes=("nobody answers there.",))

    assert card_text(card).splitlines()[1:] == [
        "nobody answers there.",
        "Read only: no group joined, nothing committed.",
        'Next: .peek()  .live(start=-1000)  .read(start="1h")',
    ]


def test_one_of_something_is_not_several():
    card = CardInfo("orders", "redis", "localhost", partitions=1, records=1)

    assert card_text(card).splitlines()[1] == "1 partition · 1 record"


def test_what_a_topic_holds_never_becomes_html():
    odd = CardInfo(
        "<b>", "redis", "<i>", fields=(FieldInfo("<u>", "str", None, "<s>"),)
    )

    html = card_html(odd)

    assert not any(tag in html for tag in ("<b><b>", "<i>", "<u>", "<s>"))
    assert "&lt;b&gt;" in html


STATUS = Status("live", "", 1240, 0.3, 1204, None, 400_000, 256_000_000, 0, 0, 5)
STREAMS = StreamsInfo(
    rows=(
        StreamRow("live", 0, 3, "redis://localhost/trades", STATUS, 1),
        StreamRow("vwap", 1, None, "", STATUS),
    ),
    connections=1,
    held_bytes=61_000_000,
    budget_bytes=500_000_000,
)


def test_streams_are_listed_with_their_children_and_a_total():
    lines = streams_text(STREAMS).splitlines()

    assert lines[1].startswith("live     [3]    redis://localhost/trades   ● live")
    assert lines[2].startswith("  vwap")
    assert lines[3] == "2 frames, 1 connection, 61.0 of 500 MB"
    assert "1 204 rows, 400 kB" in streams_html(STREAMS)


def test_no_streams_say_how_to_start_one():
    empty = StreamsInfo((), 0, 0, 1)

    assert "sl.topic(…).live()" in streams_text(empty)
    assert "sl.topic(…).live()" in streams_html(empty)
