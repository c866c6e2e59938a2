"""What server and client share: tensors, protocol buffers, errors. Imports no TensorFlow."""
