"""Reads and writes the metadata of an exported model, `assets.extra/interest_towers.json`."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from serving.model_files import METADATA
from trainer.errors import TowersError

_PACKAGES = (
    "interest-towers",
    "tensorflow",
    "tensorflow-text",
    "tensorflow-recommenders",
    "keras-nlp",
    "scann",
    "tfx",
    "apache-beam",
)


def write_metadata(saved_model: Path, values: dict[str, Any]) -> None:
    """Writes the metadata, which may contain only JSON values, into a SavedModel's directory."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    (saved_model / METADATA).write_text(text, encoding="utf-8")


def read_metadata(saved_model: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of an exported model: what `serving.export.exporter.export` returned.

    Raises:
      TowersError: the file is missing or damaged.
    """
    path = Path(saved_model) / METADATA
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TowersError(f"{path}: cannot be read. Was this model exported by `towers run`?") from None


def summary(values: dict[str, Any]) -> str:
    """One line that describes an export, from its metadata."""
    names = ", ".join(name for name in values["signatures"] if name != "serving_default")
    return (
        f"{values['megabytes']} MB, {values['items']} items, index {values['index']['kind']}, "
        f"{'ranking' if values['ranking'] else 'no ranking'}; signatures {names}; "
        f"{values['warm_up_requests']} warm-up requests"
    )


def signature_shapes(signatures: dict[str, Any]) -> dict[str, Any]:
    """Types and shapes of the inputs, and names of the outputs, of each signature."""
    return {
        name: {
            "inputs": _shapes(function.structured_input_signature[1]),
            "outputs": sorted(function.structured_outputs),
        }
        for name, function in signatures.items()
    }


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that an export depends on; None for one that is not installed."""
    return {package: _version(package) for package in _PACKAGES}


def _shapes(specs: dict[str, tf.TensorSpec]) -> dict[str, str]:
    return {name: f"{spec.dtype.name} {spec.shape.as_list()}".replace("None", "?") for name, spec in specs.items()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
