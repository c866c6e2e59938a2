"""The ranking model, which re-orders the items that retrieval returns."""
