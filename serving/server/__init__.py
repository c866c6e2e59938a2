"""A model server with TensorFlow Serving's gRPC and REST APIs, in Python on TensorFlow's own runtime.

Messages, semantics and status codes are TensorFlow Serving's; the modules name the exceptions. It is not TensorFlow
Serving itself.
"""
