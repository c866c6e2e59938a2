"""Random and mutated requests: a clear refusal or an answer, and a server that goes on."""

import numpy as np
import pytest

from serving.client.prediction_client import PredictionClient
from tests.serving import exported
from tests.serving.fuzz import Fuzzer
from tests.serving.fuzz_target import Target
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

SEED = 4
REQUESTS = 400
ENDLESS = {"slow", "slow_rows"}  # run as long as their input says


@pytest.fixture(scope="module", params=["tiny", "recommender", "recommender, batched"])
def target(request, start):
    base_path = (
        request.getfixturevalue("tiny_models")(1).parent
        if request.param == "tiny"
        else request.getfixturevalue("recommender")
    )
    server = start(base_path, f"--rest_api_port={free_port()}", f"--enable_batching={'batched' in request.param}")
    with Target(server.address, server.rest.address) as target, PredictionClient(server.address, "tiny", 20) as client:
        target.client = client
        yield target


def test_every_request_is_answered_or_refused_and_the_server_goes_on(target):
    signatures = target.client.metadata().signatures
    fuzzed = {key: spec for key, spec in signatures.items() if key not in ENDLESS}
    before = answer(target.client, signatures)
    target.fuzz(Fuzzer("tiny", fuzzed, SEED, largest_text=20_000, largest_batch=100), REQUESTS)
    assert target.wrong == []
    # The requests reach what they should: some are answered, most of them refused.
    assert sum(target.outcomes.values()) == REQUESTS
    assert min(target.outcomes["OK"], target.outcomes["HTTP 200"]) > REQUESTS // 50
    assert target.outcomes["INVALID_ARGUMENT"] > REQUESTS // 10
    assert target.outcomes["HTTP 400"] > REQUESTS // 10
    for name, value in answer(target.client, signatures).items():
        np.testing.assert_array_equal(value, before[name])


def answer(client, signatures):
    if "half_plus" in signatures or "two" in signatures:
        return client.predict("", {"x": [1.0, 2.0]})
    return client.predict("recommend", exported.request())
