"""Pushing a model version to a local directory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tfx_pipeline.components.pusher import push


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_text("graph")
    (directory / "variables" / "variables.index").write_text("weights")
    return directory


def test_versions_increase_and_are_copies_that_others_can_read(tmp_path: Path, model: Path) -> None:
    newest = int(time.time()) + 1000
    (tmp_path / "serving" / str(newest)).mkdir(parents=True)
    version = push(model, tmp_path / "serving")
    assert version == tmp_path / "serving" / str(newest + 1)
    assert (version / "variables" / "variables.index").read_text() == "weights"
    assert version.stat().st_mode & 0o077 == model.stat().st_mode & 0o077
    assert push(model, tmp_path / "empty").name.isdigit()


def test_leftovers_of_killed_pushes_are_removed_and_nothing_else(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    for name in (".17.partial", ".17.ab12_x9z", "16", ".git", "notes.1.x"):
        (serving / name).mkdir(parents=True)
    version = push(model, serving)
    assert {path.name for path in serving.iterdir()} == {"16", ".git", "notes.1.x", version.name}


def test_a_push_that_fails_leaves_no_version(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def partial_copy(source: Path, target: Path, dirs_exist_ok: bool) -> None:
        (target / "saved_model.pb").write_text("gra")
        assert [path for path in (tmp_path / "serving").iterdir() if path.name.isdigit()] == []
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", partial_copy)
    with pytest.raises(KeyboardInterrupt):
        push(model, tmp_path / "serving")
    assert list((tmp_path / "serving").iterdir()) == []
