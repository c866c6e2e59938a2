"""Users' interactions, grouped by user, to the examples of each split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from tfx_pipeline.ingest import blocks, quarantine_reasons, records, splits, user_sequence
from tfx_pipeline.ingest.cells.times import to_seconds
from tfx_pipeline.ingest.examples import SequenceEncoder
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.item_counts import ItemCounts
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.tags import ITEM_COUNTS, QUARANTINE, TALLY, tagged
from trainer.config import DataConfig


class BuildSequences(beam.PTransform):
    """(user shard, blocks of interactions and users) to (split, shard, serialized examples sorted by user id).

    The first row of a user is used; further rows are quarantined. Tagged outputs: item counts as blocks for
    `items.BuildItems`, quarantined rows, tallies.
    """

    def __init__(self, config: DataConfig, item_shards: int, quarantine_shards: int, user_files: Sequence[SourceFile]):
        super().__init__()
        self._do_fn = _BuildSequences(config, item_shards, quarantine_shards, user_files)

    def expand(self, grouped: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        return grouped | beam.ParDo(self._do_fn).with_outputs(ITEM_COUNTS, QUARANTINE, TALLY, main="examples")


class _BuildSequences(beam.DoFn):
    def __init__(self, config: DataConfig, item_shards: int, quarantine_shards: int, user_files: Sequence[SourceFile]):
        self._config = config
        self._item_shards = item_shards
        self._quarantine_shards = quarantine_shards
        self._user_files = user_files
        self._splitter = splits.Splitter.from_config(config.split, config.interactions.time_format)

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        shard, grouped = element
        events, profiles, duplicates = _group(grouped)
        quarantine = Quarantine("users", self._quarantine_shards, self._config.pseudonymise is not None)
        quarantine.add_records(self._user_files, duplicates, quarantine_reasons.DUPLICATE_USER)
        encoder = SequenceEncoder(self._config)
        examples: dict[str, list[bytes]] = {name: [] for name in self._splitter.names}
        item_counts = ItemCounts()
        tally: Counter = Counter()
        for user_id in sorted(events):
            rows = events.pop(user_id)
            sequence = user_sequence.build(user_id, rows, self._config.repeats)
            cuts = self._splitter.cuts(sequence.time)
            tally["interactions", "notes", quarantine_reasons.REPEATED_PAIR] += len(rows) - len(sequence.time)
            _count(tally, sequence, cuts)
            item_counts.add_sequence(sequence.item_id, sum(cut.length for cut in cuts if cut.split == "train"))
            timestamps = [to_seconds(time, self._config.interactions.time_format) for time in sequence.time]
            for split, serialized in encoder.encode(sequence, timestamps, profiles.pop(user_id, None), cuts):
                examples[split].append(serialized)
        tally["users", "notes", quarantine_reasons.USER_WITHOUT_EVENTS] += len(profiles)
        tally["users", "quarantined", quarantine_reasons.DUPLICATE_USER] += quarantine.count
        tally["users", "used"] -= quarantine.count
        for split, serialized_examples in examples.items():
            yield split, shard, serialized_examples
        yield from tagged(ITEM_COUNTS, item_counts.blocks(self._item_shards))
        yield from tagged(QUARANTINE, quarantine.flush())
        yield from tagged(TALLY, [tally])


def _count(tally: Counter, sequence: user_sequence.Sequence, cuts: Sequence[splits.Cut]) -> None:
    tally["users", "with events"] += 1
    tally["events", "all"] += len(sequence.time)
    for cut in cuts:
        tally["sequences", cut.split] += 1
        tally["events", cut.split] += cut.target_count or cut.length


def _group(grouped: Iterable[bytes]) -> tuple[dict[bytes, list[tuple]], dict[bytes, tuple], list[tuple]]:
    """(events by user, the users table's records by user, further records of the same users) of a shard."""
    events: dict[bytes, list[tuple]] = defaultdict(list)
    users: list[tuple] = []
    for kind, rows in blocks.unpack(grouped):
        if kind == blocks.USERS:
            users += rows
        else:
            for row in rows:
                events[row[0]].append(row)
    profiles, duplicates = records.first_of_each_id(users)
    return events, profiles, duplicates
