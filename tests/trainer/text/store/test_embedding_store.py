import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import TowersError
from trainer.text.store import embedding_store as store_module
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.text.store.keys import as_array, text_key


def keys_of(*texts: str) -> np.ndarray:
    return as_array(text_key(text) for text in texts)


def vectors_of(*texts: str) -> np.ndarray:
    """A distinct vector for each text: [n, 4]."""
    return np.array([[len(text), ord(text[0]) % 97, 0.5, -1] for text in texts], np.float32)


def test_lookup_returns_appended_vectors_in_the_order_of_the_keys(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "f")
    store.append(keys_of("one", "three"), vectors_of("one", "three"))
    store.append(keys_of("fifteen"), vectors_of("fifteen"))
    for opened in (store, EmbeddingStore(tmp_path, "f")):
        is_stored, vectors = opened.lookup(keys_of("fifteen", "none", "three", "one", "three"))
        assert is_stored.tolist() == [True, False, True, True, True]
        assert vectors.dtype == np.float16
        np.testing.assert_array_equal(vectors, vectors_of("fifteen", "three", "one", "three"))


def test_an_empty_store_and_empty_requests(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "nowhere", "f")
    is_stored, vectors = store.lookup(keys_of("a"))
    assert is_stored.tolist() == [False]
    assert len(vectors) == 0
    store.append(keys_of(), np.zeros([0, 4]))
    assert len(store) == 0
    assert not (tmp_path / "nowhere").exists()


def test_another_fingerprint_sees_nothing(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, "f").append(keys_of("a"), vectors_of("a"))
    assert not EmbeddingStore(tmp_path, "g").lookup(keys_of("a"))[0].any()


def test_parallel_writers(tmp_path: Path) -> None:
    texts = [f"{number} text" for number in range(64)]

    def write(start: int) -> None:
        part = texts[start : start + 12]  # four texts are written by two
        EmbeddingStore(tmp_path, "f").append(keys_of(*part), vectors_of(*part))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(0, 64, 8)))
    is_stored, vectors = EmbeddingStore(tmp_path, "f").lookup(keys_of(*texts))
    assert is_stored.all()
    np.testing.assert_array_equal(vectors, vectors_of(*texts))


def test_a_store_opened_later_has_what_others_appended(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "f")
    EmbeddingStore(tmp_path, "f").append(keys_of("a"), vectors_of("a"))
    assert not store.lookup(keys_of("a"))[0].any()
    assert EmbeddingStore(tmp_path, "f").lookup(keys_of("a"))[0].all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped vector", "unsorted keys", "other layout"])
def test_a_damaged_shard_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    EmbeddingStore(tmp_path, "f").append(keys_of("a", "b", "c"), vectors_of("a", "b", "c"))
    (shard,) = (tmp_path / "f").glob("shard-*.npy")
    content = bytearray(shard.read_bytes())
    if damage == "truncated":
        content = content[:-1]
    elif damage == "empty":
        content = bytearray()
    elif damage == "garbage":
        content = bytearray(b"\x93NUMPY" + bytes(300))
    elif damage == "flipped vector":
        content[-3] ^= 0x10
    elif damage == "unsorted keys":
        content[-28] = 0  # the first byte of the last key: 16 of key, 4 of checksum, 8 of vector
    if damage == "other layout":
        np.save(shard, np.zeros([3, 4], np.float16))
    else:
        shard.write_bytes(content)
    with pytest.raises(TowersError, match=rf"{shard.name}: a shard of the text store is damaged .* Delete the file"):
        EmbeddingStore(tmp_path, "f").lookup(keys_of("a", "b", "c"))
    shard.unlink()
    assert not EmbeddingStore(tmp_path, "f").lookup(keys_of("a"))[0].any()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddingStore(tmp_path, "f")

    def full(path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "save_array", full)
    with pytest.raises(TowersError, match=r"cannot be written \(No space left on device\)"):
        store.append(keys_of("a"), vectors_of("a"))
    assert list((tmp_path / "f").iterdir()) == []
