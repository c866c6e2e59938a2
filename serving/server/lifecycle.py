"""From flags to a running server: models loaded first, the port opened after."""

import argparse
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import tensorflow as tf

from serving.server.admission.admission import Admission
from serving.server.admission.call_pool import CallPool
from serving.server.batching.batched_servable import BatchedServable
from serving.server.batching.parameters import read_batching_parameters
from serving.server.batching.scheduler import BatchScheduler
from serving.server.grpc.admission_handler import AdmissionHandler
from serving.server.grpc.health import HealthService
from serving.server.grpc.reflection import enable_reflection
from serving.server.grpc.services import PREDICT, generic_handlers
from serving.server.grpc.tls import server_credentials
from serving.server.models.config_file import ConfigFileFollower, read_model_configs
from serving.server.models.core import ServerCore
from serving.server.models.model import RetryPolicy
from serving.server.models.model_config import ModelConfig
from serving.server.monitoring.metrics import Registry, RequestMetrics, read_monitoring_path
from serving.server.rest.api import RestApi
from serving.server.rest.http_server import HttpServer
from serving.server.runtime import custom_ops, servable
from serving.server.runtime.servable import Servable
from serving.server.runtime.session_config import session_config
from serving.server.runtime.text_cache import TextCache
from serving.server.runtime.text_reuse import TextReuse
from serving.server.runtime.warm_up import warm_up
from serving.wire.errors import ServerError, ServerUsageError
from serving.wire.tensors import register_bfloat16

logger = logging.getLogger(__name__)

_LARGEST_MESSAGE = 2**31 - 1  # bytes, as in TensorFlow Serving


class RunningServer:
    """A server that answers. Made by `start_server`."""

    def __init__(
        self,
        core: ServerCore,
        server: grpc.Server,
        admission_handler: AdmissionHandler,
        address: str,
        rest: HttpServer | None = None,
        scheduler: BatchScheduler | None = None,
        health: HealthService | None = None,
        follower: ConfigFileFollower | None = None,
    ) -> None:
        self.core = core
        self.address = address
        self.rest = rest
        self.scheduler = scheduler
        self._server = server
        self._admission_handler = admission_handler
        self._health = health
        self._follower = follower

    @property
    def readiness(self) -> str:
        """The line that says the server answers."""
        models = ", ".join(_served(name, self.core.models[name].available_versions) for name in self.core.configs)
        rest = f" and {self.rest.address} (REST)" if self.rest is not None else ""
        return f"serving {models or 'no model'} on {self.address} (gRPC){rest}"

    def stop(self, grace: float) -> None:
        """Takes no more calls, gives those in flight `grace` seconds, then cancels them and frees the models."""
        if self._health is not None:
            self._health.stop()
        if grace > 0:
            self._admission_handler.close()
        stopped = self._server.stop(grace)
        if self.rest is not None:
            self.rest.stop(grace)
        stopped.wait()
        if self._follower is not None:
            self._follower.stop()
        self.core.stop()
        if self.scheduler is not None:
            self.scheduler.stop()


