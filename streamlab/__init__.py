"""streamlab: live topics as polars frames and moving charts, in a notebook.

    import streamlab as sl

    trades = sl.topic("redis://localhost/trades", time="time")    look: trades.peek(), .info(), .read(...)
    live = trades.live(start="15m", keep="5m")                    a polars frame that grows and forgets
    vwap = live.window("10s", by="symbol").agg(n=pl.len())        polars' verbs, on what arrives
    vwap.plot.line(y="n", color="symbol")                         an altair chart that moves by itself

Data flows one way: source → decode → transform → frame → view.

    topic, connect      a topic by URL; a broker: its topics, its groups, and for async programs
                        a Consumer of single Messages and a Producer that returns Receipts
    demo                a topic without a broker: generated, seeded, its truth known
    chart               any altair chart whose data are live frames
    clock               replays the past, several sources in step, by itself or by hand
    collect_all         several frames at one version of their source
    check               an answer against the expected one, for teaching
    streams, stop_all   what runs, and the end of it; reset also forgets the in-memory brokers
    errors              all errors; each says what to do

`%load_ext streamlab` adds `%streams`.
"""

from __future__ import annotations

from importlib import import_module

# Name → module that defines it. Nothing is loaded before it is used: polars alone takes 0.4 s
# to import, altair 2.6 s.
_HOME = {
    "Broker": "streamlab.topics.brokers",
    "Consumer": "streamlab.topics.consumer",
    "HandClock": "streamlab.clocks",
    "LiveFrame": "streamlab.live.frame",
    "Message": "streamlab.topics.message",
    "Producer": "streamlab.topics.producer",
    "Receipt": "streamlab.topics.message",
    "Topic": "streamlab.topics.topic",
    "chart": "streamlab.live.frame",
    "check": "streamlab.live.teach",
    "clock": "streamlab.frames.clockspec",
    "collect_all": "streamlab.live.together",
    "connect": "streamlab.topics.brokers",
    "demo": "streamlab.topics.brokers",
    "reset": "streamlab.topics.brokers",
    "stop_all": "streamlab.live.frame",
    "streams": "streamlab.live.frame",
    "topic": "streamlab.topics.brokers",
}

__version__ = "0.1.0"
__all__ = [
    "Broker",
    "Consumer",
    "HandClock",
    "LiveFrame",
    "Message",
    "Producer",
    "Receipt",
    "Topic",
    "chart",
    "check",
    "clock",
    "collect_all",
    "connect",
    "demo",
    "errors",
    "load_ipython_extension",
    "reset",
    "stop_all",
    "streams",
    "topic",
]


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("streamlab.errors")
    if home := _HOME.get(name):
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'streamlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def load_ipython_extension(ipython: object) -> None:
    """`%load_ext streamlab` adds the magic `%streams`."""
    import_module("streamlab.magics").register(ipython)
