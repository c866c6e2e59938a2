"""The function from an id to its pseudonym, as the configuration says."""

from __future__ import annotations

from collections.abc import Callable

from serving.pseudonyms import PseudonymKeyError, pseudonym, read_key
from trainer.config import PseudonymiseConfig
from trainer.errors import UsageError


def pseudonymiser(config: PseudonymiseConfig | None) -> Callable[[str], str] | None:
    """The function from an id to its pseudonym; None without a configuration.

    The function holds the key: it must never become part of a pipeline's graph, which is sent and stored.

    Raises:
      PseudonymKeyError: the key cannot be read.
    """
    if config is None:
        return None
    key = read_key(config.key_env, config.key_file)
    return lambda id: pseudonym(key, id)


def checked_pseudonymiser(config: PseudonymiseConfig | None) -> Callable[[str], str] | None:
    """As `pseudonymiser`, for the process that the user started: without a key, the command was used wrongly.

    Raises:
      UsageError: the key cannot be read.
    """
    try:
        return pseudonymiser(config)
    except PseudonymKeyError as error:
        raise UsageError(str(error)) from None
