"""The gate of the infrastructure: an export that does not load is refused with the server's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline.gates.infrastructure import judgement

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_what_the_server_cannot_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"this is no SavedModel")
    result = judgement.judge(str(tmp_path))
    assert not result.passed
    (reason,) = result.refusals
    assert "\n" not in reason
    assert "saved_model.pb" in reason or "SavedModel" in reason
    assert result.measured == {}
