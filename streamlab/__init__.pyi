from streamlab import errors as errors
from streamlab.brokers import Broker as Broker
from streamlab.brokers import connect as connect
from streamlab.brokers import demo as demo
from streamlab.brokers import reset as reset
from streamlab.brokers import topic as topic
from streamlab.clocks import HandClock as HandClock
from streamlab.live import LiveFrame as LiveFrame
from streamlab.live import chart as chart
from streamlab.live import collect_all as collect_all
from streamlab.live import stop_all as stop_all
from streamlab.live import streams as streams
from streamlab.teach import check as check
from streamlab.topics import Topic as Topic

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
