"""Remembers versions that failed to load, and decides when to try each again."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from serving.server.models.versions import Contents, read_contents


@dataclass(frozen=True)
class RetryPolicy:
    """A failed load is tried again `count` times, `interval` seconds apart.

    If the directory has changed since the failure, it was probably still being copied. As soon as two polls in a row
    find it unchanged, it is tried again at once, and `count` times more.
    """

    count: int = 5
    interval: float = 60.0


@dataclass
class _Failure:
    attempts: int = 0
    last_attempt: float = 0.0  # on `time.monotonic`'s clock
    contents: Contents = ()  # of the directory before the last attempt
    last_contents: Contents = field(default=(), repr=False)  # of the directory at the last poll


class LoadFailures:
    """The failed versions of one model. Not safe to share between threads."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures: dict[int, _Failure] = {}

    @property
    def versions(self) -> list[int]:
        return list(self._failures)

    def is_due(self, version: int, directory: Path) -> bool:
        """Whether to load the version now: it has not failed before, or it is time to try again."""
        failure = self._failures.get(version)
        if failure is None:
            return True
        contents = read_contents(directory)
        unchanged_since_poll = contents == failure.last_contents
        failure.last_contents = contents
        if unchanged_since_poll and contents != failure.contents:
            failure.attempts = 0
            return True
        waited = time.monotonic() - failure.last_attempt
        return failure.attempts <= self._policy.count and waited >= self._policy.interval

    def add(self, version: int, contents: Contents) -> str:
        """Records a failed attempt. Returns "attempt 1 of 6", for the log.

        Args:
            contents: of the version's directory before the attempt.
        """
        failure = self._failures.setdefault(version, _Failure())
        failure.attempts += 1
        failure.last_attempt = time.monotonic()
        failure.contents = failure.last_contents = contents
        return f"attempt {failure.attempts} of {self._policy.count + 1}"

    def remove(self, version: int) -> None:
        """Forgets the failures of a version, which is loaded now."""
        self._failures.pop(version, None)

    def remove_others(self, versions: Collection[int]) -> None:
        """Forgets the failures of all versions except these, which are the ones to serve."""
        for version in self._failures.keys() - set(versions):
            del self._failures[version]
