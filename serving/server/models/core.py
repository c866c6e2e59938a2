"""The models of one server: which one a request means, their replacement, and the thread that keeps them current."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tensorflow_serving.apis import model_pb2

from serving.server.models.model import Loader, Model, RetryPolicy, VersionStatus
from serving.server.models.model_config import ModelConfig
from serving.server.runtime.servable import Servable
from serving.server.statuses import RequestError, failed_precondition, invalid_argument, not_found, unavailable
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)

_LABEL_REMEDY = "`--allow_version_labels_for_unavailable_models` lets a new label name a version before it is loaded"


class ServerCore:
    """Models by name, their labels, and their polling.

    Args:
        load: makes a servable of a version's directory.
        retries: how a failed load is tried again.
        poll_seconds: between two looks at the base paths; 0 to look at the start only.
        allow_unavailable_labels: a label that is new may name a version that is not loaded yet.

    Attributes:
        models: every model there ever was, since GetModelStatus tells of ended ones too. Replaced as a whole and never
            changed, so that calls need no lock.
        configs: what is to be served now.
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
        self._changing = threading.Lock()  # held while models are configured or polled
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll_for_ever, name="poll", daemon=True)

    def start(self, configs: Mapping[str, ModelConfig]) -> None:
        """Loads every model's first versions, then starts polling.

        Raises:
            ServerError: a model has no version that can be loaded, or a label names a version before it is. Unlike a
                later version's, the first load is not tried again: whoever starts the server should know at once.
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
        """Serves these models and no others. Returns when those that are new are available.

        Raises:
            RequestError: FAILED_PRECONDITION. A label that names a version which is not available changes nothing. A
                new model that did not become available is tried again at later polls. UNAVAILABLE after `stop`.
        """
        failed = self._replace(configs)
        if failed:
            raise failed_precondition(f"{len(failed)} model(s) did not become available: {'; '.join(failed)}")

    def stop(self) -> None:
        """Stops polling and lets go of every model. Calls that are still in flight end with CANCELLED."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._changing:
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
        version = self._version(spec)
        model = self.models.get(spec.name)
        if model is None:
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise not_found(f"Servable not found for request: {wanted}")
        with model.acquire(version) as servable:
            yield servable

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """By version, highest first: of the version that `spec` names by number, else of all of them.

        A label is ignored, known or not. TensorFlow Serving looks at the number alone here, over gRPC and REST, and
        what watches a server should read the same from both.

        Raises:
            RequestError: NOT_FOUND.
        """
        version = spec.version.value if spec.HasField("version") else None
        model = self.models.get(spec.name)
        if model is None:
            if version is not None:
                raise not_found(f"Could not find version {version} of model {spec.name}")
            raise not_found(f"Could not find any versions of model {spec.name}")
        return model.statuses(version)

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
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
        """Takes `configs` over; returns why those of its models that are new are not available."""
        with self._changing:
            if self._stopping.is_set():
                raise unavailable("The server is stopping.")
            for config in configs.values():
                self._check_labels(config)
            models = dict(self.models)
            changed = []
            # What is not served any more goes first: both at once may not fit into memory.
            for name in self.configs.keys() - configs.keys():
                models[name].configure(None)
                models[name].poll()
            for name, config in configs.items():
                before = self.configs.get(name)
                if name not in models:
                    models[name] = Model(name, config.base_path, self._load, self._retries, config.policy)
                elif before is None or (before.base_path, before.policy) != (config.base_path, config.policy):
                    models[name].configure(config.base_path, config.policy)
                else:
                    continue
                changed.append(models[name])
            new = [models[name] for name in configs if name not in self.configs]
            self._labels = {name: config.labels for name, config in configs.items()}
            self.models, self.configs = models, configs
            for model in changed:
                model.poll()
            return [_reason(model) for model in new if not model.available_versions]

    def _check_labels(self, config: ModelConfig) -> None:
        known = self._labels.get(config.name, {})
        model = self.models.get(config.name)
        available = model.available_versions if model is not None else []
        for label, version in config.labels.items():
            may_be_unavailable = self._allow_unavailable_labels and known.get(label, version) == version
            if version not in available and not may_be_unavailable:
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {config.name}, which is not currently"
                    " available for inference"
                )

    def _poll_for_ever(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            with self._changing:
                for model in self.models.values():
                    try:
                        model.poll()
                    except Exception:  # a defect here must not end the polling: the model being served goes on
                        logger.exception("polling model %s failed", model.name)


def _reason(model: Model) -> str:
    if model.load_errors:
        return "; ".join(f"{model.name} version {version}: {error}" for version, error in model.load_errors.items())
    if model.base_path is None or not model.base_path.is_dir():
        return f"{model.name}: there is no directory {model.base_path}"
    return f"{model.name}: {model.base_path} has no numbered version directory with a saved_model.pb"
