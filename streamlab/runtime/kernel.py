"""The seam with IPython and the notebook kernel, and all that is private to them.

What is asked of a kernel: which cell is running, being told when a cell has run, running a
callback on its loop, and letting the I/O thread send widget messages of its own. Outside
IPython every function here has a plain answer.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

SWITCH_SECONDS = 0.0005


class Cell(NamedTuple):
    """One run of one cell.

    Attributes:
        id: the same for every run of the same cell: the front end's id, else its text.
        run: different for every run.
        number: the prompt number, for people.
    """

    id: str
    run: str
    number: int


def shell() -> Any:
    """The running IPython shell, or None. Looks only if IPython is loaded already."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def kernel() -> Any:
    """The ipykernel this process is, or None."""
    return getattr(shell(), "kernel", None)


def in_notebook() -> bool:
    """Whether the running loop of this thread is the notebook's (or IPython's) own."""
    return shell() is not None and threading.current_thread() is threading.main_thread()


def current_cell() -> Cell | None:
    """The cell that runs now, or has just run; None outside a cell."""
    ip = shell()
    if ip is None:
        return None
    number = int(ip.execution_count)
    history = ip.user_ns.get("In") or [""]
    if kernel() is None:
        # Counted by the inputs: the prompt number has moved on when a cell has run.
        return Cell(f"text:{history[-1]}", str(len(history)), number)
    parent = _parent()
    if parent is None:
        return None  # a callback between cells
    metadata = parent.get("metadata") or {}
    code = parent.get("content", {}).get("code", "")
    name = metadata.get("cellId") or f"text:{code}"
    return Cell(str(name), str(parent["header"]["msg_id"]), number)


def _parent() -> dict[str, Any] | None:
    with suppress(Exception):  # ipykernel may be of a make without it
        parent: dict[str, Any] = kernel().get_parent()
        if parent.get("header", {}).get("msg_id"):
            return parent
    return None


def variable_name(thing: object) -> str:
    """The notebook's variable that is bound to `thing`, or ""."""
    ip = shell()
    if ip is None:
        return ""
    for name, value in list(ip.user_ns.items()):
        if value is thing and not name.startswith("_"):
            return str(name)
    return ""


def after_cell(call: Callable[[bool], None]) -> None:
    """Call `call(success)` after every cell from the one now running on."""
    ip = shell()
    if ip is not None:
        ip.events.register(
            "post_run_cell", lambda result: call(bool(getattr(result, "success", True)))
        )


def before_exit(call: Callable[[], None]) -> None:
    """Call `call()` before the process ends, while its threads still work.

    A busy kernel is killed about 2.5 s after it was asked to end, and then no exit handler
    runs: so the request itself, which arrives on a thread of its own, calls first.
    """
    atexit.register(call)
    with suppress(Exception):
        # Private: what is registered with `atexit` runs only after executors have shut down,
        # and clients that close through them could not.
        threading._register_atexit(call)  # type: ignore[attr-defined]  # noqa: SLF001
    running = kernel()
    if running is not None:
        asked = running.do_shutdown

        def do_shutdown(restart: bool) -> Any:  # noqa: FBT001 - ipykernel's own signature
            call()
            return asked(restart)

        running.do_shutdown = do_shutdown


def no_exit(call: Callable[[], None]) -> None:
    """Take `before_exit(call)` back as far as that goes; `call` must bear a second call."""
    atexit.unregister(call)


class Busy:
    """Whether a cell is running on the kernel's main thread."""

    def __init__(self) -> None:
        """Begin to listen; whoever makes this is inside a running cell."""
        ip = shell()
        self._busy = ip is not None
        if ip is not None:
            ip.events.register("pre_execute", self._began)
            ip.events.register("post_execute", self._ended)

    def _began(self) -> None:
        self._busy = True

    def _ended(self) -> None:
        self._busy = False

    def __call__(self) -> bool:
        return self._busy


def soon(call: Callable[[], None]) -> None:
    """Run `call` on the notebook's loop, between cells; nowhere if there is none."""
    loop = _loop()
    if loop is not None:
        with suppress(RuntimeError):  # the loop may be closing with the kernel
            loop.call_soon_threadsafe(call)


def _loop() -> asyncio.AbstractEventLoop | None:
    with suppress(Exception):
        loop = kernel().io_loop.asyncio_loop
        if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_running():
            return loop
    return None


def own_thread() -> None:
    """Called first on the I/O thread: its messages belong to no cell.

    Without a parent header, ipykernel ≥ 7.4 does not send a browser's answers to the shell
    that is blocked by a running cell. Private, hence guarded: without it a blocked cell only
    slows the pictures down.
    """
    with suppress(Exception):
        kernel()._shell_parent.set({})  # noqa: SLF001


def adopt(widget: Any) -> None:
    """Let a widget's answers be handled while a cell blocks (ipykernel ≥ 7.4, private)."""
    with suppress(Exception):
        del widget.comm._reply_subshell_id  # noqa: SLF001


class SwitchInterval:
    """Half a millisecond while a stream runs in a kernel; what it was, afterwards.

    While a cell computes, each return to Python on the I/O thread waits for up to one
    switch interval, 5 ms by default.
    """

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._lock = threading.Lock()
        self._streams = 0
        self._before = 0.0

    def enter(self) -> None:
        """One more stream runs."""
        with self._lock:
            self._streams += 1
            if self._streams == 1 and kernel() is not None:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_SECONDS))

    def leave(self) -> None:
        """One stream fewer."""
        with self._lock:
            self._streams -= 1
            if self._streams == 0 and self._before:
                sys.setswitchinterval(self._before)
                self._before = 0.0


SWITCH = SwitchInterval()
