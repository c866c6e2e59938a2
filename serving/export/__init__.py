"""Exports a model as one SavedModel with checks, metadata and warm-up requests."""
