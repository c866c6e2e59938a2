import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.popular_items import POPULAR_ITEMS, read_popular_items, write_popular_items
from serving.wire.errors import ServingError

ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@given(item_ids=st.lists(ids, min_size=1, unique=True))
def test_what_is_written_is_read(directory, item_ids):
    path = write_popular_items(directory, item_ids)
    assert path == directory / POPULAR_ITEMS
    assert read_popular_items(path) == read_popular_items(str(directory)) == item_ids


def test_a_file_by_hand(tmp_path):
    path = tmp_path / "popular.txt"
    path.write_bytes("b2\r\nb1\r\n\r\nb2\n书 7".encode())
    assert read_popular_items(path) == ["b2", "b1", "书 7"]


def test_what_cannot_be_a_line_is_left_out(tmp_path):
    path = write_popular_items(tmp_path, ["a", "", "b\nc", "d\r", "e"])
    assert path.read_bytes() == b"a\ne\n"


@pytest.mark.parametrize("item_ids", [[], [""], ["b\nc"]])
def test_nothing_to_write(tmp_path, item_ids):
    with pytest.raises(ValueError, match="`item_ids` should hold at least one"):
        write_popular_items(tmp_path, item_ids)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "expected_error"),
    [(None, "cannot be read"), (b"", "holds no item id"), (b"\n\n", "holds no item id"), (b"b1\n\xff\n", "not UTF-8")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, expected_error):
    path = tmp_path / "popular.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ServingError, match=rf"popular\.txt .*{expected_error}") as caught:
        read_popular_items(path)
    assert caught.value.code == "FAILED_PRECONDITION"
