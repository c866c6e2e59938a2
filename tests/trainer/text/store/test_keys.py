import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.text.store.keys import SortedKeys, as_array, sort_order, text_key


def test_key_is_of_the_utf8_bytes() -> None:
    assert text_key("书") == text_key("书".encode()) == hashlib.blake2b("书".encode(), digest_size=16).digest()


# Few distinct bytes, so that keys share their first half and start or end with zeros.
key = st.lists(st.sampled_from([0, 1, 255]), min_size=16, max_size=16).map(bytes)


@given(st.lists(key, unique=True, max_size=60), st.lists(key, max_size=30), st.booleans())
def test_find_agrees_with_a_dictionary(keys: list[bytes], other_keys: list[bytes], one_prefix: bool) -> None:
    if one_prefix:
        keys = list({bytes(8) + key[8:] for key in keys})
    array = as_array(keys)
    ordered = array[sort_order(array)]
    assert [bytes(row) for row in ordered] == sorted(keys)
    positions = {key: index for index, key in enumerate(sorted(keys))}
    queries = [*keys, *other_keys]
    assert SortedKeys(ordered).find(as_array(queries)).tolist() == [positions.get(key, -1) for key in queries]


@pytest.mark.parametrize("keys", [[b"b" * 16, b"a" * 16], [b"a" * 16, b"a" * 16]])
def test_unsorted_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="sorted and distinct"):
        SortedKeys(as_array(keys))
