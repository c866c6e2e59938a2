"""The model for measuring serving: an exported one, or one with random weights of a chosen size."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests_package import use_tests

from serving.model_files import METADATA

NAME = "recommender"
NO_TEXT_CACHE = "--text_cache_mib=0"  # for clients that send requests repeatedly, which should not get cheaper


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=Path, help="an exported model, RUN/serving/recommender or a version in it (default: see below)")
    add("--items", type=int, default=20_000, help="without --model: number of items of a model with random weights")
    add("--dim", type=int, default=64, help="without --model: width of item vectors")
    add("--k", type=int, default=20, help="without --model: number of items in an answer")
    add("--candidates", type=int, default=100, help="without --model: number of items that are ranked")
    add("--index", choices=("brute_force", "scann"), default="brute_force")
    add("--encoder", default="all-MiniLM-L6-v2", help="of texts, as for text.encoder in a configuration")


@contextmanager
def measured_model(arguments: argparse.Namespace) -> Iterator[Path]:
    """The version directory to serve. A model made here is deleted at the end.

    From here on, SIGTERM ends the benchmark as Ctrl-C does, together with the processes that it started.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if arguments.model is not None:
        yield _version_directory(arguments.model.absolute())
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(f"making a model of {arguments.items:,} items", file=sys.stderr, flush=True)
        yield _make(arguments, Path(scratch))


@contextmanager
def base_path_of(version_directory: Path) -> Iterator[Path]:
    """A base path with the model as version 1. `add_version` adds others."""
    with tempfile.TemporaryDirectory() as scratch:
        add_version(Path(scratch), 1, version_directory)
        yield Path(scratch)


def add_version(base_path: Path, version: int, version_directory: Path) -> None:
    os.symlink(version_directory, base_path / str(version))


def description(version_directory: Path) -> str:
    """One line that describes an export."""
    try:
        metadata = json.loads((version_directory / METADATA).read_text(encoding="utf-8"))
    except OSError:
        return str(version_directory)
    encoder = metadata["encoder"]["name"] if metadata["encoder"] else "no texts"
    return (
        f"{metadata['items']:,} items, {metadata['config']['model']['dim']}-d, index {metadata['index']['kind']}, "
        f"{'ranking' if metadata['ranking'] else 'no ranking'}, k {metadata['config']['serving']['k']}, {encoder}"
    )


def machine() -> str:
    """One line that describes the machine and its load, which makes all figures worse."""
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return f"{os.cpu_count()} processors, load average {load}, nice {os.nice(0)}"


def _version_directory(directory: Path) -> Path:
    if (directory / "saved_model.pb").exists():
        return directory
    versions = [path for path in directory.glob("*") if path.name.isdigit() and (path / "saved_model.pb").exists()]
    if not versions:
        sys.exit(f"{directory}: no exported model and no version directories")
    return max(versions, key=lambda path: int(path.name))


def _make(arguments: argparse.Namespace, directory: Path) -> Path:
    use_tests()  # their helpers export models without training
    from serving.export import exporter
    from tests.serving import exported
    from trainer.config import Config
    from trainer.text.pretrained import describe_encoder

    settings = exported.make_config(arguments.encoder, k=arguments.k, candidates=arguments.candidates).model_dump()
    settings["text"]["max_tokens"] = 128
    settings["model"] |= {"dim": arguments.dim, "layers": 2, "max_history": 50}
    settings["serving"]["max_history"] = 50
    settings["index"]["k"] = min(100, arguments.items)
    config = Config.model_validate(settings)
    width, _ = describe_encoder(arguments.encoder, config.text.max_tokens)
    items = exported.make_items(arguments.items)
    towers = exported.make_towers(config, items, width=width)
    exporter.export(
        config,
        towers,
        exported.make_ranker(config, items),
        index_directory=exported.make_index(config, towers, directory / "index", arguments.index),
        dataset=exported.make_dataset(items),
        sequence_transform=exported.make_transform(config, directory / "transform"),
        directory=directory / "model",
    )
    return directory / "model"
