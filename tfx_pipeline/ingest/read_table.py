"""A table's files to checked records, grouped into blocks by shard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import apache_beam as beam

from serving.pseudonyms import pseudonym, read_key
from tfx_pipeline.ingest import readers, records
from tfx_pipeline.ingest.blocks import BlockBuffer
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError
from tfx_pipeline.ingest.tags import INTERACTIONS_BLOCK, ITEMS_BLOCK, QUARANTINE, TALLY, USERS_BLOCK
from trainer.config import DataConfig, PseudonymiseConfig

_BLOCKS = {"interactions": INTERACTIONS_BLOCK, "users": USERS_BLOCK, "items": ITEMS_BLOCK}


def pseudonymiser(config: PseudonymiseConfig | None) -> Callable[[str], str] | None:
    """The function from id to pseudonym. It holds the key: never let it become part of a pipeline's graph.

    Raises PseudonymKeyError (a ValueError) if the key cannot be read.
    """
    if config is None:
        return None
    key = read_key(config.key_env, config.key_file)
    return lambda id: pseudonym(key, id)


class ReadTable(beam.PTransform):
    """`SourceFile`s of one table to (shard, block of records); see `records` for what a record is.

    One file is read by one worker, from start to end, because a CSV file cannot be entered in its middle: a quoted
    field may hold line breaks. Cut large tables into several files.

    Tagged outputs beside it: quarantined rows as (shard, block), and one tally (a Counter) a file.
    """

    def __init__(self, table: str, config: DataConfig, shards: int, quarantine_shards: int):
        super().__init__()
        self._table = table
        self._do_fn = _ReadFile(table, config, shards, quarantine_shards)

    def expand(self, source_files: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        return source_files | beam.ParDo(self._do_fn).with_outputs(QUARANTINE, TALLY, main="blocks")


class _ReadFile(beam.DoFn):
    def __init__(self, table: str, config: DataConfig, shards: int, quarantine_shards: int):
        self._table = table
        self._config = config
        self._shards = shards
        self._quarantine_shards = quarantine_shards
        self._pseudonym: Callable[[str], str] | None = None

    def setup(self) -> None:
        # Here and not in the constructor: what the constructor keeps is sent to the workers, the key must not be.
        self._pseudonym = pseudonymiser(self._config.pseudonymise)

    def process(self, file: SourceFile) -> Iterator:
        table = self._table
        parser = records.parser_for(table, self._config, self._shards, self._pseudonym)
        quarantine = Quarantine(table, self._quarantine_shards, self._config.pseudonymise is not None)
        buffer = BlockBuffer(_BLOCKS[table], self._shards)
        reader = readers.open_reader(file, parser.columns, getattr(self._config, table).delimiter)
        tally: Counter = Counter({(table, "files"): 1})
        first_order = records.order_of(file.index, 0)
        parse, add, text_fields = parser.parse, buffer.add, parser.text_fields
        try:
            for cells in reader:
                try:
                    if type(cells) is str:
                        raise BrokenRowError(cells)
                    shard, record = parse(cells, first_order + reader.position)
                except BrokenRowError as error:
                    if quarantine.add(file.path, file.index, reader.position, error.reason, reader.text()):
                        yield from self._quarantined(quarantine)
                else:
                    if add(shard, record, sum(len(record[field]) for field in text_fields) if text_fields else 0):
                        yield from buffer.flush()
        except readers.UnreadableFileError as error:
            tally["problem", f"{table}: {error}"] += 1
        yield from buffer.flush()
        yield from self._quarantined(quarantine)

        tally[table, "rows"] = reader.position
        tally[table, "used"] = reader.position - quarantine.count
        for reason, count in quarantine.by_reason.items():
            tally[table, "quarantined", reason] = count
        for note, count in parser.notes.items():
            tally[table, "notes", note] = count
        for column in parser.columns:
            if column not in reader.unseen:
                tally["seen", table, column] = 1
            elif reader.columns:
                tally["unseen", table, column, file.path, json.dumps(reader.columns)] = 1
        yield beam.pvalue.TaggedOutput(TALLY, tally)

    def _quarantined(self, quarantine: Quarantine) -> Iterator[beam.pvalue.TaggedOutput]:
        for block in quarantine.flush():
            yield beam.pvalue.TaggedOutput(QUARANTINE, block)
