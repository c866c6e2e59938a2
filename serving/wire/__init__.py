"""Shared by server and client: tensors, protocol buffers, names of the API, and errors. Imports no TensorFlow."""
