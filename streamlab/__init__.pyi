from streamlab import errors as errors
from streamlab.clocks import HandClock as HandClock
from streamlab.frames.clockspec import clock as clock
from streamlab.live.frame import LiveFrame as LiveFrame
from streamlab.live.frame import chart as chart
from streamlab.live.frame import stop_all as stop_all
from streamlab.live.frame import streams as streams
from streamlab.live.teach import check as check
from streamlab.live.together import collect_all as collect_all
from streamlab.topics.brokers import Broker as Broker
from streamlab.topics.brokers import connect as connect
from streamlab.topics.brokers import demo as demo
from streamlab.topics.brokers import reset as reset
from streamlab.topics.brokers import topic as topic
from streamlab.topics.consumer import Consumer as Consumer
from streamlab.topics.message import Message as Message
from streamlab.topics.message import Receipt as Receipt
from streamlab.topics.producer import Producer as Producer
from streamlab.topics.topic import Topic as Topic

__version__: str
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

def load_ipython_extension(ipython: object) -> None: ...
