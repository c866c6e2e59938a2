"""Row parsers: from a row's cells to a checked record. Broken rows raise `BrokenRowError` with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.cells.ids import Ids, id_text
from tfx_pipeline.ingest.cells.texts import joined_text
from tfx_pipeline.ingest.cells.times import time_parser
from tfx_pipeline.ingest.columns import Columns, Row
from tfx_pipeline.ingest.shards import shard_of
from trainer.config import DataConfig
from trainer.data.features import TEXT_FEATURES, interaction_features

_Pseudonym = Callable[[str], str] | None


@dataclass(frozen=True)
class RowParser:
    """The parser of one table.

    Attributes:
      columns: the columns to read, in the order in which `parse` expects their cells.
      text_fields: indices of the record's fields that may hold long texts.
      parse: (cells, order) -> (shard, record); see `records` for the record.
      notes: what was corrected in rows, counted by reason.
    """

    columns: list[str]
    text_fields: list[int]
    parse: Callable[[Sequence[Any], int], tuple[int, tuple]]
    notes: Counter[str]


def parser_for(table: str, data: DataConfig, shards: int, pseudonym: _Pseudonym = None) -> RowParser:
    """The parser of a table.

    Args:
      table: 'interactions', 'users' or 'items'.
      data: the configuration.
      shards: number of shards that the table's records are divided into.
      pseudonym: the function from an id to its pseudonym; None = ids stay as they are.
    """
    make_parser = {"interactions": _interaction_parser, "users": _user_parser, "items": _item_parser}[table]
    return make_parser(data, shards, pseudonym)


def _interaction_parser(data: DataConfig, shards: int, pseudonym: _Pseudonym) -> RowParser:
    config = data.interactions
    columns = Columns()
    user_cell, item_cell, time_cell = (columns.add(name) for name in (config.user_id, config.item_id, config.time))
    parse_time = time_parser(config.time_format)
    converters: list[Callable[[Row], Any]] = []
    if config.event is not None:
        converters.append(columns.category(config.event))
    if config.rating is not None:
        converters.append(columns.rating(config.rating, config.missing_rating))
    converters += [columns.text(list(names.values())) for names in (config.text, config.query) if names]
    converters += [columns.category(column) for column in config.context.values()]

    users = Ids(quarantine_reasons.MISSING_USER_ID, pseudonym)
    items = Ids(quarantine_reasons.MISSING_ITEM_ID, pseudonym)

    def parse(row: Row, order: int) -> tuple[int, tuple]:
        user, item = row[user_cell], row[item_cell]
        user = users[user if type(user) is str else id_text(user)]
        item = items[item if type(item) is str else id_text(item)]
        record = (user, parse_time(row[time_cell]), order, item, *[convert(row) for convert in converters])
        return shard_of(user, shards), record

    names = [feature.name for feature in interaction_features(data)]
    text_fields = [4 + index for index, name in enumerate(names) if name in TEXT_FEATURES]
    return RowParser(columns.names, text_fields, parse, columns.notes)


def _user_parser(data: DataConfig, shards: int, pseudonym: _Pseudonym) -> RowParser:
    config = data.users
    assert config is not None
    columns = Columns()
    id_cell = columns.add(config.user_id)
    converters: list[Callable[[Row], Any]] = [columns.category(column) for column in config.categorical.values()]
    converters += [columns.number(column) for column in config.numeric.values()]
    users = Ids(quarantine_reasons.MISSING_USER_ID, pseudonym)

    def parse(row: Row, order: int) -> tuple[int, tuple]:
        user = users[id_text(row[id_cell])]
        return shard_of(user, shards), (user, order, *[convert(row) for convert in converters])

    return RowParser(columns.names, [], parse, columns.notes)


def _item_parser(data: DataConfig, shards: int, pseudonym: _Pseudonym) -> RowParser:
    config = data.items
    assert config is not None
    columns = Columns()
    id_cell = columns.add(config.item_id)
    text_cells = columns.add_all(list(config.text.values()))
    converters: list[Callable[[Row], Any]] = [columns.category(column) for column in config.categorical.values()]
    converters += [columns.categories(column, config.separator) for column in config.multi_valued.values()]
    converters += [columns.number(column) for column in config.numeric.values()]
    converters += [columns.vector(column, width, config.separator) for column, width in config.dense.items()]
    items = Ids(quarantine_reasons.MISSING_ITEM_ID, pseudonym)

    def parse(row: Row, order: int) -> tuple[int, tuple]:
        item = items[id_text(row[id_cell])]
        title = joined_text(row[text_cells][:1], columns.notes) or item
        text = joined_text(row[text_cells], columns.notes)
        return shard_of(item, shards), (item, order, title, text, *[convert(row) for convert in converters])

    return RowParser(columns.names, [2, 3], parse, columns.notes)
