"""The rule by which calls are refused while more come than the server can answer.

It is a circuit breaker (M. Nygard, "Release It!", 2007) that limits the calls in flight, running or waiting, instead of
blocking all of them:

| state      | limit on calls in flight | next state                                                                   |
|------------|--------------------------|------------------------------------------------------------------------------|
| normal     | threads + waiting        | overloaded, at the first refused call                                        |
| overloaded | half of the threads      | probing, after three seconds                                                 |
| probing    | the threads              | overloaded, when more than an eighth of the probe's calls have been refused; |
|            |                          | else normal, after four calls a thread or one second                         |

Normal: a burst may wait. The limit keeps the wait short; without it, most calls would be answered after their callers
gave up. Overloaded: a queue would only delay every answer, so no call waits. There are more threads than processors,
four for each by default, and so many calls at once delay each other, so half of the threads answer. Probing: the share
of refused calls at the lower limit cannot show that the overload is over. Callers that ask again at once after a
refusal would be refused for ever, though there may be a thread for each of them. So the limit is raised for a moment.

In an overload a probe ends after a few refusals: every three seconds it lets in about as many more calls as half of
the threads. A simulation in the tests holds two bounds. At three times the capacity, the 99th percentile of the
answers' latency is at most five times the unloaded one. After the overload, no call is refused after five seconds.

Schemes that act on latency, such as CoDel or a gradient limit, need a target delay or an unloaded latency to compare
with. Both differ by model and by signature; the number of calls in flight does not.
"""

import enum
import time
from collections.abc import Callable

OVERLOADED_SECONDS = 3.0  # shorter, and the calls that probes let in delay more answers; longer, and so does recovery
PROBE_SECONDS = 1.0  # a probe ends after this time where calls are rare
_PROBE_CALLS_PER_THREAD = 4  # enough to fill all threads and see a share of refusals
_MAX_REFUSED_SHARE = 1 / 8  # of a probe's calls; a load of four fifths has a refusal now and then


class State(enum.Enum):
    NORMAL = enum.auto()
    OVERLOADED = enum.auto()
    PROBING = enum.auto()


class Admission:
    """Decides which calls are refused. Not safe to share between threads.

    Args:
        threads: that answer calls.
        waiting: calls that may wait for a thread.
        count: called for each refusal.
        clock: in seconds.

    Attributes:
        state: see the module.
        message: of the error that refused callers get.
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
        """Whether to refuse one more call while `calls` are in flight, running or waiting."""
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
        """Enters the state that follows by time or by the number of calls."""
        elapsed = self._clock() - self._since
        if self.state is State.OVERLOADED:
            if elapsed >= OVERLOADED_SECONDS + PROBE_SECONDS:  # a probe without a call, hence without a refusal
                self._enter(State.NORMAL)
            elif elapsed >= OVERLOADED_SECONDS:
                self._enter(State.PROBING)
        elif self.state is State.PROBING and (elapsed >= PROBE_SECONDS or self._asked >= self._probe_calls):
            self._enter(State.NORMAL)

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = self._clock()
        self._asked = self._refused = 0
