from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config
from trainer.errors import TowersError

CONFIG = Config.model_validate(
    {
        "name": "shop",
        "data": {
            "interactions": {"path": "a.csv", "user_id": "u", "item_id": "i", "time": "t", "time_format": "order"}
        },
    }
)


def test_echoes_the_configuration(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.opened(CONFIG):
        pass
    assert directory.config() == CONFIG


def test_refuses_a_directory_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with (
        pytest.raises(TowersError, match="not empty and not the directory of a run"),
        RunDirectory(tmp_path).opened(CONFIG),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(TowersError, match="is a file"), RunDirectory(tmp_path / "run").opened(CONFIG):
        pass


def test_one_run_at_a_time(tmp_path: Path) -> None:
    holder = (
        "import sys\n"
        "from tfx_pipeline.runs.run_directory import RunDirectory\n"
        "from trainer.config import Config\n"
        f"with RunDirectory({str(tmp_path / 'run')!r}).opened(Config.from_json({CONFIG.to_json()!r})):\n"
        "    print('taken', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        with (
            pytest.raises(TowersError, match=rf"in use by another run \(process {process.pid}\)"),
            RunDirectory(tmp_path / "run").opened(CONFIG),
        ):
            pass
        process.communicate("")
    with RunDirectory(tmp_path / "run").opened(CONFIG):  # free again
        pass


def test_no_run_and_no_finished_run_are_told_apart(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(TowersError, match="not the directory of a run"):
        directory.config()
    with directory.opened(CONFIG), pytest.raises(TowersError, match="holds no finished run"):
        directory.output("Ingest", "items")
    directory.record_outputs({"Ingest": {"items": "/somewhere"}})
    assert directory.output("Ingest", "items") == "/somewhere"
    with pytest.raises(TowersError, match="had no step RankingTrainer"):
        directory.output("RankingTrainer", "ranker")
