"""The ranking model, which re-orders what retrieval returns."""
