"""Errors a person can act on. The command line prints their one line and no traceback."""


class TowersError(Exception):
    """Something the user can put right. Its message is one line: what, where, what to do."""

    exit_code = 1


class UsageError(TowersError):
    """The command or its configuration is wrong: nothing was started. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error's message that is not blank, or the error's type if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:limit]
