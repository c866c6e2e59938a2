"""Users' interactions, grouped, to the examples of each split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import apache_beam as beam

from tfx_pipeline.ingest import blocks, examples, quarantine_reasons, records, splits, times, user_sequence
from tfx_pipeline.ingest.blocks import BlockBuffer
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.tags import ITEM_COUNTS, ITEM_COUNTS_BLOCK, QUARANTINE, TALLY, USERS_BLOCK
from trainer.config import DataConfig


class BuildSequences(beam.PTransform):
    """(user shard, blocks of interactions and users) to serialized examples, one element a split and shard.

    Tagged outputs beside it: item counts as blocks for `items.BuildItems`, quarantined rows, tallies.
    """

    def __init__(self, config: DataConfig, item_shards: int, quarantine_shards: int, user_files: list[str]):
        super().__init__()
        self._do_fn = _BuildSequences(config, item_shards, quarantine_shards, user_files)

    def expand(self, grouped: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        return grouped | beam.ParDo(self._do_fn).with_outputs(ITEM_COUNTS, QUARANTINE, TALLY, main="examples")


class _BuildSequences(beam.DoFn):
    def __init__(self, config: DataConfig, item_shards: int, quarantine_shards: int, user_files: list[str]):
        self._config = config
        self._item_shards = item_shards
        self._quarantine_shards = quarantine_shards
        self._user_files = user_files
        self._splitter = splits.Splitter.from_config(config.split, config.interactions.time_format)
        self._interaction_features = records.interaction_features(config.interactions)
        self._user_features = records.user_features(config.users)

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        shard, grouped = element
        tally: Counter = Counter()
        quarantine = Quarantine("users", self._quarantine_shards, self._config.pseudonymise is not None)
        events, profiles = self._group(grouped, quarantine)
        item_counts: dict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        outputs: dict[str, list[bytes]] = {name: [] for name in self._splitter.names}
        encoder = examples.SequenceEncoder(self._interaction_features, self._user_features)
        clock = self._config.interactions.time_format
        for user_id in sorted(events):
            rows = events.pop(user_id)
            sequence = user_sequence.build(user_id, rows, self._config.repeats)
            tally["interactions", "notes", quarantine_reasons.REPEATED_PAIR] += len(rows) - len(sequence.time)
            tally["events", "all"] += len(sequence.time)
            tally["users", "with events"] += 1
            for item_id in sequence.item_id:
                item_counts[item_id][1] += 1
            cuts = self._splitter.cuts(sequence.time)
            for cut in cuts:
                tally["sequences", cut.split] += 1
                tally["events", cut.split] += cut.target_count or cut.length
                if cut.split == "train":
                    for item_id in sequence.item_id[: cut.length]:
                        item_counts[item_id][0] += 1
            timestamps = [times.to_seconds(time, clock) for time in sequence.time]
            for split, serialized in encoder.encode(sequence, timestamps, profiles.pop(user_id, None), cuts):
                outputs[split].append(serialized)
        tally["users", "notes", quarantine_reasons.USER_WITHOUT_EVENTS] += len(profiles)
        tally["users", "quarantined", quarantine_reasons.DUPLICATE_USER] += quarantine.count
        tally["users", "used"] -= quarantine.count
        for split, serialized_examples in outputs.items():
            yield split, shard, serialized_examples
        buffer = BlockBuffer(ITEM_COUNTS_BLOCK, self._item_shards)
        for item_id, (train, every) in item_counts.items():
            buffer.add(blocks.shard_of(item_id, self._item_shards), (item_id, train, every))
        for block in buffer.flush():
            yield beam.pvalue.TaggedOutput(ITEM_COUNTS, block)
        for block in quarantine.flush():
            yield beam.pvalue.TaggedOutput(QUARANTINE, block)
        yield beam.pvalue.TaggedOutput(TALLY, tally)

    def _group(self, grouped: Iterable[bytes], quarantine: Quarantine) -> tuple[dict, dict]:
        events: dict[bytes, list[tuple]] = defaultdict(list)
        users: list[tuple] = []
        for tag, rows in blocks.unpack(grouped):
            if tag == USERS_BLOCK:
                users += rows
            else:
                for row in rows:
                    events[row[0]].append(row)
        users.sort(key=lambda user: user[1])
        profiles: dict[bytes, tuple] = {}
        for user in users:
            if profiles.setdefault(user[0], user) is not user:
                index, position = records.place_of(user[1])
                quarantine.add_record(self._user_files[index], index, position, quarantine_reasons.DUPLICATE_USER, user)
        return events, profiles
