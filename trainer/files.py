"""Atomic writing of files and directories: they are written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import TowersError

_PARTIAL = ".partial"


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; the file is renamed to `path` after the block, or removed if it fails.

    The temporary name has the suffix of `path`, because NumPy appends its own suffix to other names. Missing parent
    directories are created.

    Raises:
      OSError: the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces a file by UTF-8 text; a reader sees either the old or the new content.

    Raises:
      OSError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_partial(name: str, of: str) -> bool:
    """Whether `name` is a temporary name of `atomic_file` for the file name `of`, left by a killed process."""
    return name.startswith(f".{of}.") and name.endswith(_PARTIAL + Path(of).suffix)


@contextmanager
def atomic_remote_file(path: str) -> Iterator[str]:
    """As `atomic_file`, on any file system that TensorFlow knows. The directory should exist.

    Raises:
      tf.errors.OpError, OSError: the file cannot be written.
    """
    import tensorflow as tf

    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
    try:
        yield temporary
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError, OSError):
            tf.io.gfile.remove(temporary)
        raise


@contextmanager
def atomic_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a new directory beside `directory`; it is renamed to `directory` after the block, or removed if it fails.

    Raises:
      TowersError: `directory` exists and is not empty, or cannot be written.
    """
    target = Path(directory)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise _in_use_error(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise TowersError(f"{target}: cannot be written ({error.strerror}). Give another directory.") from None
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp lets only the owner read it
        os.replace(temporary, target)  # replaces an empty directory of that name
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise TowersError(f"{target}: could not be written ({error.strerror or error}).") from error
        raise


@contextmanager
def atomic_remote_directory(directory: str) -> Iterator[str]:
    """As `atomic_directory`, on any file system that TensorFlow knows.

    The temporary name is `<directory>.incomplete-<random>`: a directory left by a killed process is recognised by it.

    Raises:
      TowersError: `directory` exists and is not empty, or cannot be written.
      tf.errors.OpError, OSError: it cannot be renamed.
    """
    import tensorflow as tf

    gfile = tf.io.gfile
    target = directory.rstrip("/")

    def check_unused() -> None:
        if gfile.exists(target) and (not gfile.isdir(target) or gfile.listdir(target)):
            raise _in_use_error(target)

    check_unused()
    temporary = f"{target}.incomplete-{uuid.uuid4().hex[:8]}"
    try:
        gfile.makedirs(temporary)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or error
        raise TowersError(f"{target}: cannot be written ({reason}). Give another directory.") from None
    try:
        yield temporary
        check_unused()
        if gfile.isdir(target):
            gfile.rmtree(target)
        gfile.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError, OSError):
            gfile.rmtree(temporary)
        raise


def _in_use_error(directory: str | os.PathLike[str]) -> TowersError:
    return TowersError(
        f"{directory}: already there and not empty, or not a directory. Give another directory or remove it."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
