"""Times, converted to integers that sort: microseconds since 1970-01-01 UTC, or an order number as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from tfx_pipeline.ingest.quarantine_reasons import TIME_OUT_OF_RANGE, UNPARSABLE_TIME, BrokenRowError

MICROSECONDS = 1_000_000  # in a second
# The largest time in 64-bit nanoseconds (2262). A later one is most often milliseconds declared as seconds.
MAX_TIME = 9_223_372_036 * MICROSECONDS
_MAX_ORDER = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ISO8601 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s?(?:([Zz])|([+-])(\d\d):?(\d\d)?)", re.ASCII
)


class Microseconds(int):
    """A time that a typed column (Parquet's timestamp) has already converted: microseconds since 1970-01-01 UTC."""


def time_parser(time_format: str) -> Callable[[Any], int]:
    """A function from a cell to an integer.

    For `epoch_seconds`, `epoch_milliseconds` and `iso8601` the integer is microseconds since 1970-01-01 UTC; times
    before 1970 or after 2262 are out of range. For `order` it is the number itself. ISO 8601 needs an offset or `Z`;
    a typed timestamp without a time zone is UTC.

    The function raises `BrokenRowError` with the reason `unparsable time` or `time out of range`.
    """
    return {
        "epoch_seconds": _epoch_parser(MICROSECONDS),
        "epoch_milliseconds": _epoch_parser(MICROSECONDS // 1000),
        "iso8601": _parse_iso8601,
        "order": _parse_order,
    }[time_format]


def to_seconds(time: int, time_format: str) -> int:
    """The value of the `timestamp` feature: whole epoch seconds, or the order number."""
    return time if time_format == "order" else time // MICROSECONDS


def _epoch_parser(microseconds: int) -> Callable[[Any], int]:
    """The parser of a number whose unit is so many microseconds."""
    maximum = MAX_TIME // microseconds

    def parse(value: Any) -> int:
        number = _number(value)
        if not 0 <= number < maximum:  # before the multiplication: a decimal may be too large for it
            raise BrokenRowError(TIME_OUT_OF_RANGE)
        return int(number * microseconds)

    return parse


def _parse_order(value: Any) -> int:
    number = _number(value)
    if not -_MAX_ORDER <= number <= _MAX_ORDER:
        raise BrokenRowError(TIME_OUT_OF_RANGE)
    if number != int(number):
        raise BrokenRowError(UNPARSABLE_TIME)
    return int(number)


def _number(value: Any) -> int | Decimal:
    if type(value) is int:
        return value
    if type(value) is str and "_" not in value:  # `int` accepts digit groups ("1_000"), which no table means
        try:
            return int(value)
        except ValueError:
            pass
    return _decimal(value)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, (bool, Microseconds)) or not isinstance(value, (str, int, float, Decimal)):
        raise BrokenRowError(UNPARSABLE_TIME)
    text = str(value).strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BrokenRowError(UNPARSABLE_TIME) from None
    if "_" in text or not number.is_finite():
        raise BrokenRowError(UNPARSABLE_TIME)
    return number


def _parse_iso8601(value: Any) -> int:
    if type(value) is Microseconds:
        time = int(value)
    elif type(value) is str:
        time = _microseconds(_parse_datetime(value))
    else:
        raise BrokenRowError(UNPARSABLE_TIME)
    if not 0 <= time < MAX_TIME:
        raise BrokenRowError(TIME_OUT_OF_RANGE)
    return time


def _parse_datetime(value: str) -> datetime:
    """`fromisoformat` takes a quarter of the time of `_match_iso8601`, but does not know `Z` and all fractions."""
    if value[10:11] not in "T t":
        return _match_iso8601(value)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return _match_iso8601(value)


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise BrokenRowError(UNPARSABLE_TIME)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds


def _match_iso8601(value: str) -> datetime:
    match = _ISO8601.fullmatch(value.strip())
    if match is None:
        raise BrokenRowError(UNPARSABLE_TIME)
    date, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    microseconds = int(f"{fraction or '0':0<6.6}")
    try:
        day = datetime.fromisoformat(date)
        return day.replace(
            hour=int(hour),
            minute=int(minute),
            second=int(second or 0),
            microsecond=microseconds,
            tzinfo=timezone(-offset if sign == "-" else offset),
        )
    except ValueError:
        raise BrokenRowError(UNPARSABLE_TIME) from None
