"""The graph of the SavedModel: turns raw requests into recommended items."""
