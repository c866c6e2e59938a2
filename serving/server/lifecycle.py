"""Starts a server from its flags: reads the configuration files, loads the models, then opens the ports."""

import argparse
import functools
import logging
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
import tensorflow as tf

from serving.server.admission.admission import Admission
from serving.server.admission.call_pool import CallPool
from serving.server.batching.parameters import BatchingParameters, read_batching_parameters
from serving.server.batching.scheduler import BatchScheduler
from serving.server.grpc.grpc_server import GrpcOptions, GrpcServer
from serving.server.grpc.services import generic_handlers
from serving.server.grpc.tls import server_credentials
from serving.server.models.config_file import ConfigFileFollower, read_model_configs
from serving.server.models.core import ServerCore
from serving.server.models.load_failures import RetryPolicy
from serving.server.models.model_config import ModelConfig
from serving.server.models.version_loader import VersionLoader
from serving.server.monitoring.metrics import Counter, Registry
from serving.server.monitoring.monitoring_config import read_monitoring_path
from serving.server.monitoring.request_metrics import RequestMetrics
from serving.server.output_lines import READY
from serving.server.rest.api import RestApi
from serving.server.rest.http_server import HttpServer
from serving.server.runtime import custom_ops
from serving.server.runtime.session_config import session_config
from serving.server.runtime.text_cache import TextCache
from serving.wire.errors import ServerUsageError
from serving.wire.tensors import register_bfloat16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunningServer:
    """A server that answers calls, made by `start_server`.

    Attributes:
        core: the models.
        grpc: the server on the gRPC port.
        rest: the server on the REST port; None if REST is off.
        scheduler: forms batches of calls; None if calls are not batched.
        follower: reads the model configuration file again and again; None if the file is read only at the start.
    """

    core: ServerCore
    grpc: GrpcServer
    rest: HttpServer | None = None
    scheduler: BatchScheduler | None = None
    follower: ConfigFileFollower | None = None

    @property
    def address(self) -> str:
        """host:port of the gRPC server."""
        return self.grpc.address

    @property
    def readiness(self) -> str:
        """The line that the server prints once it answers calls."""
        models = ", ".join(_describe(name, self.core.models[name].available_versions) for name in self.core.configs)
        rest = f" and {self.rest.address} (REST)" if self.rest is not None else ""
        return f"{READY}{models or 'no model'} on {self.address} (gRPC){rest}"

    def stop(self, grace: float) -> None:
        """Refuses new calls, waits up to `grace` seconds for calls in flight, cancels the rest, unloads the models."""
        grpc_stopped = self.grpc.begin_stop(grace)
        if self.rest is not None:
            self.rest.stop(grace)
        grpc_stopped.wait()
        if self.follower is not None:
            self.follower.stop()
        self.core.stop()
        if self.scheduler is not None:
            self.scheduler.stop()


@dataclass(frozen=True)
class _Files:
    """The contents of the files that flags name.

    Attributes:
        models: the models to serve, by name.
        credentials: for TLS; None for unencrypted connections.
        batching: parameters of batching; None if calls are not batched.
        monitoring_path: URL path of the metrics for Prometheus; None if metrics are off.
    """

    models: dict[str, ModelConfig]
    credentials: grpc.ServerCredentials | None
    batching: BatchingParameters | None
    monitoring_path: str | None


def start_server(flags: argparse.Namespace) -> RunningServer:
    """Reads the configuration files, loads the models, then opens the ports.

    After an error, everything that was started is stopped again.

    Raises:
        ServerError: a model did not become available, a file cannot be read, or a port is taken.
    """
    _prepare_tensorflow()
    files = _read_files(flags)
    registry = Registry()
    scheduler = _batch_scheduler(files.batching, registry)
    core = ServerCore(
        _version_loader(flags, registry, scheduler),
        RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6),
        flags.file_system_poll_wait_seconds,
        flags.allow_version_labels_for_unavailable_models,
    )
    metrics = RequestMetrics(registry)
    refused = registry.counter("/towers/serving/refused_calls", ("entrypoint",))
    with ExitStack() as on_failure:
        if scheduler is not None:
            on_failure.callback(scheduler.stop)
        on_failure.callback(core.stop)
        core.start(files.models)
        rest = None
        if flags.rest_api_port:
            timeout_ms = flags.rest_api_timeout_in_ms or None
            api = RestApi(core, metrics, registry, timeout_ms, files.monitoring_path)
            rest = _start_rest(flags, api, refused)
            on_failure.callback(rest.stop, 0)
        server = _start_grpc(flags, core, metrics, files.credentials, refused)
        on_failure.pop_all()
    return RunningServer(core, server, rest, scheduler, _start_follower(flags, core))


