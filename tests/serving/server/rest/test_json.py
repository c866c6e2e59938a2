"""JSON to arrays and back, without a server."""

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.server.request_errors import RequestError
from serving.server.rest.json_output import write_error, write_outputs, write_predictions
from serving.server.rest.json_request import input_arrays, parse_body
from serving.server.runtime.callable_signatures import Input
from serving.wire.tensors import type_number

DTYPES = [np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
NUMBERS = st.sampled_from([*DTYPES, np.float16, np.bool_]).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
TEXTS = hnp.arrays(object, SHAPES, elements=st.text(max_size=5).map(str.encode))


def declared(alias, dtype):
    return Input(alias, f"{alias}:0", type_number(np.dtype(dtype)), None, None)


def read(document, **dtypes):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return input_arrays(parse_body(body), {alias: declared(alias, dtype) for alias, dtype in dtypes.items()})


def refused(document, **dtypes):
    with pytest.raises(RequestError) as caught:
        read(document, **dtypes)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    return caught.value.message


def attempted(action):
    """(what it returned, None) or (None, the refusal it raised)."""
    try:
        return action(), None
    except RequestError as error:
        return None, error


def reachable(array):
    """Lists cannot say what follows a dimension without elements."""
    empty = next((depth for depth, size in enumerate(array.shape) if size == 0), None)
    return array if empty is None else array.reshape(array.shape[: empty + 1])


# Round trips


@settings(max_examples=80, deadline=None)
@given(NUMBERS | TEXTS)
def test_what_is_written_as_outputs_reads_back_as_inputs(array):
    written = json.loads(write_outputs({"x": array}))
    (back,) = read({"inputs": written["outputs"]}, x=array.dtype)
    expected = reachable(array)
    assert (back.dtype, back.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(back, expected)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4).flatmap(lambda rows: st.tuples(*[rows_of(rows)] * 2)))
def test_what_is_written_as_predictions_reads_back_as_instances(arrays):
    outputs = {"a": arrays[0], "b_bytes": arrays[1]}
    written = json.loads(write_predictions(outputs))
    back = read({"instances": written["predictions"]}, a=arrays[0].dtype, b_bytes=arrays[1].dtype)
    for array, expected in zip(back, map(reachable, arrays), strict=True):
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(array, expected)


def rows_of(rows):
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3).map(lambda shape: (rows, *shape))
    numbers = st.sampled_from(DTYPES).flatmap(lambda dtype: shapes.flatmap(lambda shape: hnp.arrays(dtype, shape)))
    return numbers | shapes.flatmap(
        lambda shape: hnp.arrays(object, shape, elements=st.text(max_size=5).map(str.encode))
    )


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "y", "b64", "instances", "inputs", "signature_name"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    JSON | st.fixed_dictionaries({"instances": JSON}) | st.fixed_dictionaries({"inputs": JSON}),
    st.lists(st.sampled_from([*DTYPES, np.bool_, object]), min_size=1, max_size=2),
)
def test_whatever_json_comes_is_arrays_of_one_batch_or_refused(document, dtypes):
    wanted = dict(zip("xy", dtypes, strict=False))
    arrays, error = attempted(lambda: read(document, **wanted))
    if error is not None:
        assert error.code.name == "INVALID_ARGUMENT"
        json.loads(write_error(error.message))
    else:
        assert [array.dtype for array in arrays] == [np.dtype(dtype) for dtype in dtypes]
        if "instances" in document:
            assert {len(array) for array in arrays} == {len(document["instances"])}


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_whatever_bytes_come_are_refused_or_parsed(body):
    _, error = attempted(lambda: parse_body(body))
    assert error is None or error.code.name == "INVALID_ARGUMENT"


# Reading


def test_the_ways_to_say_the_same():
    expected = [[1.0], [2.5]]
    for document in (
        {"instances": [[1], [2.5]]},
        {"instances": [{"x": [1]}, {"x": [2.5]}]},
        {"inputs": [[1], [2.5]]},
        {"inputs": {"x": [[1], [2.5]]}},
    ):
        assert read(document, x=np.float32)[0].tolist() == expected
    assert read({"inputs": {"x": 3, "other": "is ignored"}}, x=np.int64)[0].shape == ()


