"""Errors that a caller receives: a gRPC status code and a message."""

import grpc

_MESSAGE_LIMIT = 1024  # characters, as in TensorFlow Serving
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """A status other than OK. A long `message` is cut, as TensorFlow Serving does."""

    def __init__(self, code: grpc.StatusCode, message: str):
        if len(message) > _MESSAGE_LIMIT:
            message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_found(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, message)


def unavailable(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.UNAVAILABLE, message)


def resource_exhausted(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def deadline_passed() -> RequestError:
    return RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed before the call was run.")


def unimplemented(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.UNIMPLEMENTED, message)


def from_runtime_error(error: Exception, action: str = "") -> RequestError:
    """The status of a `tf.errors.OpError`: TensorFlow's error codes are gRPC's.

    Args:
        action: the failed action. The message is then one line that begins with it; otherwise it stays as it is.
    """
    code = _CODES.get(getattr(error, "error_code", grpc.StatusCode.UNKNOWN.value[0]), grpc.StatusCode.UNKNOWN)
    message = str(getattr(error, "message", error))
    return RequestError(code, f"{action}: {' '.join(message.split())}" if action else message)
