"""Admission control: refuses calls while more arrive than the server can answer.

It is a circuit breaker (M. Nygard, "Release It!", 2007). Instead of refusing all calls, it limits the calls in flight:
those that run and those that wait for a thread.

| state      | limit on calls in flight | next state                                                                   |
|------------|--------------------------|------------------------------------------------------------------------------|
| normal     | threads + waiting        | overloaded, at the first refused call                                        |
| overloaded | half of the threads      | probing, after three seconds                                                 |
| probing    | the threads              | overloaded, when more than an eighth of the probe's calls have been refused; |
|            |                          | else normal, after four calls a thread or one second                         |

- Normal: the calls of a burst may wait. The limit keeps the wait short. Without a limit, most calls of an overload
  would be answered after their callers gave up.
- Overloaded: no call waits, because a queue would only delay every answer. Only half of the threads answer: there are
  more threads than processors (four for each by default), and calls that share a processor delay each other.
- Probing: tests whether the overload is over, by raising the limit for a moment. The share of refused calls at the
  lower limit cannot tell. For example, callers that call again at once after a refusal keep that share high, even when
  there is a thread for each of them.

While the overload lasts, a probe ends after a few refusals. So every three seconds a probe admits about as many extra
calls as half of the threads. A simulation in the tests checks two bounds. At a load of three times the capacity, the
99th percentile of the answers' latency is less than five times that without load. Once the load has fallen to 80 % of
the capacity or less, no call is refused after another five seconds.

Methods that measure latency, such as CoDel or a gradient limit, need a target delay or the latency without load. Both
differ by model and by signature. A limit on calls in flight needs neither.
"""

import enum
import time
from collections.abc import Callable

OVERLOADED_SECONDS = 3.0  # shorter: more probes, whose extra calls delay answers; longer: slower recovery
PROBE_SECONDS = 1.0  # at most; a probe with many calls ends earlier
_PROBE_CALLS_PER_THREAD = 4  # enough to fill all threads and to measure the share of refused calls
_MAX_REFUSED_SHARE = 1 / 8  # of a probe's calls; not 0, because even at 80 % load a call is refused now and then


class State(enum.Enum):
    NORMAL = enum.auto()
    OVERLOADED = enum.auto()
    PROBING = enum.auto()


class Admission:
    """Decides which calls are refused. Not safe to share between threads.

    Args:
        threads: number of threads that answer calls.
        waiting: number of calls that may wait for a thread.
        count: is called at each refusal.
        clock: returns the time in seconds.

    Attributes:
        state: see the table at the top of this module.
        message: error message for callers that are refused.
    """

    def __init__(
        self, threads: int, waiting: int, count: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._limits = {
            State.NORMAL: threads + waiting,
            State.OVERLOADED: max(1, threads // 2),
            State.PROBING: threads,
        }
        self._probe_calls = _PROBE_CALLS_PER_THREAD * threads
        self._max_refused = int(_MAX_REFUSED_SHARE * self._probe_calls)
        self._enter(State.NORMAL)
        self.message = (
            f"Server Threadpool Exhausted: {threads} calls are answered at once and {waiting} may wait; during an"
            f" overload {self._limits[State.OVERLOADED]} are answered and none may wait"
        )

    def refuses(self, calls: int) -> bool:
        """Whether to refuse one more call. `calls` are already in flight, running or waiting."""
        self._advance()
        self._asked += 1
        if calls < self._limits[self.state]:
            return False
        self._refused += 1
        self._count()
        if self.state is State.NORMAL or (self.state is State.PROBING and self._refused > self._max_refused):
            self._enter(State.OVERLOADED)
        return True

    def _advance(self) -> None:
        """Changes the state if enough time has passed or enough calls have come."""
        elapsed = self._clock() - self._since
        if self.state is State.OVERLOADED:
            if elapsed >= OVERLOADED_SECONDS + PROBE_SECONDS:  # no call came during the probe
                self._enter(State.NORMAL)
            elif elapsed >= OVERLOADED_SECONDS:
                self._enter(State.PROBING)
        elif self.state is State.PROBING and (elapsed >= PROBE_SECONDS or self._asked >= self._probe_calls):
            self._enter(State.NORMAL)

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = self._clock()
        self._asked = self._refused = 0
