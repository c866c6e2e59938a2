"""The server as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.client.prediction_client import PredictionClient
from serving.server.process import ServerProcess
from serving.wire.errors import ServerError, ServingError

pytestmark = pytest.mark.slow


def test_serves_says_so_and_answers_what_is_in_flight_before_it_stops(publish):
    with ServerProcess(publish(1), "tiny") as server, PredictionClient(server.address, "tiny", timeout=30) as client:
        assert server.readiness == f"serving tiny version 1 on {server.address} (gRPC)"
        assert server.address.startswith("127.0.0.1:")
        assert client.predict("", {"x": [2.0]})["y"] == [2.0]

        began = time.monotonic()
        client.predict("slow", {"steps": 200})
        steps = int(200 * 2 / (time.monotonic() - began))  # about two seconds
        with ThreadPoolExecutor(1) as threads:
            in_flight = threads.submit(client.predict, "slow", {"steps": steps})
            time.sleep(0.5)
            os.kill(server.pid, signal.SIGTERM)
            assert in_flight.result()["trace"] == 200.0
        assert server.stop() == 0
        with pytest.raises(ServingError) as caught:
            client.predict("", {"x": [2.0]})
        assert caught.value.code == "UNAVAILABLE"
        assert server.address in caught.value.message


def test_a_failed_start_tells_why(tmp_path):
    with pytest.raises(ServerError, match=r"(?s)ended with exit code 2: .*--model_name"):
        ServerProcess(tmp_path, "").start()


def test_a_start_that_takes_too_long_is_ended(publish):
    server = ServerProcess(publish(1), timeout=0.2)
    with pytest.raises(ServerError, match=r"was not ready within 0.2 s"):
        server.start()
    assert server.returncode is not None


def test_wrong_usage_is_told_before_tensorflow_is_loaded():
    code = (
        "import sys\nfrom serving.server.main import main\n"
        "code = main(['--port', '0'])\nassert 'tensorflow' not in sys.modules\nsys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--model_base_path" in ended.stderr
