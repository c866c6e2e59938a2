import os

# TFRS, KerasNLP and TFX all need Keras 2; TensorFlow reads this at the first touch of tf.keras.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# TensorFlow's start-up messages; an engineer who wants them sets the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
