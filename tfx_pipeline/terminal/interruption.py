"""Handles Ctrl-C so that no interrupt is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interruption:
    """Remembers an interrupt until `check` is called.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor or in a callback from C++,
    of which TensorFlow has many, Python only prints the exception, and the run goes on. Code therefore calls `check` at
    points where it can stop.

    A context manager. It does nothing outside the main thread, or if another handler of the signal is installed.
    """

    def __init__(self) -> None:
        self._requested = False
        self._handles = False

    def __enter__(self) -> Interruption:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)
            self._handles = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt if an interrupt has arrived since the context was entered."""
        if self._requested:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        raise KeyboardInterrupt
