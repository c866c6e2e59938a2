"""What a call is answered with when it is not answered: a gRPC status code and a message."""

import grpc

_MESSAGE_LIMIT = 1024  # characters, as in TensorFlow Serving
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """A status other than OK. `message` is what the client reads, cut as TensorFlow Serving cuts it."""

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


def from_runtime_error(error: Exception, doing: str = "") -> RequestError:
    """The status of a `tf.errors.OpError`: TensorFlow's error codes are gRPC's.

    Args:
        doing: what failed, for a message of one line that begins with it; without, the message stays as it is.
    """
    code = _CODES.get(getattr(error, "error_code", grpc.StatusCode.UNKNOWN.value[0]), grpc.StatusCode.UNKNOWN)
    message = str(getattr(error, "message", error))
    return RequestError(code, f"{doing}: {' '.join(message.split())}" if doing else message)
