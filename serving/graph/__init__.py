"""The graph of the SavedModel: from raw requests to recommended items."""
