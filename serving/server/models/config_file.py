"""`--model_config_file`: reads the models to serve, at the start and again while the server runs."""

import logging
import threading
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving.server.models.core import ServerCore
from serving.server.models.model_config import ModelConfig, model_configs
from serving.server.request_errors import RequestError
from serving.server.text_format_file import read_message
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)


def read_model_configs(path: Path) -> dict[str, ModelConfig]:
    """The models that the file lists.

    Raises:
        ServerError: the file cannot be read or parsed, or a model in it cannot be served. The message is one line that
            names the file.
    """
    config = read_message(path, model_server_config_pb2.ModelServerConfig)
    try:
        return model_configs(config)
    except RequestError as error:
        raise ServerError(f"{path}: {' '.join(error.message.split())}") from None


class ConfigFileFollower:
    """Reads the file every `seconds` and serves the models in it. Logs each problem once.

    As in TensorFlow Serving, the file is applied even if it has not changed. There may be changes to make: a label may
    name a version that has become available since, and changes by HandleReloadConfigRequest are undone.
    """

    def __init__(self, path: Path, core: ServerCore, seconds: float) -> None:
        self._path = path
        self._core = core
        self._seconds = seconds
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-config-file", daemon=True)

    def start(self) -> None:
        """Starts to follow the file. It is read for the first time after `seconds`."""
        self._thread.start()

    def stop(self) -> None:
        """Stops following the file. If it is being read and applied just now, waits until that is done."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.wait(self._seconds):
            problem = ""
            try:
                self._core.reload(read_model_configs(self._path))
            except ServerError as error:
                problem = str(error)
            except RequestError as error:
                problem = f"{self._path}: {error.message}"
            except Exception:  # after an unexpected error, the file is still followed
                logger.exception("following %s failed", self._path)
            if problem and problem != self._problem:
                logger.error("%s; what is being served goes on", problem)
            self._problem = problem
