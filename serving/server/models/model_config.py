"""Reads the models to serve from a `ModelServerConfig`: names, base paths, version policies and labels.

Checks, codes and messages are those of TensorFlow Serving 2.16.1, except for features that this server does not have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tensorflow_serving.config import model_server_config_pb2

from serving.server.request_errors import invalid_argument

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions on disk are served: `all`, the `specific` ones, or by default the highest `latest` versions."""

    latest: int = 1
    all: bool = False
    specific: frozenset[int] | None = None

    def choose(self, versions: Iterable[int]) -> set[int]:
        """The versions to serve out of those on disk."""
        if self.all:
            return set(versions)
        if self.specific is not None:
            return set(self.specific.intersection(versions))
        return set(sorted(versions, reverse=True)[: self.latest])


@dataclass(frozen=True)
class ModelConfig:
    """One model. `labels` are names for versions, such as `stable` and `canary`."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)


def model_configs(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """The models by name; an empty config has no models.

    Raises:
        RequestError: INVALID_ARGUMENT, with the model and the field.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("ModelServerConfig has a custom_model_config: only model_config_list is supported")
    models: dict[str, ModelConfig] = {}
    for message in config.model_config_list.config:
        if message.name in models:
            raise invalid_argument(f"Illegal to list model {message.name} multiple times in config list")
        models[message.name] = _model_config(message)
    return models


def _model_config(message: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not message.name:
        raise invalid_argument(f"Expected a model to have a name; got name()= for base_path()={message.base_path}")
    platform = _platform(message)
    if platform != _PLATFORM:
        raise invalid_argument(f"Model {message.name} requests unsupported platform {platform}")
    location = urlsplit(message.base_path)
    if location.scheme and location.netloc:
        raise invalid_argument(
            f"Expected model {message.name} to have an absolute path on this machine, since this server reads no"
            f" URIs; got base_path()={message.base_path}"
        )
    base_path = Path(message.base_path)
    if not base_path.is_absolute() or "\0" in message.base_path:
        raise invalid_argument(
            f"Expected model {message.name} to have an absolute path or URI; got base_path()={message.base_path}"
        )
    labels = dict(message.version_labels)
    return ModelConfig(message.name, base_path, _policy(message), labels)


def _platform(message: model_server_config_pb2.ModelConfig) -> str:
    if message.model_type == model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if not message.model_platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"
                f" ModelServerConfig::model_platform (model {message.name})."
            )
        return message.model_platform
    if message.model_platform:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and"
            f" ModelServerConfig::model_platform (model {message.name})."
        )
    if message.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid_argument(
            f"ModelServerConfig::model_type choice {message.model_type} not supported (model {message.name})."
        )
    return _PLATFORM


def _policy(message: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    policy = message.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(all=True)
    if choice == "specific":
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=max(policy.latest.num_versions, 1))
