"""The callers' own ids behind a run's pseudonyms, which only who has the key and the raw tables can find again."""

from __future__ import annotations

from serving.pseudonyms import PseudonymKeyError
from tfx_pipeline.ingest import files, readers
from tfx_pipeline.ingest.read_table import pseudonymiser
from trainer.config import DataConfig
from trainer.errors import UsageError


def own_ids(data: DataConfig, data_root: str) -> dict[str, str]:
    """Pseudonym -> id, for every user and item of the raw tables; empty where the configuration makes no pseudonyms.

    Raises:
      UsageError: the key cannot be read.
      TowersError: a table is missing.
    """
    try:
        to_pseudonym = pseudonymiser(data.pseudonymise)
    except PseudonymKeyError as error:
        raise UsageError(str(error)) from None
    if to_pseudonym is None:
        return {}
    wanted = [("interactions", ["user_id", "item_id"])]
    if data.items:
        wanted.append(("items", ["item_id"]))
    found: dict[str, str] = {}
    for table, fields in wanted:
        config = getattr(data, table)
        columns = [getattr(config, field) for field in fields]
        for file in files.find(table, config, data_root):
            for row in readers.open_reader(file, columns, config.delimiter):
                if isinstance(row, tuple):  # a broken row is a reason instead
                    for value in map(str, row):
                        found.setdefault(to_pseudonym(value), value)
    return found
