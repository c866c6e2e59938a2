"""Imports KerasNLP without the line that one of its dependencies prints at import."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    import keras_nlp

__all__ = ["keras_nlp"]
