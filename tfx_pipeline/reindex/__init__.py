"""Serves a new catalogue with a trained model, without training."""
