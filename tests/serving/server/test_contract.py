"""Predict, GetModelMetadata and GetModelStatus as TensorFlow Serving has them, over the wire, by the original stubs.

Other rows of its contract are in the tests beside this one: versions, labels and HandleReloadConfigRequest in
`test_models`, the states of a version and the start in `test_start`, changes on disk in `test_swap`, and so on; REST in
`rest/test_curl`.
"""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.support.waiting import wait_until

FLOATS = np.array([1.0, 2.0], np.float32)


@pytest.fixture(scope="module")
def server(tiny_models, start):
    return start(tiny_models(3).parent)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_stub(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(signature="", output_filter=(), model="tiny", version=None, label=None, **inputs):
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.SetInParent()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def refused(method, request, **arguments):
    """(code, message) of the status a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=10, **arguments)
    return caught.value.code().name, caught.value.details()


# Predict: which model


def test_no_model_spec(stub):
    assert refused(stub.Predict, predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_empty_name(stub):
    code, message = refused(stub.Predict, predict_request(model="", x=FLOATS))
    assert (code, message) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_unknown_model(stub):
    code, message = refused(stub.Predict, predict_request(model="other", x=FLOATS))
    assert (code, message) == ("NOT_FOUND", "Servable not found for request: Latest(other)")


@pytest.mark.parametrize("model", ["tiny", "other"])
def test_unknown_version(stub, model):
    code, message = refused(stub.Predict, predict_request(model=model, version=7, x=FLOATS))
    assert (code, message) == ("NOT_FOUND", f"Servable not found for request: Specific({model}, 7)")


def test_unknown_label(stub):
    code, message = refused(stub.Predict, predict_request(label="canary", x=FLOATS))
    assert (code, message) == ("INVALID_ARGUMENT", "Unrecognized servable version label: canary")


def test_unknown_signature(stub):
    code, message = refused(stub.Predict, predict_request("nope", x=FLOATS))
    assert (code, message) == ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')


def test_the_loaders_own_signature_cannot_be_called(stub):
    assert refused(stub.Predict, predict_request("__saved_model_init_op"))[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("signature", ["", "serving_default"])
@pytest.mark.parametrize("version", [None, 3])
def test_answer_names_model_signature_and_version(stub, signature, version):
    response = stub.Predict(predict_request(signature, version=version, x=FLOATS), timeout=10)
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("tiny", "serving_default", 3)
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.5, 4.0]


# Predict: inputs


def test_wrong_number_of_inputs(stub):
    code, message = refused(stub.Predict, predict_request("two", a=FLOATS))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."
    )


def test_an_input_too_many(stub):
    code, message = refused(stub.Predict, predict_request(x=FLOATS, z=FLOATS, y=FLOATS))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 3!=1 len({x,y,z}) != len({x}). Sent extra: {y,z}. Missing but required:"
        " {}."
    )


def test_wrong_name(stub):
    code, message = refused(stub.Predict, predict_request("two", a=FLOATS, c=FLOATS))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "Signature input alias: b(feed name: two_b:0) not found in request and no default value provided. Inputs"
        " expected to be in the request {a,c}, or default input alias set: "
    )


def test_broken_tensor(stub):
    request = predict_request(x=FLOATS)
    request.inputs["x"].tensor_content = b"123"
    assert refused(stub.Predict, request) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_a_tensor_of_a_thousand_billion_values_in_a_few_bytes(stub):
    request = predict_request(x=1.0)
    request.inputs["x"].tensor_shape.dim.add().size = 10**12
    assert refused(stub.Predict, request) == ("INVALID_ARGUMENT", "tensor parsing error: x")


@pytest.mark.parametrize(
    ("value", "received"), [(np.array([b"1"], object), "string"), (np.array([1]), "int64"), (np.array([1.0]), "double")]
)
def test_wrong_dtype(stub, value, received):
    code, message = refused(stub.Predict, predict_request(x=value))
    assert code == "INVALID_ARGUMENT"
    assert message == f"Expects arg[0] to be float but {received} is provided (input x)"


@pytest.mark.parametrize("value", [np.float32(1), np.ones([1, 1], np.float32)])
def test_wrong_rank_names_the_input(stub, value):
    code, message = refused(stub.Predict, predict_request(x=value))
    assert code == "INVALID_ARGUMENT"
    assert "Input x " in message


def test_wrong_fixed_size(stub):
    code, message = refused(stub.Predict, predict_request("two", a=FLOATS, b=np.ones([1, 3], np.int64)))
    assert code == "INVALID_ARGUMENT"
    assert "Input b " in message


def test_empty_batch(stub):
    response = stub.Predict(predict_request(x=np.zeros([0], np.float32)), timeout=10)
    assert tf.make_ndarray(response.outputs["y"]).shape == (0,)


def test_bytes_that_are_no_request(channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, message = refused(call, b"\xff\xff\xff")
    assert code == "INVALID_ARGUMENT"
    assert "PredictRequest" in message


# Predict: outputs


def test_output_filter(stub):
    request = predict_request("two", ["sum"], a=FLOATS, b=np.ones([1, 2], np.int64))
    response = stub.Predict(request, timeout=10)
    assert list(response.outputs) == ["sum"]
    assert response.outputs["sum"].float_val == [3.0]


def test_unknown_output(stub):
    request = predict_request("two", ["nope"], a=FLOATS, b=np.ones([1, 2], np.int64))
    assert refused(stub.Predict, request) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: nope Outputs expected to be in the set {flags,sum,twice}.",
    )


def test_repeated_output(stub):
    request = predict_request("two", ["sum", "sum"], a=FLOATS, b=np.ones([1, 2], np.int64))
    assert refused(stub.Predict, request) == ("INVALID_ARGUMENT", "duplicate output tensor alias: sum")


def test_answers_are_typed_fields(stub):
    outputs = stub.Predict(predict_request("two", a=FLOATS, b=np.ones([2, 2], np.int64)), timeout=10).outputs
    assert list(outputs["twice"].int64_val) == [2, 2, 2, 2]
    assert list(outputs["flags"].bool_val) == [True, True]
    assert [dim.size for dim in outputs["twice"].tensor_shape.dim] == [2, 2]
    assert not any(tensor.tensor_content for tensor in outputs.values())


def test_strings_go_through_as_bytes(stub):
    texts = np.array([["读书", "", "a\x00b"]], object)
    request = predict_request("echo", text=texts)
    request.inputs["text"].string_val.append(b"surplus")
    outputs = stub.Predict(request, timeout=10).outputs
    assert list(outputs["text"].string_val) == ["读书".encode(), b"", b"a\x00b"]
    assert list(outputs["bytes"].int_val) == [6, 0, 3]


# Errors of the graph, and deadlines


def test_error_of_the_graph_keeps_its_code_and_is_cut(stub):
    code, message = refused(stub.Predict, predict_request("refuse", message=np.array([b"m" * 2000], object)))
    assert code == "INVALID_ARGUMENT"
    assert "m" * 900 in message
    assert len(message) == 1024 + len("...TRUNCATED")


def test_error_of_the_graph_that_quotes_bytes_which_are_no_text(stub):
    code, message = refused(stub.Predict, predict_request("refuse", message=np.array([b"half \xe4\xbd"], object)))
    assert code == "INVALID_ARGUMENT"
    assert r"half \xe4\xbd" in message


def test_deadline_cancels_the_run_and_the_next_call_is_answered(stub, server):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(predict_request("slow", steps=np.int32(10**8)), timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    model = server.core.models["tiny"]
    with model.acquire() as servable:
        # Ours is the other one. The run by itself would take much longer.
        wait_until(lambda: servable.users == 1, 5, lambda: "the run was not cancelled")
    assert stub.Predict(predict_request(x=FLOATS), timeout=10).model_spec.version.value == 3


@pytest.mark.parametrize("timeout", [None, 3600.0, 1e9])
def test_a_call_without_a_deadline_or_with_a_far_one(stub, timeout):
    assert stub.Predict(predict_request(x=FLOATS), timeout=timeout).model_spec.version.value == 3


def test_server_says_that_the_deadline_passed(server):
    from serving.server.request_errors import RequestError
    from serving.server.runtime.predict import predict

    with server.core.models["tiny"].acquire() as servable, pytest.raises(RequestError) as caught:
        predict(servable, predict_request("slow", steps=np.int32(10**8)), timeout_ms=100)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED


# GetModelMetadata


def metadata_request(fields=("signature_def",), model="tiny", version=None):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


def test_metadata(stub):
    response = stub.GetModelMetadata(metadata_request(), timeout=10)
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", 3)
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert {"serving_default", "two", "__saved_model_init_op"} <= set(signatures.signature_def)
    assert signatures.signature_def["two"].inputs["b"].dtype == tf.int64.as_datatype_enum


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]), "Missing ModelSpec"),
        (metadata_request([]), "GetModelMetadataRequest must specify at least one metadata_field"),
        (metadata_request(["assets"]), "Metadata field assets is not supported"),
        (metadata_request(["signature_def", "assets"]), "Metadata field assets is not supported"),
    ],
)
def test_metadata_refusals(stub, request_, expected):
    assert refused(stub.GetModelMetadata, request_) == ("INVALID_ARGUMENT", expected)


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("tiny", 9, ("NOT_FOUND", "Servable not found for request: Specific(tiny, 9)")),
        ("m", None, ("NOT_FOUND", "Servable not found for request: Latest(m)")),
        ("", None, ("INVALID_ARGUMENT", "ModelSpec has no name specified.")),
    ],
)
def test_metadata_of_what_is_not_there(stub, model, version, expected):
    assert refused(stub.GetModelMetadata, metadata_request(model=model, version=version)) == expected


# GetModelStatus


def status_request(model="tiny", version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


@pytest.mark.parametrize("version", [None, 3])
def test_status(model_stub, version):
    response = model_stub.GetModelStatus(status_request(version=version), timeout=10)
    (entry,) = response.model_version_status
    assert (entry.version, entry.state) == (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert entry.status.error_code == 0


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), ("INVALID_ARGUMENT", "Missing ModelSpec")),
        (status_request("m"), ("NOT_FOUND", "Could not find any versions of model m")),
        (status_request("m", 9), ("NOT_FOUND", "Could not find version 9 of model m")),
        (status_request("tiny", 9), ("NOT_FOUND", "Could not find version 9 of model tiny")),
    ],
)
def test_status_refusals(model_stub, request_, expected):
    assert refused(model_stub.GetModelStatus, request_) == expected


# What it does not have


def test_other_methods_are_unimplemented(stub):
    for method, request in [
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.Regress, regression_pb2.RegressionRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ]:
        code, message = refused(method, request)
        assert code == "UNIMPLEMENTED"
        assert message.endswith(".")
