"""A recommender whose files are half copied, corrupt or taken away while it is served."""

import shutil
import time

import grpc
import pytest

from serving.model_files import WARM_UP_REQUESTS
from tests.serving.exported import request, texts
from tests.serving.raw_calls import Wire
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def damage(directory, kind):
    """Does to a version's directory what a copy that was cut off, or a broken disk, leaves behind."""
    graph, variables = directory / "saved_model.pb", directory / "variables" / "variables.data-00000-of-00001"
    if kind == "no graph yet":
        graph.unlink()
    elif kind == "no graph at all":
        graph.write_bytes(b"no graph")
    elif kind == "half a graph":
        halve(graph)
    elif kind == "no variables":
        shutil.rmtree(directory / "variables")
    elif kind == "half the variables":
        halve(variables)
    elif kind == "changed variables":
        variables.write_bytes(bytes(byte ^ 1 for byte in variables.read_bytes()))
    else:
        assert kind == "the first bytes of the warm-up requests"
        path = directory / WARM_UP_REQUESTS
        path.write_bytes(path.read_bytes()[:100])


def halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


# The status of each damaged version. A directory without a graph is no version.
DAMAGES = {
    2: ("no graph yet", None, ""),
    3: ("half a graph", "INVALID_ARGUMENT", "saved_model.pb is not a SavedModel, or only a part of one"),
    4: ("half the variables", "OUT_OF_RANGE", "cannot load the SavedModel: "),
    5: (
        "the first bytes of the warm-up requests",
        "DATA_LOSS",
        "cannot read assets.extra/tf_serving_warmup_requests: ",
    ),
}


def test_a_recommender_is_served_on_whatever_becomes_of_files(recommender, start, tmp_path):
    base_path = tmp_path / "models"
    shutil.copytree(recommender, base_path)
    (base_path / "1" / WARM_UP_REQUESTS).unlink()  # it takes most of the time of a load
    path = tmp_path / "models.config"
    path.write_text(
        f"model_config_list {{ config {{ name: 'm' base_path: '{base_path}' model_platform: 'tensorflow'"
        " model_version_policy { all {} } } }"
    )
    with Wire(start(None, f"--model_config_file={path}", "--max_num_load_retries=0"), "m") as wire:

        def answer():
            code, outputs = wire.predict("recommend", request(1))
            assert code == "OK", outputs
            return texts(outputs["item_id"])

        def wait(condition):
            wait_until(condition, 180, told=wire.statuses)

        expected = answer()
        for version, (kind, _, _) in DAMAGES.items():
            shutil.copytree(recommender / "1", tmp_path / "aside")
            damage(tmp_path / "aside", kind)
            (tmp_path / "aside").rename(base_path / str(version))
        failing = {version: outcome for version, (_, *outcome) in DAMAGES.items() if outcome[0] is not None}
        wait(lambda: [state for state, _, _ in wire.statuses().values()].count("END") == len(failing))
        statuses = wire.statuses()
        assert statuses.keys() == {1, *failing}
        assert statuses[1] == ("AVAILABLE", 0, "")
        for version, (code, expected_error) in failing.items():
            state, number, message = statuses[version]
            assert (state, number) == ("END", grpc.StatusCode[code].value[0])
            assert message.startswith(expected_error)
            assert "\n" not in message
        # Of a version that is served, nothing is read any more.
        for kind in ("half a graph", "half the variables"):
            damage(base_path / "1", kind)
        shutil.rmtree(base_path / "1")  # those that remain cannot be served: it stays
        time.sleep(1.5)
        assert answer() == expected
        for version in failing:
            shutil.rmtree(base_path / str(version))
        gone = ("NOT_FOUND", "Servable not found for request: Latest(m)")
        wait(lambda: wire.predict("recommend", request(1)) == gone)
