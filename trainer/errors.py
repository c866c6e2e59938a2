"""Errors that the user can correct. The command line prints their message, one line, without a traceback."""


class TowersError(Exception):
    """An error that the user can correct. Its message is one line: what, where, what to do."""

    exit_code = 1


class UsageError(TowersError):
    """The command or its configuration is wrong, and nothing was started. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error's message that is not blank; the name of the error's type if all lines are blank."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:limit]
