from __future__ import annotations

import pytest

from tfx_pipeline import beam_options
from trainer.errors import UsageError


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--direct_num_workers=4"],
        ["--runner", "FlinkRunner", "--flink_master=localhost:8081"],
    ],
)
def test_beams_options_pass_through(arguments: list[str]) -> None:
    assert beam_options.check_arguments(list(arguments)) == arguments


def test_a_typing_error_is_not_swallowed() -> None:
    with pytest.raises(UsageError, match=r"Did you mean --direct_num_workers\?"):
        beam_options.check_arguments(["--direct_num_worker=4"])
