"""`--monitoring_config_file`: the path at which Prometheus reads the metrics."""

from pathlib import Path

from serving.server.text_format_file import read_message
from serving.wire.errors import ServerUsageError
from serving.wire.protos import flag_files_pb2

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def read_monitoring_path(path: Path | None) -> str | None:
    """The path of the metrics in a file of text-format `MonitoringConfig`; None if it does not enable them.

    Raises:
        ServerError: the file cannot be read, or its path does not start with a slash.
    """
    if path is None:
        return None
    config = read_message(path, flag_files_pb2.MonitoringConfig).prometheus_config
    if not config.enable:
        return None
    metrics_path = config.path or DEFAULT_PATH
    if not metrics_path.startswith("/"):
        raise ServerUsageError(f"{path}: `path` should start with a slash. Received: {metrics_path!r}")
    return metrics_path
