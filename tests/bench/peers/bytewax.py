"""Bytewax: event-time tumbling windows by symbol."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta

sys.path.pop(0)  # this file is called like the package
import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

address, topic, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
counted = 0


class Total(StatelessSinkPartition):
    def write_batch(self, items):
        global counted
        counted += sum(n for _, (_, (_, n)) in items)


class Totals(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Total()


def trade(message):
    row = json.loads(message.value)
    return row["symbol"], (row["time"], row["price"])


def moment(value):
    return datetime.fromtimestamp(value[0] / 1000, UTC)


def add(state, value):
    return state[0] + value[1], state[1] + 1


flow = Dataflow("bench")
source = KafkaSource([address], [topic], tail=False, batch_size=10_000)
rows = op.map("trade", op.input("in", flow, source), trade)
windows = win.fold_window(
    "windows",
    rows,
    win.EventClock(moment, wait_for_system_duration=timedelta(seconds=60)),
    win.TumblingWindower(timedelta(seconds=1), datetime(2026, 1, 1, tzinfo=UTC)),
    lambda: (0.0, 0),
    add,
    lambda a, b: (a[0] + b[0], a[1] + b[1]),
    ordered=False,
)
op.output("out", windows.down, Totals())
began = time.perf_counter()
run_main(flow)
print(json.dumps({"seconds": time.perf_counter() - began, "n": counted}))
