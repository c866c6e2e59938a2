"""How long a call may take, and how often it is tried."""

import math
import random
import time
from dataclasses import dataclass

from serving.wire.errors import refused


@dataclass(frozen=True)
class Retry:
    """A call that ends with UNAVAILABLE, and with nothing else, is tried again within its deadline.

    Before attempt n + 1 the client waits for a time drawn from 0 to min(`max_backoff`, `initial_backoff` · 2^(n − 1))
    seconds, so that clients which failed together do not come back together ("full jitter").

    Attributes:
        attempts: at most so many, the first included; 1 never tries again.
        initial_backoff: seconds.
        max_backoff: seconds.
    """

    attempts: int = 3
    initial_backoff: float = 0.1
    max_backoff: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise refused(f"`attempts` should be a positive integer. Received: `attempts={self.attempts!r}`")
        for name in ("initial_backoff", "max_backoff"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise refused(f"`{name}` should be seconds, at least 0. Received: `{name}={seconds!r}`")

    def wait(self, attempt: int) -> float | None:
        """Seconds from the failure of an attempt (counted from 1) to the next; None if there is no next."""
        if attempt >= self.attempts:
            return None
        # Doubled often enough, a float overflows; long before that, `max_backoff` decides.
        return random.uniform(0, min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempt - 1, 100)))


DEFAULT_RETRY = Retry()


class Deadline:
    """The end of a call, whatever number of requests it takes.

    Attributes:
        seconds: from its start.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_timeout(seconds)
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())


def check_timeout(seconds: float) -> float:
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise refused(f"`timeout` should be positive seconds. Received: `timeout={seconds!r}`")
    return seconds
