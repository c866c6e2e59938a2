from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.ingest.cells.times import MAX_TIME, Microseconds, time_parser, to_seconds
from tfx_pipeline.ingest.quarantine_reasons import TIME_OUT_OF_RANGE, UNPARSABLE_TIME, BrokenRowError

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2261, 1, 1), timezones=offsets)
formats = st.sampled_from(["epoch_seconds", "epoch_milliseconds", "iso8601", "order"])


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def reason(time_format: str, value: object) -> str:
    with pytest.raises(BrokenRowError) as error:
        time_parser(time_format)(value)
    return error.value.reason


@given(moments, st.sampled_from(["T", " ", "t"]))
def test_iso8601_round_trip(moment, separator):
    assert time_parser("iso8601")(moment.isoformat(separator)) == microseconds(moment)


@given(moments, st.integers(0, 9), st.sampled_from([".", ","]), st.sampled_from(["Z", "z", "+0000", "+00", "-00:00"]))
def test_iso8601_in_its_other_spellings(moment, digits, point, zone):
    utc = moment.astimezone(timezone.utc)
    fraction = f"{utc.microsecond:06d}000"[:digits]
    text = utc.strftime("%Y-%m-%dT%H:%M:%S") + (point + fraction if fraction else "") + zone
    expected = utc.replace(microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0)
    assert time_parser("iso8601")(text) == microseconds(expected)


@given(st.integers(0, 9_223_372_035), st.integers(0, 999))
def test_epoch_numbers(seconds, milliseconds):
    whole, fine = seconds * 10**6, seconds * 10**6 + milliseconds * 1000
    assert time_parser("epoch_seconds")(seconds) == time_parser("epoch_seconds")(f" {seconds} ") == whole
    assert time_parser("epoch_seconds")(f"{seconds}.{milliseconds:03d}") == fine
    assert time_parser("epoch_milliseconds")(seconds * 1000 + milliseconds) == fine
    assert to_seconds(fine, "epoch_milliseconds") == seconds


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_order_is_kept_as_it_is(number):
    assert time_parser("order")(str(number)) == number
    assert to_seconds(number, "order") == number


@given(formats, st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.booleans(), st.lists(st.integers())))
def test_anything_else_is_a_broken_row(time_format, value):
    try:
        time = time_parser(time_format)(value)
    except BrokenRowError:
        assert reason(time_format, value) in (UNPARSABLE_TIME, TIME_OUT_OF_RANGE)
    else:
        assert isinstance(time, int)
        assert time_format == "order" or 0 <= time < MAX_TIME


@pytest.mark.parametrize(
    "text",
    ["", "2020-01-01", "2020-01-01T10:00:00", "2020-02-30T10:00:00Z", "2020-01-01T25:00:00Z", "2020-01-01T10:00:61Z",
     "2020-01-01x10:00:00+00:00", "yesterday", "1577836800", "2020-01-01T10:00:00+25:00"],
)  # fmt: skip
def test_unparsable_iso8601(text):
    assert reason("iso8601", text) == UNPARSABLE_TIME


def test_out_of_range():
    assert reason("epoch_seconds", "-1") == TIME_OUT_OF_RANGE
    assert reason("epoch_seconds", "1577836800000") == TIME_OUT_OF_RANGE  # milliseconds declared as seconds
    assert reason("epoch_seconds", "1e999999999") == TIME_OUT_OF_RANGE
    assert reason("iso8601", "1969-12-31T23:59:59Z") == TIME_OUT_OF_RANGE
    assert reason("order", str(2**63)) == TIME_OUT_OF_RANGE


def test_not_a_number():
    for value in ("1_000", "nan", "inf", "ten", None, True, [1]):
        assert reason("epoch_seconds", value) == UNPARSABLE_TIME
        assert reason("order", value) == UNPARSABLE_TIME
    assert reason("order", "1.5") == UNPARSABLE_TIME


def test_typed_columns_are_for_iso8601_only():
    assert time_parser("iso8601")(Microseconds(5)) == 5
    assert reason("epoch_seconds", Microseconds(5)) == UNPARSABLE_TIME
