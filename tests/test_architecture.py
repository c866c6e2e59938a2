"""The direction of imports, which keeps the project in parts: between packages, and between the folders of one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainer", "serving", "tfx_pipeline")
PIPELINE_ONLY = {"tfx", "apache_beam", "tensorflow_transform", "tensorflow_data_validation", "kfp", "ml_metadata"}
TENSORFLOW = {"tensorflow", "tensorflow_text", "tensorflow_recommenders", "tf_keras", "keras_nlp", "scann"}

# The folders of a package, from the general to the special: each may import those before it, never those after it.
# Folders on one line do not import each other.
LAYERS = {
    "trainer": [
        ["trainer.errors"],
        ["trainer.files", "trainer.graphs", "trainer.config"],
        ["trainer.training"],
        ["trainer.text"],
        ["trainer.data"],
        ["trainer.text.fine_tuning"],
        ["trainer.explanations"],
        ["trainer.evaluation", "trainer.towers"],
        ["trainer.retrieval"],
        ["trainer.ranking", "trainer.index"],
    ],
    "serving": [
        ["serving.wire", "serving.model_files", "serving.pseudonyms"],
        ["serving.popular_items"],
        ["serving.client", "serving.server", "serving.graph"],
        ["serving.export"],
    ],
    "tfx_pipeline": [
        ["tfx_pipeline.artifacts", "tfx_pipeline.beam_options", "tfx_pipeline.terminal", "tfx_pipeline.bookshop"],
        ["tfx_pipeline.gates.verdict"],
        ["tfx_pipeline.ingest", "tfx_pipeline.preprocessing", "tfx_pipeline.text_embedding"],
        ["tfx_pipeline.fingerprint"],
        ["tfx_pipeline.runs"],
        ["tfx_pipeline.components"],
        ["tfx_pipeline.gates"],
        ["tfx_pipeline.pipeline", "tfx_pipeline.reindex"],
        ["tfx_pipeline.runners"],
        ["tfx_pipeline.commands"],
        ["tfx_pipeline.cli"],
    ],
}
# What a folder may not import at all, beside the layers above it.
FORBIDDEN = {
    "trainer": {"serving", "tfx_pipeline", *PIPELINE_ONLY},
    "serving": {"tfx_pipeline", *PIPELINE_ONLY},
    "trainer.config": {"trainer.files", "trainer.graphs", "numpy", *TENSORFLOW},
    "serving.wire": {"trainer", *TENSORFLOW},
    "serving.client": {"trainer", "serving.graph", "serving.server", "serving.export", *TENSORFLOW},
    "serving.pseudonyms": {"trainer", *TENSORFLOW},
    "serving.popular_items": {"trainer", *TENSORFLOW},
    "serving.server": {"trainer", "serving.client", "serving.graph"},
}
MOST_ROOT_MODULES = {"trainer": 5, "serving": 5, "tfx_pipeline": 9}
MOST_LINES = 350
CLIENTS = ROOT / "serving" / "clients"  # examples to copy: no part of the package
LONG_FILES = ("serving/wire/protos/", "tfx_pipeline/bookshop/texts.py")  # generated code; word lists


def files(package: str) -> list[Path]:
    paths = sorted(path for path in (ROOT / package).rglob("*.py") if CLIENTS not in path.parents)
    assert paths, f"{package}: no files; this test looks in the wrong place"
    return paths


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in files(package)}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in the file, by their full names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                names.add(module if module in MODULES else node.module)
    return names


def within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def layer(module: str, layers: list[list[str]]) -> tuple[int, str] | None:
    """The layer and folder of a module; the longest matching folder counts."""
    matches = [(len(f), number, f) for number, row in enumerate(layers) for f in row if within(module, f)]
    return max(matches)[1:] if matches else None


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_only_what_is_more_general(package: str) -> None:
    wrong = []
    for module, path in MODULES.items():
        here = layer(module, LAYERS[package])
        if not within(module, package) or here is None:
            continue
        for name in imported(path):
            there = layer(name, LAYERS[package])
            if there is not None and there[1] != here[1] and there[0] >= here[0]:
                wrong.append(f"{module} -> {name}")
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_layer(package: str) -> None:
    modules = [module for module in MODULES if within(module, package) and module != package]
    assert [module for module in modules if layer(module, LAYERS[package]) is None] == []


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_forbidden_imports(folder: str) -> None:
    wrong = []
    for module, path in MODULES.items():
        if within(module, folder):
            names = imported(path)
            wrong += [f"{module} -> {name}" for name in names if any(within(name, bad) for bad in FORBIDDEN[folder])]
    assert wrong == []


def test_only_graph_and_export_import_the_trainer() -> None:
    allowed = ("serving.graph", "serving.export")
    wrong = [
        module
        for module, path in MODULES.items()
        if within(module, "serving")
        and not any(within(module, folder) for folder in allowed)
        and any(within(name, "trainer") for name in imported(path))
    ]
    assert wrong == []


def test_no_test_is_imported() -> None:
    assert [module for module, path in MODULES.items() if any(within(name, "tests") for name in imported(path))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_roots_are_small(package: str) -> None:
    modules = sorted(path.name for path in (ROOT / package).glob("*.py"))
    assert len(modules) <= MOST_ROOT_MODULES[package], modules


def test_every_folder_is_a_package() -> None:
    """`setup.py` finds packages by their `__init__.py`: a folder without one would not be installed."""
    folders = {path.parent for path in MODULES.values()}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values()
    }
    assert {
        path: length for path, length in lengths.items() if length > MOST_LINES and not path.startswith(LONG_FILES)
    } == {}
