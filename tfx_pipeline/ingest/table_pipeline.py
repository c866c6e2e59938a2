"""The Beam transforms that every ingestion consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apache_beam as beam

from tfx_pipeline.ingest import tally
from tfx_pipeline.ingest.blocks import EMPTY_BLOCK
from tfx_pipeline.ingest.examples import WriteExamples
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.items import BuildItems
from tfx_pipeline.ingest.quarantine import WriteQuarantine
from tfx_pipeline.ingest.read_table import ReadTable
from tfx_pipeline.ingest.shards import Shards
from tfx_pipeline.ingest.tags import QUARANTINE, TALLY
from trainer.config import DataConfig


class TablePipeline:
    """Adds transforms to a Beam pipeline, and collects what they quarantine and count.

    Args:
      pipeline: the Beam pipeline.
      data: the configuration.
      source_files: the files of each table to read.
    """

    def __init__(self, pipeline: beam.Pipeline, data: DataConfig, source_files: Mapping[str, Sequence[SourceFile]]):
        self.pipeline = pipeline
        self.data = data
        self.source_files = source_files
        self.shards = Shards.for_files(source_files)
        self._checked_outputs: list[beam.pvalue.DoOutputsTuple] = []

    def read(self, table: str) -> beam.PCollection:
        """(shard, block of records) of a table."""
        shards = self.shards.items if table == "items" else self.shards.users
        outputs = (
            self.pipeline
            | f"{table} files" >> beam.Create(self.source_files[table])
            | f"Spread {table} files" >> beam.Reshuffle()
            | f"Read {table}" >> ReadTable(table, self.data, shards, self.shards.quarantine)
        )
        return self.with_checks(outputs).blocks

    def group(self, name: str, collections: Sequence[beam.PCollection], shards: int) -> beam.PCollection:
        """(shard, blocks) of several collections. Empty shards are included, so that their files are written too."""
        all_shards = self.pipeline | f"Shards of {name}" >> beam.Create([(n, EMPTY_BLOCK) for n in range(shards)])
        typed = [
            collection | f"{name} blocks {i}" >> beam.Map(_same).with_output_types(tuple[int, bytes])
            for i, collection in enumerate([all_shards, *collections])
        ]
        return typed | f"Flatten {name}" >> beam.Flatten() | f"Group {name}" >> beam.GroupByKey()

    def write_items(self, collections: Sequence[beam.PCollection], directory: str) -> None:
        """Writes the catalogue of (item shard, block of items or item counts)."""
        catalogue = self.with_checks(
            self.group("items", collections, self.shards.items)
            | BuildItems(self.data, self.shards.quarantine, self.source_files.get("items", []))
        )
        _ = catalogue.examples | "Write items" >> WriteExamples(directory, self.shards.items)

    def with_checks(self, outputs: beam.pvalue.DoOutputsTuple) -> beam.pvalue.DoOutputsTuple:
        """Registers a transform whose tagged outputs include quarantined rows and tallies. Returns its outputs."""
        self._checked_outputs.append(outputs)
        return outputs

    def write_quarantine(self, directory: str, tally_path: str) -> None:
        """Writes all quarantined rows, and the sum of all tallies."""
        broken = [outputs[QUARANTINE] for outputs in self._checked_outputs]
        _ = self.group("quarantine", broken, self.shards.quarantine) | WriteQuarantine(
            directory, self.shards.quarantine
        )
        _ = (
            [outputs[TALLY] for outputs in self._checked_outputs]
            | "All tallies" >> beam.Flatten()
            | beam.CombineGlobally(tally.SumTallies())
            | beam.Map(tally.write_tally, tally_path)
        )


def _same(block: tuple[int, bytes]) -> tuple[int, bytes]:
    return block
