from __future__ import annotations

import pytest

from tfx_pipeline import beam_options
from trainer.errors import UsageError


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--direct_num_workers=4"],
        ["--runner", "FlinkRunner", "--flink_master=localhost:8081"],
    ],
)
def test_beams_options_pass_through(given: list[str]) -> None:
    assert beam_options.checked(list(given)) == given


def test_a_typing_error_is_not_swallowed() -> None:
    with pytest.raises(UsageError, match=r"Did you mean --direct_num_workers\?"):
        beam_options.checked(["--direct_num_worker=4"])
