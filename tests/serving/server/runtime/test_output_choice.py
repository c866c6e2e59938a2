"""Which outputs a caller asks for changes what it gets, and not what the graph is prepared for."""

import itertools

import numpy as np

from serving.server.runtime import servable
from serving.server.runtime.predict import run


def test_every_choice_of_outputs_runs_the_graph_as_it_was_prepared(tiny_models, monkeypatch):
    loaded = servable.load("tiny", 1, tiny_models(1))
    prepared, session_run = set(), loaded._session._call_tf_sessionrun

    def noted(options, feeds, fetches, *others):
        prepared.add(tuple(map(id, fetches)))  # a session keeps a graph for each
        return session_run(options, feeds, fetches, *others)

    monkeypatch.setattr(loaded._session, "_call_tf_sessionrun", noted)
    signature = loaded.signatures["two"]
    arrays = [np.array([1, -2], np.float32), np.array([[1, 2], [3, 4]])]
    expected = {"sum": np.float32(-1), "twice": [[2, 4], [6, 8]], "flags": [True, False]}
    try:
        for count in (1, 2, 3):
            for chosen in itertools.permutations(expected, count):
                values = run(loaded, signature, arrays, [signature.outputs[name] for name in chosen])
                assert len(values) == count
                for name, value in zip(chosen, values, strict=True):
                    np.testing.assert_array_equal(value, expected[name])
    finally:
        loaded.close()
    assert len(prepared) == 1
