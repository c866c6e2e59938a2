"""Reads and writes the list of the most popular items, which clients show if no model answers.

The list is the file `assets.extra/popular_items.txt` of a SavedModel: UTF-8, one item id a line, the most popular
first. This module needs only the standard library, because clients import it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from serving.wire.errors import ServingError

POPULAR_ITEMS = Path("assets.extra", "popular_items.txt")


def write_popular_items(directory: str | os.PathLike[str], item_ids: Iterable[str]) -> Path:
    """Writes the file into an exported model.

    Two kinds of ids are left out: ids with a line break, which do not fit on a line, and empty ids, which mean no item.

    Args:
        directory: the SavedModel's directory.
        item_ids: the most popular first.

    Raises:
        ValueError: no id remains.
    """
    lines = [f"{item_id}\n" for item_id in item_ids if item_id and not ("\n" in item_id or "\r" in item_id)]
    if not lines:
        raise ValueError("`item_ids` should hold at least one item id without a line break")
    path = Path(directory) / POPULAR_ITEMS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(lines).encode("utf-8"))
    return path


def read_popular_items(path: str | os.PathLike[str]) -> list[str]:
    """Item ids, the most popular first, each once.

    Args:
        path: the file, or the directory of a SavedModel that contains it.

    Raises:
        ServingError: FAILED_PRECONDITION: the file, which the message names, cannot be read, is not UTF-8, or holds no
            id.
    """
    path = Path(path)
    if path.is_dir():
        path /= POPULAR_ITEMS
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ServingError("FAILED_PRECONDITION", f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ServingError("FAILED_PRECONDITION", f"{path} is not UTF-8 text of one item id a line") from None
    lines = (line.removesuffix("\r") for line in text.split("\n"))  # other line separators can be part of an id
    item_ids = list(dict.fromkeys(line for line in lines if line))
    if not item_ids:
        raise ServingError("FAILED_PRECONDITION", f"{path} holds no item id; it should have one a line")
    return item_ids
