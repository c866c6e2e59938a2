import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.cells import lists, numbers, texts
from tfx_pipeline.ingest.cells.ids import Ids, id_text
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary(max_size=9)
)


@given(anything)
def test_an_id_is_clean_text_or_a_broken_row(cell):
    ids = Ids(quarantine_reasons.MISSING_USER_ID)
    try:
        value = ids[id_text(cell)]
    except BrokenRowError:
        return
    text = value.decode("utf-8")
    assert text.strip()
    assert not any(ord(character) < 32 for character in text)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", quarantine_reasons.MISSING_USER_ID),
        (" \t", quarantine_reasons.MISSING_USER_ID),
        (None, quarantine_reasons.MISSING_USER_ID),
        (math.nan, quarantine_reasons.MISSING_USER_ID),
        ("a\x07b", quarantine_reasons.CONTROL_CHARACTER),
        ("a\nb", quarantine_reasons.CONTROL_CHARACTER),
        ("a\x85b", quarantine_reasons.CONTROL_CHARACTER),
        ("x" * 1001, quarantine_reasons.ID_TOO_LONG),
        ("a\udcff", quarantine_reasons.INVALID_UTF8),
        ([1], quarantine_reasons.ID_NOT_SCALAR),
        (True, quarantine_reasons.ID_NOT_SCALAR),
        (1.5, quarantine_reasons.ID_NOT_SCALAR),
        (2.0**60, quarantine_reasons.ID_NOT_SCALAR),
    ],
)
def test_ids_that_cannot_be_used(cell, reason):
    with pytest.raises(BrokenRowError) as error:
        Ids(quarantine_reasons.MISSING_USER_ID)[id_text(cell)]
    assert error.value.reason == reason


def test_ids_that_can():
    ids = Ids(quarantine_reasons.MISSING_USER_ID)
    assert [ids[id_text(cell)].decode() for cell in (7, 7.0, "7", "👩‍🚀 书", b"x")] == [
        "7",
        "7",
        "7",
        "👩‍🚀 书",
        "x",
    ]


def test_numbers():
    assert [numbers.number(cell) for cell in ("", None, math.nan, " 1.5 ", 3, "-1e3")] == [
        None,
        None,
        None,
        1.5,
        3,
        -1000,
    ]
    for cell in ("￥18", "1_000", "nan", "inf", 1e39, True, [1], {}):
        with pytest.raises(ValueError, match="not a number"):
            numbers.number(cell)
    notes = Counter()
    assert numbers.number_or_missing("18元", notes) is None
    assert notes == {quarantine_reasons.UNPARSABLE_NUMBER: 1}


def test_ratings():
    assert numbers.rating("4.5", None) == 4.5
    assert math.isnan(numbers.rating("0", 0))
    assert math.isnan(numbers.rating("", None))
    with pytest.raises(BrokenRowError):
        numbers.rating("five", None)


def test_texts():
    notes = Counter()
    assert texts.joined_text(["a ", None, "", "b"], notes) == b"a\nb"
    assert texts.joined_text([["x", "y"]], notes) == b"x y"
    assert not notes
    assert len(texts.joined_text(["书" * 10**6], notes).decode()) == 100_000
    assert notes == {quarantine_reasons.TEXT_CUT: 1}


def test_lists():
    assert lists.categories("a| b ||a", "|") == [b"a", b"b"]
    assert lists.categories(["x", 1, None], "|") == [b"x", b"1"]
    notes = Counter()
    assert lists.vector("[1, 2.5]", 2, "|", notes) == lists.vector("1|2.5", 2, "|", notes) == [1, 2.5]
    assert lists.vector([1, 2.5], 2, "|", notes) == [1, 2.5]
    assert lists.vector("", 2, "|", notes) is None
    assert not notes
    for cell in ("[1", "[1, 2, 3]", "1|x", [1, None], "{}", 5, {"a": 1, "b": 2}):
        assert lists.vector(cell, 2, "|", notes) is None
    assert notes == {quarantine_reasons.UNPARSABLE_VECTOR: 7}
