"""Records: the checked rows of the tables. They are tuples, to save memory: there is one for each row.

  interaction: (user_id, time, order, item_id, feature, ...)
  user:        (user_id, order, feature, ...)
  item:        (item_id, order, title, text, feature, ...)

Ids are bytes: pseudonyms if the configuration says so. `order` is the row's place in its table: the file's index and
the row's number in one integer. Features are those of `trainer.data.features`, in the same order: of an interaction
`interaction_features`, of a user `profile_features`, of an item `item_column_features`.
"""

from __future__ import annotations

from collections.abc import Iterable

_POSITION_BITS = 40  # a file may have 10^12 rows


def order_of(file_index: int, position: int) -> int:
    """A row's `order`: rows sort by file, then by their number."""
    return (file_index << _POSITION_BITS) | position


def place_of(order: int) -> tuple[int, int]:
    """(file index, row number) of an `order`."""
    return order >> _POSITION_BITS, order & ((1 << _POSITION_BITS) - 1)


def first_of_each_id(records: Iterable[tuple]) -> tuple[dict[bytes, tuple], list[tuple]]:
    """Separates records of users or items whose id occurs before them in the table.

    Returns:
      by_id: id -> its first record.
      duplicates: all further records, in the table's order.
    """
    by_id: dict[bytes, tuple] = {}
    in_order = sorted(records, key=lambda record: record[1])
    duplicates = [record for record in in_order if by_id.setdefault(record[0], record) is not record]
    return by_id, duplicates
