"""Batching across calls."""
