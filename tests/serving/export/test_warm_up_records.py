import numpy as np
import pytest
import tensorflow as tf

from serving.export import warm_up_records
from serving.model_files import MAX_WARM_UP_RECORDS

REQUESTS = [
    ("recommend", {"user_id": np.array([b"u1", b"u2"], object), "timestamp": np.array([1, 2])}),
    ("encode_text", {"text": np.array(["一本书".encode()], object)}),
]


def test_what_is_written_is_read(tmp_path):
    assert warm_up_records.write(tmp_path, "recommender", REQUESTS) == 2
    assert (tmp_path / "assets.extra" / "tf_serving_warmup_requests").exists()
    first, second = warm_up_records.read(tmp_path)
    assert first.model_spec.name == "recommender"
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("recommend", "encode_text")
    assert tf.make_ndarray(first.inputs["user_id"]).tolist() == [b"u1", b"u2"]
    assert tf.make_ndarray(first.inputs["timestamp"]).dtype == np.int64
    assert tf.make_ndarray(second.inputs["text"])[0].decode() == "一本书"


def test_a_model_without_warm_up_requests(tmp_path):
    assert list(warm_up_records.read(tmp_path)) == []


def test_too_many(tmp_path):
    with pytest.raises(ValueError, match="at most 1000"):
        warm_up_records.write(tmp_path, "recommender", [REQUESTS[1]] * (MAX_WARM_UP_RECORDS + 1))
