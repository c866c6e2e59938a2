"""Settings of a client's connection: TLS, keep-alive and gRPC's channel options."""

import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath

import grpc

from serving.wire.api import MESSAGE_SIZE_OPTIONS
from serving.wire.errors import ServingError, invalid_argument

_OPTIONS = (
    *MESSAGE_SIZE_OPTIONS,
    ("grpc.enable_http_proxy", 0),  # model servers are in the same network as their clients
    # Between two attempts to connect, calls fail at once. gRPC's default for this pause grows from one second to two
    # minutes. Until the pause was over, a server that is available again would not be used and all retries would fail.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

Options = list[tuple[str, int | str]]


@dataclass(frozen=True)
class Tls:
    """TLS with PEM files; with `private_key` and `certificate_chain`, mutual TLS.

    Attributes:
        root_certificates: certificates of the authorities that sign servers' certificates; by default gRPC's own list.
        private_key: the client's private key, not encrypted.
        certificate_chain: the client's certificate and those of its issuers.
        server_name: the name in the server's certificate, if that is not the host of the address.
    """

    root_certificates: str | PathLike[str] | None = None
    private_key: str | PathLike[str] | None = None
    certificate_chain: str | PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            present, missing = "private_key", "certificate_chain"
            if self.private_key is None:
                present, missing = missing, present
            raise invalid_argument(f"`{present}` needs `{missing}`: mutual TLS takes both")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            ServingError: FAILED_PRECONDITION: a file, which the message names, cannot be read or is not the expected
                kind of PEM file, or key and certificate do not belong together. gRPC itself would report only that it
                cannot connect.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.root_certificates is not None:
            roots = fspath(self.root_certificates)
            _check(roots, "no PEM file of certificates", lambda: context.load_verify_locations(roots))
        if self.private_key is not None and self.certificate_chain is not None:
            key, chain = fspath(self.private_key), fspath(self.certificate_chain)
            _read(key)  # first, so that a missing key file is reported before key and certificate are compared
            _check(chain, "no PEM file of certificates", lambda: context.load_verify_locations(chain))
            _check(
                key,
                f"no PEM file of a private key, is encrypted, or does not belong to {chain}",
                lambda: context.load_cert_chain(chain, key, password=lambda: b""),
            )
        return grpc.ssl_channel_credentials(
            _read(self.root_certificates), _read(self.private_key), _read(self.certificate_chain)
        )


@dataclass(frozen=True)
class KeepAlive:
    """Pings that detect a dead connection.

    A gRPC server closes connections that ping more often than it permits. By default, as in TensorFlow Serving and the
    embedded server, gRPC permits a ping every 5 minutes while a call runs, and every 2 hours while none runs.

    Attributes:
        interval: seconds between two pings.
        timeout: the connection is closed if a ping, or data, is not acknowledged for this many seconds.
        without_calls: also ping while no call runs. Use it with a server that permits it, if a proxy or firewall drops
            idle connections.
    """

    interval: float = 300.0
    timeout: float = 20.0
    without_calls: bool = False

    def __post_init__(self) -> None:
        for name in ("interval", "timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise invalid_argument(f"`{name}` should be positive seconds. Received: `{name}={seconds!r}`")

    def options(self) -> Options:
        options: Options = [
            ("grpc.keepalive_time_ms", _milliseconds(self.interval)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.timeout)),
        ]
        if self.without_calls:
            options += [("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
        return options


DEFAULT_KEEP_ALIVE = KeepAlive()


def channel_options(tls: Tls | None, keep_alive: KeepAlive) -> Options:
    """Options for a channel of `grpc` or `grpc.aio`."""
    options: Options = [*_OPTIONS, *keep_alive.options()]
    if tls is not None and tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def _milliseconds(seconds: float) -> int:
    return min(max(1, round(1000 * seconds)), 2**31 - 1)


def _check(path: str, problem: str, load: Callable[[], None]) -> None:
    _read(path)
    try:
        load()
    except (ssl.SSLError, ValueError):
        raise ServingError("FAILED_PRECONDITION", f"{path} is {problem}") from None


def _read(path: str | PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ServingError("FAILED_PRECONDITION", f"{fspath(path)} cannot be read ({error.strerror})") from None
