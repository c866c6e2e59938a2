"""Reads the files of a table: checked records, grouped into blocks by shard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import apache_beam as beam

from tfx_pipeline.ingest import blocks, readers
from tfx_pipeline.ingest.blocks import BlockBuffer
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.parsers import RowParser, parser_for
from tfx_pipeline.ingest.pseudonyms import pseudonymiser
from tfx_pipeline.ingest.quarantine import Quarantine
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError
from tfx_pipeline.ingest.records import order_of
from tfx_pipeline.ingest.tags import QUARANTINE, TALLY, tagged
from trainer.config import DataConfig

_BLOCK_KINDS = {"interactions": blocks.INTERACTIONS, "users": blocks.USERS, "items": blocks.ITEMS}


class ReadTable(beam.PTransform):
    """`SourceFile`s of one table to (shard, block of records).

    Tagged outputs: quarantined rows as (quarantine shard, block), and one tally (a Counter) for each file.

    One worker reads a file from its beginning to its end: a CSV file cannot be entered in the middle, because a quoted
    field may hold line breaks. Large tables should be divided into several files.
    """

    def __init__(self, table: str, config: DataConfig, shards: int, quarantine_shards: int):
        super().__init__()
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
        # Not in the constructor: its attributes are sent to the workers, and the key must not be.
        self._pseudonym = pseudonymiser(self._config.pseudonymise)

    def process(self, file: SourceFile) -> Iterator:
        table = self._table
        parser = parser_for(table, self._config, self._shards, self._pseudonym)
        quarantine = Quarantine(table, self._quarantine_shards, self._config.pseudonymise is not None)
        buffer = BlockBuffer(_BLOCK_KINDS[table], self._shards)
        reader = readers.open_reader(file, parser.columns, getattr(self._config, table).delimiter)
        problem = None
        first_order = order_of(file.index, 0)
        parse, add, text_fields = parser.parse, buffer.add, parser.text_fields
        try:
            for cells in reader:
                try:
                    if type(cells) is str:
                        raise BrokenRowError(cells)
                    shard, record = parse(cells, first_order + reader.position)
                except BrokenRowError as error:
                    if quarantine.add(file, reader.position, error.reason, reader.text()):
                        yield from tagged(QUARANTINE, quarantine.flush())
                else:
                    if add(shard, record, sum(len(record[field]) for field in text_fields) if text_fields else 0):
                        yield from buffer.flush()
        except readers.UnreadableFileError as error:
            problem = f"{table}: {error}"
        yield from buffer.flush()
        yield from tagged(QUARANTINE, quarantine.flush())
        yield from tagged(TALLY, [_tally(table, file, reader, parser, quarantine, problem)])


def _tally(
    table: str,
    file: SourceFile,
    reader: readers.Reader,
    parser: RowParser,
    quarantine: Quarantine,
    problem: str | None,
) -> Counter:
    """What a file adds to the counts; see `tally` for the keys."""
    tally: Counter = Counter({(table, "files"): 1})
    if problem is not None:
        tally["problem", problem] = 1
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
    return tally
