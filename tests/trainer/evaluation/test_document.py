from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.errors import TowersError
from trainer.evaluation import document


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = {"format": document.FORMAT, "name": "好"}
    (tmp_path / document.FILE).write_text(json.dumps(result), encoding="utf-8")
    assert document.read(tmp_path) == result


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("", "cannot be read"),
        ('{"format": 2', "cannot be read"),
        ('{"format": 1}', "should be an evaluation of format 3. Received: 1"),
        ("{}", "Received: None"),
        ("[]", "Received: 'list'"),
    ],
)
def test_errors_name_the_path_and_the_remedy(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / document.FILE).write_text(content)
    with pytest.raises(TowersError) as error:
        document.read(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path / document.FILE) in str(error.value)
    assert "Evaluate the run again" in str(error.value)
