"""Files and directories are written completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer.errors import TowersError
from trainer.files import atomic_file, atomic_remote_directory, atomic_remote_file, is_partial, write_text


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")

    def full(self: Path, text: str, encoding: str) -> int:
        os.close(os.open(self, os.O_CREAT | os.O_WRONLY))
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_the_temporary_file_of_a_killed_writer_is_recognised(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "config.yaml") as temporary:
        temporary.write_text("half")
        assert is_partial(temporary.name, "config.yaml")
        assert not is_partial("config.yaml", "config.yaml")


def test_a_failed_remote_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_remote_file(str(path)) as temporary:
            Path(temporary).write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    with atomic_remote_file(str(path)) as temporary:
        Path(temporary).write_text("new")
    assert path.read_text() == "new"


def test_a_remote_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "items"
    target.mkdir()  # an empty directory is replaced
    with atomic_remote_directory(f"{target}/") as temporary:
        Path(temporary, "rows").write_text("complete")
        assert Path(temporary).parent == tmp_path
        assert list(target.iterdir()) == []
    assert (target / "rows").read_text() == "complete"
    with pytest.raises(TowersError, match="already there"), atomic_remote_directory(str(target)):
        pass
    with pytest.raises(TowersError, match="already there"), atomic_remote_directory(str(target / "rows")):
        pass
    with pytest.raises(TowersError, match="cannot be written"), atomic_remote_directory(str(target / "rows" / "below")):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["items"]


def test_a_failed_remote_directory_is_removed(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with atomic_remote_directory(str(tmp_path / "items")) as temporary:
            Path(temporary, "rows").write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
