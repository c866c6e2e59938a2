"""Models and everything they need. Imports no TFX, no Beam and nothing of serving."""

import os

# TFRS, KerasNLP and TFX all need Keras 2. TensorFlow reads this variable when `tf.keras` is first used.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Hides TensorFlow's start-up messages, unless the user has set the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
