"""Writing a directory so that it is either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import TowersError


@contextmanager
def written_aside(directory: str | Path) -> Iterator[Path]:
    """A new directory beside `directory`, which takes its name when the block ends well and vanishes when it does not.

    Raises:
      TowersError: `directory` exists and is not empty, or can not be written.
    """
    target = Path(directory)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TowersError(f"{target}: already there and not empty. Give another directory or remove it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise TowersError(f"{target}: cannot be written ({error.strerror}). Give another directory.") from None
    try:
        yield aside
        aside.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        os.replace(aside, target)  # an empty directory of that name gives way
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError):
            raise TowersError(f"{target}: could not be written ({error.strerror or error}).") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
