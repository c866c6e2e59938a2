import numpy as np
import pytest
import tensorflow as tf

from trainer.config import IndexConfig
from trainer.errors import TowersError
from trainer.index import builder, persistence
from trainer.index.base import Index
from trainer.index.brute_force import BruteForceIndex
from trainer.index.scann import ScannIndex, ScannParameters

TREE = ScannParameters(capacity=40, leaves=40, leaves_to_search=12, reorder=200)


def make_vectors(items: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Clustered, as item vectors are; row 0 would be first in every result if it were searched."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, items // 50), dim))
    vectors = centres[random.integers(0, len(centres), items + 1)] + 0.3 * random.normal(size=(items + 1, dim))
    vectors[0] = 100.0
    return vectors.astype(np.float32)


def make_queries(count: int, dim: int = 16, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def reference(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors[1:].T), axis=1, kind="stable")[:, :k] + 1


def search_in_graph(index: Index, queries: np.ndarray, k: int, min_items: list[int] | None = None) -> tuple:
    @tf.function(input_signature=[tf.TensorSpec([None, index.dim]), tf.TensorSpec([], tf.int32)])
    def search(queries, k):
        return index.search(queries, k, None if min_items is None else tf.constant(min_items))

    return tuple(value.numpy() for value in search(tf.constant(queries), k))


INDEXES = {
    "brute_force": BruteForceIndex,
    "scann_small": lambda vectors: ScannIndex(vectors, ScannParameters(capacity=40)),
    "scann_tree": lambda vectors: ScannIndex(vectors, TREE),
}


def make_index(name: str) -> tuple[np.ndarray, Index]:
    vectors = make_vectors(1600 if name == "scann_tree" else 300)
    return vectors, INDEXES[name](vectors)


@pytest.mark.parametrize("name", INDEXES)
class TestEveryIndex:
    def test_finds_the_largest_dot_products_best_first(self, name):
        vectors, index = make_index(name)
        queries = make_queries(30)
        scores, items = search_in_graph(index, queries, 10)
        truth = reference(vectors, queries, 10)
        recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(items, truth, strict=True)])
        assert recall >= (0.9 if name == "scann_tree" else 1.0)
        assert (np.diff(scores, axis=1) <= 0).all()
        np.testing.assert_allclose(scores, np.einsum("bd,bkd->bk", queries, vectors[items]), rtol=1e-4, atol=1e-4)

    def test_an_empty_batch(self, name):
        _, index = make_index(name)
        scores, items = search_in_graph(index, make_queries(0), 10)
        assert scores.shape == items.shape == (0, 10)

    def test_more_than_the_catalogue_is_padded(self, name):
        vectors, index = make_index(name)
        scores, items = search_in_graph(index, make_queries(2), index.size + 7)
        assert scores.shape == items.shape == (2, index.size + 7)
        assert (np.sort(items[:, : index.size], axis=1) == np.arange(1, index.size + 1)).all()
        assert (items[:, index.size :] == 0).all()
        assert np.isneginf(scores[:, index.size :]).all()
        assert len(vectors) == index.size + 1

    def test_a_row_does_not_depend_on_other_rows(self, name):
        _, index = make_index(name)
        queries = make_queries(3)
        k = 120  # beyond ScaNN's capacity of 40
        _, together = search_in_graph(index, queries, k, [10, 120, 0])
        _, alone = search_in_graph(index, queries[:1], 10)
        np.testing.assert_array_equal(together[0, :10], alone[0])
        np.testing.assert_array_equal(together[1], reference(index.vectors.numpy(), queries[1:2], k)[0])


@pytest.mark.parametrize("items", [1, 2, 5, 17])
def test_tiny_catalogue_in_scann(items):
    vectors = make_vectors(items)
    index = ScannIndex(vectors, ScannParameters(capacity=200))
    queries = make_queries(4)
    np.testing.assert_array_equal(search_in_graph(index, queries, items)[1], reference(vectors, queries, items))


def test_two_builds_of_scann_give_the_same_results():
    vectors, queries = make_vectors(1600), make_queries(50)
    first, second = ScannIndex(vectors, TREE), ScannIndex(vectors, TREE)
    np.testing.assert_array_equal(search_in_graph(first, queries, 30)[1], search_in_graph(second, queries, 30)[1])


def test_vectors_are_checked():
    with pytest.raises(ValueError, match="finite"):
        BruteForceIndex(np.full([3, 2], np.nan, np.float32))
    with pytest.raises(ValueError, match="at least one item"):
        BruteForceIndex(np.zeros([1, 2], np.float32))
    with pytest.raises(ValueError, match="float64"):
        BruteForceIndex(np.zeros([3, 2]))


