"""Tallies: Counters that transforms emit and one step of the pipeline adds up.

Keys are tuples:

  (table, 'files'), (table, 'rows'), (table, 'used')
  (table, 'quarantined', reason)     broken rows
  (table, 'notes', reason)           rows that were corrected or left out on purpose
  ('users', 'with events')
  ('catalogue', 'all' | 'occurring' | 'without row in the items table')
  ('events', 'all' | split), ('sequences', split)
  ('problem', message)               a file that cannot be used as a whole
  ('seen', table, column)            a file has the column
  ('unseen', table, column, path, columns as JSON)   a file does not have it
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

import apache_beam as beam
import tensorflow as tf


class SumTallies(beam.CombineFn):
    """Adds up Counters; counts may be negative."""

    def create_accumulator(self) -> Counter:
        return Counter()

    def add_input(self, accumulator: Counter, tally: Counter) -> Counter:
        accumulator.update(tally)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Counter]) -> Counter:
        total: Counter = Counter()
        for accumulator in accumulators:
            total.update(accumulator)
        return total

    def extract_output(self, accumulator: Counter) -> Counter:
        return accumulator


def write_tally(tally: Counter, path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(sorted((list(key), count) for key, count in tally.items()), file)


def read_tally(path: str) -> Counter:
    with tf.io.gfile.GFile(path) as file:
        return Counter({tuple(key): count for key, count in json.load(file)})
