"""Losses of the retrieval model."""
