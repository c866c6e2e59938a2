"""The models of one server: which one a request means, and the thread that keeps them up to date."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tensorflow_serving.apis import model_pb2

from serving.errors import ServerError
from serving.server.model import Model, VersionStatus
from serving.server.servable import Servable
from serving.server.statuses import invalid_argument, not_found

logger = logging.getLogger(__name__)


class ServerCore:
    """Models by name, and their polling.

    Args:
        models: at least one, with distinct names.
        poll_seconds: between two looks at the base paths; 0 to look at the start only.
    """

    def __init__(self, models: Sequence[Model], poll_seconds: float = 1.0) -> None:
        self.models = {model.name: model for model in models}
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll_for_ever, name="poll", daemon=True)

    def start(self) -> None:
        """Loads every model's first version, then starts polling.

        Raises:
            ServerError: a model has no version that can be loaded. Unlike a later version's, the first load is not
                tried again: whoever starts the server should know at once.
        """
        for model in self.models.values():
            model.poll()
        reasons = [_reason(model) for model in self.models.values() if not model.available_versions]
        if reasons:
            raise ServerError(
                f"Failed to start server: {len(reasons)} servable(s) did not become available: {'; '.join(reasons)}"
            )
        if self._poll_seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stops polling and lets go of every model, once its last call has ended."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for model in self.models.values():
            model.close()

    @contextmanager
    def servable(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """The loaded version that `spec` means; it stays loaded inside the `with` block.

        Raises:
            RequestError: INVALID_ARGUMENT or NOT_FOUND.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = _version(spec)
        model = self.models.get(spec.name)
        if model is None:
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise not_found(f"Servable not found for request: {wanted}")
        with model.acquire(version) as servable:
            yield servable

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """By version, highest first.

        Raises:
            RequestError: NOT_FOUND, or INVALID_ARGUMENT for a label.
        """
        version = _version(spec)
        model = self.models.get(spec.name)
        if model is None:
            if version is not None:
                raise not_found(f"Could not find version {version} of model {spec.name}")
            raise not_found(f"Could not find any versions of model {spec.name}")
        return model.statuses(version)

    def _poll_for_ever(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            for model in self.models.values():
                try:
                    model.poll()
                except Exception:  # a defect here must not end the polling: the model being served goes on
                    logger.exception("polling model %s failed", model.name)


def _version(spec: model_pb2.ModelSpec) -> int | None:
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value if choice == "version" else None


def _reason(model: Model) -> str:
    if model.load_errors:
        return "; ".join(f"{model.name} version {version}: {error}" for version, error in model.load_errors.items())
    if not model.base_path.is_dir():
        return f"{model.name}: there is no directory {model.base_path}"
    return f"{model.name}: {model.base_path} has no numbered version directory with a saved_model.pb"
