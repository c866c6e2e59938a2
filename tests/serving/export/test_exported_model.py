"""An export asked in this process: the answers of its signatures, whatever the requests hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from serving.client.requests import HistoryEvent, UserRequest
from serving.export.exported_model import Answer, ExportedModel
from serving.model_files import METADATA
from trainer.errors import TowersError

pytestmark = pytest.mark.slow

TEXTS = ("a story of love and war", "科幻小说", "a cat", "")


@pytest.fixture(scope="module")
def version(recommender: Path) -> Path:
    return max(recommender.iterdir(), key=lambda path: int(path.name))


@pytest.fixture(scope="module")
def model(version: Path) -> ExportedModel:
    return ExportedModel(version)


def some_requests(count: int = 70) -> list[UserRequest]:
    random = np.random.default_rng(1)
    return [
        UserRequest(
            user_id=f"u{user}",
            history=[
                HistoryEvent(f"i{random.integers(40)}", text=TEXTS[random.integers(4)], timestamp=1_700_000_000 + event)
                for event in range(random.integers(0, 9))
            ],
            query=TEXTS[random.integers(4)],
        )
        for user in range(count)
    ]


def check(answers: list[Answer], expected: list[Answer]) -> None:
    assert [answer.item_ids for answer in answers] == [answer.item_ids for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.scores, other.scores, rtol=0, atol=1e-4)


def test_many_requests_are_answered_in_their_order_as_each_alone(model: ExportedModel) -> None:
    requests, updates = some_requests(), []
    answers = model.recommend(requests, updates.append)
    assert updates == [64, 70]
    assert all(answer.item_ids and len(answer.item_ids) == len(answer.scores) for answer in answers)
    check([model.recommend([request])[0] for request in requests[:12]], answers[:12])


def test_texts_are_encoded_once_and_mean_what_they_mean_in_the_graph(
    model: ExportedModel, version: Path, tmp_path: Path
) -> None:
    assert model.metadata["text_vectors"]
    older = tmp_path / "older"  # from before vectors could be passed in
    shutil.copytree(version, older)
    metadata = json.loads((older / METADATA).read_text(encoding="utf-8"))
    del metadata["text_vectors"]
    (older / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    requests = some_requests(20)
    check(model.recommend(requests), ExportedModel(older).recommend(requests))


def test_what_the_model_has_no_input_for_is_left_out(model: ExportedModel) -> None:
    request = UserRequest("u", history=["i3"])
    more = UserRequest("u", history=["i3"], features={"context_weather": "rain"})
    check(model.recommend([more]), model.recommend([request]))


def test_nobody_asks(model: ExportedModel) -> None:
    assert model.recommend([]) == []


def test_what_is_no_export_is_said_to_be_none(version: Path, tmp_path: Path) -> None:
    with pytest.raises(TowersError, match="cannot be read"):
        ExportedModel(tmp_path)
    (tmp_path / METADATA).parent.mkdir()
    shutil.copy(version / METADATA, tmp_path / METADATA)
    with pytest.raises(TowersError, match="cannot be loaded") as error:
        ExportedModel(tmp_path)
    assert "\n" not in str(error.value)
