"""Counters and histograms, and the text Prometheus reads them in."""

import threading

import pytest

from serving.server.monitoring.metrics import Registry
from serving.server.monitoring.monitoring_config import read_monitoring_path
from serving.server.monitoring.request_metrics import RequestMetrics
from serving.server.request_errors import not_found
from serving.wire.errors import ServerError


def test_the_text_is_that_of_tensorflow_servings_exporter():
    registry = Registry()
    metrics = RequestMetrics(registry)
    registry.gauge("/towers/queue-length", lambda: 7)
    for _ in range(2):
        with metrics.measure("m", "Predict", "GRPC"):
            pass
    with pytest.raises(ZeroDivisionError), metrics.measure("m", "Predict", "GRPC"):
        _ = 1 / 0
    with pytest.raises(Exception, match="gone"), metrics.measure("m", "Predict", "GRPC"):
        raise not_found("gone")
    text = registry.text()
    assert text.startswith(
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="m",status="INTERNAL"} 1\n'
        ':tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 1\n'
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 2\n'
        "# TYPE :tensorflow:serving:request_latency histogram\n"
        ':tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="10"} '
    )
    assert ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 2\n' in text
    assert text.endswith("# TYPE :towers:queue:length gauge\n:towers:queue:length{} 7\n")


def test_buckets_are_cumulative_and_grow_by_1_8_to_twenty_minutes():
    registry = Registry()
    metrics = RequestMetrics(registry)
    for microseconds in (0, 10, 17.9, 1e12):
        metrics.latency.add(microseconds, "m", "predict", "REST")
    lines = [line for line in registry.text().splitlines() if "_bucket" in line]
    limits = [line.split('le="')[1].split('"')[0] for line in lines]
    assert len(limits) == 34
    assert limits[:4] == ["10", "18", "32.4", "58.32"]
    assert limits[-1] == "+Inf"
    assert float(limits[-2]) == pytest.approx(10 * 1.8**32, rel=1e-5)
    assert [int(line.rsplit(" ", 1)[1]) for line in lines] == [1] + [3] * 32 + [4]


def test_labels_cannot_break_the_text_and_what_clients_make_up_takes_no_memory():
    registry = Registry()
    metrics = RequestMetrics(registry)
    metrics.count.add('a"b\\c\nd', "OK")
    assert '{model_name="a\\"b\\\\c\\nd",status="OK"} 1' in registry.text()
    for number in range(5000):
        metrics.count.add(str(number), "NOT_FOUND")
        metrics.latency.add(1.0, str(number), "Predict", "GRPC")
    text = registry.text()
    assert text.count("request_count{") == 1001
    assert ':tensorflow:serving:request_count{model_name="other",status="other"} 4001' in text
    assert 'request_latency_count{model_name="other",API="other",entrypoint="other"} 4000' in text


def test_no_count_is_lost_between_threads():
    counter = Registry().counter("/c")
    threads = [threading.Thread(target=lambda: [counter.add() for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.lines("c") == ["c{} 80000"]


def test_a_name_belongs_to_one_metric():
    registry = Registry()
    registry.counter("/a")
    with pytest.raises(ValueError, match="/a exists already"):
        registry.gauge("/a", lambda: 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/metrics" }', "/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("", None),
    ],
)
def test_path(tmp_path, text, expected):
    path = tmp_path / "monitoring.txt"
    path.write_text(text)
    assert read_monitoring_path(path) == expected
    assert read_monitoring_path(None) is None


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ('prometheus_config { enable: true, path: "metrics" }', "should start with a slash. Received: 'metrics'"),
        ("prometheus { }", 'no field named "prometheus"'),
    ],
)
def test_bad_files(tmp_path, text, expected_error):
    path = tmp_path / "monitoring.txt"
    path.write_text(text)
    with pytest.raises(ServerError) as caught:
        read_monitoring_path(path)
    assert expected_error in str(caught.value)
    assert str(path) in str(caught.value)
