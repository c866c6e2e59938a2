"""KerasNLP, without the line on standard output with which one of its dependencies greets."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    import keras_nlp

__all__ = ["keras_nlp"]