def _prepare_tensorflow() -> None:
    tf.get_logger().setLevel("ERROR")
    register_bfloat16(tf.bfloat16.as_numpy_dtype)
    custom_ops.register()


def _read_files(flags: argparse.Namespace) -> _Files:
    """Reads all files that flags name. This comes first: an error in a file then leaves nothing to stop."""
    monitoring_path = read_monitoring_path(flags.monitoring_config_file)
    if monitoring_path is not None and flags.rest_api_port == 0:
        raise ServerUsageError("`--monitoring_config_file` enables metrics, which need `--rest_api_port`")
    if monitoring_path is not None and flags.workers > 1:
        raise ServerUsageError(
            "`--monitoring_config_file` enables metrics, which are of one process: leave out `--workers`"
        )
    return _Files(
        models=_model_configs(flags),
        credentials=server_credentials(flags.ssl_config_file) if flags.ssl_config_file is not None else None,
        batching=read_batching_parameters(flags.batching_parameters_file) if flags.enable_batching else None,
        monitoring_path=monitoring_path,
    )


def _model_configs(flags: argparse.Namespace) -> dict[str, ModelConfig]:
    if flags.model_config_file is None:
        return {flags.model_name: ModelConfig(flags.model_name, flags.model_base_path)}
    if flags.model_base_path is not None:
        logger.warning("--model_base_path and --model_name are ignored: there is a --model_config_file")
    return read_model_configs(flags.model_config_file)


def _batch_scheduler(parameters: BatchingParameters | None, registry: Registry) -> BatchScheduler | None:
    if parameters is None:
        return None
    scheduler = BatchScheduler(parameters)
    registry.gauge("/towers/serving/batching/enqueued_batches", lambda: scheduler.enqueued_batches)
    return scheduler


def _version_loader(flags: argparse.Namespace, registry: Registry, scheduler: BatchScheduler | None) -> VersionLoader:
    return VersionLoader(
        session_config(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism),
        flags.enable_model_warmup,
        scheduler,
        TextCache(flags.text_cache_mib * 2**20, registry) if flags.text_cache_mib else None,
    )


def _start_rest(flags: argparse.Namespace, api: RestApi, refused: Counter) -> HttpServer:
    threads = flags.rest_api_num_threads
    pool = CallPool(threads, "httprestserver")
    admission = _admission(flags, threads, refused, "REST")
    return HttpServer(api, flags.host, flags.rest_api_port, pool, admission, shared=flags.workers > 1)


def _start_grpc(
    flags: argparse.Namespace,
    core: ServerCore,
    metrics: RequestMetrics,
    credentials: grpc.ServerCredentials | None,
    refused: Counter,
) -> GrpcServer:
    threads = flags.grpc_max_threads
    pool = CallPool(threads, "call")
    admission = _admission(flags, threads, refused, "GRPC")
    shared = flags.workers > 1
    services = generic_handlers(core, metrics, one_of_several=shared)
    options = GrpcOptions(credentials, flags.enable_grpc_healthcheck_service, flags.enable_grpc_reflection, shared)
    return GrpcServer(services, flags.host, flags.port, pool, admission, options)


def _admission(flags: argparse.Namespace, threads: int, refused: Counter, entrypoint: str) -> Admission:
    waiting = 2 * threads if flags.max_waiting_calls is None else flags.max_waiting_calls
    return Admission(threads, waiting, functools.partial(refused.add, entrypoint))


def _start_follower(flags: argparse.Namespace, core: ServerCore) -> ConfigFileFollower | None:
    seconds = flags.model_config_file_poll_wait_seconds
    if flags.model_config_file is None or seconds == 0:
        return None
    follower = ConfigFileFollower(flags.model_config_file, core, seconds)
    follower.start()
    return follower


def _describe(name: str, versions: list[int]) -> str:
    word = "version" if len(versions) == 1 else "versions"
    return f"{name} {word} {', '.join(map(str, versions))}"
