"""The messages of TensorFlow Serving's API that a client needs, in a package of their own.

Importing `tensorflow_serving.apis` imports TensorFlow, which takes seconds and hundreds of megabytes. These messages
have the same field numbers and types, hence the same encoding. Their package name differs, so that both can be imported
in one process. `tests/serving/wire/test_protos.py` compares every field with the originals.
"""
