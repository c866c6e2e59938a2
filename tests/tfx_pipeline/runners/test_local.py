"""The local runner before its first step, and the screen it captures. Whole runs are in tests/e2e."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_pipeline.fingerprint import fingerprint, schema_fingerprint
from tfx_pipeline.runners import local
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal.screen import Screen
from trainer.config import Config
from trainer.errors import TowersError, UsageError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
INTERACTIONS = {"path": "events.csv", "user_id": "u", "item_id": "i", "time": "n", "time_format": "order"}


def config(**data: object) -> Config:
    return Config.model_validate({"name": "shop", "data": {"interactions": INTERACTIONS, **data}})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "events.csv").write_text("u,i,n\nu1,i1,1\n")
    return directory


def test_a_damaged_metadata_file_is_one_line(data: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    (directory.path / "config.yaml").write_text("")
    directory.metadata.write_text("this is no database" * 100)
    with pytest.raises(TowersError, match="cannot be used as ML Metadata's file") as error:
        local.run(config(), str(data), directory, [], Screen())
    assert "\n" not in str(error.value)
    assert not directory.artifacts.exists()


def test_a_run_killed_in_its_first_moment_can_be_repeated(data: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    (directory.path / ".lock").write_text("1")
    (directory.path / ".config.yaml.1a2b3c4d.partial.yaml").write_text("name: sh")
    with directory.opened(config()):
        pass
    assert directory.config() == config()


def test_predictions_keep_to_the_configuration_of_the_finished_run(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.opened(config()):
        directory.record_outputs({"Ingest": {"items": "/somewhere"}})
    with directory.opened(config(repeats="all")):
        pass  # and stopped
    assert directory.config().data.repeats == "all"
    assert directory.finished_config() == config()
    with pytest.raises(TowersError, match="no such directory"):
        RunDirectory(tmp_path / "nowhere").finished_config()


def test_the_key_for_pseudonyms_is_part_of_the_fingerprint(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pseudonymised = config(pseudonymise={"key_env": "SHOP_KEY"}).data
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(UsageError, match="SHOP_KEY"):
        fingerprint(pseudonymised, str(data))
    fingerprints = [fingerprint(config().data, str(data))]
    for key in ("one key of 16 bytes", "another key of 16 bytes"):
        monkeypatch.setenv("SHOP_KEY", key)
        fingerprints.append(fingerprint(pseudonymised, str(data)))
        assert fingerprint(pseudonymised, str(data)) == fingerprints[-1]
    assert len(set(fingerprints)) == 3


def test_a_frozen_schema_is_read_before_the_first_step(tmp_path: Path) -> None:
    assert schema_fingerprint(config().data) == ""
    frozen = config(frozen_schema=str(tmp_path)).data
    with pytest.raises(TowersError, match=r"sequences\.pbtxt: cannot read the schema"):
        schema_fingerprint(frozen)
    (tmp_path / "sequences.pbtxt").write_text('feature { name: "user_id" type: BYTES }')
    (tmp_path / "items.pbtxt").write_text("feature {")
    with pytest.raises(TowersError, match=r"items\.pbtxt: is not a schema in text format") as error:
        schema_fingerprint(frozen)
    assert "\n" not in str(error.value)
    (tmp_path / "items.pbtxt").write_text("")
    before = schema_fingerprint(frozen)
    (tmp_path / "items.pbtxt").write_text('feature { name: "item_id" type: BYTES }')
    assert schema_fingerprint(frozen) != before != ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_log_on_a_full_disk_leaves_the_screen_as_it_was() -> None:
    program = (
        "import sys\n"
        "from tfx_pipeline.terminal.screen import redirect_output\n"
        "with redirect_output('/dev/full'):\n"
        "    print('noise')\n"
        "print('out'); print('err', file=sys.stderr)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
