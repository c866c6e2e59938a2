"""The data that models are trained on: tables of items and users' sequences, how they are read, and batches."""
