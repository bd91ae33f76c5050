"""Pathway: tumbling windows over the time column, symbol as the instance; in static mode, from
the topic's first record to its last.
"""

from __future__ import annotations

import json
import sys
import time
import uuid

sys.path.pop(0)  # this file is called like the package
import pathway as pw

address, topic, records = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Trade(pw.Schema):
    time: int
    symbol: str
    price: float
    size: int


rows = pw.io.kafka.read(
    {
        "bootstrap.servers": address,
        "group.id": f"pathway-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
        "session.timeout.ms": "6000",
    },
    topic=topic,
    schema=Trade,
    format="json",
    mode="static",
)
windows = rows.windowby(
    rows.time, window=pw.temporal.tumbling(duration=1000), instance=rows.symbol
).reduce(
    symbol=pw.this._pw_instance,
    start=pw.this._pw_window_start,
    mean=pw.reducers.avg(pw.this.price),
    n=pw.reducers.count(),
)
counted = 0


def changed(key, row, time, is_addition):
    global counted
    counted += row["n"] if is_addition else -row["n"]


pw.io.subscribe(windows, changed)
began = time.perf_counter()
pw.run(monitoring_level=pw.MonitoringLevel.NONE, default_logging=False)
print(json.dumps({"seconds": time.perf_counter() - began, "n": counted}))
