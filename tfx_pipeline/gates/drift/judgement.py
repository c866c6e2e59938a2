"""Judges whether feature distributions differ from those of the last blessed run."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow_data_validation as tfdv
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from tfx_pipeline.gates.drift.reference_statistics import Statistics
from tfx_pipeline.gates.verdict import Check, Verdict
from trainer.data.features import Feature

GATE = "drift"
# Features that are not compared. Ids, times and texts have new values in every run. Item ids and counts differ much
# even between two samples of the same distribution, because each of thousands of items has few events.
_NOT_COMPARED = ("user_id", "item_id", "timestamp", "text", "query", "title", "target_count", "train_count", "occurs")
_TYPES = {
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
}


def compared_features(features: list[Feature]) -> list[str]:
    """Names of the features whose distribution should hardly change from run to run."""
    return [f.name for f in features if f.name not in _NOT_COMPARED and not f.name.startswith("dense_")]


def judge(tables: dict[str, tuple[Statistics, Statistics, list[Feature]]], limit: float) -> Verdict:
    """Compares distributions by their Jensen-Shannon divergence (Lin, 1991), as TFDV computes it.

    A feature's distribution of values is one comparison. If some values are missing, the share of missing values is
    another one, under the feature's name and " (not given)".

    Args:
      tables: name -> (statistics of this run, statistics of the last blessed run, features of the table).
      limit: the largest divergence that passes, in 0..1.
    """
    divergences: dict[str, float] = {}
    for table, (now, before, features) in tables.items():
        for name, value in _divergences(now, before, compared_features(features)):
            divergences[f"{table}.{name}"] = value
    checks = [
        Check(name, False, f"{name} drifted by {value:.3f}, wanted at most {limit:g}")
        for name, value in divergences.items()
        if value > limit
    ]
    if divergences and not checks:
        name = max(divergences, key=lambda key: divergences[key])
        reason = f"{len(divergences)} features, the largest drift {divergences[name]:.3f} of {name}"
        checks = [Check("drift", True, reason)]
    return Verdict(GATE, tuple(checks), measured={"divergence": divergences})


def _divergences(now: Statistics, before: Statistics, names: list[str]) -> Iterator[tuple[str, float]]:
    """(name, divergence) of the features' values, then of their shares of missing values."""
    types = {feature.path.step[0]: feature.type for feature in now.datasets[0].features}
    schema = schema_pb2.Schema()
    for name in filter(types.__contains__, names):
        feature = schema.feature.add(name=name, type=_TYPES.get(types[name], schema_pb2.FLOAT))
        feature.drift_comparator.jensen_shannon_divergence.threshold = 0.0  # TFDV reports what exceeds the threshold
    anomalies: anomalies_pb2.Anomalies = tfdv.validate_statistics(
        _without_nan(now), schema, previous_statistics=_without_nan(before)
    )
    for drift in anomalies.drift_skew_info:
        for measurement in drift.drift_measurements:
            yield drift.path.step[0], measurement.value
    for name in names:
        missing = [_missing_share(statistics, name) for statistics in (now, before)]
        if any(missing):
            distributions = [(share, 1 - share) for share in missing]
            yield f"{name} (not given)", float(jensenshannon(*distributions, base=2) ** 2)


def _without_nan(statistics: Statistics) -> Statistics:
    """A copy without counts of NaN, which TFDV counts as drift even if both distributions have equally many."""
    copy = Statistics.FromString(statistics.SerializeToString())
    for feature in copy.datasets[0].features:
        for histogram in feature.num_stats.histograms:
            histogram.num_nan = 0
    return copy


def _missing_share(statistics: Statistics, name: str) -> float:
    """The share of values that are NaN or, if none is, the share of examples without a value."""
    (dataset,) = statistics.datasets
    feature = next((feature for feature in dataset.features if feature.path.step[0] == name), None)
    if feature is None:  # no example has the feature
        return 1.0
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    if feature.HasField("num_stats") and feature.num_stats.histograms and feature.num_stats.histograms[0].num_nan:
        return feature.num_stats.histograms[0].num_nan / common.tot_num_values
    if common.max_num_values <= 1:
        with_value = common.tot_num_values
    else:  # of lists, only quantiles of their lengths are known
        buckets = common.num_values_histogram.buckets
        with_value = sum(bucket.sample_count for bucket in buckets if bucket.high_value >= 1)
    return 1 - min(with_value / dataset.num_examples, 1.0) if dataset.num_examples else 0.0
