"""Tagged outputs, which transforms have beside their main one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

ITEM_COUNTS = "item_counts"
QUARANTINE = "quarantine"
TALLY = "tally"


def tagged(tag: str, elements: Iterable[Any]) -> Iterator[beam.pvalue.TaggedOutput]:
    for element in elements:
        yield beam.pvalue.TaggedOutput(tag, element)