def start_server(flags: argparse.Namespace) -> RunningServer:
    """Loads the models, then opens the port.

    Raises:
        ServerError: a model did not become available, a file cannot be read, or the port is taken.
    """
    tf.get_logger().setLevel("ERROR")
    register_bfloat16(tf.bfloat16.as_numpy_dtype)
    custom_ops.register()
    config = session_config(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    monitoring_path = read_monitoring_path(flags.monitoring_config_file)
    if monitoring_path is not None and flags.rest_api_port == 0:
        raise ServerUsageError("`--monitoring_config_file` enables metrics, which need `--rest_api_port`")
    if monitoring_path is not None and flags.workers > 1:
        raise ServerUsageError(
            "`--monitoring_config_file` enables metrics, which are of one process: leave out `--workers`"
        )
    # Every file is read before anything starts that would have to be ended again.
    configs = _configs(flags)
    credentials = server_credentials(flags.ssl_config_file) if flags.ssl_config_file is not None else None
    batching = read_batching_parameters(flags.batching_parameters_file) if flags.enable_batching else None
    registry = Registry()
    metrics = RequestMetrics(registry)
    scheduler = None
    make: Callable[..., Servable] = Servable
    if batching is not None:
        scheduler = BatchScheduler(batching)
        registry.gauge("/towers/serving/batching/enqueued_batches", lambda: scheduler.enqueued_batches)
        make = functools.partial(BatchedServable, scheduler=scheduler)

    cache = TextCache(flags.text_cache_mib * 2**20, registry) if flags.text_cache_mib else None

    def load(name: str, version: int, directory: Path) -> Servable:
        loaded = servable.load(name, version, directory, config, make)
        if flags.enable_model_warmup:
            try:
                warm_up(loaded, directory)
            except BaseException:
                loaded.close()
                raise
        if cache is not None:  # not before: every signature is to be warmed up
            loaded.texts = TextReuse.of(loaded, directory, cache)
        return loaded

    core = ServerCore(
        load,
        RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6),
        flags.file_system_poll_wait_seconds,
        flags.allow_version_labels_for_unavailable_models,
    )
    refused = registry.counter("/towers/serving/refused_calls", ("entrypoint",))

    def admission(threads: int, entrypoint: str) -> Admission:
        waiting = 2 * threads if flags.max_waiting_calls is None else flags.max_waiting_calls
        return Admission(threads, waiting, functools.partial(refused.add, entrypoint))

    pool = CallPool(flags.grpc_max_threads, "call")
    admission_handler = AdmissionHandler(pool, admission(flags.grpc_max_threads, "GRPC"), PREDICT)
    handlers = [admission_handler, *generic_handlers(core, metrics, one_of_several=flags.workers > 1)]
    health = HealthService() if flags.enable_grpc_healthcheck_service else None
    if health is not None:
        handlers.append(health.handler())
    rest = None
    try:
        core.start(configs)
        if flags.rest_api_port:
            api = RestApi(core, metrics, registry, flags.rest_api_timeout_in_ms or None, monitoring_path)
            rest = HttpServer(
                *(api, flags.host, flags.rest_api_port),
                CallPool(flags.rest_api_num_threads, "httprestserver"),
                admission(flags.rest_api_num_threads, "REST"),
                shared=flags.workers > 1,
            )
        server, port = _listen(handlers, pool, flags, credentials)
    except BaseException:
        if rest is not None:
            rest.stop(0)
        core.stop()
        if scheduler is not None:
            scheduler.stop()
        raise
    follower = None
    if flags.model_config_file is not None and flags.model_config_file_poll_wait_seconds > 0:
        follower = ConfigFileFollower(flags.model_config_file, core, flags.model_config_file_poll_wait_seconds)
        follower.start()
    return RunningServer(core, server, admission_handler, _address(flags.host, port), rest, scheduler, health, follower)


def _configs(flags: argparse.Namespace) -> dict[str, ModelConfig]:
    if flags.model_config_file is None:
        return {flags.model_name: ModelConfig(flags.model_name, flags.model_base_path)}
    if flags.model_base_path is not None:
        logger.warning("--model_base_path and --model_name are ignored: there is a --model_config_file")
    return read_model_configs(flags.model_config_file)


def _served(name: str, versions: list[int]) -> str:
    word = "version" if len(versions) == 1 else "versions"
    return f"{name} {word} {', '.join(map(str, versions))}"


def _listen(
    handlers: Sequence[grpc.GenericRpcHandler],
    pool: CallPool,
    flags: argparse.Namespace,
    credentials: grpc.ServerCredentials | None,
) -> tuple[grpc.Server, int]:
    server = grpc.server(
        pool,
        options=[
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.max_send_message_length", _LARGEST_MESSAGE),
            # Of one process, or a second server on the same port would start too and take half of the calls.
            ("grpc.so_reuseport", int(flags.workers > 1)),
        ],
    )
    server.add_generic_rpc_handlers(handlers)
    if flags.enable_grpc_reflection:
        enable_reflection(server)
    address = _address(flags.host, flags.port)
    try:
        bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise ServerError(f"cannot listen on {address}: is the port taken? `--port 0` takes a free one")
    server.start()
    return server, bound


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
