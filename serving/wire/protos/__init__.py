"""The messages of TensorFlow Serving's API that a client needs, under a name of their own.

Importing `tensorflow_serving.apis` imports TensorFlow (seconds, hundreds of megabytes). These messages have the same
field numbers and types, hence the same bytes on the wire, and another package name, so that both can live in one
process. `tests/serving/test_protos.py` compares every field with the originals.
"""
