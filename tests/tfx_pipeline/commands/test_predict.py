"""`towers predict`, on a small untrained model: who is asked for, and what may be in a list."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tables
from tfx_pipeline import cli
from tfx_pipeline.commands.predict import predictions, read_users
from tfx_pipeline.runs import trained_run
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.runs.trained_run import TrainedRun
from trainer.data.dataset import Dataset
from trainer.data.tables import SequenceTable
from trainer.errors import UsageError
from trainer.retrieval.model import RetrievalModel
from trainer.towers.inputs import item_inputs, user_inputs

NEW = 9  # an item that no event has
SEQUENCES = [[1, 2, 3, 4], [5, 6, 7], [8], [2, 4, 6, 8, 1]]  # the third user is too short to be held out


def held_out(cut: int) -> SequenceTable:
    table = tables.sequence_table([s[: len(s) - cut] for s in SEQUENCES if len(s) > 2], 1, **profile([0, 1, 3]))
    return dataclasses.replace(table, user_id=np.array(["user-0", "user-1", "user-3"], object))


def profile(users: list[int]) -> dict:
    return {"profile": {"age": np.array(users, np.int32)}, "sizes": {"profile_age": 5}}


@pytest.fixture(scope="module")
def loaded() -> TrainedRun:
    config = tables.make_config("order", model={"dim": 16, "layers": 1, "max_history": 4})
    train = tables.sequence_table([s[:-2] if len(s) > 2 else s for s in SEQUENCES], **profile([0, 1, 2, 3]))
    items = tables.item_table(9, occurs=np.arange(1, 10) != NEW)
    model = RetrievalModel(
        config, item_inputs(config.model, items, None), user_inputs(config.model, train, None, False)
    )
    model.attach(items, None)
    splits = {"train": train, "validation": held_out(1), "test": held_out(0)}
    return TrainedRun(config, Dataset(items, splits, None), model, None)


def by_user(loaded: TrainedRun, split: str, k: int = 100, user_ids: list[str] | None = None) -> dict[str, list[int]]:
    lines = list(predictions(loaded, split, "retrieval", k, user_ids))
    for line in lines:
        assert line["scores"] == sorted(line["scores"], reverse=True)
        assert len(line["scores"]) == len(line["item_ids"])
    users = [line["user_id"] for line in lines]
    assert len(set(users)) == len(users)
    return {line["user_id"]: [int(item.removeprefix("item-")) for item in line["item_ids"]] for line in lines}


def test_next_is_for_every_user_out_of_the_whole_catalogue_but_what_is_owned(loaded: TrainedRun) -> None:
    lists = by_user(loaded, "next")
    assert {user: sorted(items) for user, items in lists.items()} == {
        f"user-{i}": sorted(set(range(1, 10)) - set(sequence)) for i, sequence in enumerate(SEQUENCES)
    }


@pytest.mark.parametrize(("split", "cut"), [("test", 1), ("validation", 2)])
def test_held_out_items_may_come_and_earlier_ones_may_not(loaded: TrainedRun, split: str, cut: int) -> None:
    lists = by_user(loaded, split)
    assert {user: sorted(items) for user, items in lists.items()} == {
        f"user-{i}": sorted(set(range(1, NEW)) - set(SEQUENCES[i][:-cut])) for i in (0, 1, 3)
    }


def test_k_is_the_most(loaded: TrainedRun) -> None:
    assert {len(items) for items in by_user(loaded, "next", k=3).values()} == {3}


def test_some_users_alone_get_what_they_get_among_all(loaded: TrainedRun) -> None:
    everybody = by_user(loaded, "next")
    assert by_user(loaded, "next", user_ids=["user-3", "user-2"]) == {
        user: everybody[user] for user in ("user-3", "user-2")
    }


def test_an_unknown_user_is_a_newcomer(loaded: TrainedRun) -> None:
    lists = by_user(loaded, "next", user_ids=["stranger", "user-1", "another"])
    assert sorted(lists) == ["another", "stranger", "user-1"]
    assert sorted(lists["stranger"]) == list(range(1, 10))
    assert lists["stranger"] == lists["another"]
    with pytest.raises(UsageError, match=r"1 of 2 users have no held-out events.*'stranger'"):
        by_user(loaded, "test", user_ids=["stranger", "user-1"])


def test_a_file_of_users_asks_for_each_once(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes("\ufeffuser-1\r\n\r\n 读者 7 \nuser-1\n".encode())
    assert read_users(path) == ["user-1", "读者 7"]
    for content, words in ((b"\n \n", "has no user id"), (b"", "has no user id"), (b"\xff\xfe", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            read_users(path)


def test_command(
    loaded: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trained_run, "load", lambda directory, splits: loaded)
    monkeypatch.setattr(RunDirectory, "finished_config", lambda self: loaded.config)
    (tmp_path / "users").write_text("user-1\nstranger\nuser-1\n")
    output = tmp_path / "next.jsonl"
    arguments = ["predict", "--run", "x", "--users", str(tmp_path / "users")]
    assert cli.main([*arguments, "--out", str(output)]) == 0
    assert "2 users" in capsys.readouterr().out
    assert sorted(json.loads(line)["user_id"] for line in output.read_text().splitlines()) == ["stranger", "user-1"]
    for out in (tmp_path, tmp_path / "none" / "x.jsonl"):
        assert cli.main([*arguments, "--out", str(out)]) == 2
        assert "should be a file in a directory that exists" in capsys.readouterr().err
    assert cli.main([*arguments, "--split", "test", "--out", str(output)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next.jsonl", "users"]
