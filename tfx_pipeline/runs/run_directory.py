"""The directory of a run: its layout, its record of outputs, and its lock."""

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

    It holds
      config.yaml: the configuration with all defaults;
      outputs.json: configuration, command and output directories of the last finished run;
      artifacts/, metadata.sqlite: of TFX;
      logs/<step>.log;
      checkpoints/<step>/: the state of unfinished trainings;
      tuning/: the state of searches; tuned.yaml: the result of the last `towers tune`;
      text_store/: text embeddings;
      schema/: sequences.pbtxt and items.pbtxt;
      report/: report.html, evaluation.json, data.json (the counts of ingestion);
      serving/<model name>/<version>/: pushed models;
      reindexed/: items, quarantine and report.json of the last `towers reindex`.
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
        """The configuration of the last run that was started, finished or not.

        Raises:
          TowersError: this is not the directory of a run.
        """
        if not (self.path / _CONFIG).exists():
            raise TowersError(
                f"{self.path}: is not the directory of a run. Start one with `towers run --out {self.path}`."
            )
        return config_loader.load(self.path / _CONFIG)

    def record_outputs(self, outputs: dict[str, dict[str, str]], command: str = "") -> None:
        """Records a run that is now finished, together with its configuration.

        `config.yaml` may then change: a later run may be started with another configuration and never finish.

        Args:
          outputs: step -> output -> directory.
          command: the command line of the run.
        """
        record = {"config": json.loads(self.config().to_json()), "outputs": outputs, "command": command}
        write_text(self.path / _OUTPUTS, json.dumps(record, indent=2, ensure_ascii=False))

    def finished_config(self) -> Config:
        """The configuration of the last finished run.

        Raises:
          TowersError: the directory holds no finished run.
        """
        return Config.from_json(json.dumps(self._finished()["config"]))

    def finished_data_config(self) -> Config:
        """`finished_config`, but with defaults for everything except name, seed, `data` and `text`.

        It can be read even if settings of models have been renamed since the run.

        Raises:
          TowersError: the directory holds no finished run.
        """
        record = self._finished()["config"]
        return Config.from_json(json.dumps({key: record[key] for key in ("name", "seed", "data", "text")}))

    def command(self) -> str:
        """The command line of the last finished run; "" if it was not recorded.

        Raises:
          TowersError: the directory holds no finished run.
        """
        return self._finished().get("command", "")

    def output(self, step: str, key: str) -> str:
        """Directory of a step's output in the last finished run.

        Raises:
          TowersError: the directory holds no finished run, or the run had no such step.
        """
        outputs = self._finished()["outputs"]
        if key not in outputs.get(step, {}):
            raise TowersError(f"{self.path}: the last run had no step {step}. Run it again with that step.")
        return outputs[step][key]

    def has(self, step: str) -> bool:
        """Whether the last finished run had this step.

        Raises:
          TowersError: the directory holds no finished run.
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
        """Makes the directory if absent, locks it for one run and writes the run's configuration.

        Raises:
          TowersError: another run uses the directory, or it holds other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TowersError(f"{self.path}: is a file. Give --out a directory.")
        if self.path.is_dir() and not (self.path / _CONFIG).exists() and self._has_other_files():
            raise TowersError(f"{self.path}: is not empty and not the directory of a run. Give --out another one.")
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            write_text(self.path / _CONFIG, config.to_yaml())
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the directory, which exists, for one process that writes.

        Raises:
          TowersError: another process has locked it.
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

    def _has_other_files(self) -> bool:
        """Whether there are other files than the lock and the partial file of a run that was killed at its start."""
        names = (entry.name for entry in self.path.iterdir())
        return any(name != _LOCK and not is_partial(name, _CONFIG) for name in names)
