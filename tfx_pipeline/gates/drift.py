"""Whether the features of this run's train split look as those of the last blessed run did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from tfx_pipeline.gates.verdict import Check, Verdict
from trainer.features import Feature

GATE = "drift"
# Of these, each value is new by its nature (what is said, who said it, when), or has too few events: among thousands
# of items, two samples of the same distribution lie far apart.
_NEVER = ("user_id", "item_id", "timestamp", "text", "query", "title", "target_count", "train_count", "occurs")

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def watched(features: list[Feature]) -> list[str]:
    """Features whose distribution should be about the same from run to run."""
    return [f.name for f in features if f.name not in _NEVER and not f.name.startswith("dense_")]


def judge(tables: dict[str, tuple[Statistics, Statistics, list[Feature]]], most: float) -> Verdict:
    """Jensen-Shannon divergence (Lin, 1991), as TFDV computes it, of each feature's distribution from the one before.

    Args:
      tables: name -> (statistics now, statistics before, its features).
      most: the largest divergence that passes, in 0..1.
    """
    found: list[tuple[str, float]] = []
    for table, (now, before, features) in tables.items():
        found += [(f"{table}.{name}", value) for name, value in _divergences(now, before, watched(features))]
    far = [(name, value) for name, value in found if value > most]
    checks = [Check(name, False, f"{name} drifted by {value:.3f}, wanted at most {most:g}") for name, value in far]
    if found and not far:
        name, value = max(found, key=lambda pair: pair[1])
        checks = [Check("drift", True, f"{len(found)} features, the largest drift {value:.3f} of {name}")]
    return Verdict(GATE, tuple(checks), measured={"divergence": dict(found)})


def _divergences(now: Statistics, before: Statistics, names: list[str]) -> Iterator[tuple[str, float]]:
    present = {feature.path.step[0]: feature.type for feature in now.datasets[0].features}
    schema = schema_pb2.Schema()
    for name in (name for name in names if name in present):
        kind = schema_pb2.BYTES if present[name] == statistics_pb2.FeatureNameStatistics.STRING else schema_pb2.FLOAT
        if present[name] == statistics_pb2.FeatureNameStatistics.INT:
            kind = schema_pb2.INT
        entry = schema.feature.add(name=name, type=kind)
        entry.drift_comparator.jensen_shannon_divergence.threshold = 0.0  # so that every feature is measured
    anomalies: anomalies_pb2.Anomalies = tfdv.validate_statistics(
        _without_nan(now), schema, previous_statistics=_without_nan(before)
    )
    for feature in anomalies.drift_skew_info:
        for measured in feature.drift_measurements:
            yield feature.path.step[0], measured.value
    for name in names:
        shares = [_share_of_nan(statistics, name) for statistics in (now, before)]
        if any(shares):
            distributions = [(share, 1 - share) for share in shares]
            yield f"{name} (not given)", float(jensenshannon(*distributions, base=2) ** 2)


def _without_nan(statistics: Statistics) -> Statistics:
    """TFDV counts NaN as drift by their mere presence: identical statistics lie as far apart as their share of NaN."""
    kept = Statistics.FromString(statistics.SerializeToString())
    for feature in kept.datasets[0].features:
        for histogram in feature.num_stats.histograms:
            histogram.num_nan = 0
    return kept


def _share_of_nan(statistics: Statistics, name: str) -> float:
    """Of a feature's values; 0 for a feature that is no number or is not there."""
    for feature in statistics.datasets[0].features:
        if feature.path.step[0] == name and feature.HasField("num_stats") and feature.num_stats.histograms:
            values = feature.num_stats.common_stats.tot_num_values
            return feature.num_stats.histograms[0].num_nan / values if values else 0.0
    return 0.0
