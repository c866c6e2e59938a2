"""The command line as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_pipeline.cli import COMMANDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def towers(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "PYTHONWARN"))}
    return subprocess.run(
        [sys.executable, "-m", "tfx_pipeline.cli", *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_there_and_gives_an_example(command: str) -> None:
    done = towers(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "towers" in done.stdout or command == "test"  # that one's help is pytest's


def test_version() -> None:
    assert towers("--version").stdout.startswith("interest-towers ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "invalid choice: 'rnu'"),
        ([], "required: COMMAND"),
        (["run"], "--config"),
        (["run", "--config", "configs/none.yaml"], "cannot read the configuration"),
        (["run", "--config", "configs/demo.yaml", "--set", "model.dmi=3"], "did you mean `dim`?"),
        (["run", "--config", "configs/demo.yaml", "--oot", "x"], "neither an option of this command nor one of Beam's"),
        (["data", "demo", "--out", "x", "--users", "0"], "`users`"),
        (["serve", "--modelbasepath", "x"], "--model_base_path"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], words: str) -> None:
    done = towers(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_data_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    done = towers("run", "--config", "configs/demo.yaml", "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "interactions: no file matches" in one_line(done.stderr)
    assert done.stdout == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = towers(
        "--debug", "run", "--config", "configs/demo.yaml", "--data", str(tmp_path), "--out", str(tmp_path / "out")
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_no_server_is_one_line() -> None:
    done = towers("recommend", "--server", "127.0.0.1:9", "--timeout", "1", "--user", "x")
    assert done.returncode == 1
    assert "127.0.0.1:9" in one_line(done.stderr)


@pytest.mark.slow
def test_doctor() -> None:
    done = towers("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for part in ("Python", "one Keras for all", "index: ScaNN", "server: embedded", "text encoder"):
        assert any(line.startswith("OK") and part in line for line in done.stdout.splitlines()), part
    assert "FAIL" not in done.stdout
