"""The catalogue: every item of the items table, and every item that occurs in an interaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from tfx_pipeline.ingest import blocks, quarantine_reasons, records
from tfx_pipeline.ingest.examples import encode_item
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.item_counts import ItemCounts
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.tags import QUARANTINE, TALLY, tagged
from trainer.config import DataConfig
from trainer.data.features import item_column_features


class BuildItems(beam.PTransform):
    """(item shard, blocks of items and item counts) to ('all', shard, serialized examples sorted by item id).

    The first row of an id is used. Further rows are quarantined, or left out if the configuration says that the table
    repeats its items. Tagged outputs: quarantined rows, tallies.
    """

    def __init__(self, config: DataConfig, quarantine_shards: int, item_files: Sequence[SourceFile]):
        super().__init__()
        self._do_fn = _BuildItems(config, quarantine_shards, item_files)

    def expand(self, grouped: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        return grouped | beam.ParDo(self._do_fn).with_outputs(QUARANTINE, TALLY, main="examples")


class _BuildItems(beam.DoFn):
    def __init__(self, config: DataConfig, quarantine_shards: int, item_files: Sequence[SourceFile]):
        self._withhold_rows = config.pseudonymise is not None
        self._quarantine_shards = quarantine_shards
        self._item_files = item_files
        self._may_repeat = config.items is not None and config.items.repeats == "first"
        self._features = item_column_features(config)

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        shard, grouped = element
        table, duplicates, counts = _merge(grouped)
        quarantine = Quarantine("items", self._quarantine_shards, self._withhold_rows)
        if not self._may_repeat:
            quarantine.add_records(self._item_files, duplicates, quarantine_reasons.DUPLICATE_ITEM)
        catalogue = sorted(table.keys() | counts.ids)
        tally: Counter = Counter()
        tally["items", "quarantined", quarantine_reasons.DUPLICATE_ITEM] = quarantine.count
        tally["items", "notes", quarantine_reasons.REPEATED_ITEM] = len(duplicates) - quarantine.count
        tally["items", "used"] = -len(duplicates)
        tally["catalogue", "all"] = len(catalogue)
        tally["catalogue", "occurring"] = len(counts)
        tally["catalogue", "without row in the items table"] = len(counts.ids - table.keys())
        examples = [encode_item(item, table.get(item), self._features, *counts.get(item)) for item in catalogue]
        yield "all", shard, examples
        yield from tagged(QUARANTINE, quarantine.flush())
        yield from tagged(TALLY, [tally])


def _merge(grouped: Iterable[bytes]) -> tuple[dict[bytes, tuple], list[tuple], ItemCounts]:
    """(items of the table by id, further rows of the same ids, event counts) of a shard."""
    items: list[tuple] = []
    counts = ItemCounts()
    for kind, rows in blocks.unpack(grouped):
        if kind == blocks.ITEMS:
            items += rows
        else:
            for item_id, train, total in rows:
                counts.add(item_id, train, total)
    table, duplicates = records.first_of_each_id(items)
    return table, duplicates, counts