class TestBuilder:
    def test_small_catalogue_is_searched_exactly(self, tmp_path):
        vectors, queries = make_vectors(5), make_queries(7)
        report = builder.build(IndexConfig(), vectors, queries, tmp_path / "index")
        assert report["kind"] == "brute_force"
        assert "brute_force_limit" in report["reason"]
        assert report["measured"][0]["recall"] == 1.0
        assert 0 < report["measured"][0]["p50_ms"] <= report["measured"][0]["p99_ms"]
        _, items = search_in_graph(persistence.load(tmp_path / "index"), queries, 5)
        assert items.shape == (7, 5)

    def test_a_saved_scann_index_gives_the_same_results(self, tmp_path):
        vectors, queries = make_vectors(1500), make_queries(40)
        report = builder.build(IndexConfig(kind="scann", k=20), vectors, queries, tmp_path / "index")
        chosen = persistence.read_description(tmp_path / "index")
        assert report["kind"] == chosen["kind"] == "scann"
        (measured,) = [m for m in report["measured"] if m["parameters"] == chosen["parameters"]]
        assert measured["recall"] >= 0.98
        index = persistence.load(tmp_path / "index")
        again = persistence.load(tmp_path / "index")
        np.testing.assert_array_equal(search_in_graph(index, queries, 20)[1], search_in_graph(again, queries, 20)[1])
        items = search_in_graph(index, queries, 20)[1]
        truth = reference(vectors, queries, 20)
        recall = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(items, truth, strict=True)])
        assert recall == pytest.approx(measured["recall"], abs=1e-4)

    def test_auto_measures_a_larger_catalogue_against_brute_force(self, tmp_path):
        config = IndexConfig(kind="auto", brute_force_limit=1000, k=20)
        report = builder.build(config, make_vectors(1500), make_queries(40), tmp_path / "index")
        exact, *low_recall, chosen = report["measured"]
        assert [exact["kind"], chosen["kind"]] == ["brute_force", "scann"]
        assert all(m["recall"] < config.recall_target for m in low_recall)
        assert chosen["recall"] >= config.recall_target
        assert report["build_seconds"] > 0
        wins = chosen["p50_ms"] < exact["p50_ms"]
        assert report["kind"] == ("scann" if wins else "brute_force")
        assert report["parameters"] == (chosen["parameters"] if wins else {})

    def test_recall_that_cannot_be_reached_means_brute_force(self, tmp_path, monkeypatch):
        monkeypatch.setattr(builder, "SETTINGS", ((0.1, 1), (0.2, 1)))
        config = IndexConfig(kind="auto", k=20, brute_force_limit=1000, recall_target=1.0)
        vectors = np.random.default_rng(3).normal(size=[3001, 32]).astype(np.float32)  # no clusters
        report = builder.build(config, vectors, make_queries(40, 32), tmp_path / "index")
        assert report["kind"] == "brute_force"
        assert "no ScaNN setting reaches" in report["reason"]
        assert all(measured["recall"] < 1.0 for measured in report["measured"][1:])

    def test_no_queries(self, tmp_path):
        with pytest.raises(TowersError, match="no held-out queries"):
            builder.build(IndexConfig(kind="scann"), make_vectors(50), make_queries(0), tmp_path / "index")
        assert list(tmp_path.iterdir()) == []
        report = builder.build(IndexConfig(), make_vectors(50), make_queries(0), tmp_path / "index")
        assert report["measured"] == []

    def test_the_report_fits_one_line(self, tmp_path):
        report = builder.build(IndexConfig(), make_vectors(5), make_queries(2), tmp_path / "index")
        line = builder.describe(report)
        assert "brute_force over 5 items, recall@100 1.000" in line
        assert "\n" not in line

    def test_the_unknown_item_keeps_its_vector(self, tmp_path):
        vectors = make_vectors(5)
        builder.build(IndexConfig(), vectors, make_queries(2), tmp_path / "index")
        index = persistence.load(tmp_path / "index")
        np.testing.assert_array_equal(index.vectors.numpy(), vectors)

    def test_an_existing_directory_is_not_overwritten(self, tmp_path):
        (tmp_path / "something").touch()
        with pytest.raises(TowersError, match="not empty"):
            builder.build(IndexConfig(), make_vectors(5), make_queries(1), tmp_path)

    def test_directory_without_an_index(self, tmp_path):
        with pytest.raises(TowersError, match="no readable index"):
            persistence.load(tmp_path)

    def test_a_failed_write_leaves_nothing(self, tmp_path, monkeypatch):
        def full(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(persistence.np, "save", full)
        with pytest.raises(TowersError, match="No space left"):
            builder.build(IndexConfig(), make_vectors(5), make_queries(1), tmp_path / "index")
        assert list(tmp_path.iterdir()) == []
