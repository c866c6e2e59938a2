"""What cached results depend on besides the configuration: the input files, and this code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from tfx_pipeline.ingest import files
from trainer.config import DataConfig


def fingerprint(data: DataConfig, data_root: str) -> str:
    """A digest of every input file's path, size and time of change. Files are not read.

    Raises:
      TowersError: a table has no file.
    """
    digest = hashlib.sha256()
    for table in ("interactions", "items", "users"):
        config = getattr(data, table)
        for source in files.find(table, config, data_root) if config else []:
            changed = FileSystems.last_updated(source.path)
            digest.update(f"{table}\0{source.path}\0{source.size}\0{changed}\n".encode())
    return digest.hexdigest()


def code_fingerprint() -> str:
    """A digest of this project's sources, so that no step takes an older version's result for its own."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in ("trainer", "serving", "tfx_pipeline"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
