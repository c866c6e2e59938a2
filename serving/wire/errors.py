"""Errors of server and client. Neither may import `trainer`, and so neither can use its errors."""


class ServingError(Exception):
    """A call failed.

    Attributes:
        code: the gRPC status code's name, such as `INVALID_ARGUMENT` or `DEADLINE_EXCEEDED`; also for errors that the
            client raises itself, before it calls the server.
        message: one line that says what is wrong.
    """

    exit_code = 1

    def __init__(self, code: str, message: str):
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.message = message


def invalid_argument(message: str) -> ServingError:
    """An error that the client raises before it calls the server: an argument is wrong."""
    return ServingError("INVALID_ARGUMENT", message)


class ServerError(Exception):
    """The server cannot start or continue. The message is one line: what, where, what to do."""

    exit_code = 1


class ServerUsageError(ServerError):
    """A flag is wrong; the server was not started. Exit code 2."""

    exit_code = 2
