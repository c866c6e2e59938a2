"""Whether the features of this run's train split look as those of the last blessed run did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from tfx_pipeline.gates.verdict import Check, Verdict
from trainer.data.features import Feature

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
        shares = [_share_not_given(statistics, name) for statistics in (now, before)]
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


def _share_not_given(statistics: Statistics, name: str) -> float:
    """Share of values that are NaN or, where those are none, of examples that have no value."""
    (dataset,) = statistics.datasets
    found = [feature for feature in dataset.features if feature.path.step[0] == name]
    if not found:  # in no example
        return 1.0
    (feature,) = found
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    if feature.HasField("num_stats") and feature.num_stats.histograms and feature.num_stats.histograms[0].num_nan:
        return feature.num_stats.histograms[0].num_nan / common.tot_num_values
    if common.max_num_values <= 1:
        some = common.tot_num_values
    else:  # of lists, quantiles of their lengths are what is known
        some = sum(bucket.sample_count for bucket in common.num_values_histogram.buckets if bucket.high_value >= 1)
    return 1 - min(some / dataset.num_examples, 1.0) if dataset.num_examples else 0.0
