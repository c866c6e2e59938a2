"""`--batching_parameters_file`."""

import pytest

from serving.server.batching.parameters import BatchingParameters, read_batching_parameters
from serving.server.flags import parse_flags
from serving.wire.errors import ServerError, ServerUsageError


def test_parameters_and_their_defaults(tmp_path):
    assert read_batching_parameters(None) == BatchingParameters()
    assert (BatchingParameters().max_batch_size, BatchingParameters().max_enqueued_batches) == (1000, 10)
    path = tmp_path / "batching.txt"
    path.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 3 }\n"
        'num_batch_threads { value: 2 } thread_pool_name { value: "pool" } # a comment\n'
        "allowed_batch_sizes: [4, 8] pad_variable_length_inputs: true"
    )
    assert read_batching_parameters(path) == BatchingParameters(8, 0, 3, 2, (4, 8), True, "pool")


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ("max_batch_size { value: 0 }", "`max_batch_size` should be a whole number from 1. Received: 0"),
        ("batch_timeout_micros { value: -1 }", "`batch_timeout_micros` should be"),
        ("num_batch_threads { value: 0 }", "`num_batch_threads` should be"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4, 8]", "monotonically increasing"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]", "positive"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "last entry was 4; expected 8"),
        ("max_size { value: 8 }", 'no field named "max_size"'),
        ("max_batch_size", "is not a BatchingParameters"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (None, "cannot read"),
    ],
)
def test_bad_parameters_are_told_at_the_start(tmp_path, tiny_models, text, expected_error):
    from serving.server.lifecycle import start_server

    path = tmp_path / "batching.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    flags = [f"--model_base_path={tiny_models(3).parent}", "--port=0", "--enable_batching"]
    with pytest.raises(ServerError) as caught:
        start_server(parse_flags([*flags, f"--batching_parameters_file={path}"]))
    message = str(caught.value)
    assert expected_error in message
    assert str(path) in message
    assert "\n" not in message


def test_a_file_without_the_switch_is_wrong_usage():
    with pytest.raises(ServerUsageError, match="without setting `--enable_batching`"):
        parse_flags(["--model_base_path=/m", "--batching_parameters_file=/p"])
