"""Digests of what cached results depend on besides the configuration: input files, a frozen schema, this code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from apache_beam.io.filesystems import FileSystems
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_pipeline.ingest import files
from tfx_pipeline.ingest.pseudonyms import checked_pseudonymiser
from trainer.config import DataConfig
from trainer.errors import TowersError


def fingerprint(data: DataConfig, data_root: str) -> str:
    """A digest of every input file's path, size and time of change, and of the key for pseudonyms.

    The files are not read.

    Raises:
      UsageError: the key for pseudonyms cannot be read.
      TowersError: a table has no file.
    """
    to_pseudonym = checked_pseudonymiser(data.pseudonymise)
    # The digest should change with the key, but neither the key nor its digest may be stored. A pseudonym (here of the
    # empty id) changes with the key and is no more secret than the pseudonyms in the data.
    digest = hashlib.sha256(to_pseudonym("").encode() if to_pseudonym else b"")
    for table in ("interactions", "items", "users"):
        config = getattr(data, table)
        for source in files.find(table, config, data_root) if config else []:
            modified = FileSystems.last_updated(source.path)
            digest.update(f"{table}\0{source.path}\0{source.size}\0{modified}\n".encode())
    return digest.hexdigest()


def schema_fingerprint(data: DataConfig) -> str:
    """A digest of the frozen schema's two files; "" where the configuration has none.

    Raises:
      TowersError: a file is missing or is not a schema.
    """
    digest = hashlib.sha256()
    for table in ("sequences", "items") if data.frozen_schema else ():
        path = Path(data.frozen_schema or "") / f"{table}.pbtxt"
        try:
            content = path.read_bytes()
            text_format.Parse(content.decode("utf-8"), schema_pb2.Schema())
        except OSError as error:
            raise TowersError(
                f"{path}: cannot read the schema ({error.strerror}). `data.frozen_schema` should be a directory with "
                "sequences.pbtxt and items.pbtxt, like OUT/schema of a finished run."
            ) from None
        except (UnicodeDecodeError, text_format.ParseError) as error:
            raise TowersError(
                f"{path}: is not a schema in text format ({' '.join(str(error).split())}). "
                "Start from OUT/schema of a finished run."
            ) from None
        digest.update(content)
    return digest.hexdigest()[:16] if data.frozen_schema else ""


def code_fingerprint() -> str:
    """A digest of this project's sources: steps do not reuse results that another version of the code has cached."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in ("trainer", "serving", "tfx_pipeline"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
