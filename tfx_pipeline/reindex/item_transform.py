"""A run's item Transform applied to other items, with the vocabularies and buckets it learnt."""

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
      transform_graph: the run's.
      directory: is made.
      make_pipeline: makes the Beam pipeline to run in.
    """
    learnt = tft.TFTransformOutput(transform_graph)
    source = TFExampleRecord(
        os.path.join(items, "Split-all", "*.gz"), schema=learnt.raw_metadata.schema, telemetry_descriptors=["items"]
    )
    with make_pipeline() as pipeline:
        raw = pipeline | "Read items" >> source.BeamSource()
        transform = pipeline | "Read transform" >> tft_beam.ReadTransformFn(transform_graph)
        transformed, _ = ((raw, source.TensorAdapterConfig()), transform) | "Transform" >> tft_beam.TransformDataset(
            output_record_batches=True
        )
        _ = (
            transformed
            | "Encode" >> beam.FlatMap(_examples, RecordBatchToExamplesEncoder(learnt.transformed_metadata.schema))
            | "Write items"
            >> beam.io.WriteToTFRecord(
                os.path.join(directory, "Split-all", "transformed_examples"), file_name_suffix=".gz"
            )
        )


def _examples(element: tuple[pa.RecordBatch, Any], encoder: RecordBatchToExamplesEncoder) -> list[bytes]:
    """A record batch, as TransformDataset gives it, as serialized tf.Examples."""
    return encoder.encode(element[0])
