"""Which calls are refused at once, because more come than the server can answer.

A queue without end would answer every call late, most of them after their callers gave up. TensorFlow Serving has no
queue at all: it refuses what finds no thread. Here some calls may wait, so that a burst is answered. In a lasting
overload waiting would only make every answer late, and so would answering as many at once as there are threads, which
are more than the processors: then a part of the threads answers, and none waits. Refusals alone cannot say whether that
is still so: callers that ask again at once are refused as often as those of an overload, though there may be a thread
for each of them. So now and then, for a moment, all threads answer, and if they are enough it is over. What is answered
in such a moment takes longer, so that they become rarer the longer the overload lasts.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_WINDOW_SECONDS = 1.0
_OVERLOAD = 0.25  # refused calls of a window's, from which on the overload lasts for the next
_TRIAL_SECONDS = 0.1  # at the start of some such windows, in which all threads answer
_RAREST_TRIALS = 32  # windows


class Admission:
    """Says which calls are refused. One thread asks.

    Args:
        threads: that answer calls.
        waiting: calls that may wait for one of them.
        count: called for each refusal.
        clock: in seconds.

    Attributes:
        message: for those who are refused.
    """

    def __init__(
        self, threads: int, waiting: int, count: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._threads = threads
        self._most = threads + waiting
        self._lasting = max(1, threads // 2)  # answered at once in an overload
        self._overloaded = False
        self._trying = False
        self._beyond = False  # a trial let in a call that would have been refused
        self._windows = 0  # that began in this overload
        self._next_trial = 1  # of these windows, the one that begins with a trial
        self._window_began = clock()
        self._asked = 0  # in this window
        self._refused = 0
        self.message = (
            f"Server Threadpool Exhausted: {threads} calls are answered at once and {waiting} may wait, in a lasting"
            f" overload {self._lasting} and none"
        )

    def refuses(self, calls: int) -> bool:
        """Whether to refuse one more call where `calls` are being answered or wait."""
        elapsed = self._clock() - self._window_began
        if elapsed >= _WINDOW_SECONDS:
            # A share and not any refusal at all, or the lower limit would keep up by itself what it was set for.
            if elapsed < 2 * _WINDOW_SECONDS and self._refused > _OVERLOAD * self._asked:
                self._begin_overloaded_window()
            else:
                self._end_overload()
            self._window_began += elapsed
            self._asked = self._refused = 0
        elif self._trying and elapsed >= _TRIAL_SECONDS:
            self._trying = False
            if self._beyond and not self._refused:
                self._end_overload()
        self._asked += 1
        if calls < self._limit:
            self._beyond |= calls >= self._lasting
            return False
        self._overloaded = True
        self._refused += 1
        self._count()
        return True

    def _begin_overloaded_window(self) -> None:
        self._windows += 1
        self._trying, self._beyond = self._windows == self._next_trial, False
        if self._trying:
            self._next_trial += min(self._windows + 1, _RAREST_TRIALS)  # 1, 3, 7, 15, ...

    def _end_overload(self) -> None:
        self._overloaded = self._trying = False
        self._windows, self._next_trial = 0, 1

    @property
    def _limit(self) -> int:
        """Calls that may be answered or wait at once."""
        if self._trying:
            return self._threads
        return self._lasting if self._overloaded else self._most


class CallPool(ThreadPoolExecutor):
    """Threads for calls.

    Attributes:
        calls: that are being answered or wait for a thread.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self.calls = 0
        self._counting = threading.Lock()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        with self._counting:
            self.calls += 1
        try:
            future = super().submit(function, *arguments, **named)
        except BaseException:
            self._end()
            raise
        # Not in `function`: a call that is cancelled while it waits is never begun.
        future.add_done_callback(self._end)
        return future

    def _end(self, future: Future | None = None) -> None:
        with self._counting:
            self.calls -= 1
