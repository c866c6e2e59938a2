"""Original ids of a run whose users and items are pseudonyms: read from the raw tables, with the key."""

from __future__ import annotations

from tfx_pipeline.ingest import files, readers
from tfx_pipeline.ingest.pseudonyms import checked_pseudonymiser
from trainer.config import DataConfig


def original_ids(data: DataConfig, data_root: str) -> dict[str, str]:
    """Pseudonym -> original id, for all users and items of the raw tables.

    Args:
      data: the run's `data` section.
      data_root: directory that the tables' relative paths start from.

    Returns:
      A dictionary, empty if the configuration makes no pseudonyms.

    Raises:
      UsageError: the key cannot be read.
      TowersError: a table is missing.
    """
    to_pseudonym = checked_pseudonymiser(data.pseudonymise)
    if to_pseudonym is None:
        return {}
    id_fields = {"interactions": ["user_id", "item_id"]}
    if data.items:
        id_fields["items"] = ["item_id"]
    ids: dict[str, str] = {}
    for table, fields in id_fields.items():
        config = getattr(data, table)
        columns = [getattr(config, field) for field in fields]
        for file in files.find(table, config, data_root):
            for row in readers.open_reader(file, columns, config.delimiter):
                if isinstance(row, tuple):  # for a row that it cannot read, the reader yields a string
                    for value in map(str, row):
                        ids.setdefault(to_pseudonym(value), value)
    return ids
