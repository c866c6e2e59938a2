"""Errors a person can act on. The command line prints their one line and no traceback."""


class TowersError(Exception):
    """Something the user can put right. Its message is one line: what, where, what to do."""

    exit_code = 1


class UsageError(TowersError):
    """The command or its configuration is wrong: nothing was started. Exit code 2."""

    exit_code = 2
