"""A server that batches."""

import pytest

from serving.client.prediction_client import PredictionClient


@pytest.fixture(scope="module")
def batching_server(tmp_path_factory, tiny_models, start):
    """`batching_server("max_batch_size { value: 4 }")`: (server, client), one for each set of parameters."""
    made = {}

    def run(parameters):
        if parameters not in made:
            path = tmp_path_factory.mktemp("batching") / "batching.txt"
            path.write_text(parameters)
            server = start(tiny_models(3).parent, "--enable_batching", f"--batching_parameters_file={path}")
            made[parameters] = (server, PredictionClient(server.address, "tiny", timeout=20))
        return made[parameters]

    yield run
    for _, client in made.values():
        client.close()
