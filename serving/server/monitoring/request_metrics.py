"""The metrics of requests: their number by status, and the latency of those that succeeded."""

import time
from collections.abc import Collection
from types import TracebackType

from serving.server.monitoring.metrics import OTHER, Registry
from serving.server.request_errors import RequestError


class RequestMetrics:
    """TensorFlow Serving's two metrics: the number of requests by status, and the latency of those with status OK."""

    def __init__(self, registry: Registry) -> None:
        self.count = registry.counter("/tensorflow/serving/request_count", ("model_name", "status"))
        self.latency = registry.histogram(
            "/tensorflow/serving/request_latency",
            ("model_name", "API", "entrypoint"),
            [10 * 1.8**exponent for exponent in range(33)],  # microseconds, to about 20 minutes
        )

    def measure(self, model_name: str, api: str, entrypoint: str) -> "Measurement":
        """A context that counts one request: `with request_metrics.measure("recommender", "Predict", "GRPC"): ...`."""
        return Measurement(self, model_name, api, entrypoint)


class Measurement:
    """Counts its `with` block as one request."""

    __slots__ = ("_api", "_entrypoint", "_metrics", "_model_name", "_started")

    def __init__(self, metrics: RequestMetrics, model_name: str, api: str, entrypoint: str) -> None:
        self._metrics = metrics
        self._model_name = model_name
        self._api = api
        self._entrypoint = entrypoint

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            microseconds = (time.perf_counter() - self._started) * 1e6
            self._metrics.latency.add(microseconds, self._model_name, self._api, self._entrypoint)
            status = "OK"
        else:
            status = error.code.name if isinstance(error, RequestError) else "INTERNAL"
        self._metrics.count.add(self._model_name, status)


def model_label(name: str, models: Collection[str]) -> str:
    """The label `model_name` of a call. Unknown models share one value: the number of values is limited."""
    return name if name in models else OTHER
