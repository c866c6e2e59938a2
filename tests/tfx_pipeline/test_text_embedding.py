import errno
import json
import os
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from tests.support import tiny_bert
from tfx_pipeline import text_embedding
from trainer.errors import TowersError
from trainer.text import pretrained
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import describe_encoder, load_encoder
from trainer.text.store import embedding_store
from trainer.text.store.vectors import load_vectors, rows_of

pytestmark = pytest.mark.slow

MAX_TOKENS = 16


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_embedding, "CHUNK_SIZE", 8)
    monkeypatch.setattr(text_embedding, "LOOKUP_SIZE", 5)


def make_pipeline() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(["--direct_running_mode=in_memory", "--direct_num_workers=1"]))


def embed(
    texts: list[str | bytes],
    bert: str,
    directory: Path,
    store_directory: Path,
    max_tokens: int = MAX_TOKENS,
    products: tf.DType = tf.float32,
) -> dict:
    encoding = text_embedding.TextEncoding(bert, max_tokens, products, 64, str(store_directory))
    with make_pipeline() as pipeline:
        _ = pipeline | beam.Create(texts) | text_embedding.EmbedTexts(encoding, str(directory))
    return load_vectors(str(directory)).metadata


def words(count: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join([f"n{number}", *rng.choice(tiny_bert.WORDS, rng.integers(1, 12))]) for number in range(count)]


@pytest.mark.parametrize("products", [tf.float32, tf.bfloat16])
def test_every_distinct_text_once_and_only_new_ones_are_encoded(bert: str, tmp_path: Path, products: tf.DType) -> None:
    texts: list[str | bytes] = [*words(30), "书", "书".encode(), "", b""]
    metadata = embed(texts * 2, bert, tmp_path / "one", tmp_path / "store", products=products)
    model = load_encoder(bert, MAX_TOKENS)  # as it is served
    fingerprint = describe_encoder(bert, MAX_TOKENS, products)[1]
    assert (fingerprint == model.fingerprint) == (products == tf.float32)
    assert metadata.pop("seconds") > 0
    assert metadata == {
        "encoder": bert,
        "fingerprint": fingerprint,
        "max_tokens": MAX_TOKENS,
        "products": products.name,
        "width": tiny_bert.WIDTH,
        "texts": 31,
        "store_hits": 0,
        "encoded": 31,
    }
    keys, vectors, _ = load_vectors(str(tmp_path / "one"))
    rows = rows_of(keys, np.array(texts, dtype=object))
    assert rows[-2:].tolist() == [-1, -1]
    assert rows[-4] == rows[-3]
    in_graph = model(tf.constant(texts[:-2])).numpy()
    cosine = (in_graph * vectors[rows[:-2]].astype(np.float32)).sum(axis=1)
    assert cosine.min() > (0.9999 if products == tf.float32 else 0.999)

    again = embed([*texts, "one more"], bert, tmp_path / "two", tmp_path / "store", products=products)
    assert (again["texts"], again["store_hits"], again["encoded"]) == (32, 31, 1)
    assert text_embedding.describe(again).startswith("32 texts: 31 from the store (96.9 %), 1 encoded at ")
    keys_again, vectors_again, _ = load_vectors(str(tmp_path / "two"))
    np.testing.assert_array_equal(
        vectors_again[rows_of(keys_again, np.array(texts[:-2], dtype=object))], vectors[rows[:-2]]
    )


