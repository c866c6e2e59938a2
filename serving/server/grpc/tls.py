"""`--ssl_config_file`: TLS for gRPC, with or without verifying the clients' certificates."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from serving.server.text_format_file import read_message
from serving.wire.errors import ServerError
from serving.wire.protos.ssl_config_pb2 import SSLConfig


def server_credentials(path: Path) -> grpc.ServerCredentials:
    """The credentials in a text-format SSLConfig file. The file contains the PEM texts themselves, not paths.

    Raises:
        ServerError: the file cannot be read, a text is missing, or gRPC cannot use the key and certificates.
    """
    config = read_message(path, SSLConfig, secret=True)
    for name in ("server_key", "server_cert"):
        if not getattr(config, name):
            raise ServerError(f"{path}: `{name}` should be a PEM text. It is empty")
    if config.client_verify and not config.custom_ca:
        raise ServerError(f"{path}: `client_verify` needs `custom_ca`, the authority that signs clients' certificates")
    credentials = grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
    if not _usable(credentials):
        names = "`server_key`, `server_cert` or `custom_ca`" if config.custom_ca else "`server_key` or `server_cert`"
        raise ServerError(f"{path}: {names} is no PEM text, or key and certificate do not belong together")
    return credentials


def _usable(credentials: grpc.ServerCredentials) -> bool:
    """Whether gRPC can listen with the credentials, on a free port.

    With bad credentials, gRPC reports only that it cannot bind the port, as if the port were taken.
    """
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        try:
            return server.add_secure_port("127.0.0.1:0", credentials) != 0
        except RuntimeError:
            return False
        finally:
            server.stop(None)
