"""Applies the item Transform of a run, with its vocabularies and buckets, to other items."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord


def transform_items(
    items: str, transform_graph: str, directory: str, make_pipeline: Callable[[], beam.Pipeline]
) -> None:
    """Writes transformed items to `directory`/Split-all/, as the pipeline's Transform step does.

    Args:
      items: ingested items (holds `Split-all/`).
      transform_graph: of the run.
      directory: the directory to make.
      make_pipeline: makes the Beam pipeline to run in.
    """
    learned = tft.TFTransformOutput(transform_graph)
    source = TFExampleRecord(
        os.path.join(items, "Split-all", "*.gz"), schema=learned.raw_metadata.schema, telemetry_descriptors=["items"]
    )
    with make_pipeline() as pipeline:
        raw = pipeline | "Read items" >> source.BeamSource()
        transform = pipeline | "Read transform" >> tft_beam.ReadTransformFn(transform_graph)
        transformed, _ = ((raw, source.TensorAdapterConfig()), transform) | "Transform" >> tft_beam.TransformDataset(
            output_record_batches=True
        )
        _ = (
            transformed
            | "Encode" >> beam.FlatMap(_examples, RecordBatchToExamplesEncoder(learned.transformed_metadata.schema))
            | "Write items"
            >> beam.io.WriteToTFRecord(
                os.path.join(directory, "Split-all", "transformed_examples"), file_name_suffix=".gz"
            )
        )


def _examples(element: tuple[pa.RecordBatch, Any], encoder: RecordBatchToExamplesEncoder) -> list[bytes]:
    """Serializes a record batch of TransformDataset as tf.Examples."""
    return encoder.encode(element[0])
