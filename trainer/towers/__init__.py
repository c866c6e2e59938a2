"""The item tower and the user tower of the two-tower retrieval model."""
