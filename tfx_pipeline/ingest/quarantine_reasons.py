"""Reasons why a row is quarantined, or corrected and used. The strings are part of the output's format."""

from __future__ import annotations

MISSING_USER_ID = "missing user id"
MISSING_ITEM_ID = "missing item id"
CONTROL_CHARACTER = "control character in an id"
ID_TOO_LONG = "id too long"
ID_NOT_SCALAR = "id is neither a string nor a number"
UNPARSABLE_TIME = "unparsable time"
TIME_OUT_OF_RANGE = "time out of range"
UNPARSABLE_RATING = "unparsable rating"
WRONG_NUMBER_OF_FIELDS = "wrong number of fields"
UNCLOSED_QUOTE = "unclosed quote"
FIELD_TOO_LONG = "field longer than 16 MiB"
INVALID_UTF8 = "invalid UTF-8"
INVALID_JSON = "invalid JSON"
DUPLICATE_USER = "duplicate user"
DUPLICATE_ITEM = "duplicate item"

# Notes: the row is used, or left out on purpose.
TEXT_CUT = "text cut to 100,000 characters"
UNPARSABLE_NUMBER = "unparsable number taken as missing"
UNPARSABLE_VECTOR = "unparsable vector taken as missing"
REPEATED_PAIR = "repeated (user, item) pair left out"
REPEATED_ITEM = "further row of an item left out"
USER_WITHOUT_EVENTS = "user without events left out"


class BrokenRowError(Exception):
    """A row cannot be used. `reason` is one of the reasons above."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
