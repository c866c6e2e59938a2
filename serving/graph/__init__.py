"""What is built into the SavedModel: from raw request to recommended items."""
