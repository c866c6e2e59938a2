"""What a fuzzed server answers, and how it must not."""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

import grpc

from tests.serving.fuzz import PREDICT, Fuzzer, GrpcCall, HttpCall

_TIMEOUT = 60.0
# The server is at fault, is gone, or did not answer.
_WRONG_CODES = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "DATA_LOSS"}
_WRONG_STATUSES = {500, 502, 503, 504}


class Target:
    """One connection of each kind to a server.

    Args:
        grpc_address, rest_address: `host:port`.

    Attributes:
        outcomes: how many calls ended how.
        wrong: the calls whose answers must not be, with what was answered.
    """

    def __init__(self, grpc_address: str, rest_address: str) -> None:
        self._grpc_address = grpc_address
        self._rest_address = rest_address
        self._channel = grpc.insecure_channel(grpc_address)
        self._http = http.client.HTTPConnection(rest_address, timeout=_TIMEOUT)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[tuple[GrpcCall | HttpCall, str]] = []

    def fuzz(self, fuzzer: Fuzzer, requests: int) -> None:
        """Half of them by gRPC, half by REST, and now and then bytes that are no request to either port."""
        for number in range(requests):
            if number % 2:
                self.send_grpc(fuzzer.grpc_call())
            else:
                self.send_http(fuzzer.http_call())
            if number % 100 == 0:
                for address in (self._grpc_address, self._rest_address):
                    send_garbage(
                        address, (b"\x00\xff" * 50, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", b"GET / \r\n\r\n")
                    )

    def send_grpc(self, call: GrpcCall) -> None:
        try:
            self._channel.unary_unary(call.method)(call.body, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            code, message = error.code().name, error.details() or ""
        else:
            code, message = "OK", ""
        self.outcomes[code] += 1
        if code in _WRONG_CODES or (code != "OK" and call.method == PREDICT and not message):
            self.wrong.append((call, f"{code}: {message}"))

    def send_http(self, call: HttpCall) -> None:
        try:
            self._http.request(call.method, call.path, call.body)
            reply = self._http.getresponse()
            status, body = reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            self.wrong.append((call, f"no reply: {type(error).__name__}: {error}"))
            return
        self.outcomes[f"HTTP {status}"] += 1
        if status in _WRONG_STATUSES or (status != 200 and not json.loads(body).get("error")):
            self.wrong.append((call, f"{status}: {body[:500]!r}"))

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._http.close()


def send_garbage(address: str, pieces: Sequence[bytes]) -> None:
    """Sends bytes on connections of their own, whatever the server does with them."""
    host, port = address.rsplit(":", 1)
    for piece in pieces:
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT) as connection:
            connection.sendall(piece)
