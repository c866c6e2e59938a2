"""Times as tables write them, to integers that sort: microseconds since 1970-01-01 UTC, or an order number as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from tfx_pipeline.ingest.quarantine_reasons import TIME_OUT_OF_RANGE, UNPARSABLE_TIME, BrokenRowError

MICROSECONDS = 1_000_000
# 64-bit nanoseconds since 1970 end in 2262; a number beyond it is most often milliseconds declared as seconds.
LATEST = 9_223_372_036 * MICROSECONDS
_LARGEST_ORDER = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ISO8601 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s?(?:([Zz])|([+-])(\d\d):?(\d\d)?)", re.ASCII
)


class Microseconds(int):
    """A time that a typed column (Parquet's timestamp) has already given, since 1970-01-01 UTC."""


def time_parser(time_format: str) -> Callable[[Any], int]:
    """A function from a cell to an integer.

    For `epoch_seconds`, `epoch_milliseconds` and `iso8601` the integer is microseconds since 1970-01-01 UTC, and times
    before 1970 or after 2262 are out of range. For `order` it is the number itself. ISO 8601 needs an offset or `Z`;
    a typed timestamp without a zone is UTC.

    The function raises `BrokenRowError` with the reason `unparsable time` or `time out of range`.
    """
    return {
        "epoch_seconds": _epoch(MICROSECONDS),
        "epoch_milliseconds": _epoch(1000),
        "iso8601": _iso8601,
        "order": _order,
    }[time_format]


def to_seconds(time: int, time_format: str) -> int:
    """What goes into the `timestamp` feature: whole epoch seconds, or the order number."""
    return time if time_format == "order" else time // MICROSECONDS


def _epoch(scale: int) -> Callable[[Any], int]:
    latest = LATEST // scale

    def parse(value: Any) -> int:
        try:
            # `int` would also take digit groups ("1_000"), which no table means.
            whole = int(value) if type(value) is str and "_" not in value else _whole_or_decimal(value)
        except ValueError:
            whole = _decimal(value)
        if not 0 <= whole < latest:  # before it is scaled: a decimal may be too large for that
            raise BrokenRowError(TIME_OUT_OF_RANGE)
        return int(whole * scale)

    return parse


def _order(value: Any) -> int:
    try:
        whole = int(value) if type(value) is str and "_" not in value else _whole_or_decimal(value)
    except ValueError:
        whole = _decimal(value)
    if not -_LARGEST_ORDER <= whole <= _LARGEST_ORDER:
        raise BrokenRowError(TIME_OUT_OF_RANGE)
    if whole != int(whole):
        raise BrokenRowError(UNPARSABLE_TIME)
    return int(whole)


def _whole_or_decimal(value: Any) -> int | Decimal:
    return value if type(value) is int else _decimal(value)


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


def _iso8601(value: Any) -> int:
    if type(value) is Microseconds:
        time = int(value)
    elif type(value) is not str:
        raise BrokenRowError(UNPARSABLE_TIME)
    else:
        try:
            # The plain form, at a quarter of the cost; what it does not know (Z, other fractions) goes the long way.
            moment = datetime.fromisoformat(value) if value[10:11] in "T t" else _iso8601_by_parts(value)
        except ValueError:
            moment = _iso8601_by_parts(value)
        if moment.tzinfo is None:
            raise BrokenRowError(UNPARSABLE_TIME)
        since = moment - _EPOCH
        time = (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
    if not 0 <= time < LATEST:
        raise BrokenRowError(TIME_OUT_OF_RANGE)
    return time


def _iso8601_by_parts(value: str) -> datetime:
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
