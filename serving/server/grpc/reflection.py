"""gRPC's server reflection (grpc.reflection.v1alpha): describes the services to tools such as grpcurl."""

import grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

_FILES = (prediction_service_pb2, model_service_pb2)


def enable_reflection(server: grpc.Server) -> None:
    """Describes PredictionService and ModelService. The health service is left out: health-check tools know it."""
    names = [service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
