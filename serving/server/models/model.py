"""One model: loads and unloads its versions, and swaps one for the next without a failed call."""

import gc
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.server.models.load_failures import LoadFailures, RetryPolicy
from serving.server.models.model_config import VersionPolicy
from serving.server.models.version_thread import VersionThread
from serving.server.models.versions import find_versions, read_contents
from serving.server.request_errors import RequestError, not_found
from serving.server.runtime import memory
from serving.server.runtime.servable import Servable

logger = logging.getLogger(__name__)

Loader = Callable[[str, int, Path], Servable]  # name, version, directory


@dataclass
class VersionStatus:
    """The state of a version, for GetModelStatus. After a failed load, `code` and `message` are those of the error."""

    state: ModelVersionStatus.State.ValueType
    code: int = 0
    message: str = ""


class Model:
    """Serves those versions below a base path that a version policy chooses.

    Only one thread at a time may call `configure` and `poll`; any number may call `acquire`. A new version is loaded
    and warmed up before the old one is retired: it gets no new calls, and is unloaded after its last call has ended.

    Attributes:
        base_path: None once the model is not served any more. Its statuses stay.
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
        self._failures = LoadFailures(retries or RetryPolicy())
        self._threads: dict[int, VersionThread] = {}  # of the available versions
        self._unloading: list[VersionThread] = []
        self._last_problem = ""
        # Protects the attributes below, which threads of callers use too.
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._available: dict[int, Servable] = {}
        self._latest: Servable | None = None
        self._statuses: dict[int, VersionStatus] = {}
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
                raise servable_not_found(self.name, version)
            servable.users += 1
        try:
            yield servable
        finally:
            with self._lock:
                servable.users -= 1
                if servable.users == 0 and self._available.get(servable.version) is not servable:
                    self._idle.notify_all()

    def statuses(self, version: int | None = None) -> dict[int, VersionStatus]:
        """The status of every version since the start, unloaded ones too, highest first; or of the given version only.

        Raises:
            RequestError: NOT_FOUND.
        """
        with self._lock:
            statuses = dict(sorted(self._statuses.items(), reverse=True))
        if version is not None:
            statuses = {number: status for number, status in statuses.items() if number == version}
        if not statuses:
            raise status_not_found(self.name, version)
        return statuses

    @property
    def available_versions(self) -> list[int]:
        """Numbers of the loaded versions, highest first."""
        with self._lock:
            return sorted(self._available, reverse=True)

    @property
    def load_errors(self) -> dict[int, str]:
        """The error of each version that should be served but failed to load."""
        with self._lock:
            return {version: self._statuses[version].message for version in self._failures.versions}

    # Versions

    def configure(self, base_path: Path | None, policy: VersionPolicy | None = None) -> None:
        """Changes what the next `poll` looks for. Without a base path, the next `poll` retires every version.

        As in TensorFlow Serving, versions that are loaded already are not loaded again from another base path.
        """
        self.base_path = base_path
        self._policy = policy or VersionPolicy()

    def poll(self) -> None:
        """Reads the base path once: loads new versions, then retires those that the policy does not choose any more.

        If none of the chosen versions can be loaded, the old ones stay. An unreadable base path and a failed load are
        logged, not raised.
        """
        try:
            on_disk = find_versions(self.base_path) if self.base_path is not None else {}
        except OSError as error:
            self._log_once(
                f"cannot read the base path {self.base_path} of model {self.name}: {error.strerror or error}"
            )
            return
        chosen = self._policy.choose(on_disk)
        self._log_once(self._problem(on_disk, chosen))
        self._failures.remove_others(chosen)
        # The highest version first, because most callers ask for the latest.
        missing = sorted(chosen.difference(self.available_versions), reverse=True)
        due = [version for version in missing if self._failures.is_due(version, on_disk[version])]
        for version in due:
            self._set_status(version, ModelVersionStatus.START)
        for version in due:
            self._try_load(version, on_disk[version])
        available = set(self.available_versions)
        if chosen & available or not chosen:
            for version in available - chosen:
                self._retire(version)

    def close(self) -> None:
        """Unloads every version. Calls that are still in flight end with CANCELLED."""
        with self._lock:
            self._cancelled = True
            self._idle.notify_all()
        for version in self.available_versions:
            self._retire(version)
        for thread in self._unloading:
            thread.join()

    def _problem(self, on_disk: Collection[int], chosen: Collection[int]) -> str:
        """An error message about the versions on disk; "" for none."""
        if self.base_path is None:
            return ""
        if not on_disk:
            return f"no version of model {self.name} in {self.base_path}: version directories are numbers"
        missing = sorted(self._policy.specific.difference(chosen)) if self._policy.specific is not None else []
        if missing:
            return f"model {self.name} should serve versions {missing}, which are not in {self.base_path}"
        return ""

    def _log_once(self, problem: str) -> None:
        """Logs a problem unless the previous poll had the same problem; "" stands for none."""
        if problem and problem != self._last_problem:
            logger.error("%s", problem)
        self._last_problem = problem

    def _try_load(self, version: int, directory: Path) -> None:
        self._set_status(version, ModelVersionStatus.LOADING)
        contents = read_contents(directory)
        thread = VersionThread(f"{self.name}-{version}")
        try:
            servable = thread.submit(lambda: self._load(self.name, version, directory)).result()
        except Exception as error:
            thread.end()
            status = self._as_request_error(error, version)
            attempt = self._failures.add(version, contents)
            self._set_status(version, ModelVersionStatus.END, status.code.value[0], status.message)
            logger.error("%s version %d cannot be loaded (%s): %s", self.name, version, attempt, status.message)
            return
        self._failures.remove(version)
        self._threads[version] = thread
        with self._lock:
            self._available[version] = servable
            self._latest = self._available[max(self._available)]
            self._statuses[version] = VersionStatus(ModelVersionStatus.AVAILABLE)
        logger.info("%s version %d is available", self.name, version)

    def _as_request_error(self, error: Exception, version: int) -> RequestError:
        if isinstance(error, RequestError):
            return error
        logger.error("loading %s version %d failed", self.name, version, exc_info=error)
        return RequestError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")

    def _retire(self, version: int) -> None:
        """Gives a version no new calls, and unloads it in its own thread after its last call has ended."""
        with self._lock:
            servable = self._available.pop(version)
            self._latest = self._available[max(self._available)] if self._available else None
            self._statuses[version] = VersionStatus(ModelVersionStatus.UNLOADING)
        # Unloaded in the version's own thread, because the last call may take long, and loading the next version should
        # not wait for it. The thread takes the servable out of the list: then no other variable keeps it alive.
        thread, holder = self._threads.pop(version), [servable]
        thread.submit(lambda: self._unload(version, holder))
        thread.end()
        self._unloading = [other for other in self._unloading if other.is_alive] + [thread]

    def _unload(self, version: int, holder: list[Servable]) -> None:
        try:
            self._close_when_idle(holder.pop())
        except Exception:  # an unexpected error: memory of the version may stay occupied, but the server goes on
            logger.exception("unloading %s version %d failed", self.name, version)
        gc.collect()  # needed: a graph and its operations refer to each other
        memory.return_free_memory()
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


def servable_not_found(name: str, version: int | None) -> RequestError:
    """The error of a call to a version that is not loaded; `version` is None for the latest."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {request}")


def status_not_found(name: str, version: int | None) -> RequestError:
    """The error of a request for the status of an unknown version; `version` is None for all versions."""
    if version is None:
        return not_found(f"Could not find any versions of model {name}")
    return not_found(f"Could not find version {version} of model {name}")
