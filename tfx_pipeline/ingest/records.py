"""From a row's cells to a compact record, checked. Broken rows raise `BrokenRowError` with the reason.

Records are tuples, because there are as many as rows:

  interaction: (user_id, time, order, item_id, feature, ...)
  user:        (user_id, order, feature, ...)
  item:        (item_id, order, title, text, feature, ...)

`order` is the place in the table: file index and row number in one integer. Ids are bytes, pseudonyms where so
configured. `features` names what follows, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfx_pipeline.ingest import cells, quarantine_reasons, times
from tfx_pipeline.ingest.blocks import shard_of
from trainer.config import DataConfig, InteractionsConfig, ItemsConfig, UsersConfig
from trainer.data.features import TEXT_FEATURES

_ROW_BITS = 40  # a file may have 10^12 rows


def order_of(file_index: int, position: int) -> int:
    return (file_index << _ROW_BITS) | position


def place_of(order: int) -> tuple[int, int]:
    """(file index, row number)"""
    return order >> _ROW_BITS, order & ((1 << _ROW_BITS) - 1)


class Feature(NamedTuple):
    """A column of the output: its name there and its kind (bytes, float, or a list of one of them)."""

    name: str
    kind: str  # 'bytes', 'float', 'bytes_list', 'float_list'


@dataclass
class RecordParser:
    """Turns cells into records. `columns` are the cells wanted, in order; ids come first."""

    table: str
    columns: list[str]
    text_fields: list[int]  # places in the record that may hold long texts
    parse: Callable[[Sequence[Any], int], tuple[int, tuple]]  # cells, order -> shard, record
    notes: Counter  # what was put right, by reason


def parser_for(
    table: str, config: DataConfig, shards: int, pseudonym: Callable[[str], str] | None = None
) -> RecordParser:
    """The parser of a table ('interactions', 'users' or 'items')."""
    if table == "interactions":
        return _interaction_parser(config.interactions, shards, pseudonym)
    if table == "users":
        assert config.users is not None
        return _user_parser(config.users, shards, pseudonym)
    assert config.items is not None
    return _item_parser(config.items, shards, pseudonym)


def interaction_features(config: InteractionsConfig) -> list[Feature]:
    features = []
    if config.event is not None:
        features.append(Feature("event", "bytes"))
    if config.rating is not None:
        features.append(Feature("rating", "float"))
    features += [Feature(name, "bytes") for name in TEXT_FEATURES if getattr(config, name)]
    return features + [Feature(f"context_{name}", "bytes") for name in config.context]


def user_features(config: UsersConfig | None) -> list[Feature]:
    if config is None:
        return []
    features = [Feature(f"profile_{name}", "bytes") for name in config.categorical]
    return features + [Feature(f"profile_{name}", "float") for name in config.numeric]


def item_features(config: ItemsConfig | None) -> list[Feature]:
    if config is None:
        return []
    features = [Feature(f"categorical_{name}", "bytes") for name in config.categorical]
    features += [Feature(f"multi_valued_{name}", "bytes_list") for name in config.multi_valued]
    features += [Feature(f"numeric_{name}", "float") for name in config.numeric]
    return features + [Feature(f"dense_{name}", "float_list") for name in config.dense]


class _Columns:
    """The columns a parser wants, each once the parser asks for it."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, name: str) -> int:
        self.names.append(name)
        return len(self.names) - 1

    def add_all(self, names: Sequence[str]) -> slice:
        start = len(self.names)
        self.names += names
        return slice(start, len(self.names))


