"""The direction of imports, which keeps the package in parts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIPELINE_ONLY = {"tfx", "apache_beam", "tensorflow_transform", "tensorflow_data_validation", "kfp", "ml_metadata"}
RUNTIME = (
    "serving/server/",
    "serving/calls/",
    "serving/client.py",
    "serving/prediction_client.py",
    "serving/popular_items.py",
    "serving/assets.py",
    "serving/scores.py",
    "serving/pseudonyms.py",
    "serving/errors.py",
    "serving/tensors.py",
)


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package}: no files; this test looks in the wrong place"
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("trainer", {"serving", "tfx_pipeline", *PIPELINE_ONLY}),
        ("serving", {"tfx_pipeline", *PIPELINE_ONLY}),
    ],
)
def test_arrows_run_one_way(package: str, forbidden: set[str]) -> None:
    wrong = {str(path.relative_to(ROOT)): imported(path) & forbidden for path in files(package)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_runtime_half_of_serving_stands_alone() -> None:
    runtime = [path for path in files("serving") if str(path.relative_to(ROOT)).startswith(RUNTIME)]
    assert len(runtime) > 5
    wrong = {str(path.relative_to(ROOT)): imported(path) & {"trainer"} for path in runtime}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_no_test_is_imported() -> None:
    for package in ("trainer", "serving", "tfx_pipeline"):
        assert not [path for path in files(package) if "tests" in imported(path)]
