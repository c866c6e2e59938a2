"""Errors of the half that runs beside the model server: it imports neither trainer nor TFX, so it has its own."""


class ServingError(Exception):
    """A call that was not answered as asked.

    Attributes:
        code: the gRPC status code's name, such as `INVALID_ARGUMENT` or `DEADLINE_EXCEEDED`. The client uses the same
            codes for what it refuses by itself before it calls.
        message: one line that says what is wrong.
    """

    exit_code = 1

    def __init__(self, code: str, message: str):
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.message = message


def refused(message: str) -> ServingError:
    """What a client refuses by itself: what it was given cannot be sent."""
    return ServingError("INVALID_ARGUMENT", message)


class ServerError(Exception):
    """The server cannot start or go on. Its message is one line: what, where, what to do."""

    exit_code = 1


class ServerUsageError(ServerError):
    """A wrong flag: nothing was started. Exit code 2."""

    exit_code = 2
