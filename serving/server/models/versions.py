"""Finds the versions of a model on disk: numbered directories below a base path."""

import logging
import os
from pathlib import Path

from serving.server.runtime.servable import GRAPH_FILE

logger = logging.getLogger(__name__)

MAX_VERSION = 2**63 - 1
Contents = tuple[tuple[str, int, int], ...]


def find_versions(base_path: Path) -> dict[int, Path]:
    """The version directories below `base_path`, by number.

    A directory without its graph file is still being copied and is left out.

    Raises:
        OSError: the base path is missing or cannot be read.
    """
    versions: dict[int, Path] = {}
    for directory in sorted(base_path.iterdir()):
        if not (directory.name.isascii() and directory.name.isdigit() and (directory / GRAPH_FILE).is_file()):
            continue
        version = int(directory.name)
        if version > MAX_VERSION:
            logger.warning("%s is no version: the number is larger than %d", directory, MAX_VERSION)
            continue
        versions[version] = directory
    return versions


def read_contents(directory: Path) -> Contents:
    """(path, size in bytes, modification time) of every file below `directory`, to detect changes."""
    contents = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:  # deleted meanwhile
                continue
            contents.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(contents))
