import json
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import TowersError
from trainer.text.store import vectors as vectors_module
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.text.store.keys import SortedKeys, as_array, sort_order, text_key
from trainer.text.store.vectors import load_vectors, rows_of, write_vectors


def keys_of(*texts: str) -> np.ndarray:
    return as_array(text_key(text) for text in texts)


def vectors_of(*texts: str) -> np.ndarray:
    """A distinct vector for each text: [n, 4]."""
    return np.array([[len(text), ord(text[0]) % 97, 0.5, -1] for text in texts], np.float32)


def test_table_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "_BLOCK_ROWS", 2)
    store = EmbeddingStore(tmp_path / "store", "f")
    texts = ["one", "three", "fifteen", "a", "bb"]
    store.append(keys_of(*texts), vectors_of(*texts))
    keys = keys_of(*texts[:-1])
    order = sort_order(keys)
    write_vectors(str(tmp_path / "out"), keys[order], store, {"texts": 4, "width": 4, "fingerprint": "f"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["keys.npy", "metadata.json", "vectors.npy"]
    table = load_vectors(str(tmp_path / "out"))
    assert isinstance(table.vectors, np.memmap)
    np.testing.assert_array_equal(table.keys, keys[order])
    np.testing.assert_array_equal(table.vectors, vectors_of(*texts[:-1])[order])
    assert table.metadata["fingerprint"] == "f"


def test_table_of_no_texts(tmp_path: Path) -> None:
    write_vectors(str(tmp_path / "out"), keys_of(), EmbeddingStore(tmp_path, "f"), {"texts": 0, "width": 4})
    table = load_vectors(str(tmp_path / "out"))
    assert table.keys.shape == (0, 16)
    assert table.vectors.shape == (0, 4)


def test_a_table_needs_the_vectors_of_all_its_texts(tmp_path: Path) -> None:
    with pytest.raises(TowersError, match="1 texts of this run are missing"):
        write_vectors(str(tmp_path / "out"), keys_of("a"), EmbeddingStore(tmp_path, "f"), {"texts": 1, "width": 4})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "mixed"])
def test_a_damaged_table_is_named(tmp_path: Path, damage: str) -> None:
    store = EmbeddingStore(tmp_path / "store", "f")
    store.append(keys_of("a"), vectors_of("a"))
    write_vectors(str(tmp_path / "out"), keys_of("a"), store, {"texts": 1, "width": 4})
    if damage == "missing":
        (tmp_path / "out" / "keys.npy").unlink()
    elif damage == "truncated":
        content = (tmp_path / "out" / "vectors.npy").read_bytes()
        (tmp_path / "out" / "vectors.npy").write_bytes(content[:-2])
    else:
        (tmp_path / "out" / "metadata.json").write_text(json.dumps({"texts": 2, "width": 4}))
    with pytest.raises(TowersError, match="cannot read the text embeddings"):
        load_vectors(str(tmp_path / "out"))


def test_a_remote_directory(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "f")
    store.append(keys_of("a"), vectors_of("a"))
    write_vectors("ram://run/texts", keys_of("a"), store, {"texts": 1, "width": 4})
    np.testing.assert_array_equal(load_vectors("ram://run/texts").vectors, vectors_of("a"))
    with pytest.raises(TowersError, match="cannot read the text embeddings"):
        load_vectors("ram://run/nothing")


def test_rows_of() -> None:
    table = ["a", "书", "c"]
    keys = as_array(text_key(text) for text in table)
    order = sort_order(keys)
    texts = np.array(["c", "", "a", "a", b"c", "书"], dtype=object)
    rows = rows_of(keys[order], texts)
    assert rows.dtype == np.int32
    assert [None if row < 0 else table[order[row]] for row in rows] == ["c", None, "a", "a", "c", "书"]
    assert rows_of(keys[order], np.array([], dtype=object)).shape == (0,)
    assert rows_of(SortedKeys(keys[order]), texts).tolist() == rows.tolist()
    assert rows_of(keys[:0], np.array(["", ""], dtype=object)).tolist() == [-1, -1]
    with pytest.raises(TowersError, match=r"1 of 2 texts have no stored embedding \(the first: 'new'\)"):
        rows_of(keys[order], np.array(["a", "new", "new"], dtype=object))
