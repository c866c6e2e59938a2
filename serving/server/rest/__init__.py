"""TensorFlow Serving's REST API: converts JSON to and from tensors, maps paths to methods, and runs the HTTP server."""
