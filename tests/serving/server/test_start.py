"""What is seen of a server from outside while models are being loaded."""

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.serving.server.models.test_models import Client, config, entry
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_ports_open_only_after_the_first_loads(publish, start, blocked_loads):
    ports = [free_port(), free_port()]
    base_path = publish(1)
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(start, base_path, f"--port={ports[0]}", f"--rest_api_port={ports[1]}")
        blocked_loads.wait_for_begin()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10)
        blocked_loads.release()
        server = starting.result()
    assert (server.address, server.rest.address) == tuple(f"127.0.0.1:{port}" for port in ports)
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_a_version_goes_through_every_state_while_the_others_answer(tmp_path, publish, start, blocked_loads):
    for version in (1, 2, 3):
        base_path = publish(version)
    path = tmp_path / "models.config"
    path.write_text(config(entry("m", base_path, "specific { versions: 1 }")))
    blocked_loads.release()
    server = start(None, f"--model_config_file={path}")
    blocked_loads.wait_for_begin()
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(1) as threads:
        client = Client(channel)
        reloading = threads.submit(client.reload, config(entry("m", base_path, "latest { num_versions: 2 }")))
        blocked_loads.wait_for_begin()
        assert list(client.states("m").items()) == [(3, "LOADING"), (2, "START"), (1, "AVAILABLE")]
        assert client.predict("m") == (1, 1)
        blocked_loads.release()
        blocked_loads.wait_for_begin()
        assert client.states("m") == {3: "AVAILABLE", 2: "LOADING", 1: "AVAILABLE"}
        assert client.predict("m") == (3, 3)
        assert not reloading.done()
        with server.core.models["m"].acquire(1):
            blocked_loads.release()
            wait_until(lambda: client.states("m") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "UNLOADING"})
        wait_until(lambda: client.states("m") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"})
        reloading.result()
