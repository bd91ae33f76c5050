"""Quix Streams: its windows are by message key, and the topic has none; so one window a second
and partition, whose value holds all symbols. `group_by` would send every record to Kafka again.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Aggregator

address, topic, records = sys.argv[1], sys.argv[2], int(sys.argv[3])


class BySymbol(Aggregator):
    def initialize(self):
        return {}

    def agg(self, old, new, timestamp):
        total, n = old.get(new["symbol"], (0.0, 0))
        old[new["symbol"]] = (total + new["price"], n + 1)
        return old

    def result(self, value):
        return {symbol: (total / n, n) for symbol, (total, n) in value.items()}


app = Application(
    broker_address=address,
    consumer_group=f"quix-{uuid.uuid4()}",
    auto_offset_reset="earliest",
    state_dir=tempfile.mkdtemp(),
    use_changelog_topics=False,
    loglevel="ERROR",
    commit_interval=5.0,
)
source = app.topic(
    topic,
    value_deserializer="json",
    timestamp_extractor=lambda value, headers, stamp, kind: value["time"],
)
seen, over = 0, []


def note(_):
    global seen
    seen += 1
    if seen == records:
        over.append(time.perf_counter())
        app.stop()


frame = app.dataframe(source)
frame = frame.update(note)
frame = frame.tumbling_window(1000, grace_ms=1000).agg(by_symbol=BySymbol()).current()
began = time.perf_counter()
app.run()
print(json.dumps({"seconds": over[0] - began, "n": seen}))
