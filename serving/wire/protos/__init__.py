"""Protocol buffers: the messages of TensorFlow Serving's API that clients need, and those of files that flags name.

Importing `tensorflow_serving.apis` imports TensorFlow, which takes seconds and hundreds of megabytes. These messages
have the same field numbers and types, so they have the same encoding. Their package has another name, so that both can
be imported in one process. `tests/serving/wire/test_protos.py` compares every field with the originals.
"""
