"""Deadlines of calls, and rules for trying failed calls again."""

import math
import random
import time
from dataclasses import dataclass

from serving.wire.errors import invalid_argument


@dataclass(frozen=True)
class Retry:
    """How often a call that ends with UNAVAILABLE is tried again before its deadline. Other errors are not retried.

    Before attempt n + 1 the client waits for a random time from 0 to min(`max_backoff`, `initial_backoff` · 2^(n − 1))
    seconds, so that clients that failed at the same time do not call again at the same time ("full jitter").

    Attributes:
        attempts: largest number of attempts, including the first. With 1, calls are not tried again.
        initial_backoff: upper limit of the first wait, in seconds.
        max_backoff: upper limit of every wait, in seconds.
    """

    attempts: int = 3
    initial_backoff: float = 0.1
    max_backoff: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise invalid_argument(f"`attempts` should be a positive integer. Received: `attempts={self.attempts!r}`")
        for name in ("initial_backoff", "max_backoff"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise invalid_argument(f"`{name}` should be seconds, at least 0. Received: `{name}={seconds!r}`")

    def wait(self, attempt: int) -> float | None:
        """Seconds to wait after the failure of an attempt (counted from 1); None if it was the last one."""
        if attempt >= self.attempts:
            return None
        # The exponent is limited because a float would overflow. `max_backoff` is reached long before.
        return random.uniform(0, min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempt - 1, 100)))


DEFAULT_RETRY = Retry()


class Deadline:
    """The time at which a call fails, however many requests it makes.

    Attributes:
        seconds: from the start of the call.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_timeout(seconds)
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(0.0, self._end - time.monotonic())


def check_timeout(seconds: float) -> float:
    """Returns the seconds; raises ServingError, INVALID_ARGUMENT, unless they are positive and finite."""
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise invalid_argument(f"`timeout` should be positive seconds. Received: `timeout={seconds!r}`")
    return seconds
