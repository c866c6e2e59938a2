"""The cache of text vectors: which vectors it has, when it removes them, and its metrics."""

import threading

import numpy as np

from serving.server.monitoring.metrics import Registry
from serving.server.runtime.text_cache import TextCache

WIDTH = 4
ENTRY = 4 * WIDTH + 400  # bytes


def vectors(*texts):
    return {text: np.full(WIDTH, len(text), np.float32) for text in texts}


def value(registry, metric):
    (line,) = (line for line in registry.text().splitlines() if line.startswith(f":towers:serving:text_cache:{metric}"))
    return float(line.rsplit(" ", 1)[1])


def test_vectors_are_cached_for_each_encoder():
    cache = TextCache(10 * ENTRY, Registry())
    cache.add("bert", vectors(b"a", b"bb"))
    cached = cache.find("bert", [b"bb", b"c"])
    assert list(cached) == [b"bb"]
    np.testing.assert_array_equal(cached[b"bb"], np.full(WIDTH, 2))
    assert cache.find("another", [b"bb"]) == {}


def test_what_was_not_asked_for_longest_goes_first():
    registry = Registry()
    cache = TextCache(3 * ENTRY, registry)
    cache.add("bert", vectors(b"a", b"b", b"c"))
    cache.find("bert", [b"a"])
    cache.add("bert", vectors(b"d"))
    assert sorted(cache.find("bert", [b"a", b"b", b"c", b"d"])) == [b"a", b"c", b"d"]
    assert value(registry, "bytes") == 3 * ENTRY


def test_adding_again_takes_no_more_memory():
    registry = Registry()
    cache = TextCache(10 * ENTRY, registry)
    for _ in range(3):
        cache.add("bert", vectors(b"a"))
    assert value(registry, "bytes") == ENTRY


def test_a_capacity_for_less_than_one_keeps_none():
    registry = Registry()
    cache = TextCache(ENTRY - 1, registry)
    cache.add("bert", vectors(b"a", b"b"))
    assert cache.find("bert", [b"a", b"b"]) == {}
    assert value(registry, "bytes") == 0


def test_a_vector_does_not_keep_the_batch_it_came_from():
    cache = TextCache(10 * ENTRY, Registry())
    batch = np.ones([1000, WIDTH], np.float32)
    cache.add("bert", {b"a": batch[0]})
    assert cache.find("bert", [b"a"])[b"a"].base is None


def test_hits_and_misses_are_counted():
    registry = Registry()
    cache = TextCache(10 * ENTRY, registry)
    cache.add("bert", vectors(b"a"))
    cache.find("bert", [b"a", b"b", b"c"])
    cache.find("bert", [b"a"])
    assert value(registry, 'lookups{result="hit"}') == 2
    assert value(registry, 'lookups{result="miss"}') == 2


def test_threads_do_not_disturb_each_other():
    registry = Registry()
    cache = TextCache(20 * ENTRY, registry)
    wrong = []

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(500):
            texts = [b"x" * number for number in random.integers(1, 60, 5)]
            for text, vector in cache.find("bert", set(texts)).items():
                if vector[0] != len(text):
                    wrong.append(text)
            cache.add("bert", vectors(*texts))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert value(registry, "bytes") == 20 * ENTRY
