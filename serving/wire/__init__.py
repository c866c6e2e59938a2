"""Tensors, protocol buffers, names of the API and errors, shared by server and client. Imports no TensorFlow."""
