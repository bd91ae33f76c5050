"""streamz has no windows over event time; the nearest thing: batches from Kafka, folded into
sums by symbol and second.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid

sys.path.pop(0)  # this file is called like the package
from streamz import Stream

address, topic, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
counted, done = 0, threading.Event()


def add(state, batch):
    global counted
    for row in json.loads(b"[" + b",".join(batch) + b"]"):
        key = row["symbol"], row["time"] // 1000
        total, n = state.get(key, (0.0, 0))
        state[key] = total + row["price"], n + 1
    counted += len(batch)
    if counted >= records:
        done.set()
    return state


began = time.perf_counter()
source = Stream.from_kafka_batched(
    topic,
    {
        "bootstrap.servers": address,
        "group.id": f"streamz-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
    },
    poll_interval=0.01,
    max_batch_size=20_000,
    start=False,
)
source.accumulate(add, start={}).sink(lambda state: None)
source.start()
done.wait(280)
took = time.perf_counter() - began
print(json.dumps({"seconds": took, "n": counted}), flush=True)
import os

os._exit(0)