def test_texts_are_sorted_by_length_within_chunks(bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[int] = []
    encode_texts = TextEncoder.encode_texts

    def spy(self: TextEncoder, texts: list, *arguments: object) -> np.ndarray:
        chunks.append(len(texts))
        return encode_texts(self, texts, *arguments)

    monkeypatch.setattr(TextEncoder, "encode_texts", spy)
    embed(words(40), bert, tmp_path / "out", tmp_path / "store")
    assert sum(chunks) == 40
    assert max(chunks) == 8  # whole chunks form, whatever the sources' bundles
    assert len(chunks) <= 6


def test_another_length_encoder_or_cleaning_finds_nothing_in_the_store(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str | bytes] = [*words(5)]
    other = tiny_bert.write(tmp_path / "other", seed=1)

    def hits(encoder_directory: str, max_tokens: int = MAX_TOKENS) -> int:
        directory = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        return embed(texts, encoder_directory, directory, tmp_path / "store", max_tokens)["store_hits"]

    assert [hits(bert), hits(bert, MAX_TOKENS - 1), hits(other)] == [0, 0, 0]
    with monkeypatch.context() as context:
        context.setattr(pretrained, "CLEANING_VERSION", "another")
        assert hits(bert) == 0
    assert hits(bert) == 5


def test_no_text_at_all(bert: str, tmp_path: Path) -> None:
    metadata = embed(["", ""], bert, tmp_path / "out", tmp_path / "store")
    assert metadata["texts"] == 0
    assert text_embedding.describe(metadata) == "0 texts: 0 from the store, 0 encoded"
    assert load_vectors(str(tmp_path / "out")).vectors.shape == (0, tiny_bert.WIDTH)


def write_examples(path: Path, rows: list[dict[str, list[str]]]) -> None:
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                example.features.feature[name].bytes_list.value.extend(value.encode() for value in values)
            writer.write(example.SerializeToString())


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[str, list[str]]]:
    write_examples(
        tmp_path / "sequences" / "Split-train" / "part-0.gz",
        [{"text": ["good book", ""], "query": ["war", "tea"], "user_id": ["u"]}, {"text": [], "query": []}],
    )
    write_examples(tmp_path / "items" / "Split-all" / "part-0.gz", [{"text": ["tea"], "title": ["unread"]}])
    return [
        (str(tmp_path / "sequences" / "Split-*" / "*.gz"), ["text", "query"]),
        (str(tmp_path / "items" / "Split-*" / "*.gz"), ["text"]),
        (str(tmp_path / "absent" / "*.gz"), []),
    ]


def embed_examples(sources: list, bert: str, tmp_path: Path, lines: list[str] | None = None) -> dict:
    encoding = text_embedding.TextEncoding(bert, MAX_TOKENS, tf.float32, 64, str(tmp_path / "store"))
    return text_embedding.embed_examples(
        sources, encoding, str(tmp_path / "out"), make_pipeline, lines.append if lines is not None else None
    )


def test_examples_in_table_out_with_progress(sources: list, bert: str, tmp_path: Path) -> None:
    lines: list[str] = []
    metadata = embed_examples(sources, bert, tmp_path, lines)
    assert metadata["texts"] == 3
    keys = load_vectors(str(tmp_path / "out")).keys
    assert sorted(rows_of(keys, np.array(["good book", "war", "tea"], dtype=object))) == [0, 1, 2]
    assert lines
    assert lines[0].split(" ")[1:4] == ["new", "texts", "encoded,"]
    assert metadata == json.loads((tmp_path / "out" / "metadata.json").read_text())


def test_nothing_in_the_data_is_text(bert: str, tmp_path: Path) -> None:
    assert embed_examples([("nowhere*", [])], bert, tmp_path)["texts"] == 0


def test_a_full_disk_is_one_line(sources: list, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(embedding_store, "save_array", full)
    with pytest.raises(TowersError, match=r"cannot be written \(No space left on device\)\.[^\n\[]*$"):
        embed_examples(sources, bert, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_damaged_store_stops_before_the_pipeline(sources: list, bert: str, tmp_path: Path) -> None:
    embed_examples(sources, bert, tmp_path)
    (shard,) = (tmp_path / "store").glob("*/shard-*.npy")
    shard.write_bytes(b"")
    with pytest.raises(TowersError, match=f"{shard.name}: a shard of the text store is damaged"):
        embed_examples(sources, bert, tmp_path)


def test_an_unknown_encoder_stops_before_the_pipeline(sources: list, tmp_path: Path) -> None:
    with pytest.raises(TowersError, match=r"`text\.encoder` should be"):
        embed_examples(sources, "no-such-encoder", tmp_path)
