from streamlab import errors as errors
from streamlab.clocks import HandClock as HandClock
from streamlab.live import LiveFrame as LiveFrame
from streamlab.live import chart as chart
from streamlab.live import collect_all as collect_all
from streamlab.live import stop_all as stop_all
from streamlab.live import streams as streams
from streamlab.teach import check as check
from streamlab.brokers import Broker as Broker
from streamlab.topics import Topic as Topic
from streamlab.brokers import connect as connect
from streamlab.brokers import demo as demo
from streamlab.brokers import reset as reset
from streamlab.brokers import topic as topic

__version__: str
__all__: list[str]

def load_ipython_extension(ipython: object) -> None: ...
