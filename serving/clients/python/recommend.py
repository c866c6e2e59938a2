"""Prints recommendations of a served model. Needs grpcio and protobuf, no TensorFlow.

Usage: python recommend.py ADDRESS MODEL USER [ITEM ...]
"""

import sys

import grpc

import predict_pb2 as api

SERVICE = "/tensorflow.serving.PredictionService"
TIMEOUT = 5.0  # seconds


def recommend(channel: grpc.Channel, model: str, user: str, history: list[str]) -> list[tuple[str, float]]:
    """Item ids and scores for a user, best first. `history` holds the ids of the user's items, oldest first."""
    spec = api.ModelSpec(name=model, signature_name="recommend")
    request = api.PredictRequest(model_spec=spec)
    # Further inputs, such as `query_text`, can be added here: for one user, a list of one value or of one an event.
    values = {"user_id": [user], "history_item_id": history}
    # A request should hold every input of the signature. Those without a value are filled with zeros or "".
    for name, info in signature_inputs(channel, model).items():
        tensor = request.inputs[name]
        tensor.dtype = info.dtype
        for size in shape(name, len(info.tensor_shape.dim), len(history)):
            tensor.tensor_shape.dim.add(size=size)
        tensor.string_val.extend(value.encode("utf-8") for value in values.get(name, []))
    outputs = call(channel, "Predict", request, api.PredictResponse).outputs
    # The list is padded with "" if fewer items are allowed than the model returns.
    rows = zip(outputs["item_id"].string_val, outputs["score"].float_val, strict=True)
    return [(item_id.decode("utf-8"), score) for item_id, score in rows if item_id]


def signature_inputs(channel: grpc.Channel, model: str) -> dict[str, api.TensorInfo]:
    """Name -> type and shape of the inputs of `recommend`. They can change only with the version of the model."""
    request = api.GetModelMetadataRequest(model_spec=api.ModelSpec(name=model), metadata_field=["signature_def"])
    response = call(channel, "GetModelMetadata", request, api.GetModelMetadataResponse)
    return dict(response.metadata["signature_def"].value.signature_def["recommend"].inputs)


def shape(name: str, rank: int, events: int) -> list[int]:
    """The shape of an input for one user: one value, or a list. Lists `history_*` have a value for each event."""
    return [1] + [events if name.startswith("history_") else 0] * (rank - 1)


def call(channel: grpc.Channel, method: str, request, response_type):
    """Calls a method of the service; raises grpc.RpcError with the server's code and message."""
    stub = channel.unary_unary(f"{SERVICE}/{method}", type(request).SerializeToString, response_type.FromString)
    return stub(request, timeout=TIMEOUT)


def main() -> None:
    address, model, user, *history = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        for item_id, score in recommend(channel, model, user, history):
            print(f"{item_id}\t{score:.6f}")


if __name__ == "__main__":
    main()
