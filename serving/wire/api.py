"""Names and limits of TensorFlow Serving's gRPC API."""

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
METADATA_FIELD = "signature_def"  # the only metadata field that GetModelMetadata supports

_MAX_MESSAGE_BYTES = 2**31 - 1
# Options for servers and channels: TensorFlow Serving's limit, in place of gRPC's limit of 4 MiB.
MESSAGE_SIZE_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)


def host_port(host: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
