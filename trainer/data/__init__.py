"""What models are trained on: tables of items and sequences, how they are read, and batches made of them."""
