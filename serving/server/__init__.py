"""A model server that speaks TensorFlow Serving's gRPC API, in Python on TensorFlow's own runtime.

TensorFlow-Serving-compatible: same messages, same semantics, same status codes. It is not TensorFlow Serving.
"""
