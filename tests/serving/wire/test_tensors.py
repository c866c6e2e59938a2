import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.wire import tensors
from serving.wire.protos import wire_pb2

NUMBERS = [np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32]
NUMBERS += [np.uint64, np.bool_, np.complex64, np.complex128]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NUMERIC = st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
STRINGS = hnp.arrays(object, SHAPES, elements=st.binary(max_size=5))


def tensor_of(array: np.ndarray, packed: bool = False) -> wire_pb2.TensorProto:
    tensor = wire_pb2.TensorProto()
    tensors.fill_tensor(tensor, array, packed=packed)
    return tensor


@settings(max_examples=200, deadline=None)
@given(NUMERIC | STRINGS, st.booleans())
def test_what_is_written_reads_back_and_tensorflow_reads_the_same(array: np.ndarray, packed: bool) -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    written = tensor_of(array, packed)
    assert packed or not written.tensor_content
    read = tensors.array_from_tensor(written)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    original = tensor_pb2.TensorProto.FromString(written.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(original), array)


@settings(max_examples=100, deadline=None)
@given(NUMERIC)
def test_reads_what_tensorflow_writes(array: np.ndarray) -> None:
    import tensorflow as tf

    written = tf.make_tensor_proto(array)  # tensor_content, or compressed values
    np.testing.assert_array_equal(tensors.array_from_tensor(written), array)


def with_shape(shape: list[int], **fields: object) -> wire_pb2.TensorProto:
    tensor = wire_pb2.TensorProto(**fields)  # type: ignore[arg-type]
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_shape.SetInParent()
    return tensor


def test_missing_values_repeat_the_last_one() -> None:
    tensor = with_shape([2, 2], dtype=wire_pb2.DT_INT64, int64_val=[7, 8])
    assert tensors.array_from_tensor(tensor).tolist() == [[7, 8], [8, 8]]


def test_no_values_are_zeros_and_empty_strings() -> None:
    assert tensors.array_from_tensor(with_shape([2], dtype=wire_pb2.DT_FLOAT)).tolist() == [0, 0]
    assert tensors.array_from_tensor(with_shape([2], dtype=wire_pb2.DT_STRING)).tolist() == [b"", b""]


def test_surplus_values_are_dropped() -> None:
    tensor = with_shape([1], dtype=wire_pb2.DT_INT32, int_val=[1, 2, 3])
    assert tensors.array_from_tensor(tensor).tolist() == [1]


@pytest.mark.parametrize(
    "tensor",
    [
        with_shape([1], dtype=wire_pb2.DT_INVALID),
        with_shape([-1], dtype=wire_pb2.DT_FLOAT),
        with_shape([1] * 40, dtype=wire_pb2.DT_FLOAT),
        with_shape([2], dtype=wire_pb2.DT_FLOAT, tensor_content=b"1234567"),
        with_shape([2], dtype=wire_pb2.DT_STRING, tensor_content=b"12"),
        with_shape([10**12], dtype=wire_pb2.DT_FLOAT, float_val=[1.0]),
        with_shape([2**62, 2**62], dtype=wire_pb2.DT_BOOL),
        wire_pb2.TensorProto(
            dtype=wire_pb2.DT_FLOAT, tensor_shape=wire_pb2.TensorShapeProto(unknown_rank=True), float_val=[1.0]
        ),
    ],
)
def test_a_broken_tensor_is_refused(tensor: wire_pb2.TensorProto) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tensors.array_from_tensor(tensor)


def test_bfloat16_once_registered() -> None:
    import tensorflow as tf

    dtype = tf.bfloat16.as_numpy_dtype
    tensors.register_bfloat16(dtype)
    array = np.array([1.5, -2.0], dtype)
    np.testing.assert_array_equal(tensors.array_from_tensor(tensor_of(array)), array)
    np.testing.assert_array_equal(tf.make_ndarray(tf.make_tensor_proto(array)), array)