def test_arrays_come_in_the_signatures_order():
    arrays = read({"instances": [{"b": "t", "a": 1}]}, a=np.int64, b=object)
    assert [array.tolist() for array in arrays] == [[1], [b"t"]]


def test_bytes():
    encoded = {"b64": base64.b64encode(b"\xff\x00").decode()}
    for document in ({"instances": [encoded, "é"]}, {"inputs": [encoded, "é"]}, {"inputs": {"x": [encoded, "é"]}}):
        assert read(document, x=object)[0].tolist() == [b"\xff\x00", "é".encode()]
    assert read({"inputs": {"b64": " /w A=\n"}}, x=object)[0].item() == b"\xff\x00"
    assert refused({"inputs": {"b64": "=x="}}, x=object) == "Unable to base64 decode (input x)"
    assert "not formatted correctly for base64 data" in refused({"instances": [[{"b64": 1}]]}, x=object)
    assert "is not of expected type: float" in refused({"instances": [{"b64": "AA=="}]}, x=np.float32)


def test_numbers_that_are_not_finite():
    (array,) = read(b'{"instances": [NaN, Infinity, -Infinity]}', x=np.float32)
    assert np.isnan(array[0])
    assert array[1:].tolist() == [math.inf, -math.inf]
    assert write_outputs({"x": array}) == b'{"outputs": [NaN, Infinity, -Infinity]}'


