"""The screen: one line a step. Everything else that libraries print goes to log files."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from absl import logging
from rich.console import Console
from rich.status import Status

from tfx_pipeline.terminal import progress


class Screen:
    """A copy of standard error that stays on the terminal while `redirect_output` sends the original to a file.

    On a terminal, the running step has a spinner and its latest report; elsewhere a line is printed when it is done.
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", buffering=1)
        self.console = Console(file=self._file, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextlib.contextmanager
    def step(self, number: int, of: int, name: str, on_update: Callable[[], None]) -> Iterator[StepLine]:
        """Shows a step while the block runs; `on_update` is called with each report of its progress."""
        line = StepLine(self, f"[{number:2}/{of}] {name}")

        def update(text: str) -> None:
            on_update()
            line.update(text)

        progress.connect(update, line.summarise)
        try:
            with line.spinning():
                yield line
        except BaseException:
            line.print("failed")
            raise
        finally:
            progress.connect(None, None)
        line.print(line.summary)


class StepLine:
    """The line of one step."""

    def __init__(self, screen: Screen, title: str) -> None:
        self._screen = screen
        self._title = title
        self._start = time.monotonic()
        self._status: Status | None = None
        self.summary = ""

    def update(self, text: str) -> None:
        if self._status:
            self._status.update(f"{self._title}  {text}".replace("[", "\\["))

    def summarise(self, text: str) -> None:
        self.summary = text

    @contextlib.contextmanager
    def spinning(self) -> Iterator[None]:
        if not self._screen.console.is_terminal:
            yield
            return
        with self._screen.console.status(self._title.replace("[", "\\[")) as status:
            self._status = status
            yield
        self._status = None

    def print(self, outcome: str) -> None:
        seconds = time.monotonic() - self._start
        self._screen.say(f"{self._title:<28} {seconds:6.1f} s  {outcome}".rstrip())


@contextlib.contextmanager
def redirect_output(path: str) -> Iterator[None]:
    """Appends standard output and error of the process to a file, those of C++ code included."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    verbosity = logging.get_verbosity()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.set_verbosity(logging.INFO)
        yield
    finally:
        logging.set_verbosity(verbosity)
        for stream in (sys.stdout, sys.stderr):
            _flush_or_discard(stream)
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(log)


def _flush_or_discard(stream: TextIO) -> None:
    """Discards buffered output that the log has no room for: otherwise it would appear on the screen afterwards."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
