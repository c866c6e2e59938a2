from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tfx_pipeline.ingest import dataset
from tfx_pipeline.ingest.counts import IngestReport
from trainer.config import Config

INTERACTIONS = {
    "path": "interactions.csv",
    "user_id": "user",
    "item_id": "item",
    "time": "time",
    "time_format": "epoch_seconds",
}


def examples(directory: Path, split: str) -> list[dict[str, list]]:
    """The split's tf.Examples as plain lists, file by file."""
    rows = []
    for path in sorted(Path(directory, f"Split-{split}").glob("*.gz")):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            rows.append({name: list(getattr(f, f.WhichOneof("kind")).value) for name, f in sorted(features.items())})
    return rows


def quarantined(directory: Path) -> list[dict]:
    rows = []
    for path in sorted(Path(directory).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows += [json.loads(line) for line in file]
    return rows


@dataclass
class Shop:
    """A dataset in a temporary directory, and its ingestion."""

    directory: Path
    output: Path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def config(self, interactions: dict | None = None, **data: Any) -> Config:
        return Config.model_validate(
            {"name": "shop", "data": {"interactions": {**INTERACTIONS, **(interactions or {})}, **data}}
        )

    def ingest(self, config: Config | None = None, output: str = "out", **arguments: Any) -> IngestReport:
        self.output = self.directory / output
        paths = dataset.OutputPaths(*(str(self.output / name) for name in ("sequences", "items", "quarantine")))
        return dataset.ingest(config or self.config(), str(self.directory), paths, **arguments)

    def examples(self, split: str) -> list[dict[str, list]]:
        return examples(self.output / ("items" if split == "all" else "sequences"), split)

    def quarantined(self) -> list[dict]:
        return quarantined(self.output / "quarantine")

    def remains(self) -> list[str]:
        """Names in the output directory other than the quarantine."""
        return sorted(path.name for path in self.output.glob("*") if path.name != "quarantine")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, tmp_path / "out")


@pytest.fixture
def events() -> Callable[..., str]:
    """A table of interactions: users x events, times 1, 2, 3 ..."""

    def make(users: int = 2, length: int = 3) -> str:
        rows = [f"u{user},i{(user + n) % 7},{n + 1}" for n in range(length) for user in range(users)]
        return "\n".join(["user,item,time", *rows]) + "\n"

    return make
