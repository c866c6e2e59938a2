from __future__ import annotations

import pytest

from tfx_pipeline import beam_options
from trainer.errors import UsageError


def test_defaults_fill_in_what_is_not_given() -> None:
    resolved = beam_options.resolve(["--direct_num_workers=4"])
    assert "--direct_num_workers=4" in resolved
    assert "--direct_num_workers=1" not in resolved
    assert "--runner=DirectRunner" in resolved


def test_options_of_other_runners_pass_through() -> None:
    given = ["--runner", "FlinkRunner", "--flink_master=localhost:8081", "--parallelism", "4"]
    resolved = beam_options.resolve(given)
    assert resolved[: len(given)] == given
    assert not any(option.startswith("--runner=") for option in resolved)


def test_a_typing_error_is_not_swallowed() -> None:
    with pytest.raises(UsageError, match=r"Did you mean --direct_num_workers\?"):
        beam_options.resolve(["--direct_num_worker=4"])
