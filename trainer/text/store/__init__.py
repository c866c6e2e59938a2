"""The store of text embeddings, shared by all runs, and the table of one run."""
