"""`--workers`: several server processes behind one port, and their supervisor."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import grpc
import psutil
import pytest
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.client.prediction_client import PredictionClient
from serving.server.process import ServerProcess
from serving.wire.errors import ServerError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

WORKERS = ["--workers=2"]


def listening(pids, port):
    """Those of the processes that listen on the port."""
    listeners = []
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections(kind="tcp")
        except psutil.Error:  # ended meanwhile
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
            listeners.append(pid)
    return listeners


def children(pid):
    return [child.pid for child in psutil.Process(pid).children()]


def answer(address):
    with PredictionClient(address, "tiny", timeout=10) as client:
        return client.predict("", {"x": [0.0]})["y"].tolist()


@pytest.mark.slow
def test_two_workers_share_a_port_one_that_died_is_replaced_and_none_is_left_behind(publish, start):
    with ServerProcess(publish(1), "tiny", arguments=WORKERS) as server:
        assert server.readiness == f"serving tiny version 1 on {server.address} (gRPC), 2 workers"
        port = int(server.address.rsplit(":")[1])
        first, second = children(server.pid)
        assert listening([server.pid, first, second], port) == [first, second]
        assert answer(server.address) == [1.0]

        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(
                model_management_pb2.ReloadConfigRequest(), timeout=5
            )
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "--model_config_file" in caught.value.details()

        # Neither a server of one process nor other workers may join them.
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            start(publish(2), f"--port={port}")
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            ServerProcess(publish(3), "tiny", port=port, arguments=WORKERS).start()

        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(first))
        assert answer(server.address)[0] >= 1.0  # the other one's
        wait_until(lambda: len(listening(children(server.pid), port)) == 2)
        assert second in children(server.pid)
        replaced = children(server.pid)
        assert server.stop() == 0
        assert not [pid for pid in replaced if psutil.pid_exists(pid)]


@pytest.mark.slow
def test_rest_is_behind_one_port_too_which_no_other_server_shares(publish):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base_path, arguments = publish(1), [*WORKERS, f"--rest_api_port={port}"]
    with ServerProcess(base_path, "tiny", arguments=arguments) as server:
        assert server.readiness.endswith(f" and 127.0.0.1:{port} (REST), 2 workers")
        workers = children(server.pid)
        assert sorted(listening([server.pid, *workers], port)) == sorted(workers)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/tiny") as reply:
            assert b"AVAILABLE" in reply.read()
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            ServerProcess(base_path, "tiny", arguments=arguments).start()


@pytest.mark.slow
def test_workers_end_with_their_parent(publish):
    with ServerProcess(publish(1), "tiny", arguments=WORKERS) as server:
        workers = children(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not [pid for pid in workers if psutil.pid_exists(pid)])


def test_a_worker_that_cannot_start_ends_all_with_one_line(tmp_path):
    command = [sys.executable, "-m", "serving.server.main", f"--model_base_path={tmp_path / 'nowhere'}", "--port=0"]
    ended = subprocess.run([*command, *WORKERS], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert not ended.stdout
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("towers serve: ")]
    assert "cannot start: Failed to start server: 1 servable(s) did not become available" in line
    assert "there is no directory" in line


def test_a_worker_that_cannot_be_replaced_ends_the_others_only_when_none_is_left(tmp_path):
    """Scripts stand in for servers. The third and later ones cannot start; the second runs until four have tried."""
    worker = f"""
import os, pathlib, sys, time
for started in range(100):
    try:
        pathlib.Path({str(tmp_path)!r}, str(started)).touch(exist_ok=False)
        break
    except FileExistsError:
        pass
if started > 1:
    print("failure: the model is gone")
    sys.exit(1)
print("serving m on host:1 (gRPC)", flush=True)
if started == 0:
    time.sleep(1)
    sys.exit(3)
while len(os.listdir({str(tmp_path)!r})) < 6:
    time.sleep(0.05)
"""
    script = f"""
import sys
from serving.server.workers import supervisor
from serving.wire.errors import ServerError
supervisor._MAX_FAILED_RESTARTS, supervisor._MAX_PAUSE_SECONDS = 1, 0.1
tested = supervisor._Supervisor([], 2)
tested._command = [sys.executable, "-c", {worker!r}]
try:
    tested.run()
except ServerError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    ready, line = ended.stdout.splitlines()
    assert ready == "serving m on host:1 (gRPC), 2 workers"
    assert re.fullmatch(r"worker [12] cannot start again after 1 attempts: .*", line)
    assert len(list(tmp_path.iterdir())) >= 6


def test_a_stop_while_workers_load_ends_them(publish):
    command = [sys.executable, "-m", "serving.server.main", f"--model_base_path={publish(1)}", "--port=0"]
    parent = subprocess.Popen([*command, *WORKERS], stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
    wait_until(lambda: len(children(parent.pid)) == 2)
    workers = children(parent.pid)
    parent.send_signal(signal.SIGINT)
    output, _ = parent.communicate(timeout=40)
    assert (parent.returncode, output) == (0, b"")
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
