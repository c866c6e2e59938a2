"""The catalogue: every item of the items table and every item that occurs in an interaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import apache_beam as beam

from tfx_pipeline.ingest import blocks, examples, quarantine_reasons, records
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.tags import ITEMS_BLOCK, QUARANTINE, TALLY
from trainer.config import DataConfig


class BuildItems(beam.PTransform):
    """(item shard, blocks of items and item counts) to serialized examples, sorted by item id.

    Of items with the same id the first in the files is kept; the others are quarantined, unless the configuration says
    that the table repeats its items. Tagged outputs beside it: quarantined rows, tallies.
    """

    def __init__(self, config: DataConfig, quarantine_shards: int, item_files: list[str]):
        super().__init__()
        self._do_fn = _BuildItems(config, quarantine_shards, item_files)

    def expand(self, grouped: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        return grouped | beam.ParDo(self._do_fn).with_outputs(QUARANTINE, TALLY, main="examples")


class _BuildItems(beam.DoFn):
    def __init__(self, config: DataConfig, quarantine_shards: int, item_files: list[str]):
        self._withhold_rows = config.pseudonymise is not None
        self._quarantine_shards = quarantine_shards
        self._item_files = item_files
        self._repeats = config.items is not None and config.items.repeats == "first"
        self._features = records.item_features(config.items)

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        shard, grouped = element
        rows: list[tuple] = []
        counts: dict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        for tag, block in blocks.unpack(grouped):
            if tag == ITEMS_BLOCK:
                rows += block
            else:
                for item_id, train, every in block:
                    count = counts[item_id]
                    count[0] += train
                    count[1] += every
        quarantine = Quarantine("items", self._quarantine_shards, self._withhold_rows)
        rows.sort(key=lambda row: row[1])
        table: dict[bytes, tuple] = {}
        further = 0
        for row in rows:
            if table.setdefault(row[0], row) is row:
                continue
            further += 1
            if not self._repeats:
                index, position = records.place_of(row[1])
                quarantine.add_record(self._item_files[index], index, position, quarantine_reasons.DUPLICATE_ITEM, row)

        catalogue = sorted(table.keys() | counts.keys())
        tally: Counter = Counter()
        tally["items", "quarantined", quarantine_reasons.DUPLICATE_ITEM] = quarantine.count
        tally["items", "notes", quarantine_reasons.REPEATED_ITEM] = further - quarantine.count
        tally["items", "used"] = -further
        tally["catalogue", "all"] = len(catalogue)
        tally["catalogue", "occurring"] = len(counts)
        tally["catalogue", "without row in the items table"] = len(counts.keys() - table.keys())
        yield (
            "all",
            shard,
            [
                examples.encode_item(item, table.get(item), self._features, counts[item][0], counts[item][1] > 0)
                if item in counts
                else examples.encode_item(item, table[item], self._features, 0, False)
                for item in catalogue
            ],
        )
        for broken in quarantine.flush():
            yield beam.pvalue.TaggedOutput(QUARANTINE, broken)
        yield beam.pvalue.TaggedOutput(TALLY, tally)
