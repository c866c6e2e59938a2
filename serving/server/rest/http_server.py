"""The HTTP server of the REST API, built on Tornado.

One thread reads and writes all connections, so a slow or silent client occupies a socket but no thread. A pool of
threads answers complete requests. Time-outs close connections that make no progress.
"""

import asyncio
import http
import logging
import threading
import zlib
from typing import Any

from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from serving.server.admission.admission import Admission
from serving.server.admission.call_pool import CallPool
from serving.server.rest.api import Reply, RestApi, error_reply
from serving.wire.api import host_port
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)

_MAX_BODY = 128 * 2**20  # bytes, uncompressed
_MAX_HEADERS = 64 * 2**10
_NO_LIMIT = 2**62
_IDLE_SECONDS = 60.0  # until the headers of the next request have arrived
_BODY_SECONDS = 60.0  # until a body has arrived
_WRITE_SECONDS = 60.0  # until the client has read a reply


class HttpServer:
    """Listens from its construction until `stop`.

    Args:
        api: answers the requests.
        host, port: where to listen.
        pool: threads that answer requests.
        admission: decides which predictions are refused.
        shared: other processes listen on the same port.

    Raises:
        ServerError: the port is taken.

    Attributes:
        address: host:port.
    """

    def __init__(
        self, api: RestApi, host: str, port: int, pool: CallPool, admission: Admission, shared: bool = False
    ) -> None:
        try:
            sockets = bind_sockets(port, host, reuse_port=shared)
        except OSError as error:
            raise ServerError(f"cannot listen on {host_port(host, port)} for REST: {error.strerror or error}") from None
        port = sockets[0].getsockname()[1]
        self.address = host_port(host, port)
        self._connections = _Connections(api, pool, admission)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(sockets,), name="rest", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuses new requests, waits up to `grace` seconds for those in flight, then closes every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(grace), self._loop).result()
        self._connections.pool.shutdown(wait=True, cancel_futures=True)  # first: the pool's threads use the loop
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self, sockets: list) -> None:
        self._loop.run_until_complete(self._open(sockets))
        self._loop.run_forever()
        self._loop.close()

    async def _open(self, sockets: list) -> None:
        self._server = HTTPServer(
            self._connections,
            max_header_size=_MAX_HEADERS,
            max_body_size=_NO_LIMIT,  # `_Exchange` checks the size, so that it can answer with an error
            idle_connection_timeout=_IDLE_SECONDS,
            body_timeout=_BODY_SECONDS,
        )
        self._server.add_sockets(sockets)

    async def _stop(self, grace: float) -> None:
        self._server.stop()
        self._connections.stopping = True
        deadline = self._loop.time() + grace
        while self._connections.in_flight and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        await self._server.close_all_connections()


class _Connections(httputil.HTTPServerConnectionDelegate):
    """The state that all exchanges share. Used only by the server's thread.

    Attributes:
        in_flight: complete requests whose replies are not yet sent.
    """

    def __init__(self, api: RestApi, pool: CallPool, admission: Admission) -> None:
        self.api = api
        self.pool = pool
        self.admission = admission
        self.in_flight = 0
        self.stopping = False

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> "_Exchange":
        return _Exchange(self, request_conn)


class _Exchange(httputil.HTTPMessageDelegate):
    """One request and its reply."""

    def __init__(self, shared: _Connections, connection: Any) -> None:
        self._shared = shared
        self._connection: Any = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def headers_received(self, start_line: Any, headers: httputil.HTTPHeaders) -> None:
        self._start_line = start_line
        self._encoding = headers.get("Content-Encoding", "").lower()

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= _MAX_BODY:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()  # the rest is read and dropped: clients read the reply after they have sent the body

    def on_connection_close(self) -> None:
        self._chunks.clear()

    def finish(self) -> None:
        self._shared.in_flight += 1
        if self._shared.stopping:
            self._write(error_reply(503, "The server is stopping."))
        elif self._size > _MAX_BODY:
            self._write(error_reply(413, f"The body has {self._size} bytes; at most {_MAX_BODY} are read."))
        elif self._start_line.method == "POST" and self._shared.admission.refuses(self._shared.pool.calls):
            self._write(error_reply(429, self._shared.admission.message))
        else:
            future = asyncio.get_running_loop().run_in_executor(self._shared.pool, self._reply)
            future.add_done_callback(self._replied)

    def _reply(self) -> Reply:
        """Runs in the pool."""
        body = b"".join(self._chunks)
        self._chunks.clear()
        if self._encoding == "gzip":
            unpacked = _decompress(body)
            if isinstance(unpacked, Reply):
                return unpacked
            body = unpacked
        elif self._encoding not in ("", "identity"):
            return error_reply(415, f"The content encoding {self._encoding} is not supported; gzip is.")
        return self._shared.api.answer(self._start_line.method, self._start_line.path, body)

    def _replied(self, future: "asyncio.Future[Reply]") -> None:
        if not future.cancelled():  # it is cancelled if the server stops first
            self._write(future.result())

    def _write(self, reply: Reply) -> None:
        """Sends the reply. If the client has closed the connection, the reply is dropped without an error."""
        connection = self._connection
        reason = http.HTTPStatus(reply.code).phrase if reply.code != 499 else "Client Closed Request"
        headers = httputil.HTTPHeaders({"Content-Type": reply.content_type, "Content-Length": str(len(reply.body))})
        if self._shared.stopping:
            headers["Connection"] = "close"
        body = None if self._start_line.method == "HEAD" else reply.body
        connection.set_close_callback(self._end)
        written = connection.write_headers(httputil.ResponseStartLine("HTTP/1.1", reply.code, reason), headers, body)
        connection.finish()
        if written.done():
            self._end()
        else:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_SECONDS, self._give_up)
            written.add_done_callback(lambda _: self._end())

    def _give_up(self) -> None:
        self._connection.close()
        self._end()

    def _end(self) -> None:
        """Records that the reply was sent or the connection was closed. Only the first call counts."""
        if not self._ended:
            self._ended = True
            self._shared.in_flight -= 1
            if self._timer is not None:
                self._timer.cancel()


def _decompress(body: bytes) -> bytes | Reply:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, _MAX_BODY + 1)
    except zlib.error as error:
        return error_reply(400, f"The body is not gzip: {error}")
    if len(unpacked) > _MAX_BODY:
        return error_reply(413, f"The body unpacks to more than {_MAX_BODY} bytes.")
    if not unpacker.eof:
        return error_reply(400, "The body is not gzip: it ends too early")
    return unpacked
