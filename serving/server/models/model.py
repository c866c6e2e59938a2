"""One model: which of its versions are loaded, and the swap from one to the next without a failed call."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.server.models.model_config import VersionPolicy
from serving.server.models.version_thread import VersionThread
from serving.server.models.versions import contents, find_versions
from serving.server.runtime import memory
from serving.server.runtime.servable import Servable
from serving.server.statuses import RequestError, not_found

logger = logging.getLogger(__name__)

Loader = Callable[[str, int, Path], Servable]


@dataclass(frozen=True)
class RetryPolicy:
    """How a failed load is tried again: `count` times, `interval` seconds apart.

    A directory that changed since it failed, and then stood still for one poll, is tried at once: it was being copied.
    """

    count: int = 5
    interval: float = 60.0


@dataclass
class VersionStatus:
    """What GetModelStatus says of a version. `code` and `message` are those of the error it ended with."""

    state: ModelVersionStatus.State.ValueType
    code: int = 0
    message: str = ""


@dataclass
class _Failure:
    attempts: int = 0
    last_attempt: float = 0.0
    contents: Any = None
    last_seen: Any = field(default=None, repr=False)


class Model:
    """The versions of one model, kept as its base path and its version policy say.

    `configure` and `poll` are called by one thread at a time; `acquire` by any number. A new version is loaded and
    warmed up before the old one is let go, and the old one is freed when its last call has ended.

    Attributes:
        base_path: None once the model is not to be served any more; its statuses stay.
    """

    def __init__(
        self,
        name: str,
        base_path: Path | None,
        load: Loader,
        retries: RetryPolicy | None = None,
        policy: VersionPolicy | None = None,
    ) -> None:
        self.name = name
        self.base_path = base_path
        self._policy = policy or VersionPolicy()
        self._load = load
        self._retries = retries or RetryPolicy()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._available: dict[int, Servable] = {}
        self._latest: Servable | None = None
        self._statuses: dict[int, VersionStatus] = {}
        self._failures: dict[int, _Failure] = {}
        self._threads: dict[int, VersionThread] = {}  # of the versions that are loaded
        self._unloading: list[VersionThread] = []
        self._last_problem = ""
        self._cancelled = False

    # Calls

    @contextmanager
    def acquire(self, version: int | None = None) -> Iterator[Servable]:
        """A loaded version (the latest by default), which stays loaded inside the `with` block.

        Raises:
            RequestError: NOT_FOUND.
        """
        with self._lock:
            servable = self._latest if version is None else self._available.get(version)
            if servable is None:
                wanted = f"Latest({self.name})" if version is None else f"Specific({self.name}, {version})"
                raise not_found(f"Servable not found for request: {wanted}")
            servable.users += 1
        try:
            yield servable
        finally:
            with self._lock:
                servable.users -= 1
                if servable.users == 0 and self._available.get(servable.version) is not servable:
                    self._idle.notify_all()

    def statuses(self, version: int | None = None) -> dict[int, VersionStatus]:
        """Every version seen since the start, ended ones too, highest first.

        Raises:
            RequestError: NOT_FOUND.
        """
        with self._lock:
            known = sorted(self._statuses.items(), reverse=True)
        if version is not None:
            known = [(number, status) for number, status in known if number == version]
            if not known:
                raise not_found(f"Could not find version {version} of model {self.name}")
        if not known:
            raise not_found(f"Could not find any versions of model {self.name}")
        return dict(known)

    @property
    def available_versions(self) -> list[int]:
        """Highest first."""
        with self._lock:
            return sorted(self._available, reverse=True)

    @property
    def load_errors(self) -> dict[int, str]:
        """Why versions that should be served are not."""
        with self._lock:
            return {version: self._statuses[version].message for version in self._failures}

    # Versions

    def configure(self, base_path: Path | None, policy: VersionPolicy | None = None) -> None:
        """Changes what the next `poll` looks for. Without a base path it lets go of every version.

        Versions that are loaded already stay as they are, as in TensorFlow Serving, even if the base path is another.
        """
        self.base_path = base_path
        self._policy = policy or VersionPolicy()

    def poll(self) -> None:
        """Looks at the base path once: loads what is new, then lets go of what is no longer wanted.

        Never raises for what lies there: a base path that cannot be read or a load that failed is logged, and what is
        being served goes on.
        """
        try:
            on_disk = find_versions(self.base_path) if self.base_path is not None else {}
        except OSError as error:
            self._report(f"cannot read the base path {self.base_path} of model {self.name}: {error.strerror or error}")
            return
        wanted = self._policy.choose(on_disk)
        self._report(self._problem(on_disk, wanted))
        self._failures = {version: failure for version, failure in self._failures.items() if version in wanted}
        # The highest first: it is what most callers wait for.
        missing = sorted(wanted.difference(self.available_versions), reverse=True)
        due = [version for version in missing if self._is_due(version, on_disk[version])]
        for version in due:
            self._set_status(version, ModelVersionStatus.START)
        for version in due:
            self._try_load(version, on_disk[version])
        available = set(self.available_versions)
        if wanted & available or not wanted:
            for version in available - wanted:
                self._retire(version)

    def close(self) -> None:
        """Lets go of every version. Calls that are still in flight end with CANCELLED."""
        with self._lock:
            self._cancelled = True
            self._idle.notify_all()
        for version in self.available_versions:
            self._retire(version)
        for thread in self._unloading:
            thread.join()

    def _problem(self, on_disk: Collection[int], wanted: Collection[int]) -> str:
        if self.base_path is None:
            return ""
        if not on_disk:
            return f"no version of model {self.name} in {self.base_path}: version directories are numbers"
        missing = sorted(self._policy.specific.difference(wanted)) if self._policy.specific is not None else []
        if missing:
            return f"model {self.name} should serve versions {missing}, which are not in {self.base_path}"
        return ""

    def _report(self, problem: str) -> None:
        """Logs a problem once, not at every poll; "" when there is none."""
        if problem and problem != self._last_problem:
            logger.error("%s", problem)
        self._last_problem = problem

    def _is_due(self, version: int, directory: Path) -> bool:
        failure = self._failures.get(version)
        if failure is None:
            return True
        seen = contents(directory)
        stands_still, failure.last_seen = seen == failure.last_seen, seen
        if stands_still and seen != failure.contents:
            failure.attempts = 0
            return True
        return (
            failure.attempts <= self._retries.count
            and time.monotonic() - failure.last_attempt >= self._retries.interval
        )

    def _try_load(self, version: int, directory: Path) -> None:
        self._set_status(version, ModelVersionStatus.LOADING)
        before = contents(directory)
        thread = VersionThread(f"{self.name}-{version}")
        try:
            servable = thread.submit(lambda: self._load(self.name, version, directory)).result()
        except Exception as defect:
            thread.end()
            if isinstance(defect, RequestError):
                error = defect
            else:
                logger.exception("loading %s version %d failed", self.name, version)
                error = RequestError(grpc.StatusCode.INTERNAL, f"{type(defect).__name__}: {defect}")
            failure = self._failures.setdefault(version, _Failure())
            failure.attempts += 1
            failure.last_attempt = time.monotonic()
            failure.contents = failure.last_seen = before
            self._set_status(version, ModelVersionStatus.END, error.code.value[0], error.message)
            logger.error(
                "%s version %d cannot be loaded (attempt %d of %d): %s",
                *(self.name, version, failure.attempts, self._retries.count + 1, error.message),
            )
            return
        self._failures.pop(version, None)
        self._threads[version] = thread
        with self._lock:
            self._available[version] = servable
            self._latest = self._available[max(self._available)]
            self._statuses[version] = VersionStatus(ModelVersionStatus.AVAILABLE)
        logger.info("%s version %d is available", self.name, version)

    def _retire(self, version: int) -> None:
        with self._lock:
            servable = self._available.pop(version)
            self._latest = self._available[max(self._available)] if self._available else None
            self._statuses[version] = VersionStatus(ModelVersionStatus.UNLOADING)
        # In the version's own thread, since the last call may take long and the next version should not wait for it. It
        # takes the servable out of the list, so that nothing but its own variable refers to it.
        thread, holder = self._threads.pop(version), [servable]
        thread.submit(lambda: self._unload(version, holder))
        thread.end()
        self._unloading = [other for other in self._unloading if other.is_alive] + [thread]

    def _unload(self, version: int, holder: list[Servable]) -> None:
        try:
            self._close_when_idle(holder.pop())
        except Exception:  # a defect; what of it is left in memory is lost, and nothing else
            logger.exception("unloading %s version %d failed", self.name, version)
        gc.collect()  # a graph and its operations refer to each other
        memory.give_back()
        with self._lock:
            if version not in self._available:
                self._statuses[version] = VersionStatus(ModelVersionStatus.END)
        logger.info("%s version %d is unloaded", self.name, version)

    def _close_when_idle(self, servable: Servable) -> None:
        with self._lock:
            self._idle.wait_for(lambda: servable.users == 0 or self._cancelled)
        servable.close()

    def _set_status(
        self, version: int, state: ModelVersionStatus.State.ValueType, code: int = 0, message: str = ""
    ) -> None:
        with self._lock:
            self._statuses[version] = VersionStatus(state, code, message)
