"""Deephaven: a blink table off Kafka, aggregated by symbol and second (the way its manual gives
for aggregations that need no history). Needs Java 17.
"""

from __future__ import annotations

import json
import os
import sys
import time

sys.path.pop(0)  # this file is called like the package
from deephaven_server import Server

address, topic, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = Server(
    port=0,
    jvm_args=[
        "-Xmx3g",
        "-DAuthHandlers=io.deephaven.auth.AnonymousAuthenticationHandler",
    ],
)
server.start()

from deephaven import agg
from deephaven import dtypes as dt
from deephaven.execution_context import get_exec_ctx
from deephaven.stream.kafka import consumer
from deephaven.update_graph import shared_lock

began = time.perf_counter()
# In one lock: what a blink table is given before somebody aggregates it is gone.
with shared_lock(get_exec_ctx().update_graph):
    trades = consumer.consume(
        {"bootstrap.servers": address},
        topic,
        offsets=consumer.ALL_PARTITIONS_SEEK_TO_BEGINNING,
        key_spec=consumer.KeyValueSpec.IGNORE,
        value_spec=consumer.json_spec(
            {
                "time": dt.int64,
                "symbol": dt.string,
                "price": dt.double,
                "size": dt.int64,
            }
        ),
        table_type=consumer.TableType.blink(),
    )
    windows = trades.update_view("second = (long) (time / 1000)").agg_by(
        [agg.avg("mean = price"), agg.count_("n")], by=["symbol", "second"]
    )
    total = windows.agg_by([agg.sum_("n")])
counted = 0
while counted < records and time.perf_counter() - began < 280:
    time.sleep(0.05)
    if total.size:
        counted = int(
            total.j_table.getColumnSource("n").getLong(
                total.j_table.getRowSet().firstRowKey()
            )
        )
print(json.dumps({"seconds": time.perf_counter() - began, "n": counted}), flush=True)
os._exit(0)
