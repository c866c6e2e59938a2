"""Runs the inputs of several calls as one batch."""
