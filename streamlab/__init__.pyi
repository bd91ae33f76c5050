from streamlab import errors as errors
from streamlab.clocks import HandClock as HandClock
from streamlab.live.frame import LiveFrame as LiveFrame
from streamlab.live.frame import chart as chart
from streamlab.live.frame import collect_all as collect_all
from streamlab.live.frame import stop_all as stop_all
from streamlab.live.frame import streams as streams
from streamlab.live.teach import check as check
from streamlab.topics.brokers import Broker as Broker
from streamlab.topics.brokers import connect as connect
from streamlab.topics.brokers import demo as demo
from streamlab.topics.brokers import reset as reset
from streamlab.topics.brokers import topic as topic
from streamlab.topics.topic import Topic as Topic

__version__: str
__all__ = [
    "Broker",
    "HandClock",
    "LiveFrame",
    "Topic",
    "chart",
    "check",
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

def load_ipython_extension(ipython: object) -> None: ...
