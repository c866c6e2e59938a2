"""Converts the caller's ids into the model's ids, which may be pseudonyms, and back."""

from collections.abc import Iterable

from serving.client.requests import check_strings
from serving.pseudonyms import PseudonymKeyError, pseudonym, read_key
from serving.wire.errors import ServingError


class Identifiers:
    """Replaces ids by pseudonyms if there is a key; without one, ids stay as they are.

    Args:
        key_env: environment variable that holds the key.
        key_file: file that holds the key.
        known_item_ids: the caller's item ids; answers return these ids in place of their pseudonyms.
    """

    def __init__(self, key_env: str | None, key_file: str | None, known_item_ids: Iterable[str]) -> None:
        self._key: bytes | None = None
        if key_env is not None or key_file is not None:
            try:
                self._key = read_key(key_env, key_file)
            except PseudonymKeyError as error:
                raise ServingError("FAILED_PRECONDITION", str(error)) from None
        known = check_strings("known_item_ids", known_item_ids)
        self._known = {self.model_id(item_id): item_id for item_id in known} if self._key else {}

    def model_id(self, identifier: str) -> str:
        """The model's id for the caller's id. "" means no id and stays as it is."""
        return pseudonym(self._key, identifier) if self._key is not None and identifier else identifier

    def caller_id(self, identifier: str) -> str:
        """The caller's id for the model's id, if it belongs to a known item; otherwise the model's id."""
        return self._known.get(identifier, identifier)
