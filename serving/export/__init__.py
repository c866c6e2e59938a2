"""Towers, ranking model and index -> one SavedModel, its checks and its warm-up requests."""
