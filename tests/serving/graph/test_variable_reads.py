"""What a call reads of the model's variables costs it no copy of them."""

from collections import defaultdict

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_files import WARM_UP_REQUESTS

pytestmark = pytest.mark.slow


def requests_by_signature(directory):
    requests = defaultdict(list)
    for record in tf.data.TFRecordDataset(str(directory / WARM_UP_REQUESTS)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        requests[request.model_spec.signature_name].append(request)
    return requests


def allocating_reads(session, signature, request):
    """The reads of variables, in a run of one request, that took memory: those that copied."""
    feeds = {signature.inputs[name].name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    run_metadata = config_pb2.RunMetadata()
    session.run(
        [output.name for output in signature.outputs.values()],
        feeds,
        options=config_pb2.RunOptions(trace_level=config_pb2.RunOptions.FULL_TRACE),
        run_metadata=run_metadata,
    )
    nodes = [node for device in run_metadata.step_stats.dev_stats for node in device.node_stats]
    reads = [node for node in nodes if "ReadVariableOp(" in node.timeline_label]
    assert reads or signature.outputs.keys() == {"embedding"}
    return [node.node_name for node in reads if any(allocated.total_bytes for allocated in node.memory)]


@pytest.fixture(scope="module")
def loaded(recommender):
    from serving.server.runtime import custom_ops

    custom_ops.register()
    directory = recommender / "1"
    requests = requests_by_signature(directory)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(directory))
        yield session, meta_graph.signature_def, requests


def test_no_call_copies_a_variable(loaded):
    session, signatures, requests = loaded
    assert {"recommend", "retrieve", "rank", "similar_items"} <= requests.keys()
    copied = {}
    for _ in range(2):  # what one signature gathers from, another one copies from then on
        for key, of_signature in requests.items():
            names = {name for one in of_signature for name in allocating_reads(session, signatures[key], one)}
            copied[key] = sorted(names)
    assert copied == {key: [] for key in requests}
