"""Overhead of gRPC for Python alone: calls of a server that only keeps a processor busy for a given time.

It is the lower limit for every server that uses this library.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np

_METHOD = "/bare/call"
_CALLS = 400
_WARM_UP = 50
_THREADS = 8


def added_milliseconds(busy: float, size: int = 700) -> float:
    """Milliseconds at p50 by which a call takes longer than its handler, with one client in this process.

    Args:
      busy: seconds that the handler computes. Like a model, it keeps the processors from going idle.
      size: bytes of a request and of an answer.
    """
    import grpc

    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, busy), daemon=True)
    process.start()
    try:
        with grpc.insecure_channel(here.recv()) as channel:
            call = channel.unary_unary(_METHOD)
            seconds = []
            for _ in range(_WARM_UP + _CALLS):
                start = time.perf_counter()
                call(bytes(size), timeout=10)
                seconds.append(time.perf_counter() - start)
    finally:
        here.send("stop")
        process.join()
    return 1000 * (float(np.median(seconds[_WARM_UP:])) - busy)


def _serve(pipe: Connection, busy: float) -> None:
    import grpc

    def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
        until = time.perf_counter() + busy
        while time.perf_counter() < until:
            pass
        return data

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.server(ThreadPoolExecutor(_THREADS))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pipe.send(f"127.0.0.1:{port}")
    pipe.recv()
    server.stop(None)
