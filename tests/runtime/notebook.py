"""A real kernel, spoken to as JupyterLab does."""

from __future__ import annotations

import queue
import textwrap
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

WAIT_S = 40.0


@dataclass
class Ran:
    """What one run of a cell did."""

    text: str = ""
    error: str = ""
    traceback: list[str] = field(default_factory=list)


class Notebook:
    """A kernel process and its client; cells are run by text and, if wanted, by id."""

    def __init__(self) -> None:
        self.manager: Any = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self._connect()

    def _connect(self) -> None:
        self.client: Any = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT_S)

    def send(self, code: str, *, cell: str | None = None) -> str:
        """Begin to run a cell; returns the request's id."""
        content = {
            "code": textwrap.dedent(code),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        metadata = {} if cell is None else {"cellId": cell}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def finish(self, request: str) -> Ran:
        """Wait for a run's end."""
        ran = Ran()
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                ran.text += content["text"]
            elif kind == "error":
                ran.error = f"{content['ename']}: {content['evalue']}"
                ran.traceback = content["traceback"]
            elif kind == "status" and content["execution_state"] == "idle":
                return ran

    def run(self, code: str, *, cell: str | None = None) -> str:
        """Run a cell that must not fail; returns what it printed."""
        ran = self.finish(self.send(code, cell=cell))
        assert not ran.error, "\n".join(ran.traceback)
        return ran.text.strip()

    def until_printed(self, request: str, text: str) -> None:
        """Wait until a running cell has printed `text`."""
        seen = ""
        while text not in seen:
            message = self.client.get_iopub_msg(timeout=WAIT_S)
            mine = message["parent_header"].get("msg_id") == request
            if mine and message["msg_type"] == "stream":
                seen += message["content"]["text"]

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def ask_to_end(self) -> None:
        """The shutdown request alone: the process is not killed."""
        message = self.client.session.msg("shutdown_request", {"restart": True})
        self.client.control_channel.send(message)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def drained(self) -> None:
        """Take what is left of earlier cells' messages."""
        while True:
            try:
                self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                return