def _interaction_parser(
    config: InteractionsConfig, shards: int, pseudonym: Callable[[str], str] | None
) -> RecordParser:
    columns, notes = _Columns(), Counter[str]()
    columns.add_all([config.user_id, config.item_id, config.time])
    parse_time = times.time_parser(config.time_format)
    converters: list[Callable[[Sequence[Any]], Any]] = []
    if config.event is not None:
        converters.append(_category(columns.add(config.event)))
    if config.rating is not None:
        converters.append(_rating(columns.add(config.rating), config.missing_rating))
    converters += [
        _text(columns.add_all(list(names.values())), notes) for names in (config.text, config.query) if names
    ]
    converters += [_category(columns.add(column)) for column in config.context.values()]

    users = cells.Ids(quarantine_reasons.MISSING_USER_ID, pseudonym)
    items = cells.Ids(quarantine_reasons.MISSING_ITEM_ID, pseudonym)

    def parse(row: Sequence[Any], order: int) -> tuple[int, tuple]:
        user, item = row[0], row[1]
        user = users[user if type(user) is str else cells.id_text(user)]
        item = items[item if type(item) is str else cells.id_text(item)]
        record = (user, parse_time(row[2]), order, item, *[convert(row) for convert in converters])
        return shard_of(user, shards), record

    text_fields = [4 + i for i, feature in enumerate(interaction_features(config)) if feature.name in TEXT_FEATURES]
    return RecordParser("interactions", columns.names, text_fields, parse, notes)


def _user_parser(config: UsersConfig, shards: int, pseudonym: Callable[[str], str] | None) -> RecordParser:
    columns, notes = _Columns(), Counter[str]()
    columns.add(config.user_id)
    converters: list[Callable[[Sequence[Any]], Any]] = [
        _category(columns.add(column)) for column in config.categorical.values()
    ]
    converters += [_number(columns.add(column), notes) for column in config.numeric.values()]
    users = cells.Ids(quarantine_reasons.MISSING_USER_ID, pseudonym)

    def parse(row: Sequence[Any], order: int) -> tuple[int, tuple]:
        user = users[cells.id_text(row[0])]
        return shard_of(user, shards), (user, order, *[convert(row) for convert in converters])

    return RecordParser("users", columns.names, [], parse, notes)


def _item_parser(config: ItemsConfig, shards: int, pseudonym: Callable[[str], str] | None) -> RecordParser:
    columns, notes = _Columns(), Counter[str]()
    columns.add(config.item_id)
    text = columns.add_all(list(config.text.values()))
    converters: list[Callable[[Sequence[Any]], Any]] = [
        _category(columns.add(column)) for column in config.categorical.values()
    ]
    converters += [_values(columns.add(column), config.separator) for column in config.multi_valued.values()]
    converters += [_number(columns.add(column), notes) for column in config.numeric.values()]
    converters += [_vector(columns.add(name), width, config.separator, notes) for name, width in config.dense.items()]
    items = cells.Ids(quarantine_reasons.MISSING_ITEM_ID, pseudonym)

    def parse(row: Sequence[Any], order: int) -> tuple[int, tuple]:
        item = items[cells.id_text(row[0])]
        title = cells.joined_text(row[text][:1], notes) or item
        whole = cells.joined_text(row[text], notes)
        return shard_of(item, shards), (item, order, title, whole, *[convert(row) for convert in converters])

    return RecordParser("items", columns.names, [2, 3], parse, notes)


def _category(index: int) -> Callable[[Sequence[Any]], bytes]:
    seen: dict[str, bytes] = {}  # few distinct values, many rows

    def convert(row: Sequence[Any]) -> bytes:
        cell = row[index]
        if type(cell) is not str:
            return cells.category(cell)
        value = seen.get(cell)
        if value is None:
            value = cells.category(cell)
            if len(seen) < 10_000:
                seen[cell] = value
        return value

    return convert


def _rating(index: int, missing: float | None) -> Callable[[Sequence[Any]], float]:
    return lambda row: cells.rating(row[index], missing)


def _text(indices: slice, notes: Counter) -> Callable[[Sequence[Any]], bytes]:
    return lambda row: cells.joined_text(row[indices], notes)


def _number(index: int, notes: Counter) -> Callable[[Sequence[Any]], float | None]:
    return lambda row: cells.number_or_missing(row[index], notes)


def _values(index: int, separator: str) -> Callable[[Sequence[Any]], list[bytes]]:
    return lambda row: cells.values(row[index], separator)


def _vector(index: int, width: int, separator: str, notes: Counter) -> Callable[[Sequence[Any]], list[float] | None]:
    return lambda row: cells.vector(row[index], width, separator, notes)
