"""Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tfx_pipeline.ingest import files
from tfx_pipeline.ingest.cells.times import Microseconds
from tfx_pipeline.ingest.readers.base import Reader

_BATCH_ROWS = 8192


class ParquetReader(Reader):
    """Parquet, a few thousand rows at a time, only the requested columns."""

    _row: tuple = ()

    def text(self) -> str:
        cells = dict(zip(self._requested, self._row, strict=True))
        return json.dumps(cells, ensure_ascii=False, default=str)

    def _rows(self) -> Iterator[tuple | str]:
        with files.open_binary(self._path) as binary:
            parquet = pq.ParquetFile(binary)
            self.columns = parquet.schema_arrow.names
            self._check_columns()
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(set(self._requested))):
                cells = [_to_list(batch.column(batch.schema.get_field_index(column))) for column in self._requested]
                for row in zip(*cells, strict=True):
                    self.position += 1
                    self._row = row
                    yield row


def _to_list(column: pa.Array) -> list:
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        microseconds = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_pylist()
        return [None if value is None else Microseconds(value) for value in microseconds]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        cells = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
