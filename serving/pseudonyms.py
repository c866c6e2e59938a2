"""Pseudonyms for user and item ids: HMAC-SHA-256 under a key that only its owner knows.

Ingestion writes pseudonyms in place of ids. Clients of the served model apply the same function to the ids they send.
This module needs only the standard library, because clients import it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

MINIMUM_KEY_BYTES = 16


class PseudonymKeyError(ValueError):
    """The key cannot be read or is too short. The message says what to do and never contains the key."""


def pseudonym(key: bytes, id: str) -> str:
    """The pseudonym of an id: 43 characters of URL-safe base64 (256 bits, no padding).

    Source: RFC 2104 (HMAC), RFC 4648 section 5 (alphabet).
    """
    digest = hmac.digest(key, id.encode("utf-8"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def read_key(key_env: str | None = None, key_file: str | None = None) -> bytes:
    """Reads the key from an environment variable or a file; surrounding white space is removed.

    Raises:
      PseudonymKeyError: not exactly one argument is set, the variable or file is missing, or the key has fewer than 16
        bytes. With a few known ids, short keys could be guessed.
    """
    if (key_env is None) == (key_file is None):
        raise PseudonymKeyError("exactly one of `key_env` and `key_file` should be given")
    if key_env is not None:
        place = f"environment variable {key_env}"
        value = os.environ.get(key_env)
        if value is None:
            raise PseudonymKeyError(f"{place}, which holds the key for pseudonyms, is not set. Set it, then try again.")
        key = value.encode("utf-8")
    else:
        assert key_file is not None
        place = f"key file {key_file}"
        try:
            with open(key_file, "rb") as file:
                key = file.read()
        except OSError as error:
            raise PseudonymKeyError(f"{place} cannot be read ({error.strerror}). Check `pseudonymise`.") from None
    key = key.strip()
    if len(key) < MINIMUM_KEY_BYTES:
        raise PseudonymKeyError(
            f"{place} should hold at least {MINIMUM_KEY_BYTES} bytes (for one: `openssl rand -hex 32`). "
            f"Received: {len(key)} bytes"
        )
    return key
