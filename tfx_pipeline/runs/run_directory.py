"""The directory of a run: where things lie in it, and who may write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from trainer.config import Config
from trainer.config import loader as config_loader
from trainer.errors import TowersError
from trainer.files import is_partial, write_text

_CONFIG = "config.yaml"
_OUTPUTS = "outputs.json"
_LOCK = ".lock"


class RunDirectory:
    """`--out` of `towers run`.

    Layout: `config.yaml` (the whole configuration, echoed), `outputs.json`, `artifacts/`, `metadata.sqlite`,
    `logs/<step>.log`, `checkpoints/<step>/` of a training that is not done, `tuning/` of searches, `text_store/`,
    `schema/`, `serving/<model name>/<version>/`, `report/`; of the last `towers reindex`: `reindexed/items/`,
    `reindexed/quarantine/`, `reindexed/report.json`; of the last `towers tune`: `tuned.yaml`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).absolute()

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def metadata(self) -> Path:
        return self.path / "metadata.sqlite"

    @property
    def text_store(self) -> Path:
        return self.path / "text_store"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def schema(self) -> Path:
        return self.path / "schema"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def tuning(self) -> Path:
        return self.path / "tuning"

    def log(self, step: str) -> Path:
        return self.path / "logs" / f"{step}.log"

    @property
    def reindexed(self) -> Path:
        return self.path / "reindexed"

    def serving(self, model_name: str) -> Path:
        return self.path / "serving" / model_name

    def config(self) -> Config:
        """The configuration of the last run that was started here, finished or not.

        Raises:
          TowersError: there is no run here.
        """
        if not (self.path / _CONFIG).exists():
            raise TowersError(
                f"{self.path}: is not the directory of a run. Make one with `towers run --out {self.path}`."
            )
        return config_loader.load(self.path / _CONFIG)

    def record_outputs(self, outputs: dict[str, dict[str, str]], command: str = "") -> None:
        """Notes where each step of the run that is now finished left its outputs: step -> key -> directory.

        Its configuration is kept with them, and the command that made it: a later run with another one may stop
        half-way.
        """
        record = {"config": json.loads(self.config().to_json()), "outputs": outputs, "command": command}
        write_text(self.path / _OUTPUTS, json.dumps(record, indent=2, ensure_ascii=False))

    def finished_config(self) -> Config:
        """The configuration of the last finished run, whose outputs `output` finds.

        Raises:
          TowersError: no run was finished here.
        """
        return Config.from_json(json.dumps(self._finished()["config"]))

    def finished_data_config(self) -> Config:
        """Its name, seed, `data` and `text` alone: readable where the settings of models have other names by now.

        Raises:
          TowersError: no run was finished here.
        """
        record = self._finished()["config"]
        return Config.from_json(json.dumps({key: record[key] for key in ("name", "seed", "data", "text")}))

    def command(self) -> str:
        """What was typed to make the last finished run; "" where that is not known.

        Raises:
          TowersError: no run was finished here.
        """
        return self._finished().get("command", "")

    def output(self, step: str, key: str) -> str:
        """Directory of a step's output in the last finished run.

        Raises:
          TowersError: no run was finished here.
        """
        outputs = self._finished()["outputs"]
        if key not in outputs.get(step, {}):
            raise TowersError(f"{self.path}: its last run had no {step}. Run it again with that step.")
        return outputs[step][key]

    def has(self, step: str) -> bool:
        """Whether the last finished run had this step.

        Raises:
          TowersError: no run was finished here.
        """
        return step in self._finished()["outputs"]

    def _finished(self) -> dict:
        if not self.path.exists():
            raise TowersError(f"{self.path}: there is no such directory. Give the --out of a `towers run`.")
        path = self.path / _OUTPUTS
        if not path.exists():
            raise TowersError(f"{self.path}: holds no finished run. Make one with `towers run --out {self.path}`.")
        return json.loads(path.read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def opened(self, config: Config) -> Iterator[None]:
        """Takes the directory for one run, and echoes its configuration.

        Raises:
          TowersError: it is another run's at this moment, or holds something that is no run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TowersError(f"{self.path}: is a file. Give --out a directory.")
        if self.path.is_dir() and not (self.path / _CONFIG).exists() and self._holds_others():
            raise TowersError(f"{self.path}: is not empty and not the directory of a run. Give --out another one.")
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            write_text(self.path / _CONFIG, config.to_yaml())
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the directory, which exists, for one process that writes.

        Raises:
          TowersError: another process has it at this moment.
        """
        with open(self.path / _LOCK, "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise TowersError(
                    f"{self.path}: is in use by another run (process {lock.read().strip() or 'unknown'}). "
                    "Wait for it, or give --out another directory."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def _holds_others(self) -> bool:
        """Whether anything here is not ours. A run killed in its first moment leaves a lock and a partial file."""
        names = (entry.name for entry in self.path.iterdir())
        return any(name != _LOCK and not is_partial(name, _CONFIG) for name in names)