@pytest.mark.parametrize(
    ("value", "dtype", "expected_error"),
    [
        ("1", np.float32, 'JSON Value: "1" Type: String is not of expected type: float'),
        (True, np.float32, "JSON Value: true Type: True is not of expected type: float"),
        (None, np.int64, "JSON Value: null Type: Null is not of expected type: int64"),
        (1.0, np.int32, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (2**31, np.int32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (300, np.uint8, "JSON Value: 300 Type: Number is not of expected type: uint8"),
        (-1, np.uint64, "JSON Value: -1 Type: Number is not of expected type: uint64"),
        (0, np.bool_, "JSON Value: 0 Type: Number is not of expected type: bool"),
        (1, object, "JSON Value: 1 Type: Number is not of expected type: string"),
        (2**24, np.float32, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (1e39, np.float32, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (10**400, np.float64, "to double without loss of precision."),
    ],
)
def test_values_that_do_not_fit_their_type(value, dtype, expected_error):
    assert expected_error in refused({"inputs": {"x": [value]}}, x=dtype)
    assert refused({"inputs": {"x": [value]}}, x=dtype).endswith("(input x)")


def test_a_type_that_json_does_not_have():
    with pytest.raises(RequestError, match=r"to type: complex64 \(input x\)") as caught:
        read({"inputs": [1]}, x=np.complex64)
    assert caught.value.code.name == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("document", "expected_error"),
    [
        (
            {"inputs": {"x": [[1], [2, 3]]}},
            "Encountered list at unexpected size: 2 at level: 1 expected size: 1 (input x)",
        ),
        (
            {"inputs": {"x": [[1], 2]}},
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": {"x": [1, [2]]}}, "Encountered list at unexpected level: 1 expected < 1 (input x)"),
        (
            {"instances": [{"x": [1]}, {"x": [2, 3]}]},
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1"
            " but got: 2",
        ),
        (
            {"instances": [[[1, 2]], [[1], [2]]]},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1,2] but got:"
            " [2,1]",
        ),
        (
            {"instances": [1, "a"]},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String"
            " is not of expected type: float",
        ),
        (
            {"instances": [{"x": 1}, {"y": 1}]},
            "Failed to process element: 1 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not"
            " have named input: y",
        ),
        ({"instances": [{"x": 1}, {}]}, "JSON object: {} keys must be equal to: x"),
        ({"instances": [{"x": 1}, 1]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"inputs": {}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": 1, "instances": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"signature_name": 1, "inputs": 1}, "'signature_name' key must be a string value."),
        ([1], "JSON Value: [1] Is not object"),
        (b"", "JSON Parse error: The document is empty"),
        (b'{"inputs": }', "JSON Parse error: Expecting value at offset: 11"),
        (b'{"inputs": "\xff"}', "JSON Parse error: The text is not UTF-8 at offset: 12"),
        (b'{"inputs": ' + b"[" * 100_000, "JSON Parse error: The document is nested too deeply"),
        (b'{"inputs": ' + b"[" * 100 + b"]" * 100 + b"}", "Encountered list at unexpected level: 32"),
        (b'{"inputs": "\\ud800"}', "is not of expected type: float"),
    ],
)
def test_refusals(document, expected_error):
    assert expected_error in refused(document, x=np.float32)


def test_half_of_a_surrogate_pair_is_no_text():
    assert "The surrogate pair in string is invalid." in refused(b'{"inputs": "\\ud800"}', x=object)


def test_several_inputs_need_names():
    assert refused({"instances": [[1, 2]]}, x=np.float32, y=np.float32).startswith("instances is a plain list")
    assert refused({"inputs": [1]}, x=np.float32, y=np.float32).startswith("inputs is a plain value/list")
    assert refused({"inputs": {"x": 1}}, x=np.float32, y=np.float32) == "Missing named input: y in 'inputs' object."
    assert refused({"inputs": []}) == "Failed to get input map for signature: DEFAULT"


# Writing


def test_numbers_digits_are_tensorflow_servings():
    floats = np.array([0.1, 1 / 3, 2, 9e6, 3e-5, 16777215], np.float32)
    assert write_outputs({"y": floats}) == b'{"outputs": [0.1, 0.333333343, 2.0, 9e+06, 3e-05, 16777215.0]}'
    doubles = np.array([0.1, 1 / 3, -2])
    assert write_outputs({"y": doubles}) == b'{"outputs": [0.1, 0.33333333333333331, -2.0]}'
    assert write_outputs({"y": np.array([True, False])}) == b'{"outputs": [true, false]}'


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([np.float32, np.float64]).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 8))))
def test_every_number_is_written_so_that_it_reads_back(array):
    written = json.loads(write_outputs({"y": array}))["outputs"]
    np.testing.assert_array_equal(np.array(written, np.float64).astype(array.dtype), array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_numbers_read_back(dtype):
    limits = np.array([np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).tiny], dtype)
    assert read({"inputs": json.loads(write_outputs({"y": limits}))["outputs"]}, x=dtype)[0].tolist() == limits.tolist()


def test_one_output_is_not_wrapped_and_several_are():
    text = np.array([[b"a"], [b'\xe8\xaf\xbb\n"']], object)
    number = np.array([1, 2], np.int64)
    assert write_predictions({"t": text}) == '{"predictions": [["a"], ["读\\n\\""]]}'.encode()
    assert json.loads(write_predictions({"n": number, "t": text})) == {
        "predictions": [{"n": 1, "t": ["a"]}, {"n": 2, "t": ['读\n"']}]
    }
    assert json.loads(write_outputs({"n": number, "t_bytes": text[:1]})) == {
        "outputs": {"n": [1, 2], "t_bytes": [[{"b64": "YQ=="}]]}
    }


def test_text_that_is_not_utf_8_goes_out_as_it_is():
    assert write_outputs({"t": np.array([b"\xff"], object)}) == b'{"outputs": ["\xff"]}'


@pytest.mark.parametrize(
    ("outputs", "expected_error"),
    [
        ({"s": np.float32(1)}, "Tensor name: s has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"a": np.zeros(2, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_outputs_that_have_no_rows(outputs, expected_error):
    with pytest.raises(RequestError) as caught:
        write_predictions({alias: np.asarray(array) for alias, array in outputs.items()})
    assert (caught.value.code.name, caught.value.message) == ("INVALID_ARGUMENT", expected_error)
