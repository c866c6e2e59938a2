"""Reserves a port that several processes will share."""

import socket

from serving.wire.api import host_port
from serving.wire.errors import ServerError


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that keeps the port reserved for processes that listen on it with SO_REUSEPORT. Port 0 takes a free one.

    The socket itself does not listen, so it gets no connections.

    Raises:
        ServerError: another program listens on the port, even if that program uses SO_REUSEPORT.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:  # without SO_REUSEPORT, so it fails where a program listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = (host, probe.getsockname()[1], *address[2:])
        reserved = socket.socket(family, kind)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise ServerError(f"cannot listen on {host_port(host, port)}: {error.strerror or error}") from None
    return reserved
