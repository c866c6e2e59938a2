"""The models of one server: finds the model of a request, applies configurations, and polls for new versions."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tensorflow_serving.apis import model_pb2

from serving.server.models.load_failures import RetryPolicy
from serving.server.models.model import Loader, Model, VersionStatus, servable_not_found, status_not_found
from serving.server.models.model_config import ModelConfig
from serving.server.request_errors import RequestError, failed_precondition, invalid_argument, unavailable
from serving.server.runtime.servable import Servable
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)

_LABEL_REMEDY = "`--allow_version_labels_for_unavailable_models` lets a new label name a version before it is loaded"


class ServerCore:
    """Holds the models and their labels, and polls the models. TensorFlow Serving's class of this name does the same.

    Args:
        load: loads a version.
        retries: how often, and after what pauses, a failed load is tried again.
        poll_seconds: seconds between two polls of the base paths; with 0 they are read only at the start.
        allow_unavailable_labels: a new label may name a version that is not loaded yet.

    Attributes:
        models: all models that were served since the start: GetModelStatus reports unloaded ones too. Changes replace
            the whole mapping, so calls read it without a lock.
        configs: configurations of the models that are served now.
    """

    def __init__(
        self,
        load: Loader,
        retries: RetryPolicy | None = None,
        poll_seconds: float = 1.0,
        allow_unavailable_labels: bool = False,
    ) -> None:
        self.models: Mapping[str, Model] = {}
        self.configs: Mapping[str, ModelConfig] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._load = load
        self._retries = retries
        self._poll_seconds = poll_seconds
        self._allow_unavailable_labels = allow_unavailable_labels
        self._changing = threading.Lock()  # locked while models are configured or polled
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll_until_stopped, name="poll", daemon=True)

    def start(self, configs: Mapping[str, ModelConfig]) -> None:
        """Loads every model's first versions, then starts polling.

        Raises:
            ServerError: a model has no version that can be loaded, or a label names a version that is not available.
                A failed first load is not tried again, so that a wrong model is reported at once.
        """
        try:
            failed = self._replace(configs)
        except RequestError as error:
            raise ServerError(f"Failed to start server: {error.message}; {_LABEL_REMEDY}") from None
        if failed:
            raise ServerError(
                f"Failed to start server: {len(failed)} servable(s) did not become available: {'; '.join(failed)}"
            )
        if self._poll_seconds > 0:
            self._thread.start()

    def reload(self, configs: Mapping[str, ModelConfig]) -> None:
        """Serves these models and no others. Returns once the new ones are loaded or have failed to load.

        Raises:
            RequestError: FAILED_PRECONDITION: a label names a version that is not available (nothing is changed then),
                or a new model did not become available (later polls try again). UNAVAILABLE after `stop`.
        """
        failed = self._replace(configs)
        if failed:
            raise failed_precondition(f"{len(failed)} model(s) did not become available: {'; '.join(failed)}")

    def stop(self) -> None:
        """Stops polling and unloads every model. Calls that are still in flight end with CANCELLED."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._changing:
            for model in self.models.values():
                model.close()

    @contextmanager
    def servable(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """The loaded version that `spec` names. It stays loaded inside the `with` block.

        Raises:
            RequestError: INVALID_ARGUMENT or NOT_FOUND.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = self._version(spec)
        model = self.models.get(spec.name)
        if model is None:
            raise servable_not_found(spec.name, version)
        with model.acquire(version) as servable:
            yield servable

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """The status of the version that `spec` names by number, otherwise of all versions, highest first.

        Labels in `spec` are ignored, even unknown ones, as in TensorFlow Serving.

        Raises:
            RequestError: NOT_FOUND.
        """
        version = spec.version.value if spec.HasField("version") else None
        model = self.models.get(spec.name)
        if model is None:
            raise status_not_found(spec.name, version)
        return model.statuses(version)

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        """The number of the version that `spec` names; None for the latest."""
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            return None
        if choice == "version":
            return spec.version.value
        version = self._labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return version

    def _replace(self, configs: Mapping[str, ModelConfig]) -> list[str]:
        """Serves `configs`. Returns, for each new model that is not available, the reason."""
        with self._changing:
            if self._stopping.is_set():
                raise unavailable("The server is stopping.")
            for config in configs.values():
                self._check_labels(config)
            # Removed models go first: old and new ones may not fit into memory together.
            for name in self.configs.keys() - configs.keys():
                self.models[name].configure(None)
                self.models[name].poll()
            models = dict(self.models)
            changed = [model for config in configs.values() if (model := self._configured(config)) is not None]
            models |= {model.name: model for model in changed}
            new = [models[name] for name in configs if name not in self.configs]
            self._labels = {name: config.labels for name, config in configs.items()}
            self.models, self.configs = models, configs
            for model in changed:
                model.poll()
            return [_unavailable_reason(model) for model in new if not model.available_versions]

    def _configured(self, config: ModelConfig) -> Model | None:
        """The model with its new configuration; None if its base path and policy have not changed."""
        model = self.models.get(config.name)
        if model is None:
            return Model(config.name, config.base_path, self._load, self._retries, config.policy)
        before = self.configs.get(config.name)
        if before is not None and (before.base_path, before.policy) == (config.base_path, config.policy):
            return None
        model.configure(config.base_path, config.policy)
        return model

    def _check_labels(self, config: ModelConfig) -> None:
        """Checks that labels name available versions.

        With `allow_unavailable_labels`, a label may also name another version if it is new or has not changed.
        """
        labels = self._labels.get(config.name, {})
        model = self.models.get(config.name)
        available = model.available_versions if model is not None else []
        for label, version in config.labels.items():
            may_be_unavailable = self._allow_unavailable_labels and labels.get(label, version) == version
            if version not in available and not may_be_unavailable:
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {config.name}, which is not currently"
                    " available for inference"
                )

    def _poll_until_stopped(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            with self._changing:
                for model in self.models.values():
                    try:
                        model.poll()
                    except Exception:  # after an unexpected error, polling goes on
                        logger.exception("polling model %s failed", model.name)


def _unavailable_reason(model: Model) -> str:
    if model.load_errors:
        return "; ".join(f"{model.name} version {version}: {error}" for version, error in model.load_errors.items())
    if model.base_path is None or not model.base_path.is_dir():
        return f"{model.name}: there is no directory {model.base_path}"
    return f"{model.name}: {model.base_path} has no numbered version directory with a saved_model.pb"
