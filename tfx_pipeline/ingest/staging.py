"""Output that is complete or absent: written aside, renamed when all of it is there."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass

import tensorflow as tf

from trainer.errors import TowersError

gfile = tf.io.gfile


@dataclass(frozen=True)
class Staging:
    """A directory to be, and the one beside it that is written first."""

    final: str
    aside: str

    @classmethod
    def of(cls, final: str) -> Staging:
        """Raises TowersError if `final` is in use: a file, or a directory with something in it."""
        final = final.rstrip("/")
        check_unused(final)
        staging = cls(final, f"{final}.incomplete-{uuid.uuid4().hex[:8]}")
        try:
            gfile.makedirs(staging.aside)
        except (tf.errors.OpError, OSError) as error:
            raise TowersError(f"{final}: cannot write there ({_reason(error)})") from None
        return staging

    def publish(self) -> None:
        """Makes the directory appear under its name, in one step where the file system can."""
        check_unused(self.final)
        if gfile.isdir(self.final):
            gfile.rmtree(self.final)
        gfile.rename(self.aside, self.final)

    def discard(self) -> None:
        with contextlib.suppress(tf.errors.OpError, OSError):
            gfile.rmtree(self.aside)


def check_unused(path: str) -> None:
    if gfile.isdir(path):
        if gfile.listdir(path):
            raise TowersError(f"{path}: the output folder is in use. Give another one, or remove this one first.")
    elif gfile.exists(path):
        raise TowersError(f"{path}: the output folder is in use: it is a file. Give another one.")


def _reason(error: Exception) -> str:
    return getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
